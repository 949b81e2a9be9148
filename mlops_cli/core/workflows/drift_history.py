"""Windows beside the checked one, for the report: the cost of a report is theirs, as each is a check of its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from mlops_cli.core.drift.periods import Period, last_closed, moved
from mlops_cli.core.drift.records import DriftAnswer
from mlops_cli.core.errors import UsageError
from mlops_cli.core.workflows.drift_asked import Asked, DriftRequest
from mlops_cli.core.workflows.drift_rows import Rows, logged_rows, rows_between

WINDOWS = 8
_LATEST = datetime.max.replace(tzinfo=UTC)

Judge = Callable[[Rows], DriftAnswer]


def drift_history(asked: Asked, rows: Rows, request: DriftRequest, judge: Judge) -> tuple[DriftAnswer, ...]:
    """The checks of up to `request.windows` windows, oldest first; nothing is recorded.

    Rows of the log: the windows before the checked one, each as `mlo drift check` would have seen it, as far back as
    there are rows; if --since and --until span several windows, those. Rows of a file: its windows by `model.time`.
    """
    count = WINDOWS if request.windows is None else request.windows
    if count < 1:
        return ()
    if rows.log is None:
        found = _of_file(asked, rows, count)
    elif rows.period is not None and rows.period.length >= timedelta(seconds=2 * asked.length_s) and _spans(request):
        found = [rows_between(asked, [period], rows.log) for period in _cut(rows.period, asked.length_s, count)]
    else:
        found = _before(asked, rows, count)
    return tuple(judge(one) for one in found if one.inputs.rows)


def _spans(request: DriftRequest) -> bool:
    return request.since is not None or request.until is not None


def _before(asked: Asked, rows: Rows, count: int) -> list[Rows]:
    """Each window reaches back until it holds drift.min_rows; two without any row end the search, as a log that begins
    somewhere has nothing before that."""
    found: list[Rows] = []
    length, empty = timedelta(seconds=asked.length_s), 0
    assert rows.period is not None  # noqa: S101 - rows of the log have one
    start = rows.period.start
    while len(found) < count and empty < 2:
        one = logged_rows(asked, Period(moved(start, -length), start), rows.log)
        empty = 0 if one.inputs.rows else empty + 1
        if one.inputs.rows:
            found.append(one)
        start = one.period.start if one.period is not None and one.inputs.rows else moved(start, -length)
    return found[::-1]


def _of_file(asked: Asked, rows: Rows, count: int) -> list[Rows]:
    name = asked.profile.time
    if name is None or name not in rows.inputs:
        return []
    ends = _ends(rows.inputs.read(name))
    if ends is None:
        return []
    try:
        whole = Period(ends[0], moved(ends[1], timedelta(microseconds=1)))
        periods = _cut(whole, asked.length_s, count)
    except UsageError:
        return []  # times at the ends of the calendar are no windows to look at one by one
    if len(periods) < 2:
        return []  # the rows are one window, which the page shows anyway
    return [
        Rows(source=rows.source, inputs=rows.inputs.between(name, period.start, period.end), period=period)
        for period in periods
    ]


def _ends(times: Any) -> tuple[datetime, datetime] | None:
    """The first and the last time of a column; None where it holds none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        found = pc.min_max(times.cast(pa.timestamp("us", tz="UTC"), safe=False)).as_py()
    except (pa.ArrowException, OverflowError, ValueError):  # no times, or some beyond the years 1 to 9999
        return None
    if found["min"] is None:
        return None
    first, last = (found[end].astimezone(UTC) for end in ("min", "max"))
    return first, last


def _cut(whole: Period, length_s: float, count: int) -> list[Period]:
    """The last `count` aligned windows that touch `whole`, oldest first."""
    newest = last_closed(whole.end - timedelta(microseconds=1), length_s)
    if newest.end < whole.end and newest.end <= _LATEST - newest.length:  # no window ends after the year 9999
        newest = newest.next
    length, periods = timedelta(seconds=length_s), [newest]
    while len(periods) < count and periods[-1].start > whole.start:
        periods.append(Period(moved(periods[-1].start, -length), periods[-1].start))
    return periods[::-1]
