"""The rows to be checked, read a column at a time: a table in memory, or a Parquet file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_cli.core.base.names import repeated
from mlops_cli.core.errors import NotFound, ProjectError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Window:
    """Rows by column. `read` gives one column; `schema` says which there are."""

    schema: pa.Schema
    rows: int
    read: Callable[[str], pa.ChunkedArray]

    def __contains__(self, name: object) -> bool:
        return name in self.schema.names

    def between(self, time: str, start: datetime, end: datetime) -> Window:
        """The rows with start <= time < end; rows without a time are none. Raises UsageError if `time` is no time."""
        import pyarrow as pa
        import pyarrow.compute as pc

        zone = pa.timestamp("us", tz="UTC")
        try:
            times = self.read(time).cast(zone, safe=False)
        except pa.ArrowException:
            kind = self.schema.field(time).type
            raise UsageError(f"{time} holds {kind}, not times", hint="leave out --since and --until") from None
        inside = pc.and_(pc.greater_equal(times, pa.scalar(start, zone)), pc.less(times, pa.scalar(end, zone)))
        chosen = pc.fill_null(inside, False)
        return Window(self.schema, int(pc.sum(chosen).as_py() or 0), lambda name: self.read(name).filter(chosen))

    @classmethod
    def of_table(cls, table: pa.Table) -> Window:
        return cls(table.schema, table.num_rows, table.column)

    @classmethod
    def of_file(cls, path: Path, *, texts: tuple[str, ...] = (), name: str = "") -> Window:
        """A Parquet file, of which only the columns asked for are read, or a CSV file with `texts` as text.

        `name` is what errors call it. Raises NotFound, or ProjectError for a file that is neither.
        """
        import pyarrow as pa
        from pyarrow import parquet

        if not path.is_file():
            raise NotFound(f"there is no file {name or path}", hint="give a Parquet or a CSV file of rows")
        try:
            if path.suffix.lower() == ".csv":
                window = cls.of_table(_read_csv(path, texts))
            else:
                file = parquet.ParquetFile(path)
                rows = file.metadata.num_rows
                window = cls(file.schema_arrow, rows, lambda name: file.read(columns=[name]).column(name))
        except (pa.ArrowException, OSError) as error:
            raise ProjectError(
                f"{name or path} does not read as rows: {error}", hint="give a Parquet or a CSV file"
            ) from None
        if twice := repeated(window.schema.names):
            raise ProjectError(
                f"{name or path} has two columns named {', '.join(twice[:8])}", hint="name each column once"
            )
        return window


def _read_csv(path: Path, texts: tuple[str, ...]) -> pa.Table:
    """Columns known to be texts stay texts, so that 007 is not 7; others are what they look like."""
    import pyarrow as pa
    from pyarrow import csv

    options = csv.ConvertOptions(column_types={name: pa.string() for name in texts}, strings_can_be_null=True)
    return csv.read_csv(path, convert_options=options)
