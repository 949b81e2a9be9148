"""How well a regression does without labels: a second model, of the first one's losses (direct loss estimation)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.base.records import Column
from mlops_cli.core.drift import columns as arrow
from mlops_cli.core.drift.performance.records import Estimate
from mlops_cli.core.errors import TooLittleData

if TYPE_CHECKING:
    import pyarrow as pa

Array = NDArray[np.float64]

FEWEST, FOLDS, ROUNDS, SEED = 100, 5, 50, 0
MOST_VALUES = 200  # of a categorical input; rarer ones are one value
_Z = 1.959963984540054


@dataclass(frozen=True, slots=True)
class LossModel:
    """Fitted on evaluation rows: `absolute` and `squared` answer with losses; the deviations are those of losses from
    what was foretold of rows they were not fitted on."""

    inputs: tuple[Column, ...]
    known: dict[str, list[str]]
    absolute: Any
    squared: Any
    deviations: tuple[float, float]
    rows: int

    @classmethod
    def fit(cls, inputs: tuple[Column, ...], rows: pa.Table, answers: Array, truth: Array) -> LossModel:
        """rows hold the model's inputs, answers and truth are (n,). Raises TooLittleData under 100 rows."""
        from sklearn.ensemble import HistGradientBoostingRegressor
        from sklearn.model_selection import cross_val_predict
        from threadpoolctl import threadpool_limits

        n = len(truth)
        if n < FEWEST:
            raise TooLittleData(
                f"a model of the losses needs {FEWEST} evaluation rows; there are {n}", hint="leave out --estimate"
            )
        known = {column.name: _frequent(rows.column(column.name)) for column in inputs if _is_category(column)}
        features = _features(inputs, known, rows, answers)
        fitted, deviations = [], []
        # One thread: the rows are few, and threads of a busy machine would only wait for each other.
        with threadpool_limits(limits=1):
            for losses in (np.abs(truth - answers), (truth - answers) ** 2):
                model = HistGradientBoostingRegressor(
                    categorical_features=[_is_category(column) for column in inputs] + [False],
                    min_samples_leaf=max(20, n // 100),
                    max_iter=ROUNDS,
                    random_state=SEED,
                )
                foretold = cross_val_predict(model, features, losses, cv=FOLDS)
                deviations.append(float(np.std(losses - foretold, ddof=1)))
                fitted.append(model.fit(features, losses))
        absolute, squared = fitted
        return cls(inputs, known, absolute, squared, (deviations[0], deviations[1]), n)

    def estimate(self, rows: pa.Table, answers: Array) -> dict[str, Estimate]:
        """Expected mae and rmse of rows without labels, answers (m,).

        mean of the foretold losses -+ 1.96 s sqrt(1 / m + 1 / n), s the deviation of losses from what was foretold over
        folds, n the evaluation rows; rmse is the root of that of squares. Source: NannyML's documentation, Direct Loss
        Estimation; the interval is this project's own.
        """
        if len(answers) == 0:
            return {}
        features = _features(self.inputs, self.known, rows, answers)
        scale = math.sqrt(1 / len(answers) + 1 / self.rows) * _Z
        found = {}
        for name, model, deviation in zip(("mae", "rmse"), (self.absolute, self.squared), self.deviations, strict=True):
            value = max(0.0, float(np.mean(model.predict(features))))
            ends = max(0.0, value - scale * deviation), value, value + scale * deviation
            lower, middle, upper = (math.sqrt(end) for end in ends) if name == "rmse" else ends
            found[name] = Estimate(value=middle, lower=lower, upper=upper)
        return found


def _is_category(column: Column) -> bool:
    return column.kind in ("string", "boolean")


def _frequent(values: pa.ChunkedArray) -> list[str]:
    taken = arrow.categories(values)
    counts = np.bincount(taken.codes, minlength=len(taken.values))
    return [taken.values[place] for place in np.argsort(-counts, kind="stable")[:MOST_VALUES]]


def _features(inputs: tuple[Column, ...], known: dict[str, list[str]], rows: pa.Table, answers: Array) -> Array:
    """Inputs and the answer as numbers (n, k + 1), missing ones NaN; a value that was rare is missing, too."""
    columns = []
    for column in inputs:
        values, found = rows.column(column.name), np.full(rows.num_rows, np.nan)
        if _is_category(column):
            texts = arrow.categories(values, known[column.name])
            codes = np.where(texts.codes < 0, np.nan, texts.codes.astype(float))
            found[slice(None) if texts.present is None else texts.present] = codes
        elif column.kind != "datetime":
            taken = arrow.numbers(values)
            found[slice(None) if taken.present is None else taken.present] = taken.values
            found[~np.isfinite(found)] = np.nan
        columns.append(found)
    return np.column_stack([*columns, answers])
