"""From an example and a fitted estimator to a signature: names, kinds, what may be missing, task, classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mlops_cli.core.base.records import Column, Signature
from mlops_cli.core.models.errors import ModelUnsupported
from mlops_cli.core.models.manifest import ColumnType

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["float", "integer", "boolean", "string", "datetime"]
Container = Literal["frame", "array"]

_INFERRED: dict[str, Kind] = {
    "string": "string",
    "boolean": "boolean",
    "integer": "integer",
    "floating": "float",
    "mixed-integer-float": "float",
    "datetime": "datetime",
    "datetime64": "datetime",
}


@dataclass(frozen=True, slots=True)
class Inputs:
    """How the estimator takes its rows: `rows` is the whole example as a frame, one column an input."""

    signature: Signature
    container: Container
    columns: tuple[ColumnType, ...]
    rows: pd.DataFrame | None


def infer(estimator: Any, example: Any) -> Inputs:
    """`example` is a DataFrame, an ndarray (n, features), a mapping of arrays, an Arrow table, or None.

    Kinds and nullability come from all of its rows: give the whole of X_train, or a sample that has what the
    data has. Without an example only the number of inputs is known, so they are taken as floats x0, x1 ...;
    an estimator that was fitted with named columns needs one. Raises ModelUnsupported.
    """
    task, classes = _task(estimator)
    fitted = [str(name) for name in getattr(estimator, "feature_names_in_", ())]
    if example is None:
        return _without_example(estimator, fitted, task, classes)
    rows, is_array = _as_frame(example)
    container: Container = "frame" if fitted or not _validates(estimator, is_array) else "array"
    if fitted and list(rows.columns) != fitted:
        raise ModelUnsupported(_names_differ(list(rows.columns), fitted), hint="give the X that fit() was given")
    if container == "array" and len(rows.columns) != getattr(estimator, "n_features_in_", len(rows.columns)):
        raise ModelUnsupported(
            f"the example has {len(rows.columns)} columns, but the model was fitted with {estimator.n_features_in_}",
            hint="give the X that fit() was given",
        )
    described = [_describe(rows[name], str(name)) for name in rows.columns]
    signature = Signature(tuple(column for column, _ in described), task, classes)
    return Inputs(signature, container, tuple(kind for _, kind in described), rows)


def _task(estimator: Any) -> tuple[Literal["classification", "regression"], tuple[str | int | float | bool, ...]]:
    from sklearn.base import is_classifier, is_regressor

    if is_classifier(estimator):
        classes = estimator.classes_
        if isinstance(classes, list):
            raise ModelUnsupported(
                f"{type(estimator).__name__} predicts {len(classes)} targets at once; mlo keeps models of one",
                hint="log one model for each target",
            )
        return "classification", tuple(classes.tolist())
    if is_regressor(estimator):
        return "regression", ()
    raise ModelUnsupported(
        f"{type(estimator).__name__} is neither a classifier nor a regressor",
        hint="log the estimator that predicts, or the whole Pipeline that ends with it",
    )


def _validates(estimator: Any, is_array: bool) -> bool:
    """Whether the estimator takes plain arrays: it was given one, or it keeps the number of its inputs only."""
    return is_array or hasattr(estimator, "n_features_in_")


def _without_example(
    estimator: Any,
    fitted: list[str],
    task: Literal["classification", "regression"],
    classes: tuple[str | int | float | bool, ...],
) -> Inputs:
    if fitted or not hasattr(estimator, "n_features_in_"):
        raise ModelUnsupported(
            "the kinds of the model's inputs are not known without an example",
            hint="say log_model(model, example=X_train)",
        )
    names = [f"x{index}" for index in range(estimator.n_features_in_)]
    signature = Signature(tuple(Column(name, "float") for name in names), task, classes)
    return Inputs(signature, "array", tuple(ColumnType("float64") for _ in names), None)


def _as_frame(example: Any) -> tuple[pd.DataFrame, bool]:
    """The example as a frame, and whether it came as a bare array. Raises ModelUnsupported."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    if isinstance(example, pa.Table):
        example = example.to_pandas()
    elif isinstance(example, dict):
        try:
            example = pd.DataFrame(example)
        except ValueError as error:
            raise ModelUnsupported(f"the example is no table: {error}", hint="give columns of one length") from None
    if isinstance(example, pd.DataFrame):
        if not all(isinstance(name, str) for name in example.columns):
            raise ModelUnsupported("the example has column names that are not text", hint="name its columns")
        if not example.columns.is_unique:
            twice = example.columns[example.columns.duplicated()][0]
            raise ModelUnsupported(f"the example has two columns named {twice}", hint="name each column once")
        frame, is_array = example.reset_index(drop=True), False
    else:
        array = np.asarray(example)
        if array.ndim != 2:
            raise ModelUnsupported(
                f"the example is a {type(example).__name__} of shape {array.shape}, not a table",
                hint="give a DataFrame, a two-dimensional array or a mapping of columns",
            )
        frame, is_array = pd.DataFrame(array, columns=[f"x{index}" for index in range(array.shape[1])]), True
    if frame.empty:
        raise ModelUnsupported(f"the example is empty: its shape is {frame.shape}", hint="give X_train")
    return frame, is_array


def _describe(values: pd.Series[Any], name: str) -> tuple[Column, ColumnType]:
    """The kind of one column, and how it was held. Raises ModelUnsupported for values that no kind covers."""
    import pandas as pd
    from pandas.api.types import is_object_dtype

    missing = bool(values.isna().any())
    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        categories = tuple(dtype.categories.tolist())
        kind = _kind(pd.Series(dtype.categories), name)
        return Column(name, kind, missing), ColumnType("category", categories=categories, ordered=bool(dtype.ordered))
    kind = _kind(values, name)
    holds_none = missing and is_object_dtype(dtype) and any(value is None for value in values)
    return Column(name, kind, missing), ColumnType(str(dtype), missing="none" if holds_none else "nan")


def _kind(values: pd.Series[Any], name: str) -> Kind:
    from pandas.api import types

    dtype = values.dtype
    if types.is_bool_dtype(dtype):
        return "boolean"
    if types.is_integer_dtype(dtype):
        return "integer"
    if types.is_float_dtype(dtype):
        return "float"
    if types.is_datetime64_any_dtype(dtype):
        return "datetime"
    inferred = types.infer_dtype(values, skipna=True)
    if inferred == "empty":  # only missing values: text if it was held as text, else numbers
        return "float" if types.is_object_dtype(dtype) else "string"
    if inferred not in _INFERRED:
        raise ModelUnsupported(
            f"column {name} of the example holds {inferred} values ({dtype})",
            hint="inputs are numbers, booleans, text or times; turn the column into one of them before fit()",
        )
    return _INFERRED[inferred]


def _names_differ(given: list[str], fitted: list[str]) -> str:
    extra = [name for name in given if name not in fitted]
    absent = [name for name in fitted if name not in given]
    if extra or absent:
        parts = [f"{', '.join(extra)} only in the example"] if extra else []
        parts += [f"{', '.join(absent)} only in the model"] if absent else []
        return f"the example's columns are not those the model was fitted with: {'; '.join(parts)}"
    return f"the example's columns stand in another order ({', '.join(given)}) than at fit() ({', '.join(fitted)})"
