"""Labelled rows for a check of performance: from the prediction log and its labels, or from a file that has both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.base.clock import format_time
from mlops_cli.core.drift import columns as arrow
from mlops_cli.core.drift.performance.metrics import Outcomes
from mlops_cli.core.drift.periods import Period
from mlops_cli.core.errors import UsageError
from mlops_cli.core.registry.records import Version
from mlops_cli.core.workflows.drift_log import Log
from mlops_cli.core.workflows.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

PREDICTION, SCORE, SCORES, ARRIVED = "_prediction", "_score", "_scores", "_arrived"


@dataclass(frozen=True, slots=True)
class Answered:
    """A version's answers in order of time, n rows: `outcomes` of those whose truth is known, and where they are.

    `labelled` (n,) says which rows they are; `times` (n,) microseconds of `model.time`, or of arrival; `arrived` (n,)
    as well. `table` holds all n rows, the inputs included. `strange` labels are none of the version's classes.
    """

    table: pa.Table
    times: NDArray[np.int64]
    arrived: NDArray[np.int64]
    labelled: NDArray[np.bool_]
    outcomes: Outcomes
    joined: int = 0
    strange: int = 0

    def within(self, period: Period | None) -> NDArray[np.bool_]:
        """Which rows (n,) arrived in a window; all without one."""
        if period is None:
            return np.ones(len(self.times), bool)
        start, end = (_microseconds(time) for time in (period.start, period.end))
        return np.asarray((self.arrived >= start) & (self.arrived < end))

    def time_text(self, row: int) -> str:
        """When a row was, as text; its number if it has no time."""
        stamp = int(self.times[row])
        try:
            return format_time(datetime.fromtimestamp(stamp / 1e6, UTC))
        except (OverflowError, ValueError, OSError):
            return f"row {row}"


def logged(
    workspace: Workspace, version: Version, period: Period, labels: Mapping[tuple[str, int], str], inputs: Sequence[str]
) -> Answered | None:
    """The version's rows of the log in a period, joined with labels by request and row; None if there are none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from mlops_cli.core.predictions.reader import LogReport, read_log

    report, kept = LogReport(), []
    time = workspace.project.model.time if workspace.project.model else None
    for table in read_log(Log.of(workspace).source, since=period.start, until=period.end, report=report):
        own = pc.and_(pc.equal(table["_model"], version.name), pc.equal(table["_version"], version.version))
        wanted = ["_request", "_row", ARRIVED, PREDICTION, SCORE, SCORES, time, *inputs]
        kept.append(table.filter(own).select([name for name in wanted if name in table.column_names]))
    for name, reason in sorted(report.torn.items()):
        workspace.progress.note(f"skipped {name} of the prediction log: {reason}")
    rows = pa.concat_tables(_alike(kept)) if kept else None
    if rows is None or rows.num_rows == 0:
        return None
    places = zip(rows["_request"].to_pylist(), rows["_row"].to_pylist(), strict=True)
    found = [labels.get(place) for place in places]
    return answered(rows, found, version, time)


def answered(table: pa.Table, labels: Sequence[str | None], version: Version, time: str | None) -> Answered:
    """Rows with a prediction column, and their labels as text, None where unknown.

    Ordered by `time` where the rows have it, else by arrival, which orders the detector's rows and no more: a batch
    that arrives at once has its rows in any order. Raises UsageError for predictions of another kind.
    """
    n = table.num_rows
    given = arrow.time_order(table.column(time)) if time is not None and time in table.column_names else None
    order = (
        given
        if given is not None
        else arrow.time_order(table.column(ARRIVED))
        if ARRIVED in table.column_names
        else None
    )
    order = np.arange(n) if order is None else order
    table, found = rows_at(table, order), [labels[place] for place in order.tolist()]
    joined = sum(label is not None for label in found)
    times, arrived = (_stamps(table, name) for name in (time if given is not None else ARRIVED, ARRIVED))
    classes = tuple(str(label) for label in version.signature.classes)
    truth: NDArray[Any]
    answers: NDArray[Any]
    if classes:
        places = {label: place for place, label in enumerate(classes)}
        truth = np.asarray([places.get(label, -1) if label is not None else -1 for label in found], dtype=np.int64)
        answers = class_places(table.column(PREDICTION), classes)
        known, strange = (truth >= 0) & (answers >= 0), joined - int(np.count_nonzero(truth >= 0))
    else:
        truth = np.asarray([math.nan if label is None else _number(label) for label in found], dtype=float)
        answers = _numbers(table.column(PREDICTION))
        known, strange = np.isfinite(truth) & np.isfinite(answers), 0
    scores = scores_of(table, classes)
    if scores is not None and not np.isfinite(scores[known]).all():
        scores = None
    outcomes = Outcomes(
        truth=truth[known],
        answers=answers[known],
        scores=None if scores is None else scores[known],
        classes=classes,
        is_ordered=given is not None,
    )
    return Answered(table, times, arrived, known, outcomes, joined, strange)


def scores_of(table: pa.Table, classes: tuple[str, ...]) -> NDArray[np.float64] | None:
    """P(classes[1]) (n,) of two classes, all probabilities (n, k) of more, NaN where a row has none; None where the
    table has none."""
    if len(classes) == 2:
        return _numbers(table.column(SCORE)) if SCORE in table.column_names else None
    if not classes or SCORES not in table.column_names:
        return None
    import pyarrow as pa

    column = table.column(SCORES)
    if not pa.types.is_fixed_size_list(column.type) or column.type.list_size != len(classes):
        return None
    rows = [np.full(len(classes), np.nan) if row is None else row for row in column.to_pylist()]
    return np.asarray(rows, dtype=np.float64).reshape(len(rows), len(classes))


def _alike(tables: list[pa.Table]) -> list[pa.Table]:
    """Segments from before the log kept all probabilities have no such column; then it says too little to use."""
    if all(SCORES in table.column_names for table in tables):
        return tables
    return [table.drop_columns([SCORES]) if SCORES in table.column_names else table for table in tables]


def _number(text: str) -> float:
    """A label of a regression; NaN for what is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def rows_at(table: pa.Table, places: NDArray[np.int64]) -> pa.Table:
    """The rows at places (k,), without pa.array(), which imports pandas."""
    import pyarrow as pa

    held = np.ascontiguousarray(places, dtype=np.int64)
    return table.take(pa.Array.from_buffers(pa.int64(), len(held), [None, pa.py_buffer(held)]))


def class_places(column: pa.ChunkedArray, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Each value's place in `classes` (n,), -1 for null and for others."""
    taken = arrow.categories(column, classes)
    if taken.present is None:
        return taken.codes
    places = np.full(taken.rows, -1, dtype=np.int64)
    places[taken.present] = taken.codes
    return places


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    import pyarrow as pa

    try:
        return arrow.filled(column.cast(pa.float64()), np.nan)
    except pa.ArrowException:
        raise UsageError(f"{column.type} values are no numbers", hint="the model answers with numbers") from None


def _stamps(table: pa.Table, name: str | None) -> NDArray[np.int64]:
    """Microseconds since 1970 (n,), row numbers where there is no such column."""
    import pyarrow as pa

    if name is None or name not in table.column_names:
        return np.arange(table.num_rows, dtype=np.int64)
    try:
        column: Any = table.column(name).cast(pa.timestamp("us", tz="UTC"), safe=False)
    except pa.ArrowException:
        return np.arange(table.num_rows, dtype=np.int64)
    return np.asarray(arrow.filled(column.cast(pa.int64()), 0))


def _microseconds(time: datetime) -> int:
    return round((time - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1e6)
