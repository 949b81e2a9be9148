"""Make a profile of reference rows, a column at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.base.records import Column
from mlops_cli.core.drift import columns as arrow
from mlops_cli.core.drift.profile import PREDICTION, SCORE, ColumnProfile, Profile
from mlops_cli.core.drift.summaries.categories import summarize_categories
from mlops_cli.core.drift.summaries.missing import missing_time
from mlops_cli.core.drift.summaries.numbers import Places, summarize_numbers
from mlops_cli.core.drift.summaries.text import is_prose, summarize_text
from mlops_cli.core.drift.summaries.times import summarize_times
from mlops_cli.core.drift.summaries.vectors import Vectors, summarize_vectors, vectors, width_of
from mlops_cli.core.drift.window import Window
from mlops_cli.core.errors import ProjectError
from mlops_cli.core.stats.dependence import BLOCKS

if TYPE_CHECKING:
    import pyarrow as pa


class Answers(Protocol):
    """What a model answered: `labels` (n,), and `scores` (n, classes) or None."""

    @property
    def labels(self) -> NDArray[Any]: ...
    @property
    def scores(self) -> NDArray[Any] | None: ...


def make_profile(
    table: pa.Table | Window,
    *,
    inputs: Sequence[Column],
    time: str | None = None,
    prediction: Answers | None = None,
    predicted: pa.Table | None = None,
    task: str = "classification",
    importances: Mapping[str, float] | None = None,
) -> Profile:
    """Profile the reference `table`, a column at a time.

    inputs: the model's columns; others are noted by name only. time: the rows' own clock, `model.time`; never a
    feature. prediction: the model's answers on the rows of `predicted` (of `table`, if None); rows the model was
    not fitted on tell more truly what it answers. Raises ProjectError if the reference is empty, lacks an input,
    or holds it in a kind that the model does not take.
    """
    window = table if isinstance(table, Window) else Window.of_table(table)
    if window.rows == 0:
        raise ProjectError("the reference has no rows", hint="name the training rows: model: {reference: ...}")
    clock = window.read(time) if time is not None and time in window else None
    order = arrow.time_order(clock) if clock is not None else None
    bounds = block_bounds(clock, order)
    places = places_of(clock, bounds)
    features = [column for column in inputs if column.name != time]
    profiles = tuple(
        profile_column(
            _column(window, column),
            column,
            order,
            importance=(importances or {}).get(column.name),
            clock=clock,
            places=places,
        )
        for column in features
    )
    known = {column.name for column in features}
    answers: tuple[ColumnProfile, ...] = ()
    if prediction is not None:
        rows = window if predicted is None else Window.of_table(predicted)
        replied = arrow.time_order(rows.read(time)) if time is not None and time in rows else None
        answers = _answers(prediction, task, replied, rows.rows)
    return Profile(
        rows=window.rows,
        columns=profiles,
        answers=answers,
        answers_from="reference" if predicted is None else "evaluate",
        time=time if order is not None else None,
        time_missing=time if order is None else None,
        span=arrow.span(clock) if clock is not None else None,
        others={field.name: str(field.type) for field in window.schema if field.name not in known},
        bounds=bounds,
    )


def profile_column(
    values: pa.ChunkedArray,
    column: Column,
    order: NDArray[np.int64] | None,
    *,
    importance: float | None = None,
    clock: pa.ChunkedArray | None = None,
    places: Places | None = None,
) -> ColumnProfile:
    """One column; `order` (rows,) is the rows' order in time, or None; `clock` that time, and `places`
    the blocks.

    Raises ProjectError for a wrong kind.
    """
    import pyarrow as pa

    group, held = arrow.GROUPS[column.kind], arrow.group_of(values.type)
    common: dict[str, Any] = {
        "name": column.name,
        "kind": column.kind,
        "held": held,
        "rows": len(values),
        "importance": importance,
    }
    try:
        if group == "numeric" and held in ("numeric", "boolean", "null"):
            taken = arrow.numbers(values)
            return ColumnProfile(**common, **_missing(taken, order), numeric=summarize_numbers(taken, order, places))
        if group in ("boolean", "string") and held not in ("datetime", "other"):
            texts = arrow.categories(arrow.as_group(values, group))
            known = summarize_categories(texts, order)
            if held == "string" and is_prose(values, known):
                return ColumnProfile(**common, **_missing(texts, order), text=summarize_text(values, known, order))
            return ColumnProfile(**common, **_missing(texts, order), categorical=known)
        if group == "vector" and held == "vector" and (width := width_of(values)) is not None:
            lists = vectors(values, width)
            return ColumnProfile(**common, **_missing(lists, order), vector=summarize_vectors(lists, width, order))
    except pa.ArrowException:
        pass
    else:
        gone = {
            "missing": values.null_count,
            "missing_time": missing_time(arrow.valid(values) if values.null_count else None, order),
        }
        if group == "datetime" and held in ("datetime", "string", "null"):
            times = summarize_times(values, clock)
            return ColumnProfile(**common, **gone, span=arrow.span(values), times=times)
        if group in ("vector", "other"):
            # Lists of many lengths, structs, bytes: only whether they are there can be compared.
            return ColumnProfile(**{**common, "kind": "other"}, **gone)
    raise ProjectError(
        f"the reference holds {values.type} in {column.name}, of which the model takes {column.kind}s",
        hint="name the rows the model was trained on: model: {reference: ...}",
    )


def block_bounds(clock: pa.ChunkedArray | None, order: NDArray[np.int64] | None) -> tuple[float, ...]:
    """The times at which the second to the last of 20 blocks begin that hold about as many rows each; none without
    order, and fewer where one time fills a block."""
    times = arrow.times(clock) if clock is not None and order is not None else None
    if times is None or order is None or not len(order):
        return ()
    first = np.arange(1, BLOCKS) * len(order) // BLOCKS
    found = np.unique(times[order][first].astype(np.float64))
    return tuple(found[np.isfinite(found)].tolist())


def places_of(clock: pa.ChunkedArray | None, bounds: tuple[float, ...]) -> Places | None:
    """The block of each row; None without bounds, or where the rows have no such clock."""
    times = arrow.times(clock) if clock is not None and bounds else None
    if times is None:
        return None
    block = np.searchsorted(np.array(bounds), times.astype(np.float64), side="right")
    last = np.iinfo(np.int64).max if times.dtype == np.int64 else np.inf
    return Places(np.where(times == last, -1, block), len(bounds) + 1)


def _column(window: Window, column: Column) -> pa.ChunkedArray:
    if column.name not in window:
        raise ProjectError(
            f"the reference has no column {column.name}, which the model takes; it has "
            + ", ".join(window.schema.names),
            hint="name the rows the model was trained on: model: {reference: ...}",
        )
    return window.read(column.name)


def _missing(taken: arrow.Numbers | arrow.Categories | Vectors, order: NDArray[np.int64] | None) -> dict[str, Any]:
    return {"missing": taken.missing, "missing_time": missing_time(taken.present, order)}


def _answers(answers: Answers, task: str, order: NDArray[np.int64] | None, rows: int) -> tuple[ColumnProfile, ...]:
    import pyarrow as pa

    if len(answers.labels) != rows:
        raise ValueError(f"{len(answers.labels)} answers were given for {rows} rows")
    columns = answer_columns(answers, task)
    kinds = {PREDICTION: "string" if task == "classification" else "float", SCORE: "float"}
    return tuple(
        profile_column(pa.chunked_array([values]), Column(name, kinds[name], True), order)  # type: ignore[arg-type]
        for name, values in columns.items()
    )


def answer_columns(answers: Answers, task: str) -> dict[str, pa.Array]:
    """Answers as the prediction log writes them: labels as text or numbers, and P(classes[1]) of two classes."""
    import pyarrow as pa

    if task == "regression":
        return {PREDICTION: pa.array(np.asarray(answers.labels, dtype=np.float64))}
    columns = {PREDICTION: pa.array([str(label) for label in answers.labels.tolist()], pa.string())}
    if answers.scores is not None and answers.scores.shape[1] == 2:
        columns[SCORE] = pa.array(np.asarray(answers.scores[:, 1], dtype=np.float64))
    return columns
