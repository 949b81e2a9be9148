"""Windows of the prediction log, read a column at a time: the segments' arrivals alone tell which rows there are."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.ipc
from numpy.typing import NDArray

from mlops_cli.core.errors import IntegrityError
from mlops_cli.core.predictions.log_files import DAY, DayFile, open_day, removed
from mlops_cli.core.predictions.reader import microseconds, segment_files, unify
from mlops_cli.core.predictions.segment import ARRIVED, FORMAT, MODEL, MODEL_VERSION, VERSION, decode, sample_of

if TYPE_CHECKING:
    from mlops_cli.core.remotes.remote import Remote


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose answers: of a model, those of some versions, and those that no registered version gave if `unnumbered`."""

    model: str
    versions: frozenset[int]
    unnumbered: bool = False

    def takes(self, version: int | None) -> bool:
        return self.unnumbered if version is None else version in self.versions


@dataclass(frozen=True, slots=True)
class _Segment:
    """What a first look at a segment, or at a row group of a day, told. Arrivals are microseconds since 1970."""

    path: Path
    schema: pa.Schema
    rows: int
    model: str
    version: int | None
    first: int
    last: int
    day: DayFile | None = None
    group: int = 0

    def column(self, name: str) -> pa.ChunkedArray:
        """One column, of which only its own bytes are read. Raises ProjectError if the segment is gone by now."""
        if self.day is not None:
            try:
                return self.day.group(self.group, [name]).column(0)
            except FileNotFoundError:
                raise removed(self.path) from None
        options = pa.ipc.IpcReadOptions(included_fields=[self.schema.get_field_index(name)])
        try:
            # Read, not mapped: pages of a mapping count as this process's memory until the mapping ends.
            with pa.OSFile(str(self.path)) as file, pa.ipc.open_file(file, options=options) as reader:
                return reader.read_all().column(0)
        except (FileNotFoundError, pa.ArrowException):
            raise removed(self.path) from None


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of one segment that lie in a window; `chosen` (rows of the segment,), or None if all do."""

    segment: _Segment
    rows: int
    chosen: NDArray[np.bool_] | None

    def column(self, name: str, kind: pa.DataType) -> list[pa.Array]:
        if name not in self.segment.schema.names:
            return [pa.nulls(self.rows, kind)]
        column = self.segment.column(name)
        if self.chosen is not None:
            bits = pa.py_buffer(np.packbits(self.chosen, bitorder="little").tobytes())
            mask = pa.Array.from_buffers(pa.bool_(), len(self.chosen), [None, bits])
            column = column.filter(mask)
        chunks: list[pa.Array] = (column if column.type == kind else column.cast(kind)).chunks
        return chunks


class LogReading:
    """One reading of the log, in which every segment is looked at, and fetched from a remote, once.

    `torn` maps the name of each unreadable segment met so far to the reason; its rows are in no window. What was
    fetched lies in a temporary folder that lives as long as this reading and its windows do.
    """

    def __init__(self, source: Path | Remote) -> None:
        self.torn: dict[str, str] = {}
        self._source = source
        self._scratch: Path | None = None
        self._known: dict[Path, list[_Segment]] = {}

    def window(self, periods: Iterable[tuple[datetime, datetime]], wanted: Wanted) -> LoggedRows:
        """The rows that arrived in any of the periods (start <= arrival < end), in the periods' order and, within one,
        in that of their segments' first arrivals. Raises RemoteError if the remote is away."""
        parts = [part for since, until in periods for part in self._parts(since, until, wanted)]
        return LoggedRows(self, tuple(parts))

    def _parts(self, since: datetime, until: datetime, wanted: Wanted) -> list[_Part]:
        low, high = microseconds(since), microseconds(until)
        parts = []
        files = segment_files(self._source, since.astimezone(UTC), until.astimezone(UTC), self._folder)
        for segment in (segment for path in files for segment in self._look_at(path)):
            if segment.model != wanted.model or not wanted.takes(segment.version):
                continue
            if low <= segment.first and segment.last < high:
                parts.append(_Part(segment, segment.rows, None))
            elif segment.last >= low and segment.first < high:
                arrived = _whole_numbers(segment.column(ARRIVED))
                chosen = (arrived >= low) & (arrived < high)
                if rows := int(np.count_nonzero(chosen)):
                    parts.append(_Part(segment, rows, chosen))
        return parts

    def _look_at(self, path: Path) -> list[_Segment]:
        if path not in self._known:
            self._known[path] = []
            try:
                self._known[path] = _day(path) if path.name.endswith(DAY) else _segment(path)
            except IntegrityError as error:
                self.torn[path.name] = error.message
            except FileNotFoundError:
                if path.parent.is_dir():  # else its day was removed whole
                    raise removed(path) from None
        return self._known[path]

    def _folder(self) -> Path:
        if self._scratch is None:
            self._scratch = Path(tempfile.mkdtemp(prefix="mlo-log-"))
            weakref.finalize(self, shutil.rmtree, self._scratch, ignore_errors=True)
        return self._scratch


