"""Check a window of what a version sees against its profile.

The rule stands in core/drift/RULE.md. A check reads the profile and the window only; the model is never loaded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import timedelta

import msgspec

from mlops_cli.core.drift.check import check
from mlops_cli.core.drift.periods import Period, last_closed
from mlops_cli.core.drift.records import DriftAnswer, Verdict
from mlops_cli.core.errors import Exit
from mlops_cli.core.workflows.drift_asked import Asked, DriftRequest, shown
from mlops_cli.core.workflows.drift_report import DriftReport, refuse_overwriting, write_page
from mlops_cli.core.workflows.drift_rows import Rows, logged_rows, rows_of
from mlops_cli.core.workflows.workspace import Workspace


def check_drift(workspace: Workspace, request: DriftRequest) -> DriftAnswer:
    """Check what a model sees, as DriftRequest says.

    Raises TooLittleData for an empty window, UsageError for rows of another model, WouldOverwrite before anything is
    read, NotFound, ProjectError, RemoteError.
    """
    refuse_overwriting(workspace, request)
    asked = Asked.of(workspace, request.ref, request.window)
    rows = rows_of(asked, request)
    answer = _answer(asked, rows)
    if rows.is_logged and request.record:
        answer = _record(asked, answer)
    if request.html is not None:
        write_page(request.html, answer)
    return answer


def report_drift(workspace: Workspace, request: DriftRequest) -> DriftReport:
    """Check as `check_drift`, write the report to `request.html`, and record nothing."""
    answer = check_drift(workspace, msgspec.structs.replace(request, record=False))
    assert request.html is not None  # noqa: S101 - the command has a default
    return DriftReport(shown(workspace, request.html), answer)


def check_windows(workspace: Workspace, ref: str | None, count: int, *, record: bool = False) -> list[DriftAnswer]:
    """The last `count` closed windows of the prediction log, oldest first; none overlaps another.

    Each reaches back until it holds `drift.min_rows`, and the one before it ends where it starts. A window without any
    row is answered `too_little`, and never recorded. Raises as `check_drift` else.
    """
    asked = Asked.of(workspace, ref, None)
    period = last_closed(workspace.clock.now(), asked.length_s)
    answers = []
    for _ in range(count):
        rows = logged_rows(asked, period)
        if rows.inputs.rows:
            answer, period = _answer(asked, rows), rows.period or period
            answers.append(_record(asked, answer) if record else answer)
        else:
            answers.append(_nothing(asked, dataclasses.replace(rows, period=period)))
        period = Period(period.start - timedelta(seconds=asked.length_s), period.start)
    return answers[::-1]


# -- answers -------------------------------------------------------------------------------------------------


_EXITS: Mapping[Verdict, Exit] = {"drift": Exit.WARNED, "quiet": Exit.DONE, "too_little": Exit.TOO_LITTLE}


def _answer(asked: Asked, rows: Rows) -> DriftAnswer:
    found = check(asked.profile, rows.inputs, rules=asked.rules, answers=rows.answers)
    return DriftAnswer(
        verdict=found.verdict,
        exit_code=int(_EXITS[found.verdict]),
        model=asked.model.title,
        source=rows.source,
        window=rows.bounds,
        rows=found.rows,
        rows_reference=found.rows_reference,
        alarms=found.alarms,
        schema=found.schema,
        answers=found.answers,
        columns=found.columns,
        tests=found.tests,
        level=found.level,
        rules=found.rules,
        notes=found.notes,
        profile=asked.model.profile or "",
    )


def _nothing(asked: Asked, rows: Rows) -> DriftAnswer:
    return DriftAnswer(
        verdict="too_little",
        exit_code=int(Exit.TOO_LITTLE),
        model=asked.model.title,
        source=rows.source,
        window=rows.bounds,
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


def _record(asked: Asked, answer: DriftAnswer) -> DriftAnswer:
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
