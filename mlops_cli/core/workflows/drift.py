"""Check a window of what a version sees against its profile.

The rule stands in core/drift/RULE.md. A check reads the profile and the window only, and the reference's own rows where
segments or all columns together are asked for; the model is never loaded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import timedelta

import msgspec

from mlops_cli.core.drift.family import check_family
from mlops_cli.core.drift.periods import Period, last_closed, moved
from mlops_cli.core.drift.records import DriftAnswer, Verdict
from mlops_cli.core.errors import Exit, TooLittleData
from mlops_cli.core.workflows.drift_asked import Asked, DriftRequest, shown
from mlops_cli.core.workflows.drift_files import compared
from mlops_cli.core.workflows.drift_history import drift_history
from mlops_cli.core.workflows.drift_performance import over_windows, with_performance
from mlops_cli.core.workflows.drift_reference import Reference, choose_reference, named_reference
from mlops_cli.core.workflows.drift_report import DriftReport, refuse_overwriting, write_page
from mlops_cli.core.workflows.drift_rows import Rows, logged_rows, rows_of
from mlops_cli.core.workflows.workspace import Workspace


def check_drift(workspace: Workspace, request: DriftRequest) -> DriftAnswer:
    """Check what a model sees, as DriftRequest says.

    Raises TooLittleData for an empty window, UsageError for rows of another model, WouldOverwrite before anything is
    read, NotFound, ProjectError, RemoteError.
    """
    refuse_overwriting(workspace, request)
    comparison = compared(workspace, request)
    asked = comparison.asked
    rows = rows_of(asked, request)
    reference = comparison.reference or choose_reference(asked, request, rows)
    answer = _answer(asked, rows, reference, request)
    answer = msgspec.structs.replace(answer, notes=comparison.all_notes(answer.notes))
    if rows.is_logged and request.record:
        answer = _record(asked, answer)
    answer = with_performance(workspace, answer, rows)
    if request.html is not None:
        _write_page(asked, request, rows, reference, answer)
    return answer


def _write_page(asked: Asked, request: DriftRequest, rows: Rows, reference: Reference, answer: DriftAnswer) -> None:
    """The page of an answer, with the windows beside the checked one and what labels say of them."""
    assert request.html is not None  # noqa: S101 - the caller has looked
    plain = DriftRequest(reference=request.reference)
    relative = named_reference(asked, request).choice not in ("training", "file")

    def judge(one: Rows) -> DriftAnswer:
        # A reference that lies so long before its window is another one for each.
        return _windowed(asked, one, plain) if relative and rows.is_logged else _answer(asked, one, reference, plain)

    history = drift_history(asked, rows, request, judge)
    write_page(request.html, over_windows(asked.workspace, answer, request, len(history)), history)


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
    answers, log = [], None
    for _ in range(count):
        rows = logged_rows(asked, period, log)
        log = rows.log
        if rows.inputs.rows:
            period = rows.period or period
            answers.append(_windowed(asked, rows, DriftRequest(), record=record))
        else:
            nothing = dataclasses.replace(rows, period=period)
            answers.append(_nothing(asked, nothing, "no prediction arrived in this window"))
        period = Period(moved(period.start, -timedelta(seconds=asked.length_s)), period.start)
    return answers[::-1]


# -- answers -------------------------------------------------------------------------------------------------


_EXITS: Mapping[Verdict, Exit] = {"drift": Exit.WARNED, "quiet": Exit.DONE, "too_little": Exit.TOO_LITTLE}


def _windowed(asked: Asked, rows: Rows, request: DriftRequest, *, record: bool = False) -> DriftAnswer:
    """The answer of one window of several. One whose reference has too few rows (the log's first weeks) says so."""
    try:
        reference = choose_reference(asked, request, rows)
    except TooLittleData as error:
        return _nothing(asked, rows, error.message)
    answer = _answer(asked, rows, reference, request)
    return _record(asked, answer) if record else answer


def _answer(asked: Asked, rows: Rows, reference: Reference, request: DriftRequest) -> DriftAnswer:
    family = check_family(
        reference.profile,
        rows.inputs,
        reference.raw,
        rules=asked.rules,
        answers=rows.answers,
        period=rows.period,
        segments=request.segments,
        multivariate=request.multivariate,
    )
    found = family.result
    return DriftAnswer(
        verdict=found.verdict,
        exit_code=int(_EXITS[found.verdict]),
        model=asked.title,
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
        profile=asked.digest,
        reference=reference.label,
        segments=family.segments,
        multivariate=family.multivariate,
    )


def _nothing(asked: Asked, rows: Rows, why: str) -> DriftAnswer:
    return DriftAnswer(
        verdict="too_little",
        exit_code=int(Exit.TOO_LITTLE),
        model=asked.title,
        source=rows.source,
        window=rows.bounds,
        rows=rows.inputs.rows,
        rows_reference=asked.profile.rows,
        alarms=(),
        answers=(),
        columns=(),
        tests=0,
        level=asked.rules.alpha,
        rules=asked.rules,
        notes=(why,),
        profile=asked.digest,
        reference=named_reference(asked, DriftRequest()).text,
    )


def _record(asked: Asked, answer: DriftAnswer) -> DriftAnswer:
    """Keep the answer in the store and append a `drift` event, unless the last one of this window says the same."""
    workspace = asked.workspace
    report = str(workspace.store.put_bytes(msgspec.json.encode(answer, order="deterministic")))
    data = {
        "verdict": answer.verdict,
        "window": msgspec.to_builtins(answer.window),
        "rows": answer.rows,
        "reference": answer.reference,
        "alarms": list(answer.alarms),
        "profile": answer.profile,
        "report": report,
    }
    for event in reversed(workspace.registry.history(asked.version.name or None)):
        if event.kind == "drift" and event.subject == asked.title and data == {"reference": "training", **event.data}:
            return msgspec.structs.replace(answer, report=report, event=event.seq)
    event = workspace.registry.record("drift", asked.title, data)
    return msgspec.structs.replace(answer, report=report, event=event.seq)
