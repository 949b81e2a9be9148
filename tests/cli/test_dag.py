"""`mlo dag`: the pipeline as a tree, for Mermaid and for Graphviz."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Mlo

YAML = """\
name: tiny
stages:
  evaluate: {cmd: x, deps: [model, data/test], metrics: [m.json]}
  train: {cmd: x, deps: [data/train], outs: [model]}
  prepare: {cmd: x, deps: [raw], outs: [data/train, data/test]}
  lint: {cmd: x}
"""


@pytest.fixture
def project(here: Path) -> Path:
    (here / "mlo.yaml").write_text(YAML)
    return here


def test_the_tree_flows_downward_and_names_every_edge_once(project: Path, mlo: Mlo) -> None:
    assert mlo("dag").stdout == (
        "prepare  -> data/train, data/test\n"
        "└── train  -> model\n"
        "    └── evaluate  -> m.json   (also after prepare)\n"
        "lint\n"
    )


def test_one_stage_with_what_it_depends_on(project: Path, mlo: Mlo) -> None:
    assert mlo("dag", "train").stdout.splitlines() == ["prepare  -> data/train, data/test", "└── train  -> model"]


def test_mermaid(project: Path, mlo: Mlo) -> None:
    lines = mlo("dag", "--mermaid").stdout.splitlines()
    assert lines[:2] == ["flowchart TD", '  s0["prepare"]']
    assert sorted(line for line in lines if "-->" in line) == ["  s0 --> s1", "  s0 --> s2", "  s1 --> s2"]


def test_dot(project: Path, mlo: Mlo) -> None:
    lines = mlo("dag", "--dot").stdout.splitlines()
    assert lines[0] == "digraph pipeline {"
    assert '  "prepare" -> "evaluate";' in lines
    assert lines[-1] == "}"


def test_the_document_lists_the_stages(project: Path, mlo: Mlo) -> None:
    stages = mlo("dag", "--json").json["stages"]
    assert stages[2] == {
        "name": "evaluate",
        "upstream": ["train", "prepare"],
        "deps": ["model", "data/test"],
        "outs": ["m.json"],
    }


def test_a_cycle_is_named(project: Path, mlo: Mlo) -> None:
    (project / "mlo.yaml").write_text(YAML.replace("deps: [raw]", "deps: [model]"))
    assert "cycle: " in mlo("dag", exit_code=5).stderr


def test_an_unknown_stage_is_exit_6(project: Path, mlo: Mlo) -> None:
    assert "did you mean train?" in mlo("dag", "trian", exit_code=6).stderr


def test_a_project_without_stages_has_an_empty_picture(here: Path, mlo: Mlo) -> None:
    (here / "mlo.yaml").write_text("name: empty\n")
    assert mlo("dag").stdout == "mlo.yaml has no stages.\n"
