"""The expression grammar: what passes, what never does, and what errors say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.core.base.expression import MAX_DEPTH, MAX_LENGTH, ExpressionError, parse
from mlops_cli.core.errors import Exit

VALUES = {"auc": 0.7, "champion.auc": 0.69, "name": "gbm", "late": True, "bad": math.nan, "val/auc": 0.5, "n": 12}


@pytest.mark.parametrize(
    "text",
    [
        "auc >= 0.65",
        "auc >= champion.auc - 0.005",
        "auc - champion.auc < 2e-2",
        "`val/auc` == .5",
        "name == 'gbm' and not auc < 0.5",
        'name in ["gbm", "forest"]',
        "name not in ['linear']",
        "late",
        "late == true and (auc > 0.9 or n == 12)",
        "2 * (n + 3) - 6 / 2 == 27",
        "-n < - -n",
        "1 - 1 - 1 == -1",
        "8 / 4 / 2 == 1",
        "2 + 3 * 4 == 14",
        "auc > 0.9 or auc > 0.8 or auc > 0.6",
        "not not late",
        "name == 'g\\bm'",
    ],
)
def test_a_true_claim_passes(text: str) -> None:
    assert parse(text).evaluate(VALUES)


@pytest.mark.parametrize(
    "text",
    [
        "bad >= 0",
        "bad < 0",
        "bad != 0",
        "not bad >= 0",
        "not bad == bad",
        "bad == bad",
        "missing > 0",
        "not missing > 0",
        "missing == missing",
        "not (missing > 0 and late)",
        "missing - 1 < 0 or missing >= 0",
        "missing",
        "not missing",
        "bad in [1]",
        "bad not in [1]",
        "n / 0 > 1",
        "n / 0 < 1",
        "name != 3",
        "name == 3",
        "late == 1",
        "late < 2",
        "auc",
        "not auc",
        "name",
        "n not in [1, bad]",
        "1e308 * 10 - 1e308 * 10 == 0",
    ],
)
def test_nan_missing_and_unlike_kinds_never_pass(text: str) -> None:
    assert not parse(text).evaluate(VALUES)
    assert parse(text).judge(VALUES) is None


def test_one_true_claim_of_an_or_is_enough_beside_a_missing_one() -> None:
    assert parse("missing > 1 or auc > 0.5").judge(VALUES) is True
    assert parse("missing > 1 and auc > 0.9").judge(VALUES) is False


def test_none_lists_and_numpy_values_are_understood() -> None:
    values: dict[str, Any] = {"a": None, "b": [1], "c": np.float32(0.5), "d": np.int64(3), "e": np.float64("nan")}
    assert parse("c == 0.5 and d == 3").evaluate(values)
    assert [parse(f"{name} == {name}").judge(values) for name in "abe"] == [None, None, None]


def test_names_are_those_the_expression_reads() -> None:
    text = "auc >= champion.auc and `val/auc` > champion.`val/auc` or name in ['auc', other]"
    assert parse(text).names == {"auc", "champion.auc", "val/auc", "champion.val/auc", "name", "other"}


@pytest.mark.parametrize(
    ("text", "column", "hint"),
    [
        ("auc => 0.65", 5, "write >="),
        ("auc = 1", 5, "=="),
        ("auc > 1 && n > 2", 9, "write and"),
        ("!late", 1, "write not"),
        ("f(auc) > 1", 2, "plain names"),
        ("0.1 < auc < 0.9", 11, "0.6 < auc and auc < 0.9"),
        ("auc >", 6, "write one there"),
        ("", 1, "write one there"),
        ("   ", 4, "write one there"),
        ("(auc > 1", 1, "missing )"),
        ("auc > 1)", 8, "remove it"),
        ("auc > 1 n > 2", 9, "and, or"),
        ("auc > 1 AND n > 2", 9, "lower case"),
        ("auc + 1", 1, "compare it"),
        ("auc > 1 and 2", 13, "compare it"),
        ("'text'", 1, "compare it"),
        ("(auc > 1) + 1 > 2", 2, "and, or"),
        ("auc > 'a' + 1", 7, "numbers"),
        ("`auc > 1", 1, "backquote"),
        ("name == 'gbm", 9, "quote"),
        ("champion. > 1", 9, "champion.auc"),
        ("3rd > 1", 1, "backquotes"),
        ("auc > 1e999", 7, "1.7e308"),
        ("name in 'gbm'", 9, "brackets"),
        ("name in ['gbm'", 15, "]"),
        ("auc > 1 # no", 9, "the signs are"),
        ("auc ≥ 1", 5, ">="),
        ("not", 4, "write one there"),
        ("auc not 1", 5, "not in"),
    ],
)
def test_an_error_points_at_the_column_and_says_what_to_write(text: str, column: int, hint: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert caught.value.column == column, caught.value.message
    assert hint in str(caught.value.hint)
    assert caught.value.exit_code == Exit.PROJECT


def test_an_expression_is_bounded_in_length_and_depth() -> None:
    assert parse("(" * MAX_DEPTH + "late" + ")" * MAX_DEPTH).evaluate(VALUES)
    for opening, closing in (("(", ")"), ("not ", "")):
        with pytest.raises(ExpressionError, match="deeper"):
            parse(opening * (MAX_DEPTH + 1) + "late" + closing * (MAX_DEPTH + 1))
    with pytest.raises(ExpressionError, match="deeper"):
        parse("n > " + "-" * (MAX_DEPTH + 1) + "1")
    with pytest.raises(ExpressionError, match="longer"):
        parse("late or " * (MAX_LENGTH // 8) + "late")
    assert parse(" and ".join(["n>1"] * 120)).evaluate(VALUES)
    assert parse("+".join(["1"] * 499) + ">9").evaluate({})


def test_explain_gives_each_comparison_with_its_numbers() -> None:
    first, second, third = parse("auc >= champion.auc + 0.05 and not `x` < (1 + 1) * 2 or late").explain(VALUES)
    assert (first.text, first.left, first.operator, first.holds) == ("auc >= champion.auc + 0.05", 0.7, ">=", False)
    assert first.right == pytest.approx(0.74)
    assert first.values == {"auc": 0.7, "champion.auc": 0.69}
    assert (second.text, second.left, second.right, second.holds) == ("`x` < (1 + 1) * 2", None, 4, None)
    assert second.missing == ["x"]
    assert (third.text, third.holds) == ("late", True)


# -- against a reference: trees are drawn, written out, and evaluated by a second, separate evaluator ------------

_NAMES = {"a": 1.5, "b": -2, "c": math.nan, "d": 0, "e": 7}
_numbers = st.one_of(
    st.sampled_from([("name", name) for name in [*_NAMES, "gone"]]),
    st.integers(0, 9).map(lambda number: ("number", number)),
    st.floats(0, 100, allow_nan=False).map(lambda number: ("number", number)),
)


@st.composite
def _sums(draw: st.DrawFn, depth: int = 2) -> tuple[Any, ...]:
    kind = draw(st.sampled_from(["leaf", "leaf", "neg", "+", "-", "*", "/"])) if depth else "leaf"
    if kind == "leaf":
        return draw(_numbers)
    items = [draw(_sums(depth - 1)) for _ in range(1 if kind == "neg" else 2)]
    return (kind, *items)


@st.composite
def _claims(draw: st.DrawFn, depth: int = 3) -> tuple[Any, ...]:
    kind = draw(st.sampled_from(["leaf", "leaf", "not", "and", "or"])) if depth else "leaf"
    if kind == "leaf":
        return (draw(st.sampled_from(["==", "!=", "<", "<=", ">", ">="])), draw(_sums()), draw(_sums()))
    items = [draw(_claims(depth - 1)) for _ in range(1 if kind == "not" else 2)]
    return (kind, *items)


_BINDS = {
    "or": 1,
    "and": 2,
    "not": 3,
    "==": 4,
    "!=": 4,
    "<": 4,
    "<=": 4,
    ">": 4,
    ">=": 4,
    "+": 5,
    "-": 5,
    "*": 6,
    "/": 6,
    "neg": 7,
}


def _write(tree: tuple[Any, ...], least: int) -> str:
    """The tree as text, with only the brackets that the grammar's precedence needs."""
    kind = tree[0]
    if kind in ("name", "number"):
        return str(tree[1])
    binds = _BINDS[kind]
    if kind == "not":
        text = f"not {_write(tree[1], binds)}"
    elif kind == "neg":
        text = f"-{_write(tree[1], binds)}"
    else:
        same_side = binds if binds != 4 else 5
        text = f"{_write(tree[1], same_side)} {kind} {_write(tree[2], binds + 1)}"
    return text if binds >= least else f"({text})"


