"""`mlo drift performance`: how well a version did in the last windows, beside what it was registered with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from mlops_cli.core.base.clock import format_time, parse_duration
from mlops_cli.core.base.records import ModelRef
from mlops_cli.core.drift.detectors.open import open_detector
from mlops_cli.core.drift.performance.calibration import CalibrationMap, calibrate
from mlops_cli.core.drift.performance.estimates import CAVEAT, estimate_classes, estimate_performance
from mlops_cli.core.drift.performance.evaluation import Evaluated
from mlops_cli.core.drift.performance.metrics import METRICS, Outcomes, effective_rows, measure
from mlops_cli.core.drift.performance.records import (
    Estimate,
    PerformanceAnswer,
    PerformanceVerdict,
    PerformanceWindow,
)
from mlops_cli.core.drift.performance.verdict import FEWEST, Watched, changes, judged
from mlops_cli.core.drift.periods import Period, last_closed
from mlops_cli.core.drift.profile import Profile
from mlops_cli.core.errors import Exit, TooLittleData, UsageError
from mlops_cli.core.predictions.label_taker import LabelTaker
from mlops_cli.core.predictions.labels import read_labels
from mlops_cli.core.registry.records import Version
from mlops_cli.core.workflows.drift_asked import shown
from mlops_cli.core.workflows.drift_log import Log
from mlops_cli.core.workflows.feedback import Feedback, label_taker, labels_of, read_table
from mlops_cli.core.workflows.performance_rows import (
    PREDICTION,
    SCORE,
    Answered,
    answered,
    class_places,
    logged,
    scores_of,
)
from mlops_cli.core.workflows.resolve import bring_digest, resolve_model
from mlops_cli.core.workflows.workspace import Workspace

WINDOWS, MOST_WINDOWS = 7, 1000
_EXITS: Mapping[PerformanceVerdict, Exit] = {
    "breach": Exit.WARNED,
    "quiet": Exit.DONE,
    "too_little": Exit.TOO_LITTLE,
}
Guess = Callable[[Answered, Any], dict[str, Estimate]]  # of the rows (n,) chosen, without their labels


class PerformanceRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of `mlo drift performance`: the last `windows` closed windows of version `ref`, each `window` long.

    labels: a file of labels by request, used beside those recorded, or of rows with `_prediction` or `_score` and
    the target, which are then judged alone. metric: what decides; retrain.metric by default, where the rows have it.
    estimate: guess the losses of a regression without labels as well. detector: which watches the losses.
    """

    ref: str | None = None
    window: str | None = None
    windows: int = WINDOWS
    labels: Path | None = None
    metric: str | None = None
    estimate: bool = False
    detector: str | None = None
    record: bool = True


def performance_request(typed: Mapping[str, Any], folder: Path) -> PerformanceRequest:
    """From the options of `mlo drift performance` by their names; the file is relative to `folder`."""
    known: dict[str, Any] = {name: typed[name] for name in PerformanceRequest.__struct_fields__ if typed.get(name)}
    if "labels" in known:
        known["labels"] = folder / known["labels"]
    return PerformanceRequest(**known)


def check_performance(workspace: Workspace, request: PerformanceRequest) -> PerformanceAnswer:
    """Judge a version on labelled rows, as PerformanceRequest says; a check of the log is recorded as an event.

    Raises UsageError (no registered version, a metric or detector that there is not), TooLittleData for windows
    without rows, NotFound, ProjectError, RemoteError.
    """
    _check_names(request)
    subject = Subject.of(workspace, request.ref)
    table = None if request.labels is None else read_table(request.labels, shown(workspace, request.labels))
    if table is not None and {PREDICTION, SCORE} & set(table.column_names):
        rows = _scored(subject, table, shown(workspace, request.labels))  # type: ignore[arg-type]
        return subject.answer(rows, (None,), request, source=shown(workspace, request.labels))  # type: ignore[arg-type]
    periods = _periods(workspace, request)
    source = Log.of(workspace)
    labels = _labels(workspace, source, periods[0])
    if table is not None:
        name = shown(workspace, request.labels)  # type: ignore[arg-type]
        given, _ = labels_of(table, label_taker(workspace), Feedback(), name)
        labels |= {label.place: label.label for label in given}
    span = Period(periods[0].start, periods[-1].end)
    inputs = [column.name for column in subject.version.signature.inputs] if request.estimate else []
    rows_found = logged(workspace, subject.version, span, labels, inputs)
    if rows_found is None:
        raise TooLittleData(
            f"no prediction of {subject.version.title} arrived between {format_time(span.start)} and "
            f"{format_time(span.end)} in {source.place}",
            hint="ask for longer or more windows with --window and --windows, or give rows with --labels FILE",
        )
    answer = subject.answer(rows_found, periods, request, source=source.place, unknown=len(labels) - rows_found.joined)
    return _recorded(workspace, answer) if request.record else answer


