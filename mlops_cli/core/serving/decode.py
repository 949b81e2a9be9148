"""Rows from the outside, checked against a model's signature: what is missing, unknown or mistyped is named.

The rules, the same for every protocol: every input must be there; `null` is a missing value where the signature says
the input may be missing, and refused elsewhere; a number is no string and a boolean no number; whole floats pass for
integers and integers for floats; integers fit 64 bits; nothing else may be there but the project's `model.time`.
"""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mlops_cli.core.base.names import repeated
from mlops_cli.core.base.records import Column, Signature
from mlops_cli.core.serving.problems import BadInput, TooLarge

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
_SHOWN = 10  # names or rows listed in one message
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d{1,40}", re.ASCII)
_EXPECTED = {
    "float": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "string": "a string",
    "datetime": "a time as in 2013-05-01T12:00:00Z",
}
_PLAIN: dict[str, frozenset[type]] = {
    "float": frozenset({float}),
    "integer": frozenset({int}),
    "boolean": frozenset({bool}),
    "string": frozenset({str}),
    "datetime": frozenset({datetime}),
}


@dataclass(frozen=True, slots=True)
class Rows:
    """n decoded rows: for each input, in the signature's order, a list of n values, None where missing.

    Values are float, int, bool, str or aware datetime, by the input's kind. `times` holds the rows' own times if any
    row had one.
    """

    n: int
    columns: dict[str, list[Any]]
    times: list[datetime | None] | None = None


