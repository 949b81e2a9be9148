"""What a window is compared with: the words for it, and the windows of time that they mean."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from mlops_cli.core.base.clock import parse_when
from mlops_cli.core.drift.periods import Period, between, moved
from mlops_cli.core.errors import UsageError

Choice = Literal["training", "file", "window", "weekday", "season"]

WEEK = timedelta(days=7)
YEAR = timedelta(days=365)
WEEKS, YEARS = 4, 1  # how many are looked at where no number is given

_WINDOW = re.compile(r"(?P<since>[0-9][^/\\]*?)\.\.(?P<until>[0-9][^/\\]*)")
_MEANT = re.compile(r"(weekday|season)(:.*)?")
_COUNTED = re.compile(r"(?P<choice>weekday|season)(?::(?P<count>[1-9][0-9]?))?")


@dataclass(frozen=True, slots=True)
class Named:
    """A reference as it was asked for, in `text`. `count` weeks or years; `since` and `until` of a window."""

    choice: Choice
    text: str
    count: int = 0
    since: str = ""
    until: str = ""

    @classmethod
    def parse(cls, text: str) -> Named:
        """`training`, `weekday`, `weekday:4`, `season:1`, `2013-04-01..2013-05-01`; anything else is a file.

        Raises UsageError for a number of weeks or years that is none from 1 to 99.
        """
        if text == "training":
            return cls("training", text)
        if counted := _COUNTED.fullmatch(text):
            weekday = counted["choice"] == "weekday"
            count = int(counted["count"] or (WEEKS if weekday else YEARS))
            return cls("weekday" if weekday else "season", text, count)
        if meant := _MEANT.fullmatch(text):
            raise UsageError(
                f"the reference {text} names no number of {'weeks' if meant[1] == 'weekday' else 'years'} from 1 to 99",
                hint=f"write {meant[1]}:{WEEKS if meant[1] == 'weekday' else YEARS}; a file of that name as ./{text}",
            )
        if window := _WINDOW.fullmatch(text):
            return cls("window", text, since=window["since"], until=window["until"])
        return cls("file", text)

    def periods(self, window: Period, now: datetime) -> tuple[Period, ...]:
        """The windows to read, the newest first; none of them overlaps `window`. Raises UsageError."""
        if self.choice == "weekday":
            return same_weekday(window, self.count)
        if self.choice == "season":
            return same_season(window, self.count)
        chosen = between(parse_when(self.since, now), parse_when(self.until, now), now, 0)
        if chosen.start < window.end and window.start < chosen.end:
            raise UsageError(
                f"the reference {self.text} overlaps with the window to be checked, {window.start:%Y-%m-%d %H:%M} to "
                f"{window.end:%Y-%m-%d %H:%M}",
                hint="rows cannot be compared with themselves: let the reference end before the window starts",
            )
        return (chosen,)


def same_weekday(window: Period, weeks: int) -> tuple[Period, ...]:
    """The same place in each of the weeks before; windows over a week go back by as many weeks as they cover."""
    step = math.ceil(window.length / WEEK) * WEEK
    return tuple(window.back(k * step) for k in range(1, weeks + 1))


def same_season(window: Period, years: int) -> tuple[Period, ...]:
    """From the same day of each of the years before, as long as the window. Raises UsageError over a year."""
    if window.length > YEAR:
        raise UsageError(
            "a window of more than a year has no season", hint="give a shorter --window, or another --reference"
        )
    starts = [_years_before(window.start, k) for k in range(1, years + 1)]
    return tuple(Period(start, moved(start, window.length)) for start in starts)


def _years_before(time: datetime, years: int) -> datetime:
    if time.year <= years:
        raise UsageError(f"{years} years before {time:%Y-%m-%d} is before the year 1", hint="look at fewer years")
    try:
        return time.replace(year=time.year - years)
    except ValueError:  # 29 February
        return time.replace(year=time.year - years, day=28)