def performance_of(workspace: Workspace, model: str, period: Period) -> PerformanceAnswer | None:
    """The performance in one window of the log; None without labels, rows or a registered version."""
    log = Log.of(workspace)
    if ModelRef.parse(model).version is None:
        return None
    subject = Subject.of(workspace, model)
    labels = _labels(workspace, log, period)
    rows = logged(workspace, subject.version, period, labels, ())
    if rows is None or not rows.labelled.any():
        return None
    request = PerformanceRequest(ref=model, record=False)
    return subject.answer(rows, (period,), request, source=log.place)


def _check_names(request: PerformanceRequest) -> None:
    """Before any row is read. Raises UsageError, ExtraMissing."""
    if request.metric is not None and request.metric not in METRICS:
        raise UsageError(f"{request.metric} is no metric", hint=f"use one of {', '.join(METRICS)}")
    open_detector(request.detector)


def _labels(workspace: Workspace, log: Log, oldest: Period) -> dict[tuple[str, int], str]:
    """The labels that count, by request and row; segments that are torn are named."""
    known = read_labels(log.source, since=oldest.start)
    for name, reason in sorted(known.torn.items()):
        workspace.progress.note(f"skipped {name} of the labels: {reason}")
    return {place: label for place, (_, label) in known.labels.items()}


def _periods(workspace: Workspace, request: PerformanceRequest) -> list[Period]:
    """The windows asked for, oldest first."""
    if request.windows < 1:
        raise UsageError(f"--windows {request.windows} asks for no window", hint="give 1 or more")
    if request.windows > MOST_WINDOWS:
        raise UsageError(f"--windows {request.windows} asks for more than {MOST_WINDOWS}", hint="make --window longer")
    length_s = parse_duration(request.window or workspace.project.drift.window)
    last = last_closed(workspace.clock.now(), length_s)
    length = timedelta(seconds=length_s)
    return [last.back(length * back) for back in range(request.windows)][::-1]


def _scored(subject: Subject, table: Any, name: str) -> Answered:
    """A file of answers and truths. Where it has scores only, the class answered is the likelier one."""
    import pyarrow as pa

    target, classes = subject.target, [str(label) for label in subject.version.signature.classes]
    if target is None or target not in table.column_names:
        raise UsageError(
            f"{name} has no column {target or 'of labels that mlo.yaml names'}; it has {', '.join(table.column_names)}",
            hint="give the rows with their target (model.evaluate.target), or request ids and labels",
        )
    for twice in (target, PREDICTION, SCORE):
        if table.column_names.count(twice) > 1:
            raise UsageError(f"{name} has two columns named {twice}", hint="name each column once")
    taker = LabelTaker(subject.version.name, subject.version.signature.task, subject.version.signature.classes, target)
    texts = [None if value is None or value != value else taker.text(value) for value in table[target].to_pylist()]  # noqa: PLR0124
    if PREDICTION not in table.column_names:
        if len(classes) != 2:
            raise UsageError(f"{name} has scores but no {PREDICTION}", hint="two classes alone can do without")
        scores = [_likelihood(value, row + 1, name) for row, value in enumerate(table[SCORE].to_pylist())]
        answers = [None if value is None else classes[value > 0.5] for value in scores]
        table = table.append_column(PREDICTION, pa.array(answers, pa.string()))
    elif classes:
        answers = [None if value is None else taker.text(value) for value in table[PREDICTION].to_pylist()]
        table = table.set_column(table.schema.get_field_index(PREDICTION), PREDICTION, pa.array(answers, pa.string()))
    return answered(table, texts, subject.version, subject.time)


def _likelihood(value: Any, row: int, name: str) -> float | None:
    """A score of the second class, None where there is none. Raises UsageError."""
    if value is None or value != value:  # noqa: PLR0124 - NaN is no score
        return None
    if isinstance(value, int | float) and 0 <= value <= 1:
        return float(value)
    raise UsageError(
        f"row {row} of {name} has the score {value!r}", hint=f"{SCORE} is the probability of the second class, 0 to 1"
    )


