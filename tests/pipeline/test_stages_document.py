"""STAGES.md: it names every key, and what it shows is a project that reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pipeline_kit import workspace

import mlops_cli
from mlops_cli.core.pipeline.graph import build_graph
from mlops_cli.core.project import yaml12
from mlops_cli.core.project.stages import Stage

DOCUMENT = (Path(mlops_cli.__file__).parent / "core" / "pipeline" / "STAGES.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
HEAD = EXAMPLES[0].partition("stages:")[0]


def test_every_key_has_a_line_and_an_example() -> None:
    shown = {key for text in EXAMPLES for stage in yaml12.read(text, "x")[0]["stages"].values() for key in stage}
    assert shown == set(Stage.__struct_fields__)
    assert {f"`{key}`" for key in shown} <= set(re.findall(r"^\| (`\w+`) \|", DOCUMENT, re.MULTILINE))


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_a_project(here: Path, example: str) -> None:
    (here / "mlo.yaml").write_text(example if example.startswith("name:") else HEAD + example)
    project = workspace(here).project
    assert build_graph(project.stages, root=here).nodes
