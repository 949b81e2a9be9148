"""What is asked of runs, as a tree: `metrics.auc > 0.7 and params.depth in (4, 6) or tags.team = 'x'`.

The grammar is that of MLflow's search_runs, with `or`, `not` and parentheses:

    filter     := both ("or" both)*
    both       := one ("and" one)*
    one        := "not" one | "(" filter ")" | comparison
    comparison := field ("=" | "!=" | "<" | "<=" | ">" | ">=") value
                | field ["not"] ("like" | "ilike") text | field ["not"] "in" "(" value ("," value)* ")"
                | field "is" ["not"] "null"
    field      := ("metrics" | "params" | "tags") "." name | ["attributes" "."] attribute

Words are read in any case. A name that holds more than letters, digits and . _ / : @ - stands in `backquotes` or
"double quotes". Source: MLflow's documentation, Search Runs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from mlops_cli.core.errors import UsageError

Family = Literal["metrics", "params", "tags", "attributes"]
Operator = Literal["=", "!=", "<", "<=", ">", ">=", "like", "ilike", "in", "null"]
Value = str | int | float

LONGEST = 10_000
DEEPEST = 50
FAMILIES: dict[str, Family] = {
    **dict.fromkeys(("metrics", "metric"), "metrics"),
    **dict.fromkeys(("params", "param", "parameters", "parameter"), "params"),
    **dict.fromkeys(("tags", "tag"), "tags"),
    **dict.fromkeys(("attributes", "attribute", "attrs", "attr", "run"), "attributes"),
}
ATTRIBUTES = {
    **dict.fromkeys(("id", "run_id"), "id"),
    **dict.fromkeys(("name", "run_name"), "name"),
    "status": "status",
    **dict.fromkeys(("start", "start_time", "created"), "start"),
    **dict.fromkeys(("end", "end_time"), "end"),
    **dict.fromkeys(("actor", "user", "user_id"), "actor"),
    "commit": "commit",
    "branch": "branch",
    "parent": "parent",
}


class FilterError(UsageError):
    """A filter that does not parse, with its column, counted from 1."""

    code = "filter"

    def __init__(self, text: str, at: int, message: str, hint: str) -> None:
        shown = text if len(text) <= 120 else f"{text[:117]}..."
        super().__init__(f"`{shown}`, column {at + 1}: {message}", hint=hint)
        self.column = at + 1


@dataclass(frozen=True, slots=True)
class Field:
    """A metric, parameter or tag by its key, or an attribute by the name that a run gives it."""

    family: Family
    key: str

    @property
    def text(self) -> str:
        """As a filter names it."""
        if self.family == "attributes":
            return self.key
        return f"{self.family}.{self.key}" if _PLAIN.fullmatch(self.key) else f"{self.family}.`{self.key}`"


@dataclass(frozen=True, slots=True)
class Comparison:
    """`values` has one value, for `in` several, for `null` none. Of a field that a run lacks only `null` holds:
    `x not in (...)`, like `x != 1`, asks for a value, and that it is another one."""

    field: Field
    operator: Operator
    values: tuple[Value, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class AllOf:
    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: Filter


Filter = Comparison | AllOf | AnyOf | Not


def parse_filter(text: str) -> Filter | None:
    """The tree of a filter; None for an empty one, which every run passes. Raises FilterError."""
    if len(text) > LONGEST:
        raise FilterError(text, LONGEST, f"longer than {LONGEST:,} characters", "ask several times")
    parser = _Parser(text)
    if parser.kind == "end":
        return None
    found = parser.filter(0)
    parser.expect_end()
    return found


def fields(found: Filter | None) -> list[Field]:
    """Every field that a filter asks about, in order, each once."""
    if found is None:
        return []
    if isinstance(found, Comparison):
        return [found.field]
    parts = (found.part,) if isinstance(found, Not) else found.parts
    return list(dict.fromkeys(field for part in parts for field in fields(part)))


def parse_field(text: str) -> Field:
    """One field, as in `--order-by` and `--columns`. Raises FilterError."""
    parser = _Parser(text)
    field = parser.field()
    parser.expect_end()
    return field


# -- words and signs -------------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
  | (?P<word>[^\W\d][\w/:@-]*(?:\.(?:[\w/:@-]+|`[^`]+`|"[^"]+"))*)
  | (?P<string>'(?:[^'\\]|''|\\.)*'|"(?:[^"\\]|\\.)*")
  | (?P<sign>==|!=|<>|<=|>=|[=<>(),])
  | (?P<end>$)
    )""",
    re.VERBOSE | re.DOTALL,
)
_PLAIN = re.compile(r"[\w/:@-]+(?:\.[\w/:@-]+)*")
_SIGNS: dict[str, Operator] = {"=": "=", "==": "=", "!=": "!=", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_KEYWORDS = frozenset({"and", "or", "not", "in", "like", "ilike", "is", "null"})


class _Parser:
    """Recursive descent over the tokens of `text`; `kind`, `token` and `at` are of the next one."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._end = 0
        self.advance()

    def advance(self) -> None:
        match = _TOKEN.match(self.text, self._end)
        if match is None or match.lastgroup is None:
            at = len(self.text) - len(self.text[self._end :].lstrip())
            raise FilterError(
                self.text, at, f"{self.text[at]!r} does not belong here", "metrics.auc > 0.7 and params.depth in (4, 6)"
            )
        self.kind: str = match.lastgroup
        self.token: str = match[self.kind]
        self.at, self._end = match.start(self.kind), match.end()

    def fails(self, message: str, hint: str) -> FilterError:
        return FilterError(self.text, self.at, message, hint)

    def said(self, word: str) -> bool:
        """Is the next token this word, in any case, or this sign? Then it is taken."""
        if self.kind not in ("word", "sign") or self.token.lower() != word:
            return False
        self.advance()
        return True

    def expect(self, sign: str) -> None:
        if not self.said(sign):
            raise self.fails(f"{self.token or 'the end'} stands where {sign} is wanted", f"put {sign} there")

    def expect_end(self) -> None:
        if self.kind != "end":
            raise self.fails(f"{self.token} does not belong here", "join comparisons with and, or")

    # -- the grammar ---------------------------------------------------------------------------------------

    def filter(self, depth: int) -> Filter:
        return self._joined("or", self._both, AnyOf, depth)

    def _both(self, depth: int) -> Filter:
        return self._joined("and", self._one, AllOf, depth)

    def _joined(
        self, word: str, part: Callable[[int], Filter], make: Callable[[tuple[Filter, ...]], Filter], depth: int
    ) -> Filter:
        parts = [part(depth)]
        while self.said(word):
            parts.append(part(depth))
        return parts[0] if len(parts) == 1 else make(tuple(parts))

    def _one(self, depth: int) -> Filter:
        if depth > DEEPEST:
            raise self.fails(f"nested more than {DEEPEST} deep", "ask for less at once")
        if self.said("not"):
            return Not(self._one(depth + 1))
        if self.said("("):
            inner = self.filter(depth + 1)
            self.expect(")")
            return inner
        return self._comparison()

    def field(self) -> Field:
        if self.kind != "word" or self.token.lower() in _KEYWORDS:
            raise self.fails(
                f"{self.token or 'the end'} stands where a name is wanted",
                "metrics.NAME, params.NAME, tags.NAME, status",
            )
        first, _, rest = self.token.partition(".")
        family = FAMILIES.get(first.lower())
        key = _key(rest)
        if family is None or family == "attributes":
            name = (key if family else self.token).lower()
            if name not in ATTRIBUTES:
                raise self.fails(
                    f"{self.token} is nothing that runs have",
                    f"metrics.NAME, params.NAME, tags.NAME, or one of {', '.join(dict.fromkeys(ATTRIBUTES.values()))}",
                )
            field = Field("attributes", ATTRIBUTES[name])
        elif not key:
            raise self.fails(f"{self.token} names none of the {family}", f"write {family}.NAME")
        else:
            field = Field(family, key)
        self.advance()
        return field

    def _comparison(self) -> Comparison:
        field = self.field()
        at = self.at
        if self.said("is"):
            negated = self.said("not")
            self.expect("null")
            return Comparison(field, "null", (), negated)
        negated = self.said("not")
        if self.said("in"):
            found = Comparison(field, "in", self._list(), negated)
        elif self.said("like"):
            found = Comparison(field, "like", (self._value(),), negated)
        elif self.said("ilike"):
            found = Comparison(field, "ilike", (self._value(),), negated)
        elif self.kind == "sign" and not negated and (operator := _SIGNS.get(self.token)) is not None:
            self.advance()
            found = Comparison(field, operator, (self._value(),))
        else:
            raise self.fails(
                f"{self.token or 'the end'} compares nothing",
                "the comparisons are = != < <= > >= in like ilike is null",
            )
        if (trouble := _misfit(found)) is not None:
            raise FilterError(self.text, at, *trouble)
        return found

    def _list(self) -> tuple[Value, ...]:
        self.expect("(")
        values = [self._value()]
        while self.said(","):
            values.append(self._value())
        self.expect(")")
        return tuple(values)

    def _value(self) -> Value:
        if self.kind == "number":
            number = float(self.token)
            if not math.isfinite(number):
                raise self.fails(f"{self.token} is too large a number", "numbers reach to 1.7e308")
            value: Value = int(self.token) if re.fullmatch(r"[+-]?\d{1,18}", self.token) else number
        elif self.kind == "string":
            value = re.sub(r"''|\\(.)", lambda match: match[1] or "'", self.token[1:-1], flags=re.DOTALL)
        elif self.kind == "word" and self.token.lower() in ("true", "false"):
            value = self.token.lower()
        else:
            hint = f"put a text into quotes: '{self.token}'" if self.kind == "word" else "a number, or a 'text'"
            raise self.fails(f"{self.token or 'the end'} stands where a value is wanted", hint)
        self.advance()
        return value


def _key(text: str) -> str:
    """The key after `metrics.`, its quotes taken off; dots outside of quotes belong to it."""
    return ".".join(part[1:-1] if part[:1] in '`"' else part for part in re.findall(r'`[^`]+`|"[^"]+"|[^.`"]+', text))


def _misfit(found: Comparison) -> tuple[str, str] | None:
    """Why these values are none for the field, and what would be; None if they are."""
    family, key = found.field.family, found.field.key
    numbers = [isinstance(value, int | float) for value in found.values]
    ordered = found.operator in ("<", "<=", ">", ">=")
    if found.operator in ("like", "ilike") and (family == "metrics" or any(numbers)):
        return f"{found.operator} compares texts", "write a pattern: tags.team like 'vis%'"
    if family == "metrics" and not all(numbers):
        return "metrics are numbers", f"write metrics.{key} > 0.5"
    if family == "params" and ordered and not all(numbers):
        return "parameters are ordered as numbers", f"write params.{key} > 0.5"
    if family == "tags" and (ordered or any(numbers)):
        return "tags are texts", f"write tags.{key} = 'text'"
    if family == "attributes" and any(numbers):
        return f"{key} is a text", f"write {key} >= '2026-01-01'" if key in ("start", "end") else f"{key} = 'text'"
    if family == "attributes" and ordered and key not in ("start", "end"):
        return f"{key} has no order", f"use = != in like: {key} = 'text'"
    return None
