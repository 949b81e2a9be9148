"""Expressions and their three-valued logic: gates, `when` and searches are all written in it. See grammar.py.

A comparison with a missing value, with NaN, or between kinds (a number and a text) is unknown, as in SQL; `not unknown`
is unknown; and only what is true passes. So NaN or missing never passes, however it is written.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from numbers import Integral, Real
from typing import Any

import msgspec

from mlops_cli.core.base.grammar import (
    MAX_DEPTH,
    Among,
    Arithmetic,
    Compare,
    Join,
    Literal,
    Name,
    Node,
    Not,
    Sign,
    children,
    read,
    walk,
)
from mlops_cli.core.base.tokens import MAX_LENGTH, ExpressionError

__all__ = ["MAX_DEPTH", "MAX_LENGTH", "Comparison", "Expression", "ExpressionError", "parse"]

Value = bool | int | float | str | None  # None: missing, NaN, or nothing that can be compared
Values = Mapping[str, object]

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}


class Comparison(msgspec.Struct, frozen=True):
    """One comparison of an expression with the values it met. `holds` is None where it could not be decided."""

    text: str
    left: Value
    operator: str
    right: Value | tuple[Value, ...]
    holds: bool | None
    values: dict[str, Value] = {}

    @property
    def missing(self) -> list[str]:
        """The names that had no value, or NaN."""
        return [name for name, value in self.values.items() if value is None]


class Expression:
    """A parsed expression; `parse` makes them."""

    def __init__(self, text: str, root: Node) -> None:
        self.text = text
        self._root = root
        self.names: frozenset[str] = frozenset(node.name for node in walk(root) if isinstance(node, Name))

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def evaluate(self, values: Values) -> bool:
        """Does it pass? Only a claim that is true does; one that cannot be decided does not."""
        return self.judge(values) is True

    def judge(self, values: Values, *, free: Collection[str] = ()) -> bool | None:
        """True, False, or None where a missing value or NaN leaves it undecided.

        A comparison that reads a name in `free` counts in the expression's favour, whatever it says: there is nothing
        yet to compare with (a gate's first champion).
        """
        return _truth(_freed(self._root, frozenset(free), favour=True) if free else self._root, values)

    def explain(self, values: Values) -> list[Comparison]:
        """Each comparison, from left to right, with the numbers it compared."""
        return [self._comparison(node, values) for node in sorted(_claims(self._root), key=lambda node: node.start)]

    def _comparison(self, node: Node, values: Values) -> Comparison:
        names = {inner.name: _plain(values.get(inner.name)) for inner in walk(node) if isinstance(inner, Name)}
        holds = _truth(node, values)
        text = self.text[node.start : node.end]
        if isinstance(node, Compare):
            return Comparison(text, _value(node.left, values), node.operator, _value(node.right, values), holds, names)
        if isinstance(node, Among):
            items = tuple(_value(item, values) for item in node.items)
            word = "not in" if node.negated else "in"
            return Comparison(text, _value(node.left, values), word, items, holds, names)
        return Comparison(text, _value(node, values), "==", True, holds, names)


@functools.lru_cache(maxsize=256)
def parse(text: str) -> Expression:
    """Raises ExpressionError, with the column, for anything the grammar does not know."""
    return Expression(text, read(text))


# -- evaluation ----------------------------------------------------------------------------------------------


def _truth(node: Node, values: Values) -> bool | None:
    if isinstance(node, Join):
        truths = [_truth(item, values) for item in node.items]
        decided = not node.every  # one False decides an `and`, one True an `or`
        return decided if decided in truths else None if None in truths else node.every
    if isinstance(node, Not):
        truth = _truth(node.item, values)
        return None if truth is None else not truth
    if isinstance(node, Compare):
        return _compare(node.operator, _value(node.left, values), _value(node.right, values))
    if isinstance(node, Among):
        left = _value(node.left, values)
        found = [_compare("==", left, _value(item, values)) for item in node.items]
        among = True if True in found else None if None in found else False
        return None if among is None else among is not node.negated
    value = _value(node, values)
    return value if isinstance(value, bool) else None


def _freed(node: Node, free: frozenset[str], *, favour: bool) -> Node:
    """The tree with every claim that reads a free name replaced by the truth that favours the whole."""
    if isinstance(node, Join):
        return replace(node, items=tuple(_freed(item, free, favour=favour) for item in node.items))
    if isinstance(node, Not):
        return replace(node, item=_freed(node.item, free, favour=not favour))
    if any(isinstance(inner, Name) and inner.name in free for inner in walk(node)):
        return Literal(favour, node.start, node.end)
    return node


def _compare(sign: str, left: Value, right: Value) -> bool | None:
    if left is None or right is None or _kind(left) is not _kind(right):
        return None
    if isinstance(left, bool) and sign not in ("==", "!="):
        return None
    return _COMPARE[sign](left, right)


def _kind(value: Value) -> type:
    return bool if isinstance(value, bool) else str if isinstance(value, str) else float


def _value(node: Node, values: Values) -> Value:
    if isinstance(node, Literal):
        return node.value
    if isinstance(node, Name):
        return _plain(values.get(node.name))
    if isinstance(node, Sign):
        number = _number(node.item, values)
        return -number if node.minus and number is not None else number
    if isinstance(node, Arithmetic):
        return _calculate(node, values)
    return _truth(node, values)


def _calculate(node: Arithmetic, values: Values) -> Value:
    total = _number(node.first, values)
    for sign, item in node.rest:
        right = _number(item, values)
        if total is None or right is None:
            return None
        try:
            total = _ARITHMETIC[sign](total, right)
        except (ZeroDivisionError, OverflowError):
            return None
    return _plain(total)


def _number(node: Node, values: Values) -> int | float | None:
    value = _value(node, values)
    return None if isinstance(value, str | bool) else value


def _plain(value: object) -> Value:
    """A value of anyone's (NumPy's included) as bool, int, float or str; None for NaN and all else."""
    if isinstance(value, bool | str | int):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        number = float(value)
        return None if math.isnan(number) else number
    return None


def _claims(node: Node) -> Iterator[Node]:
    """The comparisons, and the bare names that stand for a claim."""
    if isinstance(node, Join | Not):
        for child in children(node):
            yield from _claims(child)
    else:
        yield node