class Subject(msgspec.Struct, frozen=True):
    """The version that is judged, and what is known of it from its registration."""

    workspace: Workspace
    version: Version
    evaluated: Evaluated | None

    @classmethod
    def of(cls, workspace: Workspace, ref: str | None) -> Subject:
        model = workspace.project.model
        if ref is None and model is None:
            raise UsageError(
                "mlo.yaml has no model section, so there is no model to check",
                hint="say which: mlo drift performance NAME@3",
            )
        resolved = resolve_model(workspace, ref or f"{model.name}@production")  # type: ignore[union-attr]
        if resolved.version is None:
            raise UsageError(
                f"{resolved.title} was never registered, so there are no scores to compare with", hint="mlo register"
            )
        evaluated = None
        if resolved.profile is not None:
            data = bring_digest(workspace, resolved.profile, what=f"the drift profile of {resolved.title}")
            evaluated = Profile.from_bytes(data).evaluation
        return cls(workspace, workspace.registry.version(resolved.name, resolved.version), evaluated)

    @property
    def time(self) -> str | None:
        return self.workspace.project.model.time if self.workspace.project.model else None

    @property
    def target(self) -> str | None:
        if self.version.evaluate is not None:
            return self.version.evaluate.target
        model = self.workspace.project.model
        return model.evaluate.target if model is not None and model.evaluate is not None else None

    @property
    def training(self) -> dict[str, Estimate]:
        """The registered scores, with intervals where the profile has them."""
        known = {name: value for name, value in self.version.scores.items() if value is not None}
        kept = self.evaluated.metrics if self.evaluated is not None else {}
        return {
            name: kept[name] if name in kept else Estimate(value=value, lower=None, upper=None)
            for name, value in known.items()
            if name in METRICS
        }

    def metric(self, asked: str | None, possible: tuple[str, ...]) -> str:
        """What decides. Raises UsageError for one that the rows do not have."""
        if asked is not None and asked not in possible:
            raise UsageError(
                f"{asked} is no metric of the logged answers of {self.version.title}",
                hint=f"use one of {', '.join(possible)}",
            )
        usual = self.workspace.project.retrain.metric
        return asked or (usual if usual in possible else possible[0])

    def answer(
        self,
        rows: Answered,
        periods: tuple[Period | None, ...] | list[Period],
        request: PerformanceRequest,
        *,
        source: str,
        unknown: int = 0,
    ) -> PerformanceAnswer:
        """Each window's metrics and verdict, the changes, and the calibration of all labelled rows."""
        outcomes, training = rows.outcomes, self.training
        metric = self.metric(request.metric, outcomes.metrics)
        margin = self.workspace.project.drift.margin
        guess = self._guess(request)
        windows = tuple(judged(self._window(rows, period, guess), metric, training, margin) for period in periods)
        seen = changes(outcomes, request.detector, training["mae"].value if "mae" in training else None)
        places = np.flatnonzero(rows.labelled)
        decided = [window.verdict for window in windows if window.verdict != "too_little"]
        verdict: PerformanceVerdict = decided[-1] if decided else "too_little"
        binned = None
        if outcomes.has_scores and len(outcomes):
            time = len(outcomes) / effective_rows(outcomes)
            binned = calibrate(*outcomes.confidence(), time=time)
        return PerformanceAnswer(
            model=self.version.title,
            metrics=outcomes.metrics,
            training={name: one.value for name, one in training.items()},
            windows=windows,
            calibration=binned.bins if binned else (),
            calibration_error=binned.error if binned else None,
            brier=binned.brier if binned else {},
            detector=seen.detector,
            changes=tuple(rows.time_text(int(places[place])) for place in seen.changes),
            watched=seen.is_enough,
            verdict=verdict,
            exit_code=int(_EXITS[verdict]),
            metric=metric,
            margin=margin,
            source=source,
            unknown=unknown,
            notes=tuple(self._notes(rows, windows, metric, training, seen)),
        )

    def _window(self, rows: Answered, period: Period | None, guess: Guess | None) -> PerformanceWindow:
        inside = rows.within(period)
        outcomes: Outcomes = rows.outcomes.at(np.flatnonzero(inside[rows.labelled]))
        count = int(inside.sum())
        stamps = (period.start, period.end) if period is not None else None
        start, end = (
            (format_time(stamps[0]), format_time(stamps[1]))
            if stamps
            else (rows.time_text(0), rows.time_text(len(rows.times) - 1))
        )
        return PerformanceWindow(
            start=start,
            end=end,
            rows=count,
            labelled=len(outcomes),
            metrics=measure(outcomes),
            estimated=guess(rows, inside) if guess is not None and count else {},
            effective=effective_rows(outcomes),
        )

    def _guess(self, request: PerformanceRequest) -> Guess | None:
        """What estimates the rows (n,) chosen of a table without labels; None where nothing can."""
        if self.version.signature.task == "regression":
            if not request.estimate:
                return None
            from mlops_cli.core.workflows.performance_estimate import estimator_of

            return estimator_of(self.workspace, self.version)
        if self.evaluated is None:
            return None
        if self.evaluated.calibrations:
            return self._guess_classes(self.evaluated.calibrations)
        known = self.evaluated.calibration
        if known is None:
            return None
        positive = str(self.version.signature.classes[1])

        def guess(rows: Answered, inside: Any) -> dict[str, Estimate]:
            table = rows.table
            if SCORE not in table.column_names:
                return {}
            scores = np.asarray(table[SCORE].to_pylist(), dtype=float)
            called = np.asarray([answer == positive for answer in table[PREDICTION].to_pylist()])
            taken = inside & np.isfinite(scores)
            return estimate_performance(known, scores[taken], called[taken])

        return guess

    def _guess_classes(self, known: Sequence[CalibrationMap]) -> Guess:
        classes = tuple(str(label) for label in self.version.signature.classes)

        def guess(rows: Answered, inside: Any) -> dict[str, Estimate]:
            scores = scores_of(rows.table, classes)
            if scores is None:
                return {}
            answers = class_places(rows.table.column(PREDICTION), classes)
            taken = inside & (answers >= 0) & np.isfinite(scores).all(axis=1)
            return estimate_classes(known, scores[taken], answers[taken])

        return guess

    def _notes(
        self,
        rows: Answered,
        windows: tuple[PerformanceWindow, ...],
        metric: str,
        training: Mapping[str, Estimate],
        seen: Watched,
    ) -> list[str]:
        notes = []
        if any(window.estimated for window in windows):
            notes.append(CAVEAT)
        elif self.version.signature.task == "classification" and rows.outcomes.has_scores:
            notes.append("no estimate without labels: the version's profile holds no calibration; register it again")
        if metric not in training:
            notes.append(
                f"no verdict: {self.version.title} was registered without a score of {metric} (model.evaluate)"
            )
        if not rows.labelled.any():
            notes.append("no label is known for these rows: mlo feedback records them")
        elif not rows.outcomes.is_ordered:
            notes.append("no dependence is corrected for: the rows have no time of their own (model.time)")
        if rows.labelled.any() and all(window.effective < FEWEST for window in windows):
            notes.append(f"no window has {FEWEST} labelled rows, after dependence, to decide on")
        if rows.labelled.any() and seen.note is not None:
            notes.append(seen.note)
        if rows.strange:
            notes.append(f"{rows.strange:,} labels are none of the classes of {self.version.title} and are left out")
        return notes


def _recorded(workspace: Workspace, answer: PerformanceAnswer) -> PerformanceAnswer:
    """Keep the answer in the store and append a `performance` event, unless the last one says the same."""
    decided = [window for window in answer.windows if window.verdict != "too_little"]
    last = decided[-1] if decided else answer.windows[-1]
    report = str(workspace.store.put_bytes(msgspec.json.encode(answer, order="deterministic")))
    now = last.metrics.get(answer.metric)
    data = {
        "verdict": answer.verdict,
        "window": {"start": last.start, "end": last.end},
        "rows": last.rows,
        "labelled": last.labelled,
        "metric": answer.metric,
        "value": msgspec.to_builtins(now),
        "training": answer.training.get(answer.metric),
        "margin": answer.margin,
        "changes": list(answer.changes),
        "watched": answer.watched,
        "report": report,
    }
    for event in reversed(workspace.registry.history(answer.model.partition("@")[0])):
        if event.kind == "performance" and event.subject == answer.model:
            if event.data == data:
                return msgspec.structs.replace(answer, report=report, event=event.seq)
            break
    event = workspace.registry.record("performance", answer.model, data)
    return msgspec.structs.replace(answer, report=report, event=event.seq)
