"""Files of a log, whichever their kind: which of a day's count, and their rows. FORMAT.md describes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import pyarrow.ipc

from mlops_cli.core.errors import IntegrityError, ProjectError

if TYPE_CHECKING:
    from pyarrow.parquet import FileMetaData

LABELS = "labels"
SEGMENT, DAY = ".arrow", ".parquet"
SUFFIXES = (SEGMENT, DAY)
FORMAT_KEY, VERSION_KEY, MADE_KEY = b"mlo.format", b"mlo.version", b"mlo.made"


class Made(msgspec.Struct, frozen=True):
    """What a Parquet file of a day says of itself: whose rows it holds, and the names of the files it stands for."""

    replaces: tuple[str, ...]
    model: str = ""
    version: int | None = None


@dataclass(frozen=True, slots=True)
class DayFile:
    """A Parquet file of a day, its footer read."""

    path: Path
    footer: FileMetaData
    schema: pa.Schema  # with its metadata, without what stands in `made`
    made: Made

    def range_of(self, group: int, column: str) -> tuple[int, int]:
        """The least and the greatest time in a row group, microseconds since 1970. Raises IntegrityError."""
        parts = self.footer.row_group(group)
        for place in range(parts.num_columns):
            part = parts.column(place)
            if part.path_in_schema == column and part.statistics is not None and part.statistics.has_min_max:
                return part.statistics.min_raw, part.statistics.max_raw
        raise damaged(self.path.name, f"row group {group} does not say its range of {column}")

    def group(self, group: int, columns: Sequence[str] | None = None) -> pa.Table:
        """A row group, or some of its columns: only their own bytes are read. Raises IntegrityError."""
        from pyarrow import parquet

        try:
            with parquet.ParquetFile(self.path, metadata=self.footer, page_checksum_verification=True) as file:
                return file.read_row_group(group, columns=columns, use_threads=False).replace_schema_metadata(None)
        except FileNotFoundError:
            raise
        except (pa.ArrowException, OSError, ValueError) as error:
            raise damaged(self.path.name, str(error)) from None


def open_day(path: Path, form: bytes, newest: int) -> DayFile:
    """The footer of a Parquet file. Raises IntegrityError if it is torn, no file of a log, or of a newer mlo."""
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            footer, schema = file.metadata, file.schema_arrow
            metadata = dict(schema.metadata or {})
        check_format(metadata, path.name, form, newest)
        made = msgspec.json.decode(metadata.pop(MADE_KEY, b""), type=Made)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError, msgspec.MsgspecError) as error:
        raise damaged(path.name, str(error)) from None
    return DayFile(path, footer, schema.with_metadata(metadata), made)


def check_format(metadata: dict[bytes, bytes], name: str, form: bytes, newest: int) -> None:
    """Raises IntegrityError for a file of another format, and for one that a newer mlo wrote."""
    kind = "labels" if form == b"labels" else "a prediction log"
    if metadata.get(FORMAT_KEY) != form:
        raise IntegrityError(f"{name} is not a segment of {kind}", hint="move it out of the folder")
    if int(metadata.get(VERSION_KEY, b"0")) > newest:
        raise IntegrityError(
            f"{name} has version {metadata[VERSION_KEY].decode()}; this mlo reads up to {newest}",
            hint="upgrade mlo: pip install --upgrade mlops-cli",
        )


def read_segment(source: Any, name: str, form: bytes, newest: int) -> pa.Table:
    """An Arrow file's rows; `source` is an opened file or a buffer. Raises IntegrityError."""
    try:
        with pyarrow.ipc.open_file(source) as reader:
            check_format(dict(reader.schema.metadata or {}), name, form, newest)
            table = reader.read_all()
            table.validate(full=True)  # flipped bits in an offset would read past the end of a buffer
            return table
    except (pa.ArrowException, OSError, ValueError) as error:
        raise damaged(name, str(error)) from None


def damaged(name: str, reason: str) -> IntegrityError:
    return IntegrityError(f"{name} is torn: {reason}", hint="what it held is lost; the others are read")


def removed(path: Path) -> ProjectError:
    return ProjectError(f"{path.name} of the prediction log was removed while it was read", hint="run it again")


def counting(paths: Iterable[Path]) -> list[Path]:
    """The files that count, in order of their names: those that no whole Parquet file among them stands for.

    A file and the Parquet file that stands for it lie side by side for a while, so that nobody who reads misses either.
    """
    found = sorted((path for path in paths if is_own(path.name)), key=lambda path: path.name)
    replaced: set[str] = set()
    for path in found:
        if path.name.endswith(DAY):
            replaced.update(replaced_by(path))
    return [path for path in found if path.name not in replaced] if replaced else found


def is_own(name: str) -> bool:
    return name.endswith(SUFFIXES) and not name.startswith(".")


def replaced_by(path: Path) -> tuple[str, ...]:
    """The names that a Parquet file stands for; none if it is torn or was made by something else."""
    from pyarrow import parquet

    try:
        metadata = parquet.read_schema(path).metadata or {}
        return msgspec.json.decode(metadata[MADE_KEY], type=Made).replaces
    except (pa.ArrowException, OSError, ValueError, KeyError, msgspec.MsgspecError):
        return ()


def groups_between(day: DayFile, column: str, low: int, high: int) -> Iterator[int]:
    """The row groups that may have rows with low <= column < high."""
    for group in range(day.footer.num_row_groups):
        first, last = day.range_of(group, column)
        if first < high and last >= low:
            yield group
