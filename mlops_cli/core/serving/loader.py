"""A model version ready to answer: the loaded model, its decoder, and what its metadata says."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain
from math import isfinite
from time import thread_time
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mlops_cli.core.base.one_row import are_alike
from mlops_cli.core.base.records import Signature
from mlops_cli.core.models.arrays import NoArrayPath, array_path, as_table
from mlops_cli.core.models.load import LoadedModel
from mlops_cli.core.models.predictions import Predictions
from mlops_cli.core.serving.decode import Decoder, Rows
from mlops_cli.core.serving.problems import BadInput

_log = logging.getLogger(__name__)

Columns = Mapping[str, Sequence[Any] | NDArray[Any]]

QUICK_S = 0.001  # processor time for _WARM_ROWS rows
_WARM_ROWS, _WARM_TURNS = 32, 5


class Infer(Protocol):
    """A model as serving sees it: n values under each input's name -> n predictions.

    A column is a list of float, int, bool, str or aware datetime, None where missing, or a NumPy array. Called from
    one thread at a time.
    """

    def __call__(self, columns: Columns, n: int, /) -> Predictions: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to some rows: `labels` are plain values; `scores` n lists of one probability a class."""

    labels: list[Any]
    scores: list[list[float]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One version of a model, loaded and checked. A newer version is another Served; nothing here ever changes.

    `key` is what `resolve` said of it, so that a poll can tell whether the reference still means this version.
    `example` holds the first row of the model's example, for the check after loading and for the documentation;
    `expected` is what a regression predicts on all of it, for the buckets of its metric.
    `is_quick` says that a few dozen rows take it less time than handing them to another thread and back.
    """

    name: str
    version: int | None
    run: str
    key: object
    signature: Signature
    infer: Infer
    decoder: Decoder
    has_scores: bool = False
    is_quick: bool = False
    example: dict[str, Any] | None = None
    expected: tuple[float, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.name}@{self.version}" if self.version is not None else f"runs:{self.run[:8]}"

    @property
    def version_text(self) -> str:
        """The version as protocols name it: a number, or the run of a model that was never registered."""
        return str(self.version) if self.version is not None else self.run

    @property
    def is_binary(self) -> bool:
        return self.signature.task == "classification" and len(self.signature.classes) == 2

    def answer(self, batches: Sequence[Rows]) -> list[Answer]:
        """Predict the rows of several requests at once, and give each its own. Raises what the model raises."""
        rows = sum(rows.n for rows in batches)
        predictions = self.infer(self._joined(batches), rows)
        labels = predictions.labels.tolist()
        scores = predictions.scores.tolist() if predictions.scores is not None else None
        if rows != len(labels):
            raise ValueError(f"the model answered {len(labels)} predictions to {rows} rows")
        if len(batches) == 1:
            return [Answer(labels, scores)]
        answers = []
        start = 0
        for batch in batches:
            end = start + batch.n
            answers.append(Answer(labels[start:end], scores[start:end] if scores is not None else None))
            start = end
        return answers

    @staticmethod
    def _joined(batches: Sequence[Rows]) -> Columns:
        if len(batches) == 1:
            return batches[0].columns
        columns = [rows.columns for rows in batches]
        if are_alike(columns):
            values = map(list, zip(*[one.row for one in columns], strict=True))
            return dict(zip(columns[0].places, values, strict=True))
        return {name: join([rows.columns[name] for rows in batches]) for name in batches[0].columns}

    def warmed(self) -> Served:
        """Predict the example, so that a model that cannot answer is never swapped in and the first client does not
        wait for what is done once; and see whether it is quick. Raises what the model raises."""
        if self.example is None:
            return self
        one = [self.decoder.records([self.example])]
        many = one * _WARM_ROWS
        self.answer(one)
        taken = []
        for _ in range(_WARM_TURNS):
            started = thread_time()
            self.answer(many)
            taken.append(thread_time() - started)
        return replace(self, is_quick=min(taken) <= QUICK_S)


def make_served(
    loaded: LoadedModel,
    *,
    name: str,
    version: int | None,
    run: str,
    key: object,
    example: pa.Table | None = None,
    time_column: str | None = None,
    max_rows: int = 100_000,
) -> Served:
    """A loaded model as serving wants it, without the threads that it would start for each row."""
    _without_jobs(loaded.estimator)
    signature = loaded.signature
    decoder = Decoder(signature, time_column=time_column, max_rows=max_rows)

    infer: Infer
    try:
        infer = array_path(loaded, example)
    except NoArrayPath as none:
        _log.info("%s is predicted through tables: %s", f"{name}@{version}" if version else name, none.reason)

        def infer(columns: Columns, n: int) -> Predictions:
            return loaded.predict(as_table(signature, columns))

    return Served(
        name=name,
        version=version,
        run=run,
        key=key,
        signature=signature,
        infer=infer,
        decoder=decoder,
        has_scores=loaded.gives_scores,
        example=_example(example, decoder) if example is not None else None,
        expected=_expected(loaded, example) if example is not None else (),
    )


def join(parts: Sequence[Sequence[Any] | NDArray[Any]]) -> Sequence[Any] | NDArray[Any]:
    """The values of several requests as one column: an array if all are, else a list."""
    if all(isinstance(part, np.ndarray) for part in parts):
        return np.concatenate(parts)
    return list(chain.from_iterable(part.tolist() if isinstance(part, np.ndarray) else part for part in parts))


def _example(table: pa.Table, decoder: Decoder) -> dict[str, Any] | None:
    """The first row as a client would send it, or None if no client could."""
    rows = table.select(decoder.names).slice(0, 1).to_pylist()
    row = {name: _plain(value) for name, value in rows[0].items()} if rows else None
    try:
        decoder.records([row])
    except BadInput:
        return None
    return row


def _expected(loaded: LoadedModel, example: pa.Table) -> tuple[float, ...]:
    """Empty where the model cannot predict its example; `warmed` is where that matters."""
    if loaded.signature.task != "regression":
        return ()
    try:
        return tuple(loaded.predict(example).labels.tolist())
    except Exception as error:  # noqa: BLE001 - a model may raise anything
        _log.info("the example is not predicted: %s", error)
        return ()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return None if isinstance(value, float) and not isfinite(value) else value


def _without_jobs(estimator: Any) -> None:
    """A forest fitted with n_jobs=-1 would start a pool of processes or threads for every request."""
    parameters = [key for key in estimator.get_params(deep=True) if key.rpartition("__")[2] == "n_jobs"]
    if parameters:
        estimator.set_params(**dict.fromkeys(parameters, 1))
