"""A checks file as types: `{data: path, checks: [...]}`. What a key means stands in CHECKS.md beside this file."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mlops_cli.core.base.clock import parse_time
from mlops_cli.core.errors import MloError, ProjectError
from mlops_cli.core.project.load import Source, convert_file

Bound = int | float | str | None
Range = tuple[Bound, Bound]
Scalar = bool | int | float | str
Severity = Literal["warn", "error"]
Kind = Literal["number", "float", "integer", "boolean", "string", "datetime"]

ROW_WISE = ("between", "in_set", "not_in_set", "regex", "unique", "length_between")
AGGREGATES = ("mean", "median", "min", "max", "stdev", "sum", "quantile")
OF_A_COLUMN = ("type", "max_null", *ROW_WISE, *AGGREGATES)
OF_THE_TABLE = ("row_count", "columns", "column_set", "columns_include", "compound_unique", "compare")
_TAKE_MOSTLY = (*ROW_WISE, "compound_unique", "compare")
_RANGES = ("between", "length_between", "row_count", "mean", "median", "min", "max", "stdev", "sum")

_NAME = r"(?:`([^`]+)`|([^\s<>=!`]+))"
_COMPARE = re.compile(rf"\s*{_NAME}\s*(<=|>=|==|!=|<|>)\s*{_NAME}\s*")


class Quantile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`{q: 0.95, between: [0, 100]}`: the quantile (linear between ranks) and where it must lie."""

    q: Annotated[float, Meta(ge=0, le=1)]
    between: Range

    def __post_init__(self) -> None:
        _check_range("between", self.between)


class Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One item of `checks`: a column and what must hold of it, or something that must hold of the table."""

    column: str | None = None
    type: Kind | None = None
    max_null: Annotated[float, Meta(ge=0, le=1)] | None = None
    between: Range | None = None
    in_set: list[Scalar] | None = None
    not_in_set: list[Scalar] | None = None
    regex: str | None = None
    unique: Literal[True] | None = None
    length_between: Range | None = None
    mean: Range | None = None
    median: Range | None = None
    min: Range | None = None
    max: Range | None = None
    stdev: Range | None = None
    sum: Range | None = None
    quantile: Quantile | None = None
    row_count: Range | None = None
    columns: list[str] | None = None
    column_set: list[str] | None = None
    columns_include: list[str] | None = None
    compound_unique: Annotated[list[str], Meta(min_length=2)] | None = None
    compare: str | None = None
    mostly: Annotated[float, Meta(gt=0, le=1)] = 1.0
    severity: Severity = "error"

    def __post_init__(self) -> None:
        asked = self.asked()
        if not asked:
            raise ValueError("this checks nothing; add one of " + ", ".join((*OF_A_COLUMN, *OF_THE_TABLE)))
        of_column = [key for key in asked if key in OF_A_COLUMN]
        of_table = [key for key in asked if key in OF_THE_TABLE]
        if of_column and self.column is None:
            raise ValueError(f"{of_column[0]} asks about a column, and none is named; add column: NAME")
        if of_table and self.column is not None:
            raise ValueError(f"{of_table[0]} asks about the whole table; give it an item without column")
        if self.mostly < 1 and not set(asked) & set(_TAKE_MOSTLY):
            raise ValueError(f"mostly does not go with {asked[0]}, which is not asked of single rows")
        for key in asked:
            if key in _RANGES:
                _check_range(key, getattr(self, key))
        if self.compare is not None:
            parse_compare(self.compare)

    def asked(self) -> list[str]:
        """The keys that ask something, in the order of CHECKS.md."""
        return [key for key in (*OF_A_COLUMN, *OF_THE_TABLE) if getattr(self, key) is not None]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    data: Annotated[str, Meta(min_length=1)]
    checks: Annotated[list[Check], Meta(min_length=1)]


class Assertion(msgspec.Struct, frozen=True):
    """One thing to check. `where` is its file, line and column."""

    kind: str
    column: str | None
    argument: Any
    mostly: float
    severity: Severity
    where: str


class Suite(msgspec.Struct, frozen=True):
    """A checks file, read. `data` is relative to the project's root."""

    name: str
    data: str
    assertions: tuple[Assertion, ...]


def load_suite(path: Path) -> Suite:
    """Read a checks file. Raises ProjectError with file, line and column."""
    try:
        source = Source(path)
    except (FileNotFoundError, IsADirectoryError):
        raise ProjectError(f"there is no checks file {path}", hint="write it, or take it out of mlo.yaml") from None
    file: _File = convert_file(source, _File)
    assertions = tuple(_assertions(file, source))
    for assertion in assertions:
        _check_regex(assertion)
    return Suite(path.name, file.data, assertions)


def parse_compare(text: str) -> tuple[str, str, str]:
    """`temp >= dewp` as (left, operator, right); names with spaces stand in backquotes. Raises ValueError."""
    match = _COMPARE.fullmatch(text)
    if match is None:
        raise ValueError(f"compare: {text!r} is not two columns with one of < <= > >= == != between them")
    return match[1] or match[2], match[3], match[4] or match[5]


def _assertions(file: _File, source: Source) -> Iterator[Assertion]:
    for index, check in enumerate(file.checks):
        for key in check.asked():
            where = source.where(("checks", index, key))
            mostly = check.mostly if key in _TAKE_MOSTLY else 1.0
            yield Assertion(key, check.column, getattr(check, key), mostly, check.severity, where)


def _check_range(key: str, bounds: Range) -> None:
    low, high = bounds
    if low is None and high is None:
        raise ValueError(f"{key}: [null, null] lets everything pass; give at least one bound")
    try:
        # A text is a time, as in between: ["2013-01-01", null]; anything else is refused here, not at the data.
        times = [parse_time(bound) if isinstance(bound, str) else bound for bound in bounds]
    except MloError as error:
        raise ValueError(f"{key}: {error.message}") from None
    texts = {isinstance(bound, str) for bound in bounds if bound is not None}
    if len(texts) == 2:
        raise ValueError(f"{key}: {low!r} and {high!r} are of two kinds; write two numbers or two times")
    if any(isinstance(bound, float) and math.isnan(bound) for bound in bounds):
        raise ValueError(f"{key}: NaN is no bound")
    if low is not None and high is not None and times[0] > times[1]:  # type: ignore[operator]
        raise ValueError(f"{key}: the lower bound {low} is above the upper one {high}")


def _check_regex(assertion: Assertion) -> None:
    if assertion.kind != "regex":
        return
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        pc.match_substring_regex(pa.array([""]), full_pattern(assertion.argument))
    except pa.ArrowInvalid as error:
        reason = str(error).partition(": ")[2] or str(error)
        raise ProjectError(
            f"{assertion.where}: regex {assertion.argument!r} does not read: {reason}",
            hint="the syntax is RE2's: https://github.com/google/re2/wiki/Syntax",
        ) from None


def full_pattern(regex: str) -> str:
    """RE2 that matches the whole value, not a part of it."""
    return rf"\A(?:{regex})\z"
