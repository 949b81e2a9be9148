"""What may be logged, and what is said of what may not."""

from __future__ import annotations

import datetime as dt
import enum
import math
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlops_cli.core.errors import UsageError
from mlops_cli.core.tracking import values
from mlops_cli.core.tracking.errors import NotANumber


class Tensor:
    """As torch's: it has item() for one element only."""

    def __init__(self, *elements: float) -> None:
        self._elements = elements

    def item(self) -> float:
        if len(self._elements) != 1:
            raise RuntimeError("a Tensor with 2 elements cannot be converted to Scalar")
        return self._elements[0]


class Color(str, enum.Enum):  # noqa: UP042 - the older spelling is the one in the wild
    RED = "red"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1.0),
        (0.5, 0.5),
        (True, 1.0),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3.0),
        (np.bool_(True), 1.0),
        (np.array(0.25), 0.25),
        (np.array([0.25]), 0.25),
        (Tensor(0.75), 0.75),
        (Decimal("0.1"), 0.1),
        (Fraction(1, 4), 0.25),
        (math.inf, math.inf),
    ],
)
def test_numbers_of_every_sort_are_floats(value: Any, expected: float) -> None:
    got = values.number(value, "m")
    assert got == expected
    assert type(got) is float


def test_nan_is_a_value() -> None:
    assert math.isnan(values.number(np.float64("nan"), "m"))


@pytest.mark.parametrize(
    "value",
    ["0.5", None, [0.5], {"a": 1}, 1j, np.array([1.0, 2.0]), Tensor(1, 2), b"1", object(), np.str_("x"), 10**400, ()],
)
def test_what_is_no_number_is_named_with_its_value(value: Any) -> None:
    with pytest.raises(NotANumber, match="metric loss is") as caught:
        values.number(value, "loss")
    assert isinstance(caught.value, TypeError)
    assert caught.value.hint


@pytest.mark.parametrize(("value", "expected"), [(0, 0), (-3, -3), (np.int32(7), 7), (2.0, 2), (np.float64(4), 4)])
def test_steps_are_integers(value: Any, expected: int) -> None:
    assert values.step(value) == expected


@pytest.mark.parametrize("value", [1.5, "1", True, 2**63, float("nan"), float("inf"), [1]])
def test_what_is_no_step_is_shown(value: Any) -> None:
    with pytest.raises(UsageError, match="is not an integer"):
        values.step(value)


@pytest.mark.parametrize(
    "name", ["loss", "val/auc", "m.1", "a b", "x@5", "lr=0.1", "größe", "a:b", "_a", "f1+f2", "a-b"]
)
def test_ordinary_names_are_taken(name: str) -> None:
    assert values.key(name, "metric") == name


@pytest.mark.parametrize("name", ["", " x", "/x", "a\nb", "a\0b", "x" * 251, 5, None, "<b>", "-x", ".x"])
def test_odd_names_are_shown(name: Any) -> None:
    with pytest.raises(UsageError, match="is not a name for a metric"):
        values.key(name, "metric")


@pytest.mark.parametrize("name", ["../up", "/etc/x", "a//b", "a/../b", "", "a/", ".hidden", "a\\b", None, "a/.b"])
def test_artifact_names_cannot_escape(name: Any) -> None:
    with pytest.raises(UsageError, match="not a name for an artifact"):
        values.artifact_name(name)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.int8(3), 3),
        (np.bool_(False), False),
        (np.array([1, 2]), [1, 2]),
        ((1, (2, 3)), [1, [2, 3]]),
        ({"b", "a"}, ["a", "b"]),
        ({1: {"x": np.int64(2)}}, {"1": {"x": 2}}),
        (Path("a/b"), "a/b"),
        (dt.date(2013, 5, 1), "2013-05-01"),
        (Color.RED, "red"),
        (2**70, str(2**70)),
        (None, None),
        (Decimal("0.1"), "0.1"),
    ],
)
def test_parameters_are_laid_down_to_plain_values(value: Any, expected: Any) -> None:
    got = values.plain(value, "p")
    assert got == expected
    assert type(got) is type(expected)


def test_half_characters_are_spelled_out() -> None:
    assert values.text("raw\udcff", "t") == "raw\\udcff"
    assert values.plain({"a\udcff": ["\udcfe", Path("b\udcff")]}, "p") == {"a\\udcff": ["\\udcfe", "b\\udcff"]}


def test_a_parameter_or_tag_as_long_as_a_book_is_refused() -> None:
    with pytest.raises(UsageError, match="9,000 characters"):
        values.plain("x" * 9000, "p")
    with pytest.raises(UsageError, match="9,000 characters"):
        values.text("x" * 9000, "t")
