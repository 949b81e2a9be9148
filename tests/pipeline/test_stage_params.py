"""Parameters: what -P accepts, and what a stage is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlops_cli.core.errors import ProjectError, UsageError
from mlops_cli.core.pipeline.param_files import ParamFiles
from mlops_cli.core.pipeline.params import assignments, declared, flat, lay_over, nested

FILES = ParamFiles(Path("nowhere"))
PARAMS = {
    "seed": 7,
    "rate": 0.1,
    "fast": True,
    "kind": "tree",
    "layers": [4, 2],
    "model": {"depth": 3, "leaf": {"min": 20}},
    "free": None,
    "dotted.name": 1,
}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("seed", "8", 8),
        ("rate", "1e-3", 0.001),
        ("rate", "1", 1.0),
        ("fast", "false", False),
        ("kind", "12", "12"),
        ("kind", "a=b", "a=b"),
        ("kind", "", ""),
        ("layers", "[8]", [8]),
        ("model.depth", "5", 5),
        ("model.leaf.min", "1", 1),
        ("model", "{depth: 1}", {"depth": 1}),
        ("free", "0.5", 0.5),
        ("free", "text", "text"),
        ("dotted.name", "2", 2),
    ],
)
def test_an_override_takes_the_type_of_its_default(name: str, text: str, value: Any) -> None:
    params, typed = lay_over(PARAMS, {name: text})
    assert typed == {name: value}
    assert type(typed[name]) is type(value)
    assert declared(params, [name], "s", FILES) == {name: value}


def test_laying_over_leaves_the_defaults_alone() -> None:
    lay_over(PARAMS, {"model.leaf.min": "1"})
    assert PARAMS["model"] == {"depth": 3, "leaf": {"min": 20}}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("seed", "0.5"),
        ("seed", "x"),
        ("seed", "true"),
        ("rate", "fast"),
        ("fast", "1"),
        ("layers", "3"),
        ("model", "1"),
    ],
)
def test_another_type_is_refused_with_the_default(name: str, text: str) -> None:
    with pytest.raises(UsageError, match=f"-P {name}") as caught:
        lay_over(PARAMS, {name: text})
    assert "default" in (caught.value.hint or "")


@pytest.mark.parametrize("text", [".nan", ".inf", "-.inf"])
def test_values_without_a_json_form_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="NaN"):
        lay_over(PARAMS, {"rate": text})


@pytest.mark.parametrize("text", ["{0: 1}", "{a: [{null: 1}]}", "{a: 123456789012345678901234567890}"])
def test_a_mapping_that_json_cannot_say_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="it holds"):
        lay_over(PARAMS, {"model": text})


def test_an_unknown_name_gets_the_nearest_one() -> None:
    with pytest.raises(UsageError) as caught:
        lay_over(PARAMS, {"model.dept": "3"})
    assert caught.value.hint == "did you mean model.depth?"
    with pytest.raises(UsageError, match=r"seed\.x"):
        lay_over(PARAMS, {"seed.x": "3"})


@pytest.mark.parametrize("texts", [["alpha"], ["=1"], ["a=1", "a=2"], ["a=\udcff"]])
def test_an_assignment_is_one_name_and_one_value(texts: list[str]) -> None:
    with pytest.raises(UsageError):
        assignments(texts)


def test_a_stage_is_given_what_it_declares_and_nothing_else() -> None:
    values = declared(PARAMS, ["seed", "model.leaf", "dotted.name"], "train", FILES)
    assert nested(values, PARAMS) == {"seed": 7, "model": {"leaf": {"min": 20}}, "dotted.name": 1}


def test_a_whole_mapping_and_a_part_of_it_go_together() -> None:
    values = declared(PARAMS, ["model.depth", "model"], "train", FILES)
    assert nested(values, PARAMS) == {"model": PARAMS["model"]}


def test_a_declared_name_that_is_not_there_is_an_error_of_the_project() -> None:
    with pytest.raises(ProjectError, match="stage train reads the parameter sed") as caught:
        declared(PARAMS, ["sed"], "train", FILES)
    assert caught.value.hint == "did you mean seed?"


def test_a_declared_value_must_be_finite() -> None:
    with pytest.raises(ProjectError, match="NaN"):
        declared({"a": {"b": [float("nan")]}}, ["a"], "train", FILES)


def test_leaves_have_dotted_names() -> None:
    assert dict(flat({"a": {"b": 1, "c": {}}, "d": [1]})) == {"a.b": 1, "a.c": {}, "d": [1]}
