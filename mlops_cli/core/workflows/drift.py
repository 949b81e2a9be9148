"""Drift: make the profile of a version, and check a window of what it sees against it.

The rule stands in core/drift/RULE.md. A check reads the profile and the window only; the model is never loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlops_cli.core.base.clock import format_brief, format_time, parse_duration, parse_when
from mlops_cli.core.base.records import ResolvedModel
from mlops_cli.core.drift.check import check
from mlops_cli.core.drift.importance import measure_importances
from mlops_cli.core.drift.periods import Period, between, last_closed
from mlops_cli.core.drift.profile import Profile
from mlops_cli.core.drift.profiling import make_profile
from mlops_cli.core.drift.records import Bounds, DriftAnswer, DriftResult, Rules, Verdict
from mlops_cli.core.drift.window import Window
from mlops_cli.core.errors import Exit, ProjectError, TooLittleData, UsageError, WouldOverwrite
from mlops_cli.core.workflows.resolve import bring_digest, resolve_model
from mlops_cli.core.workflows.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

    from mlops_cli.core.models.load import LoadedModel
    from mlops_cli.core.remotes.remote import Remote

MOST_WINDOWS = 7  # how many windows an extension reaches back over where drift.max_window is not set


# -- the profile ---------------------------------------------------------------------------------------------


def build_profile(
    workspace: Workspace,
    loaded: LoadedModel,
    reference: pa.Table,
    evaluate: pa.Table | None = None,
    target: str | None = None,
) -> bytes:
    """The bytes of a version's profile: its inputs over `reference`, its answers over `evaluate`.

    The answers are those on rows the model was not fitted on, if there are any: on its training rows a model is surer
    than it will ever be again. Importances need `evaluate` with its `target`. Raises ProjectError, WrongInputs.
    """
    time = workspace.project.model.time if workspace.project.model else None
    judged = evaluate if evaluate is not None and evaluate.num_rows else None
    rows = reference if judged is None else judged
    profile = make_profile(
        reference,
        inputs=loaded.signature.inputs,
        time=time,
        prediction=loaded.predict(rows),
        predicted=judged,
        task=loaded.signature.task,
        importances=measure_importances(loaded, judged, target) if judged is not None and target else None,
    )
    return profile.to_bytes()


# -- the check -----------------------------------------------------------------------------------------------


def check_drift(
    workspace: Workspace,
    ref: str | None = None,
    *,
    window: str | None = None,
    current: Path | None = None,
    since: str | datetime | None = None,
    until: str | datetime | None = None,
    html: Path | None = None,
    force: bool = False,
    record: bool = True,
) -> DriftAnswer:
    """Check what a model sees: a window of the prediction log, or the rows of the file `current`.

    ref: which version, `<model.name>@production` by default. window: the length of the window (`drift.window`), which
    ends at the last multiple of it before now and reaches further back until it holds `drift.min_rows`; since and until
    set its ends instead, as times or as durations before now; of a file they choose rows by `model.time`. A check of
    the log is recorded as a `drift` event.
    html: where to write a report as well; an existing file is refused, unless `force`, before anything is read.
    Raises TooLittleData for an empty window, UsageError for rows of another model, WouldOverwrite, NotFound,
    ProjectError, RemoteError.
    """
    if html is not None and html.exists() and not force:
        raise WouldOverwrite(f"{_shown(workspace, html)} exists", hint="name another file, or replace it with --force")
    asked = _Asked.of(workspace, ref, window or None)
    now = workspace.clock.now()
    ends = _time(since, now), _time(until, now)
    answer = _of_file(asked, current, *ends) if current is not None else _of_log(asked, *ends, record=record)
    if html is not None:
        _write_report(html, answer)
    return answer


def _time(given: str | datetime | None, now: datetime) -> datetime | None:
    return given if isinstance(given, datetime) else parse_when(given, now) if given else None


def _of_file(asked: _Asked, path: Path, since: datetime | None, until: datetime | None) -> DriftAnswer:
    rows, bounds = _file_rows(asked, path, since, until)
    if rows.rows == 0:
        when = f" between {bounds.start} and {bounds.end}" if bounds else ""
        name = _shown(asked.workspace, path)
        raise TooLittleData(f"{name} holds no rows to check{when}", hint="give a file with rows of the window")
    return _answer(asked, check(asked.profile, rows, rules=asked.rules), _shown(asked.workspace, path), bounds)


def _of_log(asked: _Asked, since: datetime | None, until: datetime | None, *, record: bool) -> DriftAnswer:
    log, now = _Log.of(asked.workspace), asked.workspace.clock.now()
    if since is not None or until is not None:
        period = between(since, until, now, asked.length_s)
        table = log.read(asked, period)
    else:
        period, table = _extended(asked, log, last_closed(now, asked.length_s))
    if table is None:
        present = last_closed(now, asked.length_s).next if since is None and until is None else None
        raise _no_rows(asked, log, period, present, now)
    answer = _check_log(asked, log, period, table)
    return _record(asked, answer) if record else answer


def _no_rows(asked: _Asked, log: _Log, period: Period, present: Period | None, now: datetime) -> TooLittleData:
    """Nothing in the window asked for; `present` is the one that is still open, where the last closed one was meant."""
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


def check_windows(workspace: Workspace, ref: str | None, count: int, *, record: bool = False) -> list[DriftAnswer]:
    """The last `count` closed windows of the prediction log, oldest first; none overlaps another.

    Each reaches back until it holds `drift.min_rows`, and the one before it ends where it starts. A window without any
    row is answered `too_little`, and never recorded. Raises as `check_drift` else.
    """
    asked = _Asked.of(workspace, ref, None)
    log = _Log.of(workspace)
    period = last_closed(workspace.clock.now(), asked.length_s)
    answers = []
    for _ in range(count):
        reached, table = _extended(asked, log, period)
        if table is None:
            reached = period
            answers.append(_nothing(asked, log, period))
        else:
            answer = _check_log(asked, log, reached, table)
            answers.append(_record(asked, answer) if record else answer)
        period = Period(reached.start - timedelta(seconds=asked.length_s), reached.start)
    return answers[::-1]


class _Asked(msgspec.Struct, frozen=True):
    """What a check is about: the version, its profile, and the settings in force."""

    workspace: Workspace
    model: ResolvedModel
    profile: Profile
    rules: Rules
    length_s: float
    named: bool  # whether the version was asked for by name

    @classmethod
    def of(cls, workspace: Workspace, ref: str | None, window: str | None) -> _Asked:
        project, settings = workspace.project, workspace.project.drift
        if ref is None and project.model is None:
            raise UsageError(
                "mlo.yaml has no model section, so there is no model to check", hint="say which: mlo drift check NAME@3"
            )
        resolved = resolve_model(workspace, ref or f"{project.model.name}@production")  # type: ignore[union-attr]
        if resolved.profile is None:
            raise ProjectError(
                f"{resolved.title} has no drift profile: model.reference was not set when it was registered",
                hint="set model: {reference: <training rows>} in mlo.yaml, then mlo run and mlo register",
            )
        data = bring_digest(workspace, resolved.profile, what=f"the drift profile of {resolved.title}")
        rules = Rules(alpha=settings.alpha, floor=settings.floor, detect=settings.detect)
        length_s = parse_duration(window or settings.window)
        return cls(workspace, resolved, Profile.from_bytes(data), rules, length_s, ref is not None)


# -- rows ----------------------------------------------------------------------------------------------------


class _Log(msgspec.Struct, frozen=True):
    """The prediction log of a project, and how to name it."""

    source: Any  # Path | Remote
    place: str

    @classmethod
    def of(cls, workspace: Workspace) -> _Log:
        from mlops_cli.core.predictions.open import open_log

        source: Path | Remote | None = open_log(workspace.project, workspace.paths)
        if source is None:
            raise ProjectError(
                "serve.log is false: predictions are not logged, so there is no window to check",
                hint="set serve: {log: true} in mlo.yaml, or give rows with --current FILE",
            )
        if isinstance(source, Path):
            return cls(source, _shown(workspace, source))
        return cls(source, f"remote {source.name} ({source.url})")

    def read(self, asked: _Asked, period: Period) -> pa.Table | None:
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


def _alike(asked: _Asked, versions: pa.ChunkedArray) -> pa.ChunkedArray:
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


def _extended(asked: _Asked, log: _Log, period: Period) -> tuple[Period, pa.Table | None]:
    """The window, reaching back by whole windows until it holds drift.min_rows or is drift.max_window long."""
    settings = asked.workspace.project.drift
    longest_s = parse_duration(settings.max_window) if settings.max_window else MOST_WINDOWS * asked.length_s
    table = log.read(asked, period)
    while (table is None or table.num_rows < settings.min_rows) and (
        period.length.total_seconds() + asked.length_s <= longest_s
    ):
        period = period.longer(asked.length_s)
        table = log.read(asked, period)
    return period, table


def _file_rows(
    asked: _Asked, path: Path, since: datetime | None, until: datetime | None
) -> tuple[Window, Bounds | None]:
    texts = tuple(column.name for column in asked.profile.columns if column.kind == "string")
    rows = Window.of_file(path, texts=texts, name=_shown(asked.workspace, path))
    if since is None and until is None:
        return rows, None
    time = asked.workspace.project.model.time if asked.workspace.project.model else None
    if time is None or time not in rows:
        raise UsageError(
            f"--since and --until choose rows of {_shown(asked.workspace, path)} by their own time, and "
            + (f"it has no column {time}" if time else "model.time is not set in mlo.yaml"),
            hint="leave them out to check the whole file",
        )
    period = between(since, until, asked.workspace.clock.now(), asked.length_s)
    return rows.between(time, period.start, period.end), Bounds(format_time(period.start), format_time(period.end))


# -- answers -------------------------------------------------------------------------------------------------


def _check_log(asked: _Asked, log: _Log, period: Period, table: pa.Table) -> DriftAnswer:
    """The inputs of all versions alike, the predictions of this version alone."""
    import pyarrow.compute as pc

    from mlops_cli.core.predictions.segment import RESERVED

    number = asked.model.version
    own = pc.is_null(table["_version"]) if number is None else pc.equal(table["_version"], number)
    keep = ["_prediction", "_score", asked.profile.time or asked.profile.time_missing or ""]
    answers = table.filter(own).select([name for name in keep if name in table.column_names])
    # What another version takes besides is no new column of the data.
    known = {column.name for column in asked.profile.columns} | set(asked.profile.others)
    inputs = table.select([name for name in table.column_names if name in known and name not in RESERVED])
    found = check(asked.profile, inputs, rules=asked.rules, answers=answers)
    return _answer(asked, found, log.place, Bounds(format_time(period.start), format_time(period.end)))


_EXITS: Mapping[Verdict, Exit] = {"drift": Exit.WARNED, "quiet": Exit.DONE, "too_little": Exit.TOO_LITTLE}


def _answer(asked: _Asked, found: DriftResult, source: str, window: Bounds | None) -> DriftAnswer:
    return DriftAnswer(
        verdict=found.verdict,
        exit_code=int(_EXITS[found.verdict]),
        model=asked.model.title,
        source=source,
        window=window,
        rows=found.rows,
        rows_reference=found.rows_reference,
        alarms=found.alarms,
        answers=found.answers,
        columns=found.columns,
        tests=found.tests,
        level=found.level,
        rules=found.rules,
        notes=found.notes,
        profile=asked.model.profile or "",
    )


def _nothing(asked: _Asked, log: _Log, period: Period) -> DriftAnswer:
    return DriftAnswer(
        verdict="too_little",
        exit_code=int(Exit.TOO_LITTLE),
        model=asked.model.title,
        source=log.place,
        window=Bounds(format_time(period.start), format_time(period.end)),
        rows=0,
        rows_reference=asked.profile.rows,
        alarms=(),
        answers=(),
        columns=(),
        tests=0,
        level=asked.rules.alpha,
        rules=asked.rules,
        notes=("no prediction arrived in this window",),
        profile=asked.model.profile or "",
    )


def _record(asked: _Asked, answer: DriftAnswer) -> DriftAnswer:
    """Keep the answer in the store and append a `drift` event, unless the last one of this window says the same."""
    workspace = asked.workspace
    report = str(workspace.store.put_bytes(msgspec.json.encode(answer, order="deterministic")))
    data = {
        "verdict": answer.verdict,
        "window": msgspec.to_builtins(answer.window),
        "rows": answer.rows,
        "alarms": list(answer.alarms),
        "profile": answer.profile,
        "report": report,
    }
    for event in reversed(workspace.registry.history(asked.model.name or None)):
        if event.kind == "drift" and event.subject == asked.model.title and event.data == data:
            return msgspec.structs.replace(answer, report=report, event=event.seq)
    event = workspace.registry.record("drift", asked.model.title, data)
    return msgspec.structs.replace(answer, report=report, event=event.seq)


# -- the report ----------------------------------------------------------------------------------------------


class DriftReport(msgspec.Struct, frozen=True):
    """Where a report was written, and the answer it shows."""

    path: str
    answer: DriftAnswer


def report_drift(workspace: Workspace, ref: str | None, out: Path, **asked: Any) -> DriftReport:
    """Check as `check_drift`, which takes the other arguments, write the report to `out`, and record nothing."""
    return DriftReport(_shown(workspace, out), check_drift(workspace, ref, html=out, record=False, **asked))


def _shown(workspace: Workspace, path: Path) -> str:
    """A path for people: relative to the project where it lies inside."""
    return path.relative_to(workspace.root).as_posix() if path.is_relative_to(workspace.root) else str(path)


def _write_report(out: Path, answer: DriftAnswer) -> None:
    from mlops_cli.core.base.files import write_atomic
    from mlops_cli.core.drift.report import drift_report
    from mlops_cli.core.reports.html import render

    write_atomic(out, render(drift_report(answer)))
