"""The rows of a window: of the prediction log, or of a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlops_cli.core.base.clock import format_brief, format_time, parse_duration, parse_when
from mlops_cli.core.drift.periods import Period, between, last_closed
from mlops_cli.core.drift.records import Bounds
from mlops_cli.core.drift.sources.open import open_rows
from mlops_cli.core.drift.window import Window
from mlops_cli.core.errors import ProjectError, TooLittleData, UsageError
from mlops_cli.core.workflows.drift_asked import Asked, DriftRequest, shown
from mlops_cli.core.workflows.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

    from mlops_cli.core.remotes.remote import Remote

MOST_WINDOWS = 7  # how many windows an extension reaches back over where drift.max_window is not set


class Log(msgspec.Struct, frozen=True):
    """The prediction log of a project, and how to name it."""

    source: Any  # Path | Remote
    place: str

    @classmethod
    def of(cls, workspace: Workspace) -> Log:
        from mlops_cli.core.predictions.open import open_log

        source: Path | Remote | None = open_log(workspace.project, workspace.paths)
        if source is None:
            raise ProjectError(
                "serve.log is false: predictions are not logged, so there is no window to check",
                hint="set serve: {log: true} in mlo.yaml, or give rows with --current FILE",
            )
        if isinstance(source, Path):
            return cls(source, shown(workspace, source))
        return cls(source, f"remote {source.name} ({source.url})")

    def read(self, asked: Asked, period: Period) -> pa.Table | None:
        """The window's rows of this model, of versions that take the same columns; None if there are none."""
        import pyarrow as pa
        import pyarrow.compute as pc

        from mlops_cli.core.predictions.reader import LogReport, read_log

        report = LogReport()
        kept = []
        for table in read_log(self.source, since=period.start, until=period.end, report=report):
            named = table.filter(pc.equal(table["_model"], asked.model.name))
            kept.append(named.filter(_alike(asked, named["_version"])))
        for name, reason in sorted(report.torn.items()):
            asked.workspace.progress.note(f"skipped {name} of the prediction log: {reason}")
        rows = pa.concat_tables(kept) if kept else None
        return rows if rows is not None and rows.num_rows else None


def _alike(asked: Asked, versions: pa.ChunkedArray) -> pa.ChunkedArray:
    """Which rows come from the model itself, or from a version with the same inputs."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = {column.name: column.kind for column in asked.profile.columns}
    registry = asked.workspace.registry
    numbers = [
        version.version
        for version in registry.versions(asked.model.name)
        if wanted.items() <= {column.name: column.kind for column in version.signature.inputs}.items()
    ]
    same = pc.is_in(versions, value_set=pa.array(numbers, pa.int64()))
    return pc.or_(same, pc.is_null(versions)) if asked.model.version is None else same


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows of one check: `inputs` of every version that takes the same columns, `answers` of this version alone
    (None: `inputs` hold them, if any). `period` is None for a file that is checked whole."""

    source: str
    inputs: Window
    answers: Window | None = None
    period: Period | None = None
    is_logged: bool = False

    @property
    def bounds(self) -> Bounds | None:
        if self.period is None:
            return None
        return Bounds(format_time(self.period.start), format_time(self.period.end))


def rows_of(asked: Asked, request: DriftRequest) -> Rows:
    """The rows asked for. Raises TooLittleData if there are none, and as `check_drift`."""
    now = asked.workspace.clock.now()
    since, until = (_time(given, now) for given in (request.since, request.until))
    if request.current is not None:
        return _file_rows(asked, request.current, since, until)
    if since is None and until is None:
        period = last_closed(now, asked.length_s)
        rows = logged_rows(asked, period)
        if not rows.inputs.rows:
            assert rows.period is not None  # noqa: S101 - rows of the log have one
            raise _no_rows(asked, rows.period, period.next, now)
        return rows
    period = between(since, until, now, asked.length_s)
    log = Log.of(asked.workspace)
    table = log.read(asked, period)
    if table is None:
        raise _no_rows(asked, period, None, now)
    return _of_log(asked, log, period, table)


