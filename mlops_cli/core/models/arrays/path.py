"""From a loaded model to a function of plain columns, without pandas and without scikit-learn's validation.

A DataFrame and the checks around each step cost a request of one row far more than the arithmetic. What a Pipeline
does is taken apart once, when it is loaded, into steps on arrays; it is used only if it then answers as the Pipeline
does (see parity.py), and whatever it cannot do at run time it hands to the Pipeline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.base.records import Signature
from mlops_cli.core.models.arrays.finals import Final, final
from mlops_cli.core.models.arrays.parity import check_parity
from mlops_cli.core.models.arrays.sources import Declined, NoArrayPath, Source, Step, Values, features
from mlops_cli.core.models.arrays.transforms import chained, transform
from mlops_cli.core.models.load import LoadedModel
from mlops_cli.core.models.predictions import Predictions

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_NUMBERS = 32_000_000  # in the last matrix: 256 MB; scikit-learn may hold it sparse
_NARROW = frozenset({"int8", "int16", "int32", "uint8", "uint16", "uint32", "uint64"})


def array_path(loaded: LoadedModel, example: pa.Table | None) -> ArrayPath:
    """A way to predict with `loaded` that answers as `loaded.predict` does, checked on the rows of `example`.

    Labels are the same and scores equal to 1e-9 of their value; both are the same to the last bit wherever no matrix
    product is in the way (its last bits depend on how many rows come together, in scikit-learn as here).
    Raises NoArrayPath, with the reason, where there is none; loading is not otherwise affected.
    """
    if example is None or example.num_rows == 0:
        raise NoArrayPath("the model has no example to check its answers on")
    try:
        path = _compiled(loaded)
        check_parity(path.direct, path.whole, loaded, example)
    except NoArrayPath:
        raise
    except Exception as error:  # whatever an estimator lacks that another version has: then there is no such path
        raise NoArrayPath(f"{type(error).__name__}: {error}") from error
    return path


class ArrayPath:
    """A model on plain columns: n values under each input's name -> n predictions.

    A column is a list of values of its kind, None where missing, or a 1-D array of numbers, NaN where missing; columns
    that are no inputs are ignored. Rows that the steps cannot take are predicted by `loaded.predict`, which also says
    what is wrong with them: raises what it raises, WrongInputs. Holds no state: threads may share it.
    """

    def __init__(self, loaded: LoadedModel, steps: Step, last: Final, width: int) -> None:
        self._loaded = loaded
        self._names = [column.name for column in loaded.signature.inputs]
        self._steps = steps
        self._last = last
        self._most_rows = _MOST_NUMBERS // max(width, 1)
        self._narrow = [
            (column.name, int(np.iinfo(held.dtype).min), int(np.iinfo(held.dtype).max))
            for column, held in zip(loaded.signature.inputs, loaded.manifest.columns, strict=True)
            if column.kind == "integer" and held.dtype in _NARROW
        ]

    def __call__(self, columns: Mapping[str, Values], n: int) -> Predictions:
        try:
            return self.direct(columns, n)
        except Exception:  # noqa: BLE001 - whatever it was, the model itself has the last word on these rows
            return self.whole(columns, n)

    def direct(self, columns: Mapping[str, Values], n: int) -> Predictions:
        """The steps on arrays alone. Raises Declined, or whatever rows that do not fit make a step raise."""
        if not 0 < n <= self._most_rows:
            raise Declined
        for name, low, high in self._narrow:
            if not _is_within(columns[name], low, high):
                raise Declined  # the frame would wrap it to another number
        return self._last(self._steps([columns[name] for name in self._names], n), n)

    def whole(self, columns: Mapping[str, Values], n: int) -> Predictions:
        """The model as it was saved, through a table and a DataFrame."""
        return self._loaded.predict(as_table(self._loaded.signature, columns))


def as_table(signature: Signature, columns: Mapping[str, Sequence[Any] | NDArray[Any]]) -> pa.Table:
    """Plain columns as the Arrow table that `LoadedModel.predict` takes, each with the type of its kind."""
    import pyarrow as pa

    types = {
        "float": pa.float64(),
        "integer": pa.int64(),
        "boolean": pa.bool_(),
        "string": pa.large_string(),
        "datetime": pa.timestamp("us", tz="UTC"),
    }
    # NaN in an array is a missing value, whatever the column's kind.
    return pa.table(
        {
            column.name: pa.array(columns[column.name], types[column.kind], from_pandas=True)
            for column in signature.inputs
        }
    )


def _is_within(values: Values, low: int, high: int) -> bool:
    if isinstance(values, np.ndarray):
        return bool(values.min() >= low and values.max() <= high)
    return all(value is None or low <= value <= high for value in values)


def _compiled(loaded: LoadedModel) -> ArrayPath:
    """The steps of the estimator, unchecked. Raises NoArrayPath, and whatever a strange estimator makes it raise."""
    estimator = loaded.estimator
    source: Source = features(loaded.manifest)
    steps: list[Step] = []
    while _is(estimator, "sklearn.pipeline", "Pipeline") or _is(estimator, "sklearn.model_selection", "SearchCV"):
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
            continue
        for _, part in estimator.steps[:-1]:
            step, source = transform(part, source)
            steps.append(step)
        estimator = estimator.steps[-1][1]
    last = final(estimator, source, scores=loaded.gives_scores, argmax=loaded.labels_are_argmax)
    return ArrayPath(loaded, chained(steps), last, source.width)


def _is(estimator: Any, module: str, name: str) -> bool:
    kind = type(estimator)
    return kind.__module__.startswith(module) and kind.__name__.endswith(name)
