"""Compaction: the files of a closed day become one Parquet file for each model version and set of columns.

The Parquet file names the files it stands for, and readers leave those out from the moment it appears. Only a later
look removes them. So a crash at any step neither doubles a row nor loses one, and who lists a day before and reads it
after finds what was listed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import xxhash

from mlops_cli.core.base.durable import fsync_folder
from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.errors import IntegrityError
from mlops_cli.core.predictions import label_files
from mlops_cli.core.predictions.log_files import (
    DAY,
    LABELS,
    MADE_KEY,
    Made,
    counting,
    is_own,
    open_day,
    replaced_by,
)
from mlops_cli.core.predictions.retention import days_of

if TYPE_CHECKING:
    import pyarrow as pa

MANY = 4  # fewer files of a kind are left as they are: one that came late is no reason to write a whole day again
GROUP_ROWS = 65_536
LOCK = ".upkeep.lock"


class Stopped(Exception):
    """The process ends; what was begun is left out."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """Rows that lie together in a file, the first of them at `first`, microseconds since 1970."""

    first: int
    load: Callable[[], pa.Table]


@dataclass(frozen=True, slots=True)
class _Member:
    """A file that goes into a Parquet file."""

    name: str
    schema: pa.Schema
    model: str
    version: int | None
    pieces: tuple[_Piece, ...]

    @property
    def key(self) -> tuple[bytes, str, int | None]:
        return self.schema.serialize().to_pybytes(), self.model, self.version


def compact(folder: Path, today: str, *, grace_s: float, is_stopped: Callable[[], bool] = lambda: False) -> None:
    """Compact the days before `today` of a log and of its labels. The caller holds the log's lock, which he just took.

    What a Parquet file stands for is removed once it is `grace_s` old. Raises MachineError, OSError.
    """
    # By the file system's own clock, which also dates the files.
    now_s = (folder / LOCK).stat().st_mtime
    with suppress(Stopped), machine_errors("cannot compact the prediction log"):
        for root, form in ((folder, b"predictions"), (folder / LABELS, label_files.FORMAT)):
            for day in (path for name, path in days_of(root).items() if name < today):
                _day(day, form, now_s - grace_s, is_stopped)


def _day(day: Path, form: bytes, before_s: float, is_stopped: Callable[[], bool]) -> None:
    _sweep(day, before_s)
    if not _removed_replaced(day, before_s):
        return  # first what a Parquet file stands for goes for good, then the Parquet file may be replaced itself
    groups: dict[tuple[bytes, str, int | None], list[_Member]] = {}
    if sum(1 for path in day.iterdir() if is_own(path.name)) < MANY:
        return
    for path in counting(day.iterdir()):
        if is_stopped():
            raise Stopped
        with suppress(IntegrityError, FileNotFoundError):  # what is torn is left to be named by readers
            member = _label_member(path) if form == label_files.FORMAT else _member(path)
            if member is not None:
                groups.setdefault(member.key, []).append(member)
    for members in groups.values():
        if len(members) >= MANY:
            _merge(day, members, label_files.RECORDED if form == label_files.FORMAT else "_arrived", is_stopped)


def _removed_replaced(day: Path, before_s: float) -> bool:
    """Remove what old enough Parquet files stand for. Whether nothing of it is left."""
    there = {path.name for path in day.iterdir()}
    waiting = False
    found: set[str] = set()
    for name in sorted(name for name in there if is_own(name) and name.endswith(DAY)):
        replaced = there.intersection(replaced_by(day / name)) - {name}
        if (day / name).stat().st_mtime <= before_s:
            found |= replaced
        else:
            waiting = waiting or bool(replaced)
    if found:
        fsync_folder(str(day))  # a Parquet file that a power cut takes back must not have taken others with it
        for name in sorted(found):
            (day / name).unlink(missing_ok=True)
        fsync_folder(str(day))  # nor may these come back when nothing names them any more
    return not waiting


def _sweep(day: Path, before_s: float) -> None:
    """Remove what a crash left half written."""
    for path in day.glob(".*.tmp"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime <= before_s:
                path.unlink()


def _member(path: Path) -> _Member | None:
    import pyarrow as pa

    from mlops_cli.core.predictions.segment import ARRIVED, FORMAT, MODEL, MODEL_VERSION, VERSION, decode

    if path.name.endswith(DAY):
        day = open_day(path, FORMAT, VERSION)
        pieces = tuple(
            _Piece(day.range_of(group, ARRIVED)[0], lambda group=group: day.group(group))  # type: ignore[misc]
            for group in range(day.footer.num_row_groups)
        )
        return _Member(path.name, day.schema, day.made.model, day.made.version, pieces)

    def load() -> pa.Table:
        return decode(pa.memory_map(str(path)), path.name).replace_schema_metadata(None)

    table = decode(pa.memory_map(str(path)), path.name)
    if not {ARRIVED, MODEL, MODEL_VERSION}.issubset(table.column_names) or table.num_rows == 0:
        return None
    model, version = (table.column(name)[0].as_py() for name in (MODEL, MODEL_VERSION))
    return _Member(path.name, table.schema, model or "", version, (_Piece(_first(table, ARRIVED), load),))


def _label_member(path: Path) -> _Member | None:
    def load() -> pa.Table:
        import pyarrow as pa

        tables = list(label_files.tables_of(path))
        return pa.concat_tables(tables).cast(label_files.schema()).replace_schema_metadata(None)

    table = load()
    if table.num_rows == 0:
        return None
    return _Member(path.name, label_files.schema(), "", None, (_Piece(_first(table, label_files.RECORDED), load),))


def _first(table: pa.Table, column: str) -> int:
    import pyarrow.compute as pc

    least: int = pc.min(table.column(column).cast("int64")).as_py()
    return least


def _merge(day: Path, members: Sequence[_Member], column: str, is_stopped: Callable[[], bool]) -> None:
    """Write the Parquet file of some files of a day, whole and durable, or nothing."""
    from pyarrow import parquet

    names = sorted(member.name for member in members)
    made = Made(tuple(names), members[0].model, members[0].version)
    schema = members[0].schema
    schema = schema.with_metadata({**(schema.metadata or {}), MADE_KEY: msgspec.json.encode(made)})
    # The same files give the same name: two who do it at once, where locks do not work, do it once.
    name = f"{names[0].partition('-')[0]}-{xxhash.xxh128_hexdigest(chr(10).join(names).encode())}{DAY}"
    pieces = sorted((piece for member in members for piece in member.pieces), key=lambda piece: piece.first)
    handle, temporary = tempfile.mkstemp(prefix=f".{name}.", suffix=".tmp", dir=day)
    try:
        rows = 0
        with os.fdopen(handle, "wb") as file:
            texts = [field.name for field in schema if str(field.type) == "string" and field.name != "_request"]
            with parquet.ParquetWriter(
                file, schema, compression="zstd", use_dictionary=texts, write_page_checksum=True
            ) as writer:
                for table in _in_order(pieces, column):
                    if is_stopped():
                        raise Stopped
                    rows += table.num_rows
                    writer.write_table(table.replace_schema_metadata(schema.metadata), row_group_size=GROUP_ROWS)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        if parquet.read_metadata(temporary).num_rows != rows:
            raise IntegrityError(f"{name} did not read back as it was written", hint="check the disk")
        os.replace(temporary, day / name)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    fsync_folder(str(day))


def _in_order(pieces: Sequence[_Piece], column: str) -> Iterator[pa.Table]:
    """All rows by time, in row groups of 65,536. Held at once is little more: later pieces have no earlier rows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    pending: list[pa.Table] = []
    rows = carried = 0
    for place, piece in enumerate(pieces):
        table = piece.load()
        pending.append(table)
        rows += table.num_rows
        is_last = place + 1 == len(pieces)
        if not is_last and rows < carried + GROUP_ROWS:
            continue
        whole = pa.concat_tables(pending).combine_chunks()
        whole = whole.take(pc.sort_indices(whole, sort_keys=[(column, "ascending")]))  # equal times stay in order
        if is_last:
            final = rows
        else:
            limit = pa.scalar(pieces[place + 1].first, pa.int64())
            settled = pc.sum(pc.less(whole.column(column).cast("int64"), limit)).as_py() or 0
            final = settled - settled % GROUP_ROWS
        for start in range(0, final, GROUP_ROWS):
            yield whole.slice(start, min(GROUP_ROWS, final - start))
        pending, rows = [whole.slice(final)], rows - final
        carried = rows