def _number(tree: tuple[Any, ...]) -> float:
    if tree[0] == "name":
        return _NAMES.get(tree[1], math.nan)
    if tree[0] == "number":
        return float(tree[1])
    if tree[0] == "neg":
        return -_number(tree[1])
    left, right = _number(tree[1]), _number(tree[2])
    if tree[0] == "/":
        return left / right if right else math.nan
    return {"+": left + right, "-": left - right, "*": left * right}[tree[0]]


def _truth(tree: tuple[Any, ...]) -> float:
    """0 false, 1/2 unknown, 1 true: Kleene's logic is min, max and 1 - x."""
    if tree[0] == "and":
        return min(_truth(tree[1]), _truth(tree[2]))
    if tree[0] == "or":
        return max(_truth(tree[1]), _truth(tree[2]))
    if tree[0] == "not":
        return 1 - _truth(tree[1])
    left, right = _number(tree[1]), _number(tree[2])
    if math.isnan(left) or math.isnan(right):
        return 0.5
    holds = {"==": left == right, "!=": left != right, "<": left < right, "<=": left <= right}
    return float(holds[tree[0]] if tree[0] in holds else not holds["<=" if tree[0] == ">" else "<"])


@given(_claims())
def test_any_expression_means_what_the_reference_says(tree: tuple[Any, ...]) -> None:
    expression = parse(_write(tree, 0))
    assert expression.judge(_NAMES) == {0: False, 0.5: None, 1: True}[_truth(tree)]


@given(st.text(max_size=60))
def test_any_text_parses_or_is_an_expression_error(text: str) -> None:
    problem = None
    try:
        parse(text).evaluate({})
    except ExpressionError as error:
        problem = error
    assert problem is None or (1 <= problem.column <= len(text) + 1 and problem.hint)


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("auc >= champion.auc - 0.005", True),
        ("auc >= 0.65 and auc >= champion.auc", True),
        ("auc >= 0.95 and auc >= champion.auc", False),
        ("not auc < champion.auc", True),
        ("not (auc < champion.auc or auc > 0.5)", False),
        ("auc > 0.9 or auc > champion.auc", True),
    ],
)
def test_a_comparison_with_a_free_name_counts_in_favour_and_the_rest_is_judged(text: str, passes: bool) -> None:
    assert parse(text).judge({"auc": 0.7}, free={"champion.auc"}) is passes
