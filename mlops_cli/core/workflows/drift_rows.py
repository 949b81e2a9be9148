"""The rows of a window: of the prediction log, of files, or of a query."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from mlops_cli.core.base.clock import format_brief, format_time, parse_duration, parse_when
from mlops_cli.core.drift.periods import Period, between, last_closed
from mlops_cli.core.drift.records import Bounds
from mlops_cli.core.drift.sources.open import open_rows
from mlops_cli.core.drift.sources.query import open_query
from mlops_cli.core.drift.window import Window
from mlops_cli.core.errors import TooLittleData, UsageError
from mlops_cli.core.workflows.drift_asked import Asked, DriftRequest, shown
from mlops_cli.core.workflows.drift_log import Log

if TYPE_CHECKING:
    from mlops_cli.core.predictions.logged import LoggedRows

RESERVED = ("_request", "_row", "_arrived", "_model", "_version", "_prediction", "_score")  # the log's own columns
MOST_WINDOWS = 7  # how many windows an extension reaches back over where drift.max_window is not set


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows of one check: `inputs` of every version that takes the same columns, `answers` of this version alone
    (None: `inputs` hold them, if any). `period` is None for a file that is checked whole."""

    source: str
    inputs: Window
    answers: Window | None = None
    period: Period | None = None
    log: Log | None = None

    @property
    def is_logged(self) -> bool:
        return self.log is not None

    @property
    def bounds(self) -> Bounds | None:
        if self.period is None:
            return None
        return Bounds(format_time(self.period.start), format_time(self.period.end))


def rows_of(asked: Asked, request: DriftRequest) -> Rows:
    """The rows asked for. Raises TooLittleData if there are none, and as `check_drift`."""
    now = asked.workspace.clock.now()
    since, until = (_time(given, now) for given in (request.since, request.until))
    if request.sql is not None or request.db is not None:
        return _of_period(asked, *_queried(asked, request), since, until)
    if request.current is not None:
        name = shown(asked.workspace, request.current)
        return _of_period(asked, open_rows(request.current, texts=_texts(asked), name=name), name, since, until)
    if since is None and until is None:
        period = last_closed(now, asked.length_s)
        rows = logged_rows(asked, period)
        if not rows.inputs.rows:
            raise _no_rows(asked, rows, period.next, now)
        return rows
    period = between(since, until, now, asked.length_s)
    rows = rows_between(asked, [period])
    if not rows.inputs.rows:
        raise _no_rows(asked, rows, None, now)
    return rows


def logged_rows(asked: Asked, period: Period, log: Log | None = None) -> Rows:
    """The rows of the log in a window, which reaches back by whole windows until it holds drift.min_rows or is
    drift.max_window long. There may be none at all."""
    settings, log = asked.workspace.project.drift, log or Log.of(asked.workspace)
    longest_s = parse_duration(settings.max_window) if settings.max_window else MOST_WINDOWS * asked.length_s
    most = math.floor(longest_s / asked.length_s)

    def reaching(count: int) -> tuple[Period, LoggedRows]:
        reached = period.longer((count - 1) * asked.length_s)
        return reached, log.read(asked, [reached])

    # Twice as far each time, then half-way: a window of seconds may reach back over many thousands.
    short, count = 0, 1
    reached, found = reaching(1)
    while found.rows < settings.min_rows and count < most:
        short, count = count, min(2 * count, most)
        reached, found = reaching(count)
    while found.rows >= settings.min_rows and count - short > 1:
        middle = (short + count) // 2
        fewer = reaching(middle)
        if fewer[1].rows >= settings.min_rows:
            count, (reached, found) = middle, fewer
        else:
            short = middle
    return _of_log(asked, log, reached, found)


def rows_between(asked: Asked, periods: Sequence[Period], log: Log | None = None) -> Rows:
    """The rows of the log in several windows together; `period` is the newest of them. There may be none at all."""
    log = log or Log.of(asked.workspace)
    return _of_log(asked, log, periods[0], log.read(asked, periods[::-1]))