def _day(path: Path) -> list[_Segment]:
    """A day's row groups, of which nothing but the footer is read."""
    day = open_day(path, FORMAT, VERSION)
    found = []
    for group in range(day.footer.num_row_groups):
        first, last = day.range_of(group, ARRIVED)
        rows = day.footer.row_group(group).num_rows
        found.append(_Segment(path, day.schema, rows, day.made.model, day.made.version, first, last, day, group))
    return found


def _segment(path: Path) -> list[_Segment]:
    """None at all if it has no rows."""
    table = decode(pa.memory_map(str(path)), path.name)
    if lacking := {ARRIVED, MODEL, MODEL_VERSION}.difference(table.column_names):
        raise IntegrityError(
            f"{path.name} is no segment: it has no {', '.join(sorted(lacking))}", hint="move it out of the folder"
        )
    if table.num_rows == 0:
        return []
    arrived = _whole_numbers(table.column(ARRIVED))
    # All rows come from one version of one model; FORMAT.md promises it.
    model, version = (table.column(name)[0].as_py() for name in (MODEL, MODEL_VERSION))
    return [_Segment(path, table.schema, table.num_rows, model, version, int(arrived.min()), int(arrived.max()))]


def _whole_numbers(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Taken from the buffers: Arrow's to_numpy() imports pandas, which costs more than a check."""
    parts = [np.frombuffer(chunk.buffers()[1], "<i8", len(chunk), 8 * chunk.offset) for chunk in column.chunks]
    return np.concatenate([np.empty(0, np.int64), *parts])


@dataclass(frozen=True, slots=True)
class LoggedRows:
    """Rows of the log by column. They keep their reading alive, and with it the files they lie in."""

    reading: LogReading
    parts: tuple[_Part, ...]

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    @property
    def samples(self) -> frozenset[float]:
        """The shares of the requests that the log took while these rows were written."""
        return frozenset(sample_of(part.segment.schema) for part in self.parts)

    @property
    def schema(self) -> pa.Schema:
        """Where versions differ in their columns, a column has the wider type, or text if there is none."""
        schemas: list[pa.Schema] = []
        for part in self.parts:
            if not any(schema.equals(part.segment.schema) for schema in schemas):
                schemas.append(part.segment.schema)
        return unify(schemas)

    def read(self, name: str, kind: pa.DataType | None = None) -> pa.ChunkedArray:
        """One column, in the type that `schema` names; null where a version did not have it. Raises KeyError."""
        kind = kind or self.schema.field(name).type
        return pa.chunked_array([chunk for part in self.parts for chunk in part.column(name, kind)], kind)

    def of_versions(self, versions: Sequence[int | None]) -> LoggedRows:
        return dataclasses.replace(self, parts=tuple(part for part in self.parts if part.segment.version in versions))
