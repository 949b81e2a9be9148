"""The words and signs of the expression grammar, each with its column."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from mlops_cli.core.errors import ProjectError

MAX_LENGTH = 1000
KEYWORDS = ("and", "or", "not", "in", "true", "false")

_SPACE = re.compile(r"\s*")
_NUMBER = re.compile(r"(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_SEGMENT = re.compile(r"[^\W\d]\w*|`[^`\n]+`")
_LATER_SEGMENT = re.compile(r"\w+|`[^`\n]+`")
_STRING = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_SIGN = re.compile(r"==|!=|<=|>=|[<>+\-*/(),\[\]]")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)

# What people write who come from another language, and what it is here.
_MISTAKES = (
    ("=>", "write >="),
    ("=<", "write <="),
    ("=", "write == to compare"),
    ("<>", "write !="),
    ("&&", "write and"),
    ("&", "write and"),
    ("||", "write or"),
    ("|", "write or"),
    ("!", "write not, or != to compare"),
    ("≥", "write >="),
    ("≤", "write <="),
    ("≠", "write !="),
    ("%", "write 0.05 for 5%"),
    ("^", "there are no powers; write the number out"),
    ("`", "a name in backquotes ends with a backquote, on the same line"),
    ("'", "a text ends with the quote it began with"),
    ('"', "a text ends with the quote it began with"),
)


class ExpressionError(ProjectError):
    """An expression that does not parse. `column` counts from 1."""

    code = "expression"

    def __init__(self, text: str, at: int, message: str, hint: str) -> None:
        shown = text if len(text) <= 120 else f"{text[:117]}..."
        super().__init__(f"`{shown}`, column {at + 1}: {message}", hint=hint)
        self.column = at + 1
        self.problem = message


@dataclass(frozen=True, slots=True)
class Token:
    """`word` is a plain name or a keyword; `name` one with dots or backquotes. `value` is what it stands for."""

    kind: Literal["number", "string", "word", "name", "sign", "end"]
    text: str
    start: int
    end: int
    value: int | float | str | None = None


def tokenize(text: str) -> list[Token]:
    """The tokens, closed by one of kind `end`. Raises ExpressionError."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(
            text, MAX_LENGTH, f"longer than {MAX_LENGTH} characters", "split it into several expressions"
        )
    tokens: list[Token] = []
    at = _skip(text, 0)
    while at < len(text):
        token = _number(text, at) or _name(text, at) or _string(text, at) or _sign(text, at)
        if token is None:
            raise _unknown(text, at)
        tokens.append(token)
        at = _skip(text, token.end)
    tokens.append(Token("end", "", len(text), len(text)))
    return tokens


def _skip(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space is not None else at


def _number(text: str, at: int) -> Token | None:
    match = _NUMBER.match(text, at)
    if match is None:
        return None
    if (after := _SEGMENT.match(text, match.end())) is not None:
        raise ExpressionError(
            text,
            at,
            f"{match[0]}{after[0]} is neither a number nor a name",
            "put a name that begins with a digit in `backquotes`",
        )
    whole = match[2] is None and match[3] is None and match[1].isdigit()
    value: int | float = int(match[0]) if whole else float(match[0])
    if isinstance(value, float) and math.isinf(value):
        raise ExpressionError(text, at, f"{match[0]} is too large a number", "numbers reach to 1.7e308")
    return Token("number", match[0], at, match.end(), value)


def _name(text: str, at: int) -> Token | None:
    match = _SEGMENT.match(text, at)
    if match is None:
        return None
    segments, end = [match[0].strip("`")], match.end()
    plain = not match[0].startswith("`")
    while text.startswith(".", end):
        match = _LATER_SEGMENT.match(text, end + 1)
        if match is None:
            raise ExpressionError(text, end, "a name ends with a dot", "write what follows it, as in champion.auc")
        segments.append(match[0].strip("`"))
        end = match.end()
    kind: Literal["word", "name"] = "word" if plain and len(segments) == 1 else "name"
    return Token(kind, text[at:end], at, end, ".".join(segments))


def _string(text: str, at: int) -> Token | None:
    match = _STRING.match(text, at)
    if match is None:
        return None
    return Token("string", match[0], at, match.end(), _ESCAPE.sub(r"\1", match[0][1:-1]))


def _sign(text: str, at: int) -> Token | None:
    match = _SIGN.match(text, at)
    if match is None or text.startswith(("<>", "=>", "=<"), at):
        return None
    return Token("sign", match[0], at, match.end())


def _unknown(text: str, at: int) -> ExpressionError:
    for sign, hint in _MISTAKES:
        if text.startswith(sign, at):
            return ExpressionError(text, at, f"{sign} does not belong here", hint)
    return ExpressionError(
        text, at, f"{text[at]!r} does not belong here", "the signs are == != < <= > >= + - * / ( ) [ ]"
    )
