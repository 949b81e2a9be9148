"""Closed windows of time: aligned in UTC to multiples of their length, so that every host cuts them alike."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mlops_cli.core.errors import UsageError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Period:
    """start <= time < end, both UTC."""

    start: datetime
    end: datetime

    @property
    def length(self) -> timedelta:
        return self.end - self.start

    @property
    def next(self) -> Period:
        """The one of the same length that begins where this one ends."""
        return Period(self.end, moved(self.end, self.length))

    def longer(self, length_s: float) -> Period:
        """The same end, and a start so much earlier."""
        return Period(moved(self.start, -timedelta(seconds=length_s)), self.end)

    def back(self, length: timedelta) -> Period:
        """The same window so much earlier. Raises UsageError before the year 1."""
        return Period(moved(self.start, -length), moved(self.end, -length))


def moved(time: datetime, by: timedelta) -> datetime:
    """A time so much later. Raises UsageError where the calendar of times, the years 1 to 9999, ends."""
    try:
        return time + by
    except OverflowError:
        raise UsageError(
            "a window would reach beyond the years 1 to 9999", hint="ask for fewer or shorter windows, or other times"
        ) from None


def last_closed(now: datetime, length_s: float) -> Period:
    """The newest window that has ended by `now`: [k length, (k + 1) length) since 1970-01-01T00:00Z."""
    length = timedelta(seconds=length_s)
    end = _EPOCH + math.floor((now - _EPOCH) / length) * length
    return Period(moved(end, -length), end)


def between(since: datetime | None, until: datetime | None, now: datetime, length_s: float) -> Period:
    """The window between two given times; one that is not given lies `length_s` away, or now. Raises UsageError."""
    end = until if until is not None else now
    start = since if since is not None else moved(end, -timedelta(seconds=length_s))
    if start >= end:
        raise UsageError(f"the window would start at {start} and end at {end}", hint="give --since before --until")
    return Period(start, end)
