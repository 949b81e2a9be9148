"""Rows from the outside, checked against a model's signature: what is missing, unknown or mistyped is named.

The rules, the same for every protocol: every input must be there; `null` is a missing value where the signature says
the input may be missing, and refused elsewhere; a number is no string and a boolean no number; whole floats pass for
integers and integers for floats; integers fit 64 bits; nothing else may be there but the project's `model.time`.
"""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.base.names import repeated
from mlops_cli.core.base.records import Column, Signature
from mlops_cli.core.serving.problems import BadInput, TooLarge
from mlops_cli.core.serving.typed import RowType
from mlops_cli.core.serving.values import CELLS, INT64_MAX, INT64_MIN, PLAIN, SHOWN, check, check_array, listed, show

Values = list[Any] | NDArray[Any]

_COLUMNS = frozenset({list, np.ndarray})


class Rows(msgspec.Struct, frozen=True):
    """n decoded rows: for each input, in the signature's order, n values.

    A column is a list of float, int, bool, str or aware datetime, by the input's kind, None where missing; or an array
    of float64, int64 or bool. An array has no missing values but NaN in one of floats, where the input may be missing.
    `times` holds the rows' own times if any row had one.
    """

    n: int
    columns: Mapping[str, Values]
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
        self.is_float = all(column.kind == "float" for column in signature.inputs)
        self.is_numeric = all(column.kind in ("float", "integer") for column in signature.inputs)
        self.row_type = RowType.of(signature, time_column)
        self._by_name = {column.name: column for column in signature.inputs}
        # One row whose values have these very types needs no look at each column; times must be parsed all the same.
        self._types = tuple(PLAIN[column.kind] for column in signature.inputs)
        self._integers = [place for place, column in enumerate(signature.inputs) if column.kind == "integer"]

    def records(self, rows: Sequence[Any]) -> Rows:
        """Rows as objects with named fields."""
        self.count(len(rows))
        width = len(self.names)
        try:
            columns: dict[str, Any] = {name: [row[name] for row in rows] for name in self.names}
            timed = any(len(row) != width for row in rows)
        except (KeyError, TypeError, IndexError):
            raise self._misfit(rows) from None
        times = None
        if timed:
            if self.time_column is None or any(len(row) != width + (self.time_column in row) for row in rows):
                raise self._misfit(rows)
            times = [row.get(self.time_column) for row in rows]
        return self._typed(columns, times, len(rows))

    def typed(self, rows: Sequence[Any]) -> Rows | None:
        """Rows that msgspec decoded as `row_type.Fields` or `row_type.Positions`, nearly for nothing; None for those
        that want a second look."""
        self.count(len(rows))
        assert self.row_type is not None  # noqa: S101 - what decoded them
        try:
            columns, times = self.row_type.columns(rows)
        except BadInput:
            return None
        return Rows(len(rows), columns, times)

    def row(self, values: Sequence[Any]) -> Rows:
        """One row, a value for each input in the signature's order."""
        columns: dict[str, Values] = {name: [value] for name, value in zip(self.names, values, strict=True)}
        return Rows(1, columns) if self._fits(values) else self._typed(columns, None, 1)

    def columns(self, columns: Mapping[str, Any]) -> Rows:
        """Columns by name, each a list or an array of equal length."""
        if columns.keys() != self._by_name.keys():
            self._names(columns)
        if not set(map(type, columns.values())) <= _COLUMNS:
            name = next(name for name, values in columns.items() if type(values) not in _COLUMNS)
            raise BadInput(f"column {name}: expected a list of values, got {show(columns[name])}")
        if len(set(map(len, columns.values()))) > 1:
            lengths = (f"{name} has {len(values)}" for name, values in columns.items())
            raise BadInput("columns differ in length: " + listed(lengths))
        n = len(next(iter(columns.values()), ()))
        self.count(n)
        times = columns.get(self.time_column) if self.time_column is not None else None
        return self._typed({name: columns[name] for name in self.names}, times, n)

    def positional(self, rows: Sequence[Any], names: Sequence[str] | None = None) -> Rows:
        """Rows as lists; `names` says what stands where, by default the signature's order."""
        self.count(len(rows))
        names = self.names if names is None else names
        if twice := repeated(names):
            raise BadInput(f"columns named twice: {listed(name[:100] for name in twice)}")
        for place, row in enumerate(rows):
            if type(row) is not list or len(row) != len(names):
                got = f"{len(row)} values" if type(row) is list else show(row)
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
        self.count(len(rows))
        readers = [self._reader(name) for name in header]
        for row in rows:
            if len(row) != len(header):
                raise BadInput(f"a row of the CSV has {len(row)} cells, its header {len(header)}")
            row[:] = [read(cell) for read, cell in zip(readers, row, strict=True)]
        return self.positional(rows, header)

    def count(self, n: int) -> None:
        """Raises TooLarge for more rows than the server takes at once."""
        if n > self.max_rows:
            raise TooLarge(f"the request has {n:,} rows; this server takes {self.max_rows:,} at once")

    def _reader(self, name: str) -> Callable[[str], Any]:
        column = self._by_name.get(name)
        return CELLS[column.kind if column is not None else "datetime"]

    def _names(self, given: Iterable[str]) -> None:
        given = set(given)
        unknown = sorted(given - self._by_name.keys() - {self.time_column})
        missing = [name for name in self.names if name not in given]
        if missing or unknown:
            raise BadInput("; ".join(self._complaints(missing, unknown)))

    def _complaints(self, missing: Sequence[str], unknown: Sequence[str]) -> list[str]:
        parts = []
        if missing:
            parts.append(f"missing columns: {listed(missing)}")
        if unknown:
            near = [(name, difflib.get_close_matches(name[:100], missing, n=1, cutoff=0.5)) for name in unknown[:SHOWN]]
            shown = (f"{name[:100]} (did you mean {match[0]}?)" if match else name[:100] for name, match in near)
            parts.append(f"unknown columns: {listed(shown, len(unknown))}")
        return parts

    def _misfit(self, rows: Sequence[Any]) -> BadInput:
        """The error for the first row whose fields are not the signature's."""
        for place, row in enumerate(rows):
            if type(row) is not dict:
                return BadInput(f"row {place}: expected an object with the model's inputs, got {show(row)}")
            unknown = sorted(row.keys() - self._by_name.keys() - {self.time_column})
            missing = [name for name in self.names if name not in row]
            if missing or unknown:
                return BadInput(f"row {place}: {'; '.join(self._complaints(missing, unknown))}")
        raise AssertionError("every row fits")

    def _typed(self, columns: dict[str, Any], times: Any, n: int) -> Rows:
        if n == 1 and times is None and self._fits([values[0] for values in columns.values()]):
            return Rows(1, columns)
        wrong: list[str] = []
        for column in self.signature.inputs:
            values = columns[column.name]
            try:
                columns[column.name] = check(column, values) if type(values) is list else check_array(column, values)
            except BadInput as error:
                wrong.append(error.message)
        if times is not None:
            try:
                times = check(Column(self.time_column or "", "datetime", nullable=True), list(times))
            except BadInput as error:
                wrong.append(error.message)
        if wrong:
            raise BadInput("; ".join(wrong[:SHOWN]))
        return Rows(n, columns, times)

    def _fits(self, row: Sequence[Any]) -> bool:
        """Is each value of the very type that its input wants?"""
        if tuple(map(type, row)) != self._types:
            return False
        return all(INT64_MIN <= row[place] <= INT64_MAX for place in self._integers)
