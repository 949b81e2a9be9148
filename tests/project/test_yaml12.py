import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.core.errors import ProjectError
from mlops_cli.core.project.yaml12 import dump, parse_scalar, read

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("on", "on"),
        ("no", "no"),
        ("true", True),
        ("Null", None),
        ("~", None),
        ("2013-01-01", "2013-01-01"),
        ("0x1F", 31),
        ("0o17", 15),
        ("017", 17),
        ("12:30:00", "12:30:00"),
        ("1_000", "1_000"),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("+12", 12),
        ("'1e-3'", "1e-3"),
        ("!!str 5", "5"),
    ],
)
def test_scalars_are_read_by_yaml_1_2(text: str, value: object) -> None:
    document, _ = read(f"key: {text}\n", "mlo.yaml")
    assert document == {"key": value}
    assert type(document["key"]) is type(value)


@given(VALUES)
def test_what_is_dumped_reads_back_unchanged(value: object) -> None:
    assert read(dump({"key": value}), "file")[0] == {"key": value}


def test_every_key_and_item_has_its_position() -> None:
    _, positions = read("name: x\nstages:\n  train:\n    deps: [a, b]\n", "mlo.yaml")
    assert positions[("stages", "train")] == (3, 3)
    assert positions[("stages", "train", "deps", 1)] == (4, 15)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", r"mlo\.yaml:2:1: did not find"),
        ("a: 1\na: 2\n", r"mlo\.yaml:2:1: a stands twice \(first on line 1\)"),
        ("a: 1\n\tb: 2\n", r"mlo\.yaml:2"),
        ("a: !!python/object:os.system x\n", r"mlo\.yaml:1:4"),
        ("- " * 60 + "x", "nested deeper"),
        ("a: \x00", r"mlo\.yaml"),
    ],
)
def test_what_is_wrong_is_shown_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ProjectError, match=message):
        read(text, "mlo.yaml")


def test_merge_conflict_markers_are_named_as_such() -> None:
    text = "version: 1\n<<<<<<< HEAD\na: 1\n=======\na: 2\n>>>>>>> theirs\n"
    with pytest.raises(ProjectError) as caught:
        read(text, "mlo.lock")
    assert "merge conflict" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("text", "value"), [("0.5", 0.5), ("[1, 2]", [1, 2]), ("x: y: z", "x: y: z"), ("", None), ("on", "on")]
)
def test_a_single_value_is_typed_or_is_its_own_text(text: str, value: object) -> None:
    assert parse_scalar(text) == value


def test_a_template_in_a_flow_list_is_told_to_be_quoted() -> None:
    with pytest.raises(ProjectError, match=r"mlo\.yaml:2:") as caught:
        read("a: 1\nouts: [model-${item}.txt]\n", "mlo.yaml")
    assert "quotes" in (caught.value.hint or "")
