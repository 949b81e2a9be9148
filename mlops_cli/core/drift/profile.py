"""The profile: everything a drift check needs to know of the rows a model was trained on, made once.

It holds counts and edges, no rows (except values that many rows share). Its bytes are canonical: the same
reference gives the same profile. FORMAT.md beside this file describes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.base.records import Column
from mlops_cli.core.drift import columns as arrow
from mlops_cli.core.drift.summary import Categorical, Numeric, summarize_categories, summarize_numbers
from mlops_cli.core.errors import IntegrityError, ProjectError
from mlops_cli.core.stats.dependence import autocorrelation_time

if TYPE_CHECKING:
    import pyarrow as pa

MAGIC = b"mlo-drift-profile"
VERSION = 1
PREDICTION, SCORE = "_prediction", "_score"  # as the prediction log calls them


class Answers(Protocol):
    """What a model answered: `labels` (n,), and `scores` (n, classes) or None."""

    @property
    def labels(self) -> NDArray[Any]: ...
    @property
    def scores(self) -> NDArray[Any] | None: ...


class ColumnProfile(msgspec.Struct, frozen=True, kw_only=True):
    """One column of the reference. One of `numeric`, `categorical` and `span` (of a datetime) is set, or none.

    `held` is the group of types that the reference itself held, which may differ from the model's kind;
    `missing_time` the autocorrelation time of being missing, in rows; `importance` the mean loss of score when the
    column is permuted, in units of the score.
    """

    name: str
    kind: str
    held: str
    rows: int
    missing: int = 0
    missing_time: float = 1.0
    importance: float | None = None
    numeric: Numeric | None = None
    categorical: Categorical | None = None
    span: tuple[str, str] | None = None

    @property
    def present(self) -> int:
        return self.rows - self.missing


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """`columns` are the model's inputs in its order; `answers` its predictions on `answers_from` rows.

    `time` is the column that ordered the rows, or None if nothing did: then no dependence is known. `others` maps the
    reference's columns that are no inputs to their types. `span` is the time the reference covers.
    """

    rows: int
    columns: tuple[ColumnProfile, ...]
    answers: tuple[ColumnProfile, ...] = ()
    answers_from: str = "reference"
    time: str | None = None
    time_missing: str | None = None  # the configured time column, if the reference lacks it or it orders nothing
    span: tuple[str, str] | None = None
    others: dict[str, str] = {}

    def column(self, name: str) -> ColumnProfile:
        """Raises KeyError."""
        for column in (*self.columns, *self.answers):
            if column.name == name:
                return column
        raise KeyError(name)

    def to_bytes(self) -> bytes:
        """The canonical bytes: magic, version byte, MessagePack with sorted keys."""
        return MAGIC + bytes([VERSION]) + msgspec.msgpack.encode(self, order="deterministic")

    @classmethod
    def from_bytes(cls, data: bytes) -> Profile:
        """Raises IntegrityError for anything that is not a profile this mlo reads."""
        if not data.startswith(MAGIC) or len(data) <= len(MAGIC):
            raise IntegrityError("these bytes are no drift profile", hint="register the model again: mlo register")
        if data[len(MAGIC)] > VERSION:
            raise IntegrityError(
                f"the drift profile has version {data[len(MAGIC)]}; this mlo reads up to {VERSION}",
                hint="upgrade mlo: pip install --upgrade mlops-cli",
            )
        try:
            return msgspec.msgpack.decode(data[len(MAGIC) + 1 :], type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise IntegrityError(f"the drift profile is damaged: {error}", hint="mlo data fsck --repair") from None


def make_profile(
    table: pa.Table,
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
    if table.num_rows == 0:
        raise ProjectError("the reference has no rows", hint="name the training rows: model: {reference: ...}")
    order = _order(table, time)
    features = [column for column in inputs if column.name != time]
    profiles = tuple(
        profile_column(_column(table, column), column, order, importance=(importances or {}).get(column.name))
        for column in features
    )
    known = {column.name for column in features}
    answers: tuple[ColumnProfile, ...] = ()
    if prediction is not None:
        rows = table if predicted is None else predicted
        answers = _answers(prediction, task, _order(rows, time), rows.num_rows)
    return Profile(
        rows=table.num_rows,
        columns=profiles,
        answers=answers,
        answers_from="reference" if predicted is None else "evaluate",
        time=time if order is not None else None,
        time_missing=time if order is None else None,
        span=arrow.span(table.column(time)) if time in table.column_names else None,
        others={field.name: str(field.type) for field in table.schema if field.name not in known},
    )


def profile_column(
    values: pa.ChunkedArray, column: Column, order: NDArray[np.int64] | None, *, importance: float | None = None
) -> ColumnProfile:
    """One column; `order` (rows,) is the rows' order in time, or None. Raises ProjectError for a wrong kind."""
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
            return ColumnProfile(**common, **_missing(taken, order), numeric=summarize_numbers(taken, order))
        if group in ("boolean", "string") and held not in ("datetime", "other"):
            texts = arrow.categories(arrow.as_group(values, group))
            return ColumnProfile(**common, **_missing(texts, order), categorical=summarize_categories(texts, order))
    except pa.ArrowException:
        pass
    else:
        if group == "datetime" and held in ("datetime", "string", "null"):
            return ColumnProfile(**common, missing=values.null_count, span=arrow.span(values))
    raise ProjectError(
        f"the reference holds {values.type} in {column.name}, of which the model takes {column.kind}s",
        hint="name the rows the model was trained on: model: {reference: ...}",
    )


def _order(table: pa.Table, time: str | None) -> NDArray[np.int64] | None:
    return arrow.time_order(table.column(time)) if time in table.column_names else None


def _column(table: pa.Table, column: Column) -> pa.ChunkedArray:
    if column.name not in table.column_names:
        raise ProjectError(
            f"the reference has no column {column.name}, which the model takes; it has {', '.join(table.column_names)}",
            hint="name the rows the model was trained on: model: {reference: ...}",
        )
    return table.column(column.name)


def _missing(taken: arrow.Numbers | arrow.Categories, order: NDArray[np.int64] | None) -> dict[str, Any]:
    return {"missing": taken.missing, "missing_time": missing_time(taken.present, order)}


def missing_time(present: NDArray[np.bool_] | None, order: NDArray[np.int64] | None) -> float:
    """The autocorrelation time, in rows, of whether a value is there: sensors fail for days, not for rows."""
    if present is None or order is None:
        return 1.0
    return autocorrelation_time(present[order].astype(float))


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
