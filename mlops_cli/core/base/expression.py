"""The one expression grammar: gates, `when` and searches are all written in it.

    or          = and { "or" and }
    and         = not { "and" not }
    not         = "not" not | comparison
    comparison  = sum [ ("==" | "!=" | "<" | "<=" | ">" | ">=") sum | ["not"] "in" "[" sum { "," sum } "]" ]
    sum         = product { ("+" | "-") product }
    product     = sign { ("*" | "/") sign }
    sign        = ("+" | "-") sign | number | string | "true" | "false" | name | "(" or ")"
    name        = word { "." word }             a word in backquotes may hold anything: `val/auc`, champion.`val/auc`

No calls, at most 1,000 characters, nested at most 20 deep. Logic has three values, as in SQL: a comparison with a
missing value, with NaN, or between kinds (a number and a text) is unknown; `not unknown` is unknown; and only what
is true passes. So NaN or missing never passes, however it is written.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any

import msgspec

from mlops_cli.core.base.tokens import KEYWORDS, MAX_LENGTH, ExpressionError, Token, tokenize

__all__ = ["MAX_DEPTH", "MAX_LENGTH", "Comparison", "Expression", "ExpressionError", "parse"]

MAX_DEPTH = 20

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


@dataclass(frozen=True, slots=True)
class Literal:
    value: Value
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Name:
    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """`first op item op item ...`, left to right; kept flat so that depth is the depth a person wrote."""

    first: Node
    rest: tuple[tuple[str, Node], ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Sign:
    minus: bool
    item: Node
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Compare:
    operator: str
    left: Node
    right: Node
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Among:
    """`left in [...]`, or `left not in [...]`."""

    negated: bool
    left: Node
    items: tuple[Node, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Not:
    item: Node
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Join:
    """Claims joined by `and` (or by `or`)."""

    every: bool
    items: tuple[Node, ...]
    start: int
    end: int


Node = Literal | Name | Arithmetic | Sign | Compare | Among | Not | Join
_CLAIMS = (Compare, Among, Not, Join)


class Expression:
    """A parsed expression; `parse` makes them."""

    def __init__(self, text: str, root: Node) -> None:
        self.text = text
        self._root = root
        self.names: frozenset[str] = frozenset(node.name for node in _walk(root) if isinstance(node, Name))

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
        names = {inner.name: _plain(values.get(inner.name)) for inner in _walk(node) if isinstance(inner, Name)}
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
    parser = _Parser(text)
    root = parser.claim(0)
    parser.end()
    return Expression(text, root)


# -- parsing -------------------------------------------------------------------------------------------------


class _Parser:
    """Recursive descent, one method a line of the grammar; `depth` counts brackets, `not` and signs."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokenize(text)
        self._at = 0

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self, *texts: str) -> Token | None:
        """The next token, if it is one of these words or signs."""
        token = self._next
        if token.kind in ("sign", "word") and token.text in texts:
            self._at += 1
            return token
        return None

    def _error(self, at: int, message: str, hint: str) -> ExpressionError:
        return ExpressionError(self._text, at, message, hint)

    def end(self) -> None:
        token = self._next
        if token.kind == "end":
            return
        if token.text == "(":
            raise self._error(token.start, "there are no calls", "use plain names, and operators between them")
        if token.text == ")":
            raise self._error(token.start, "this ) closes nothing", "remove it, or open a ( before it")
        if token.text.lower() in KEYWORDS:
            raise self._error(
                token.start, f"{token.text} does not fit here", f"write {token.text.lower()}, in lower case"
            )
        raise self._error(token.start, f"{token.text} does not fit here", "put an operator before it: and, or, >=, +")

    def claim(self, depth: int) -> Node:
        """`or`, and everything that binds tighter; what stands here must be a claim, not a number or a text."""
        node = self._or(depth)
        self._must_claim(node)
        return node

    def _must_claim(self, node: Node) -> None:
        if isinstance(node, Arithmetic | Sign) or (isinstance(node, Literal) and not isinstance(node.value, bool)):
            what = "a text" if isinstance(node, Literal) and isinstance(node.value, str) else "a number"
            raise self._error(
                node.start,
                f"{self._text[node.start : node.end]} is {what}, not a claim",
                "compare it, as in auc >= 0.65",
            )

    def _must_value(self, node: Node) -> Node:
        if isinstance(node, _CLAIMS):
            raise self._error(
                node.start,
                f"{self._text[node.start : node.end]} is a claim, not a value",
                "join claims with and, or; as in 0.6 < auc and auc < 0.9",
            )
        return node

    def _or(self, depth: int) -> Node:
        return self._join("or", self._and, depth)

    def _and(self, depth: int) -> Node:
        return self._join("and", self._not, depth)

    def _join(self, word: str, inner: Callable[[int], Node], depth: int) -> Node:
        items = [inner(depth)]
        while self._take(word):
            items.append(inner(depth))
        if len(items) == 1:
            return items[0]
        for item in items:
            self._must_claim(item)
        return Join(word == "and", tuple(items), items[0].start, items[-1].end)

    def _not(self, depth: int) -> Node:
        token = self._take("not")
        if token is None:
            return self._comparison(depth)
        self._check_depth(token, depth)
        item = self._not(depth + 1)
        self._must_claim(item)
        return Not(item, token.start, item.end)

    def _comparison(self, depth: int) -> Node:
        left = self._sum(depth)
        if sign := self._take(*_COMPARE):
            self._must_value(left)
            right = self._must_value(self._sum(depth))
            node: Node = Compare(sign.text, left, right, left.start, right.end)
        elif word := self._take("in", "not"):
            self._must_value(left)
            if word.text == "not" and not self._take("in"):
                raise self._error(word.start, "not does not fit here", "write x not in [...], or not x == ...")
            node = self._among(left, negated=word.text == "not", depth=depth)
        else:
            return left
        again = self._next
        if again.kind == "sign" and again.text in _COMPARE:
            raise self._error(again.start, "comparisons do not chain", "write 0.6 < auc and auc < 0.9")
        return node

    def _among(self, left: Node, *, negated: bool, depth: int) -> Node:
        if not self._take("["):
            raise self._error(self._next.start, "a list is missing", 'write it in brackets: in ["a", "b"]')
        items = [self._must_value(self._sum(depth))]
        while self._take(","):
            items.append(self._must_value(self._sum(depth)))
        close = self._next
        if not self._take("]"):
            raise self._error(close.start, "the list is not closed", "end it with ]")
        return Among(negated, left, tuple(items), left.start, close.end)

    def _sum(self, depth: int) -> Node:
        return self._chain(("+", "-"), self._product, depth)

    def _product(self, depth: int) -> Node:
        return self._chain(("*", "/"), self._sign, depth)

    def _chain(self, signs: tuple[str, ...], inner: Callable[[int], Node], depth: int) -> Node:
        first = inner(depth)
        rest: list[tuple[str, Node]] = []
        while sign := self._take(*signs):
            rest.append((sign.text, self._must_number(inner(depth), sign.text)))
        if not rest:
            return first
        self._must_number(first, rest[0][0])
        return Arithmetic(first, tuple(rest), first.start, rest[-1][1].end)

    def _must_number(self, node: Node, sign: str) -> Node:
        self._must_value(node)
        if isinstance(node, Literal) and isinstance(node.value, str | bool):
            shown = self._text[node.start : node.end]
            raise self._error(node.start, f"{shown} is no number, so {sign} cannot take it", "use numbers there")
        return node

    def _sign(self, depth: int) -> Node:
        token = self._take("+", "-")
        if token is None:
            return self._primary(depth)
        self._check_depth(token, depth)
        item = self._must_number(self._sign(depth + 1), token.text)
        return Sign(token.text == "-", item, token.start, item.end)

    def _primary(self, depth: int) -> Node:
        token = self._next
        if self._take("true", "false"):
            return Literal(token.text == "true", token.start, token.end)
        if token.kind in ("number", "string"):
            self._at += 1
            return Literal(token.value, token.start, token.end)
        if token.kind == "name" or (token.kind == "word" and token.text not in KEYWORDS):
            self._at += 1
            return Name(str(token.value), token.start, token.end)
        if self._take("("):
            self._check_depth(token, depth)
            inner = self._or(depth + 1)
            close = self._next
            if not self._take(")"):
                raise self._error(token.start, "this ( is not closed", "add the missing )")
            # A value keeps its brackets when it is shown; a claim is shown without.
            return inner if isinstance(inner, _CLAIMS) else replace(inner, start=token.start, end=close.end)
        what = "the end" if token.kind == "end" else token.text
        raise self._error(
            token.start, f"a name or a number is missing before {what}", "write one there, as in auc >= 0.65"
        )

    def _check_depth(self, token: Token, depth: int) -> None:
        if depth >= MAX_DEPTH:
            raise self._error(token.start, f"nested deeper than {MAX_DEPTH}", "split it into several expressions")


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
    if any(isinstance(inner, Name) and inner.name in free for inner in _walk(node)):
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


def _children(node: Node) -> tuple[Node, ...]:
    if isinstance(node, Join):
        return node.items
    if isinstance(node, Not | Sign):
        return (node.item,)
    if isinstance(node, Compare):
        return (node.left, node.right)
    if isinstance(node, Among):
        return (node.left, *node.items)
    if isinstance(node, Arithmetic):
        return (node.first, *(item for _, item in node.rest))
    return ()


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for child in _children(node):
        yield from _walk(child)


def _claims(node: Node) -> Iterator[Node]:
    """The comparisons, and the bare names that stand for a claim."""
    if isinstance(node, Join | Not):
        for child in _children(node):
            yield from _claims(child)
    else:
        yield node
