"""What a profile keeps of a datetime column: hours and weekdays of whole days and weeks, and how fresh it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.drift.calendar import DAY, HOUR, NO_TIME, Calendar, microseconds

if TYPE_CHECKING:
    import pyarrow as pa

Array = NDArray[np.float64]

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
    """Times. `newest` is in microseconds since 1970; `age_s` how much older it was than the newest row's own time.

    `hour` and `weekday` are None where the rows' own days are not known; `why` says why.
    """

    newest: int | None = None
    age_s: float | None = None
    hour: Cycle | None = None
    weekday: Cycle | None = None
    why: str = ""


def summarize_times(values: pa.ChunkedArray, calendar: Calendar) -> Times:
    """Everything that is kept of a column of times; hours only of rows in whole days, weekdays in whole weeks."""
    taken = microseconds(values)
    present = taken[taken != NO_TIME] if taken is not None else np.empty(0, np.int64)
    newest = int(present.max()) if len(present) else None
    age = (calendar.end - newest) / 1e6 if newest is not None and calendar.end is not None else None
    if taken is None or calendar.row_days is None or not calendar.days:
        return Times(newest=newest, age_s=age, why=calendar.why)
    days = calendar.row_days
    hour = _cycle(hours(taken), days - calendar.first, calendar.days, 24, calendar.inside(len(taken)))
    weeks = calendar.days // 7
    since = calendar.last - 7 * weeks
    weekday = _cycle(weekdays(taken), (days - since) // 7, weeks, 7, calendar.inside(len(taken), 7))
    return Times(newest=newest, age_s=age, hour=hour, weekday=weekday)


def hours(times: NDArray[np.int64]) -> NDArray[np.int64]:
    """The hour of day in UTC of each time, -1 where there is none."""
    return np.where(times != NO_TIME, times % DAY // HOUR, -1)


def weekdays(times: NDArray[np.int64]) -> NDArray[np.int64]:
    """The day of the week in UTC of each time, 0 for Monday, -1 where there is none."""
    return np.where(times != NO_TIME, (times // DAY + MONDAY) % 7, -1)


def _cycle(
    codes: NDArray[np.int64], clusters: NDArray[np.int64], count: int, k: int, inside: NDArray[np.bool_]
) -> Cycle:
    chosen = inside & (codes >= 0)
    table = np.bincount(clusters[chosen] * k + codes[chosen], minlength=count * k).reshape(count, k)
    return Cycle(
        counts=tuple(table.sum(axis=0).tolist()), clusters=count, products=(table.T @ table).astype("<i8").tobytes()
    )


def count_like(known: Times, values: pa.ChunkedArray, calendar: Calendar) -> Times:
    """The same of other rows; nothing in `known` frames them but its kind."""
    return summarize_times(values, calendar)


def add(a: Times, b: Times) -> Times:
    """Both as one, exactly where no day and no week has rows in both."""
    newest = max((one for one in (a.newest, b.newest) if one is not None), default=None)
    latest = a if a.newest == newest else b
    return Times(
        newest=newest,
        age_s=latest.age_s,
        hour=_joined(a.hour, b.hour),
        weekday=_joined(a.weekday, b.weekday),
        why=a.why or b.why,
    )


def _joined(a: Cycle | None, b: Cycle | None) -> Cycle | None:
    if a is None or b is None:
        return None
    return Cycle(
        counts=tuple(x + y for x, y in zip(a.counts, b.counts, strict=True)),
        clusters=a.clusters + b.clusters,
        products=(a.matrix() + b.matrix()).astype("<i8").tobytes(),
    )
