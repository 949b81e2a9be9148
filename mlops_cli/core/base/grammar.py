"""The grammar of expressions, and the tree that a text stands for.

    or          = and { "or" and }
    and         = not { "and" not }
    not         = "not" not | comparison
    comparison  = sum [ ("==" | "!=" | "<" | "<=" | ">" | ">=") sum | ["not"] "in" "[" sum { "," sum } "]" ]
    sum         = product { ("+" | "-") product }
    product     = sign { ("*" | "/") sign }
    sign        = ("+" | "-") sign | number | string | "true" | "false" | name | "(" or ")"
    name        = word { "." word }             a word in backquotes may hold anything: `val/auc`, champion.`val/auc`

No calls, at most 1,000 characters, nested at most 20 deep. A tokenizer, a parser by recursive descent, and nothing of
Python's own: what a gate may say is what stands above.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from mlops_cli.core.base.tokens import KEYWORDS, ExpressionError, Token, tokenize

MAX_DEPTH = 20
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")


@dataclass(frozen=True, slots=True)
class Literal:
    value: bool | int | float | str | None
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
CLAIMS = (Compare, Among, Not, Join)


def read(text: str) -> Node:
    """The tree of an expression. Raises ExpressionError, with the column, for anything the grammar does not know."""
    parser = _Parser(text)
    root = parser.claim(0)
    parser.end()
    return root


def children(node: Node) -> tuple[Node, ...]:
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


def walk(node: Node) -> Iterator[Node]:
    yield node
    for child in children(node):
        yield from walk(child)


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
        if isinstance(node, CLAIMS):
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
        if sign := self._take(*COMPARISONS):
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
        if again.kind == "sign" and again.text in COMPARISONS:
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
            return inner if isinstance(inner, CLAIMS) else replace(inner, start=token.start, end=close.end)
        what = "the end" if token.kind == "end" else token.text
        raise self._error(
            token.start, f"a name or a number is missing before {what}", "write one there, as in auc >= 0.65"
        )

    def _check_depth(self, token: Token, depth: int) -> None:
        if depth >= MAX_DEPTH:
            raise self._error(token.start, f"nested deeper than {MAX_DEPTH}", "split it into several expressions")