class Decoder:
    """Turns records, columns, positional rows and CSV into Rows. Built once for each version of a model.

    Raises BadInput with the columns and rows at fault, TooLarge above `max_rows`.
    """

    def __init__(self, signature: Signature, *, time_column: str | None = None, max_rows: int = 100_000) -> None:
        self.signature = signature
        self.time_column = time_column
        self.max_rows = max_rows
        self.names = [column.name for column in signature.inputs]
        self._by_name = {column.name: column for column in signature.inputs}

    def records(self, rows: Sequence[Any]) -> Rows:
        """Rows as objects with named fields."""
        self._count(len(rows))
        width = len(self.names)
        try:
            columns = {name: [row[name] for row in rows] for name in self.names}
            timed = any(len(row) != width for row in rows)
        except (KeyError, TypeError, IndexError):
            raise self._misfit(rows) from None
        times = None
        if timed:
            if self.time_column is None or any(len(row) != width + (self.time_column in row) for row in rows):
                raise self._misfit(rows)
            times = [row.get(self.time_column) for row in rows]
        return self._typed(columns, times, len(rows))

    def columns(self, columns: Mapping[str, Any]) -> Rows:
        """Columns by name, each a list of equal length."""
        self._names(columns)
        lengths = {}
        for name, values in columns.items():
            if type(values) is not list:
                raise BadInput(f"column {name}: expected a list of values, got {_show(values)}")
            lengths[name] = len(values)
        if len(set(lengths.values())) > 1:
            raise BadInput("columns differ in length: " + _listed(f"{name} has {n}" for name, n in lengths.items()))
        n = next(iter(lengths.values()), 0)
        self._count(n)
        times = columns.get(self.time_column) if self.time_column is not None else None
        return self._typed({name: columns[name] for name in self.names}, times, n)

    def positional(self, rows: Sequence[Any], names: Sequence[str] | None = None) -> Rows:
        """Rows as lists; `names` says what stands where, by default the signature's order."""
        self._count(len(rows))
        names = self.names if names is None else names
        if twice := repeated(names):
            raise BadInput(f"columns named twice: {_listed(name[:100] for name in twice)}")
        for place, row in enumerate(rows):
            if type(row) is not list or len(row) != len(names):
                got = f"{len(row)} values" if type(row) is list else _show(row)
                raise BadInput(f"row {place}: expected a list of {len(names)} values, got {got}")
        # Without a row there is no column to transpose, yet the names must fit all the same.
        columns = (
            {name: list(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}
            if rows
            else {name: [] for name in names}
        )
        return self.columns(columns)

    def csv(self, text: str) -> Rows:
        """CSV with a header line. An empty cell is a missing value."""
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        try:
            header = next(reader, None)
            rows = [row for row in reader if row]
        except csv.Error as error:
            raise BadInput(f"line {reader.line_num} is not CSV: {error}") from None
        if not header:
            raise BadInput("the CSV is empty; its first line must name the columns")
        header[0] = header[0].removeprefix("\ufeff")
        self._names(dict.fromkeys(header))
        self._count(len(rows))
        readers = [self._reader(name) for name in header]
        for row in rows:
            if len(row) != len(header):
                raise BadInput(f"a row of the CSV has {len(row)} cells, its header {len(header)}")
            row[:] = [read(cell) for read, cell in zip(readers, row, strict=True)]
        return self.positional(rows, header)

    def _reader(self, name: str) -> Callable[[str], Any]:
        column = self._by_name.get(name)
        return _CELLS[column.kind if column is not None else "datetime"]

    def _count(self, n: int) -> None:
        if n > self.max_rows:
            raise TooLarge(f"the request has {n:,} rows; this server takes {self.max_rows:,} at once")

    def _names(self, given: Iterable[str]) -> None:
        given = set(given)
        unknown = sorted(given - self._by_name.keys() - {self.time_column})
        missing = [name for name in self.names if name not in given]
        if missing or unknown:
            raise BadInput("; ".join(self._complaints(missing, unknown)))

    def _complaints(self, missing: Sequence[str], unknown: Sequence[str]) -> list[str]:
        parts = []
        if missing:
            parts.append(f"missing columns: {_listed(missing)}")
        if unknown:
            near = [
                (name, difflib.get_close_matches(name[:100], missing, n=1, cutoff=0.5)) for name in unknown[:_SHOWN]
            ]
            shown = (f"{name[:100]} (did you mean {match[0]}?)" if match else name[:100] for name, match in near)
            parts.append(f"unknown columns: {_listed(shown, len(unknown))}")
        return parts

    def _misfit(self, rows: Sequence[Any]) -> BadInput:
        """The error for the first row whose fields are not the signature's."""
        for place, row in enumerate(rows):
            if type(row) is not dict:
                return BadInput(f"row {place}: expected an object with the model's inputs, got {_show(row)}")
            unknown = sorted(row.keys() - self._by_name.keys() - {self.time_column})
            missing = [name for name in self.names if name not in row]
            if missing or unknown:
                return BadInput(f"row {place}: {'; '.join(self._complaints(missing, unknown))}")
        raise AssertionError("every row fits")

    def _typed(self, columns: dict[str, list[Any]], times: list[Any] | None, n: int) -> Rows:
        wrong: list[str] = []
        for column in self.signature.inputs:
            try:
                columns[column.name] = check(column, columns[column.name])
            except BadInput as error:
                wrong.append(error.message)
        if times is not None:
            try:
                times = check(Column(self.time_column or "", "datetime", nullable=True), times)
            except BadInput as error:
                wrong.append(error.message)
        if wrong:
            raise BadInput("; ".join(wrong[:_SHOWN]))
        return Rows(n, columns, times)


def check(column: Column, values: list[Any]) -> list[Any]:
    """The values of one column as its kind wants them. Raises BadInput at the first that does not fit."""
    kinds = set(map(type, values))
    if kinds <= _PLAIN[column.kind] and column.kind != "integer":
        return values
    if type(None) in kinds and not column.nullable:
        row = values.index(None)
        raise BadInput(f"column {column.name}: row {row} is null, and this input may not be missing")
    convert = _CONVERT[column.kind]
    converted: list[Any] = []
    for row, value in enumerate(values):
        if value is None:
            converted.append(None)
            continue
        try:
            converted.append(convert(value))
        except (TypeError, ValueError, OverflowError) as error:
            reason = str(error) if isinstance(error, OverflowError) else f"expected {_EXPECTED[column.kind]}"
            raise BadInput(f"column {column.name}: row {row}: {reason}, got {_show(value)}") from None
    return converted


def _float(value: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is not int:
        raise TypeError
    try:
        return float(value)
    except OverflowError:
        raise OverflowError("the number is out of range") from None


def _integer(value: Any) -> int:
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int:
        raise TypeError
    if not INT64_MIN <= value <= INT64_MAX:
        raise OverflowError("the number does not fit 64 bits")
    return value


def _exactly(kind: type) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError
        return value

    return convert


def _time(value: Any) -> datetime:
    if type(value) is not str and type(value) is not datetime:
        raise TypeError
    time: datetime = datetime.fromisoformat(value) if isinstance(value, str) else value
    try:  # an offset can lead out of the calendar at its ends
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError:
        raise OverflowError("the time is out of range") from None


_CONVERT: dict[str, Callable[[Any], Any]] = {
    "float": _float,
    "integer": _integer,
    "boolean": _exactly(bool),
    "string": _exactly(str),
    "datetime": _time,
}


def _number_cell(cell: str) -> Any:
    """An int or a float; what is neither stays text, for `check` to complain of."""
    text = cell.strip()
    if not text:
        return None
    if _WHOLE.fullmatch(text):
        return int(text)
    value = float(text) if _NUMBER.fullmatch(text) else text
    return text if value in (float("inf"), float("-inf")) else value


def _boolean_cell(cell: str) -> Any:
    text = cell.strip()
    return {"true": True, "false": False, "": None}.get(text.lower(), text)


def _text_cell(cell: str) -> str | None:
    return cell or None


_CELLS: dict[str, Callable[[str], Any]] = {
    "float": _number_cell,
    "integer": _number_cell,
    "boolean": _boolean_cell,
    "string": _text_cell,
    "datetime": _text_cell,
}


def _show(value: Any) -> str:
    """A value for a message: what kind it is, and the beginning of it."""
    if value is None:
        return "null"
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is dict:
        return "an object"
    if type(value) is list:
        return "a list"
    if type(value) is str:
        return f'the string "{value[:40]}{"…" if len(value) > 40 else ""}"'
    if type(value) is int and value.bit_length() > 200:
        return "a number of more than 60 digits"  # str() of a huge int is slow, and refused above 4,300 digits
    return str(value)


def _listed(items: Iterable[str], total: int | None = None) -> str:
    items = list(items)
    total = len(items) if total is None else total
    shown = ", ".join(items[:_SHOWN])
    return f"{shown} and {total - _SHOWN} more" if total > _SHOWN else shown
