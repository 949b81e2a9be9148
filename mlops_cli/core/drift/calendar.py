"""Which whole days and weeks a set of rows covers, in UTC: hours can only be compared between whole days."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.drift import columns as arrow
from mlops_cli.core.drift.periods import Period

if TYPE_CHECKING:
    import pyarrow as pa

Times = NDArray[np.int64]

HOUR, DAY = 3_600_000_000, 86_400_000_000  # microseconds
UNCOVERED = 0.005  # of all rows: a first or last day that lacks more than would be expected is not whole
NO_TIME = np.iinfo(np.int64).max  # of a row without one


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """first <= day < last are covered whole, as days since 1970 (none if both are equal, and `why` then says so).

    `row_days` (rows,) the day of each row, or None where all rows lie inside; `end` the end of the rows' time, in
    microseconds, or None where nobody knows it.
    """

    first: int = 0
    last: int = 0
    row_days: Times | None = None
    end: int | None = None
    why: str = ""

    @property
    def days(self) -> int:
        return self.last - self.first

    def inside(self, rows: int, whole: int = 1) -> NDArray[np.bool_]:
        """Which rows lie in the last whole multiple of `whole` days; none if there is no such multiple, or where the
        days of rows are not known and the window is none."""
        covered = self.days // whole * whole
        if self.row_days is None:
            return np.full(rows, covered > 0 and covered == self.days)
        return np.asarray((self.row_days >= self.last - covered) & (self.row_days < self.last))


def calendar_of(period: Period | None, times: pa.ChunkedArray | None) -> Calendar:
    """What a window covers: `period` if it has bounds, else what its rows' `times` do.

    The bounds hold for rows that are there because of them; rows with times of their own are judged by those.
    """
    if period is not None:
        start, end = (round(when.timestamp() * 1e6) for when in (period.start, period.end))
        if start % DAY or end % DAY:
            return Calendar(end=end, why="the window is not made of whole days in UTC")
        return Calendar(first=start // DAY, last=end // DAY, end=end)
    found = microseconds(times) if times is not None else None
    if found is None:
        return Calendar(why="without model.time nobody knows which days the rows cover")
    return _covered(found)


def microseconds(column: pa.ChunkedArray) -> Times | None:
    """Times (rows,) in microseconds since 1970 in UTC, NO_TIME where there is none; None if these are no times.

    A time without a zone is taken as UTC; text as ISO 8601.
    """
    import pyarrow as pa

    group = arrow.group_of(column.type)
    try:
        if group == "string":
            column = arrow.plain(column).cast(pa.timestamp("us", tz="UTC"))
        elif group != "datetime":
            return None
        return np.asarray(
            arrow.filled(arrow.plain(column).cast(pa.timestamp("us"), safe=False).cast(pa.int64()), NO_TIME)
        )
    except pa.ArrowException:
        return None


def _covered(times: Times) -> Calendar:
    """The whole days that rows cover. The first and the last day count if the hours before the first row and after
    the last one hold next to no rows on the other days."""
    present = times[times != NO_TIME]
    if not len(present):
        return Calendar(why="no row has a time")
    row_days = np.where(times != NO_TIME, times // DAY, np.int64(-1) << 40)
    low, high = int(present.min()), int(present.max())
    first, last = low // DAY, high // DAY + 1
    by_hour = np.bincount(present % DAY // HOUR, minlength=24)
    before, after = low % DAY // HOUR, high % DAY // HOUR + 1
    if _lacks(by_hour[:before], last - first, len(present)):
        first += 1
    if _lacks(by_hour[after:], last - first, len(present)):
        last -= 1
    if first >= last:
        return Calendar(end=high, row_days=row_days, why="the rows cover no whole day in UTC")
    return Calendar(first=first, last=last, row_days=row_days, end=high)


def _lacks(rows: NDArray[np.int64], days: int, n: int) -> bool:
    """Whether the hours that one of `days` days lacks, which hold `rows` rows on the others, would hold any there."""
    if not len(rows):
        return False
    return days < 2 or float(rows.sum()) / (days - 1) > UNCOVERED * n