def logged_rows(asked: Asked, period: Period) -> Rows:
    """The rows of the log in a window, which reaches back by whole windows until it holds drift.min_rows or is
    drift.max_window long. There may be none at all."""
    settings, log = asked.workspace.project.drift, Log.of(asked.workspace)
    longest_s = parse_duration(settings.max_window) if settings.max_window else MOST_WINDOWS * asked.length_s
    reached, table = period, log.read(asked, period)
    while (table is None or table.num_rows < settings.min_rows) and (
        reached.length.total_seconds() + asked.length_s <= longest_s
    ):
        reached = reached.longer(asked.length_s)
        table = log.read(asked, reached)
    return _of_log(asked, log, reached, table)


def rows_between(asked: Asked, periods: Sequence[Period]) -> Rows:
    """The rows of the log in several windows together; `period` is the newest of them. There may be none at all."""
    import pyarrow as pa

    log = Log.of(asked.workspace)
    tables = [table for period in reversed(periods) if (table := log.read(asked, period)) is not None]
    return _of_log(asked, log, periods[0], pa.concat_tables(tables, promote_options="permissive") if tables else None)


def _of_log(asked: Asked, log: Log, period: Period, table: pa.Table | None) -> Rows:
    import pyarrow as pa
    import pyarrow.compute as pc

    from mlops_cli.core.predictions.segment import RESERVED

    if table is None:
        return Rows(source=log.place, inputs=Window.of_table(pa.table({})), period=period, is_logged=True)
    number = asked.model.version
    own = pc.is_null(table["_version"]) if number is None else pc.equal(table["_version"], number)
    keep = ["_prediction", "_score", asked.profile.time or asked.profile.time_missing or ""]
    answers = table.filter(own).select([name for name in keep if name in table.column_names])
    # What another version takes besides is no new column of the data.
    known = {column.name for column in asked.profile.columns} | set(asked.profile.others)
    inputs = table.select([name for name in table.column_names if name in known and name not in RESERVED])
    windows = {"inputs": Window.of_table(inputs), "answers": Window.of_table(answers)}
    return Rows(source=log.place, period=period, is_logged=True, **windows)


def _no_rows(asked: Asked, period: Period, present: Period | None, now: datetime) -> TooLittleData:
    """Nothing in the window asked for; `present` is the one that is still open, where the last closed one was meant."""
    log = Log.of(asked.workspace)
    nothing = (
        f"no prediction of {asked.model.name} arrived between {format_brief(period.start)} and "
        f"{format_brief(period.end)} in {log.place}"
    )
    elsewhere = "look at another window with --since and --until, or point serve.log at where the server logs"
    if present is None:
        return TooLittleData(nothing, hint=elsewhere)
    table = log.read(asked, present)
    still = f"{nothing}; the present window is open until {format_brief(present.end)}"
    if table is None:
        return TooLittleData(f"{still} and has no rows yet", hint=elsewhere)
    # A second later than now, so that the rows of this one count.
    until = format_brief(now + timedelta(seconds=1))
    ref = f"{asked.model.title} " if asked.named else ""
    return TooLittleData(
        f"{still} and has {table.num_rows:,} row{'s' if table.num_rows > 1 else ''} so far",
        hint=f"to look at it now: mlo drift check {ref}--since {format_brief(present.start)} --until {until}",
    )


def _time(given: str | datetime | None, now: datetime) -> datetime | None:
    return given if isinstance(given, datetime) else parse_when(given, now) if given else None


def _file_rows(asked: Asked, path: Path, since: datetime | None, until: datetime | None) -> Rows:
    texts = tuple(column.name for column in asked.profile.columns if column.kind == "string")
    name = shown(asked.workspace, path)
    window, period = open_rows(path, texts=texts, name=name), None
    if since is not None or until is not None:
        time = asked.workspace.project.model.time if asked.workspace.project.model else None
        if time is None or time not in window:
            raise UsageError(
                f"--since and --until choose rows of {name} by their own time, and "
                + (f"it has no column {time}" if time else "model.time is not set in mlo.yaml"),
                hint="leave them out to check the whole file",
            )
        period = between(since, until, asked.workspace.clock.now(), asked.length_s)
        window = window.between(time, period.start, period.end)
    rows = Rows(source=name, inputs=window, period=period)
    if window.rows == 0:
        when = f" between {rows.bounds.start} and {rows.bounds.end}" if rows.bounds else ""
        raise TooLittleData(f"{name} holds no rows to check{when}", hint="give a file with rows of the window")
    return rows