def _of_log(asked: Asked, log: Log, period: Period, found: LoggedRows) -> Rows:
    number = asked.version.version
    keep = {"_prediction", "_score", asked.profile.time or asked.profile.time_missing or ""}
    # What another version takes besides is no new column of the data.
    known = {column.name for column in asked.profile.columns} | set(asked.profile.others)
    inputs = _columns(found, known.difference(RESERVED))
    answers = _columns(found.of_versions([number]), keep)
    return Rows(source=log.place, inputs=inputs, answers=answers, period=period, log=log)


def _columns(found: LoggedRows, names: Collection[str]) -> Window:
    import pyarrow as pa

    schema = pa.schema([field for field in found.schema if field.name in names])
    return Window(schema, found.rows, lambda name: found.read(name, schema.field(name).type))


def _no_rows(asked: Asked, rows: Rows, present: Period | None, now: datetime) -> TooLittleData:
    """Nothing in the window asked for; `present` is the one that is still open, where the last closed one was meant."""
    log, period = rows.log, rows.period
    assert log is not None and period is not None  # noqa: S101, PT018 - rows of the log have both
    nothing = (
        f"no prediction of {asked.version.name} arrived between {format_brief(period.start)} and "
        f"{format_brief(period.end)} in {log.place}"
    )
    elsewhere = "look at another window with --since and --until, or point serve.log at where the server logs"
    if present is None:
        return TooLittleData(nothing, hint=elsewhere)
    waiting = log.read(asked, [present]).rows
    still = f"{nothing}; the present window is open until {format_brief(present.end)}"
    if not waiting:
        return TooLittleData(f"{still} and has no rows yet", hint=elsewhere)
    # A second later than now, so that the rows of this one count.
    until = format_brief(now + timedelta(seconds=1))
    ref = f"{asked.title} " if asked.named else ""
    return TooLittleData(
        f"{still} and has {waiting:,} row{'s' if waiting > 1 else ''} so far",
        hint=f"to look at it now: mlo drift check {ref}--since {format_brief(present.start)} --until {until}",
    )


def _time(given: str | datetime | None, now: datetime) -> datetime | None:
    return given if isinstance(given, datetime) else parse_when(given, now) if given else None


def _texts(asked: Asked) -> list[str]:
    """The columns that are texts, whatever the values of a file look like."""
    columns = (*asked.profile.columns, *asked.profile.answers)
    return [column.name for column in columns if column.kind == "string"]


def _queried(asked: Asked, request: DriftRequest) -> tuple[Window, str]:
    if request.current is not None:
        raise UsageError("--current and --sql are two windows", hint="give one of them")
    if request.sql is None:
        raise UsageError("--db names a database, and no query of it", hint="say which rows with --sql")
    database = shown(asked.workspace, request.db) if request.db is not None else ""
    window = open_query(request.sql, folder=request.folder, database=request.db, name=database)
    return window, f"a query of {database}" if database else "a query"


def _no_clock(asked: Asked) -> str:
    return "model.time is not set in mlo.yaml" if asked.model is not None else "no --time says which column that is"


def _of_period(asked: Asked, window: Window, name: str, since: datetime | None, until: datetime | None) -> Rows:
    """Rows that are not of the log; `since` and `until` choose among them by their own time."""
    period = None
    if since is not None or until is not None:
        time = asked.time
        if time is None or time not in window:
            raise UsageError(
                f"--since and --until choose rows of {name} by their own time, and "
                + (f"it has no column {time}" if time else _no_clock(asked)),
                hint="leave them out to check all rows",
            )
        period = between(since, until, asked.workspace.clock.now(), asked.length_s)
        window = window.between(time, period.start, period.end)
    rows = Rows(source=name, inputs=window, period=period)
    if window.rows == 0:
        when = f" between {rows.bounds.start} and {rows.bounds.end}" if rows.bounds else ""
        raise TooLittleData(f"{name} holds no rows to check{when}", hint="give rows of the window")
    return rows
