"""Time: one clock for all of mlo, always UTC. `MLO_NOW` sets it, for tests and replays.

`MLO_NOW=2013-05-01T06:00:00Z` fixes it; `MLO_NOW=@clock` reads that from the file `clock` whenever the time is asked,
so that a replay can move the clock of a server that runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from mlops_cli.core.errors import UsageError

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
SHORTEST_S, LONGEST_S = 0.001, 36_500 * 86_400.0  # beyond these, a datetime and a duration do not add up any more
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)\s*")


class Clock(Protocol):
    def now(self) -> datetime:
        """The time, in UTC."""
        ...


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class FixedClock:
    """Always the same time; `advance` moves it by hand."""

    def __init__(self, at: datetime) -> None:
        self._at = at.astimezone(UTC)

    def now(self) -> datetime:
        return self._at

    def advance(self, seconds: float) -> None:
        self._at += timedelta(seconds=seconds)


class FileClock:
    """The time that stands in a file. The path is made absolute at once, whatever folder mlo changes to later."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()

    def now(self) -> datetime:
        try:
            text = self._path.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise UsageError(
                f"MLO_NOW names the file {self._path}, which does not read: {error.strerror}",
                hint="write a time into it, as 2013-05-01T12:00:00Z, or unset MLO_NOW",
            ) from None
        return parse_time(text)


def clock_from(environ: Mapping[str, str]) -> Clock:
    """The system's clock, or another one where MLO_NOW is set."""
    text = environ.get("MLO_NOW")
    if text and text.startswith("@"):
        return FileClock(Path(text[1:]))
    return FixedClock(parse_time(text)) if text else SystemClock()


def parse_time(text: str) -> datetime:
    """ISO 8601 to UTC; a time without an offset is UTC. Raises UsageError."""
    try:
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):  # an offset can lead out of the calendar at its ends
        raise UsageError(f"{text!r} is not a time", hint="write it as 2013-05-01T12:00:00Z") from None


def format_time(time: datetime) -> str:
    """`2013-05-01T12:00:00.000000Z`: fixed width, so text order is time order."""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def format_brief(time: datetime) -> str:
    """`2013-05-01T12:00Z`: for people, in commands that they may paste; seconds only where there are any."""
    utc = time.astimezone(UTC).replace(tzinfo=None, microsecond=0)
    return utc.isoformat(timespec="seconds" if utc.second else "minutes") + "Z"


def parse_when(text: str, now: datetime) -> datetime:
    """A time as `parse_time` reads it, or a duration, which means that long before `now`. Raises UsageError."""
    if _DURATION.fullmatch(text):
        return now - timedelta(seconds=parse_duration(text))
    try:
        return parse_time(text)
    except UsageError:
        raise UsageError(
            f"{text!r} is not a time", hint="write it as 2013-05-01T12:00:00Z, or as 2h for two hours ago"
        ) from None


def parse_duration(text: str) -> float:
    """`24h`, `30m`, `7d`, `500ms` to seconds: a millisecond to a century. Raises UsageError."""
    match = _DURATION.fullmatch(text)
    seconds = float(match[1]) * _UNITS_S[match[2]] if match else 0.0
    if not seconds:
        raise UsageError(f"{text!r} is not a duration", hint="write a number and one of ms s m h d w, as in 24h")
    if not SHORTEST_S <= seconds <= LONGEST_S:
        raise UsageError(f"{text!r} is not a duration that mlo takes", hint="write one from 1ms to 100 years (36500d)")
    return seconds
