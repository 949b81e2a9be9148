"""Which whole days and weeks a set of rows covers, in UTC: hours can only be compared between whole days."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
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
    """The whole days that rows with these times cover."""
    clock = clock_of(times)
    row_days = np.where(times != NO_TIME, times // DAY, np.int64(-1) << 40) if clock.low is not None else None
    return clock.calendar(row_days)


class Clock(msgspec.Struct, frozen=True):
    """When rows were: the first and last time, in microseconds since 1970 (None of no rows), rows by hour of day."""

    low: int | None = None
    high: int | None = None
    hours: tuple[int, ...] = (0,) * 24

    def __add__(self, other: Clock) -> Clock:
        lows, highs = ([one for one in pair if one is not None] for pair in zip(self.ends, other.ends, strict=True))
        hours = tuple(x + y for x, y in zip(self.hours, other.hours, strict=True))
        return Clock(min(lows, default=None), max(highs, default=None), hours)

    @property
    def ends(self) -> tuple[int | None, int | None]:
        return self.low, self.high

    def calendar(self, row_days: Times | None) -> Calendar:
        """The whole days these rows cover. The first and the last day count if the hours before the first row and
        after the last one hold next to no rows on the other days."""
        if self.low is None or self.high is None:
            return Calendar(why="no row has a time")
        by_hour = np.array(self.hours, dtype=np.int64)
        rows = int(by_hour.sum())
        first, last = self.low // DAY, self.high // DAY + 1
        if _lacks(by_hour[: self.low % DAY // HOUR], last - first, rows):
            first += 1
        if _lacks(by_hour[self.high % DAY // HOUR + 1 :], last - first, rows):
            last -= 1
        if first >= last:
            return Calendar(end=self.high, row_days=row_days, why="the rows cover no whole day in UTC")
        return Calendar(first=first, last=last, row_days=row_days, end=self.high)


def clock_of(times: Times) -> Clock:
    """What is known of rows by their times (rows,), NO_TIME where there is none."""
    present = times[times != NO_TIME]
    if not len(present):
        return Clock()
    by_hour = np.bincount(present % DAY // HOUR, minlength=24)
    return Clock(int(present.min()), int(present.max()), tuple(by_hour.tolist()))


def _lacks(rows: NDArray[np.int64], days: int, n: int) -> bool:
    """Whether the hours that one of `days` days lacks, which hold `rows` rows on the others, would hold any there."""
    if not len(rows):
        return False
    return days < 2 or float(rows.sum()) / (days - 1) > UNCOVERED * n
