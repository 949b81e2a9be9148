"""What a profile keeps of a datetime column: hours and weekdays of whole days and weeks, and how fresh it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.drift.calendar import DAY, HOUR, NO_TIME, Clock, calendar_of, clock_of, microseconds
from mlops_cli.core.drift.summaries.packing import pack, unpack

if TYPE_CHECKING:
    import pyarrow as pa

Array = NDArray[np.float64]
Counts = NDArray[np.int64]

PARTS = 24 + 7  # hours and weekdays
KEPT_DAYS = 728  # 104 weeks
MONDAY = 3  # days from 1970-01-05, a Monday, back to 1970-01-01, as weekdays: day 0 was a Thursday


class Cycle(msgspec.Struct, frozen=True, kw_only=True):
    """Rows by hour (24) or weekday (7, Monday first) over `clusters` whole days or weeks.

    `counts` over all of them; `products` int64[k, k], the sum over clusters of each pair's product of counts: how
    much one day differs from the next.
    """

    counts: tuple[int, ...]
    clusters: int = 0
    products: bytes = b""

    def matrix(self) -> Array:
        k = len(self.counts)
        return np.frombuffer(self.products, "<i8").astype(np.float64).reshape(k, k)


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """Times. `newest` is in microseconds since 1970; `clock` is that of the rows themselves, by `model.time`, or None
    where nothing orders them.

    `days`, packed: for each of the rows' own days, of the newest 728, how many times fall on each hour (24) and on each
    weekday (7, Monday first); from the first such day, of `clock`, to the last. All else follows from these. In
    profiles of version 1 `hour`, `weekday`, `age_s`, and `why` they are None, instead.
    """

    newest: int | None = None
    clock: Clock | None = None
    days: bytes = b""
    hour: Cycle | None = None
    weekday: Cycle | None = None
    age_s: float | None = None
    why: str = ""

    @property
    def age(self) -> float | None:
        """How much older the newest time is than the newest row's own, in seconds."""
        if self.clock is None or self.clock.high is None or self.newest is None:
            return self.age_s
        return (self.clock.high - self.newest) / 1e6

    def cycles(self) -> tuple[Cycle | None, Cycle | None, str]:
        """By hour over the whole days, by weekday over the last whole weeks; and why they are None."""
        if self.clock is None:
            return self.hour, self.weekday, self.why or calendar_of(None, None).why
        calendar = self.clock.calendar(None)
        if not calendar.days:
            return None, None, calendar.why
        first, table = _first_kept(self.clock), self._table()
        inside = table[max(0, calendar.first - first) : calendar.last - first]
        whole = len(inside) // 7 * 7
        weeks = inside[len(inside) - whole :].reshape(-1, 7, PARTS).sum(axis=1)
        return _cycle(inside[:, :24]), _cycle(weeks[:, 24:]), ""

    def _table(self) -> Counts:
        return unpack(self.days).reshape(-1, PARTS)


def summarize_times(values: pa.ChunkedArray, clock: pa.ChunkedArray | None) -> Times:
    """Everything that is kept of a column of times; `clock` is the rows' own time, or None."""
    taken = microseconds(values)
    present = taken[taken != NO_TIME] if taken is not None else np.empty(0, np.int64)
    newest = int(present.max()) if len(present) else None
    times = microseconds(clock) if clock is not None else None
    if times is None:
        return Times(newest=newest)
    known = clock_of(times)
    table = np.zeros((_kept(known), PARTS), np.int64)
    if taken is not None and len(table):
        day = np.where(times != NO_TIME, times // DAY - _first_kept(known), -1)
        chosen = (day >= 0) & (taken != NO_TIME)
        day, found = day[chosen], taken[chosen]
        np.add.at(table, (day, hours(found)), 1)
        np.add.at(table, (day, 24 + weekdays(found)), 1)
    return Times(newest=newest, clock=known, days=pack(table.ravel()))


def _first_kept(clock: Clock) -> int:
    assert clock.low is not None  # noqa: S101 - asked only where there are rows
    assert clock.high is not None  # noqa: S101
    return int(max(clock.low // DAY, clock.high // DAY + 1 - KEPT_DAYS))


def _kept(clock: Clock) -> int:
    return 0 if clock.high is None else int(clock.high // DAY + 1 - _first_kept(clock))


def hours(times: NDArray[np.int64]) -> NDArray[np.int64]:
    """The hour of day in UTC of each time, -1 where there is none."""
    return np.where(times != NO_TIME, times % DAY // HOUR, -1)


def weekdays(times: NDArray[np.int64]) -> NDArray[np.int64]:
    """The day of the week in UTC of each time, 0 for Monday, -1 where there is none."""
    return np.where(times != NO_TIME, (times // DAY + MONDAY) % 7, -1)


def _cycle(table: Counts) -> Cycle:
    """Of counts (clusters, k)."""
    return Cycle(
        counts=tuple(table.sum(axis=0).tolist()),
        clusters=len(table),
        products=(table.T @ table).astype("<i8").tobytes(),
    )


def count_like(known: Times, values: pa.ChunkedArray, clock: pa.ChunkedArray | None) -> Times:
    """The same of other rows; nothing frames them but whether the reference's rows had a clock."""
    return summarize_times(values, clock if known.clock is not None else None)


def frame_of(known: Times) -> tuple[object, ...]:
    """What one reference decided, and others are counted on."""
    return (known.clock is not None,)


def add(a: Times, b: Times) -> Times:
    """Both as one, exactly: shards may share days. Raises ValueError if only one has a clock."""
    if frame_of(a) != frame_of(b):
        raise ValueError("times counted with and without a clock do not add")
    newest = max((one for one in (a.newest, b.newest) if one is not None), default=None)
    if a.clock is None or b.clock is None:
        return Times(newest=newest)
    clock = a.clock + b.clock
    table = np.zeros((_kept(clock), PARTS), np.int64)
    for one in (a, b):
        assert one.clock is not None  # noqa: S101 - said above
        days = one._table()
        if len(days):
            # Days before the newest 728 of both together are dropped.
            at = _first_kept(one.clock) - _first_kept(clock)
            table[max(0, at) : max(0, at + len(days))] += days[max(0, -at) :]
    return Times(newest=newest, clock=clock, days=pack(table.ravel()))


def join(a: Times, b: Times) -> Times | None:
    """Both without a frame: as one pass over both would make. None if only one has a clock."""
    return add(a, b) if frame_of(a) == frame_of(b) else None
