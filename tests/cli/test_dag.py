"""`mlo dag`: the pipeline as a tree, for Mermaid and for Graphviz."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

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
        "members": [],
        "states": {},
    }


def test_a_cycle_is_named(project: Path, mlo: Mlo) -> None:
    (project / "mlo.yaml").write_text(YAML.replace("deps: [raw]", "deps: [model]"))
    assert "cycle: " in mlo("dag", exit_code=5).stderr


def test_an_unknown_stage_is_exit_6(project: Path, mlo: Mlo) -> None:
    assert "did you mean train?" in mlo("dag", "trian", exit_code=6).stderr


def test_a_project_without_stages_has_an_empty_picture(here: Path, mlo: Mlo) -> None:
    (here / "mlo.yaml").write_text("name: empty\n")
    assert mlo("dag").stdout == "mlo.yaml has no stages.\n"


MANY = """\
name: many
stages:
  prepare: {cmd: echo x > data, outs: [data]}
  train:
    matrix: {depth: [1, 2, 3, 4, 5], seed: [1, 2, 3]}
    cmd: echo ${item.depth} > m-${item.depth}-${item.seed}
    deps: [data]
    outs: ['m-${item.depth}-${item.seed}']
  small:
    foreach: [a, b]
    cmd: cat data > small-${item}
    deps: [data, m-1-1]
    outs: ['small-${item}']
"""


def test_a_large_group_is_drawn_as_one_unless_all_is_asked_for(here: Path, mlo: Mlo) -> None:
    (here / "mlo.yaml").write_text(MANY)
    text = mlo("dag").stdout
    assert "└── train (15 stages)  -> m-1-1, m-1-2, and 13 more" in text
    assert "small@a" in text
    assert "--full" in text
    assert mlo("dag", "--full").stdout.count("train@") == 15
    assert "train (15 stages)" in mlo("dag", "--mermaid").stdout
    assert '"train" [label="train (15 stages)"];' in mlo("dag", "--dot").stdout
    [group] = [it for it in mlo("dag", "--json").json["stages"] if it["name"] == "train"]
    assert len(group["members"]) == 15


def test_groups_that_lead_to_each_other_in_a_circle_stay_apart(here: Path, mlo: Mlo) -> None:
    lines = ["name: loop", "stages:"]
    for group, other in (("a", "b"), ("b", "a")):
        lines += [f"  {group}:", "    foreach:"]
        for number in range(14):
            before = f"{other}{number - 1}" if (number % 2 == 0) == (group == "b") and number else "raw"
            lines.append(f"      s{number}: {{read: {before}, write: {group}{number}}}")
        lines += ["    cmd: x", "    deps: ['${item.read}']", "    outs: ['${item.write}']"]
    (here / "mlo.yaml").write_text("\n".join(lines))
    assert mlo("dag").stdout.count("a@") >= 14


def test_the_picture_is_one_well_formed_file_with_a_colour_for_each_state(here: Path, mlo: Mlo) -> None:
    (here / "mlo.yaml").write_text(MANY)
    mlo("run", "train@1-1", "train@2-2")
    text = mlo("dag", "--svg").stdout
    root = ET.fromstring(text)
    said = ["".join(element.itertext()) for element in root.iter() if element.tag.endswith("}text")]
    assert "prepare" in said
    assert "up to date" in said
    assert "13 would run, 2 up to date" in said
    assert "prefers-color-scheme:dark" in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert len([it for it in root.iter() if it.get("class") == "edge"]) == 5
    assert len([it for it in ET.fromstring(mlo("dag", "--svg", "--full").stdout) if it.tag.endswith("}g")]) == 18


def test_names_that_mean_something_in_xml_are_spelled_out(here: Path, mlo: Mlo) -> None:
    (here / "mlo.yaml").write_text("name: x\nstages:\n  s: {cmd: x, outs: ['a<b>&\"c']}\n")
    said = "".join(ET.fromstring(mlo("dag", "--svg").stdout).itertext())
    assert 'a<b>&"c' in said


def test_a_picture_is_drawn_where_an_input_is_missing(project: Path, mlo: Mlo) -> None:
    answer = mlo("dag", "--svg")
    assert "what would run is not known" in answer.stderr
    assert "would run" not in "".join(ET.fromstring(answer.stdout).itertext())


def test_an_empty_pipeline_is_an_empty_picture(here: Path, mlo: Mlo) -> None:
    (here / "mlo.yaml").write_text("name: empty\n")
    assert ET.fromstring(mlo("dag", "--svg").stdout).tag.endswith("}svg")
