"""The rows to be checked, read a column at a time, wherever they lie; sources/ opens them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from mlops_cli.core.drift.columns import plain
from mlops_cli.core.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Window:
    """Rows by column. `read` gives one column; `schema` says which there are, and of what type.

    A column of texts may come as a dictionary of them, which is a fraction of the memory.
    """

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
            times = plain(self.read(time)).cast(zone, safe=False)
        except pa.ArrowException:
            kind = self.schema.field(time).type
            raise UsageError(f"{time} holds {kind}, not times", hint="leave out --since and --until") from None
        inside = pc.and_(pc.greater_equal(times, pa.scalar(start, zone)), pc.less(times, pa.scalar(end, zone)))
        chosen = pc.fill_null(inside, False)
        return Window(self.schema, int(pc.sum(chosen).as_py() or 0), lambda name: self.read(name).filter(chosen))

    @classmethod
    def of_table(cls, table: pa.Table) -> Window:
        return cls(table.schema, table.num_rows, table.column)
