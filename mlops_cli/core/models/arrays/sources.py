"""What flows between the steps of an array path: columns as they came, or one matrix of floats.

A `Source` says at load what a step will be given; the value itself is a list of columns (lists or 1-D arrays of n
values, None where missing) or an array (n, width), and every step is a function of it and n.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.base.records import Column
from mlops_cli.core.models.manifest import ColumnType, ModelManifest

Values = Sequence[Any] | NDArray[Any]
Matrix = NDArray[Any]
Step = Callable[[Any, int], Any]
Missing = Literal["nan", "none", "na"]

_SMALL = frozenset({"int8", "int16", "uint8", "uint16", "bool"})


class NoArrayPath(Exception):
    """This model has no way round pandas and validation; `reason` says why. Only the server's log needs to know."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Declined(Exception):
    """These rows are for scikit-learn itself to answer, or to refuse in its own words."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One column as it came. `missing` is what scikit-learn sees where it is missing: NaN, None or pandas' NA."""

    kind: Literal["float", "integer", "boolean", "string", "datetime"]
    dtype: str
    nullable: bool
    missing: Missing = "nan"


@dataclass(frozen=True, slots=True)
class Source:
    """What a step is given: `features` where columns come as they are, else a matrix of `width` columns."""

    width: int
    features: tuple[Feature, ...] | None = None

    @classmethod
    def of(cls, features: Sequence[Feature]) -> Source:
        return cls(len(features), tuple(features))

    def chosen(self, places: Sequence[int]) -> Source:
        return Source(len(places), None if self.features is None else tuple(self.features[i] for i in places))


def features(manifest: ModelManifest) -> Source:
    """The model's inputs, in the order of its signature."""
    return Source.of([_feature(*pair) for pair in zip(manifest.signature.inputs, manifest.columns, strict=True)])


def _feature(column: Column, held: ColumnType) -> Feature:
    missing: Missing = "nan"
    if column.kind == "string" and held.dtype != "category":
        missing = "none" if held.missing == "none" else "nan"
        if held.dtype == "string":
            missing = "na"
    return Feature(column.kind, held.dtype, column.nullable, missing)


def choose(source: Source, places: Sequence[int]) -> Step:
    """The columns at `places`, in that order."""
    if source.features is not None:
        return lambda columns, n: [columns[place] for place in places]
    if list(places) == list(range(source.width)):
        return lambda matrix, n: matrix
    index = np.asarray(places, dtype=np.intp)
    return lambda matrix, n: matrix[:, index]


def to_matrix(source: Source) -> Step:
    """One array of them all, float64 (float32 where every column was held so), missing numbers as NaN."""
    if source.features is None:
        return lambda matrix, n: matrix
    for feature in source.features:
        if feature.kind not in {"float", "integer", "boolean"}:
            raise NoArrayPath(f"a {feature.kind} column goes into a step that takes numbers")
        if feature.dtype == "category":
            raise NoArrayPath("a categorical column goes into a step that takes numbers")
    # The twins of NumPy's dtypes: Int64, Float32, boolean and double[pyarrow] become plain floats in the frame.
    held = [feature.dtype.removesuffix("[pyarrow]") for feature in source.features]
    held = ["float32" if dtype == "Float32" else dtype for dtype in held]
    singles = np.asarray([dtype == "float32" for dtype in held], dtype=bool)
    if "float16" in held or (singles.any() and not singles.all() and _SMALL.intersection(held)):
        raise NoArrayPath(f"numbers held as {', '.join(sorted(set(held)))} in one array")
    if held and singles.all():
        return lambda columns, n: _stack(columns, n, np.float32)
    if singles.any():
        return lambda columns, n: _rounded(_stack(columns, n, np.float64), singles)
    return _doubles


def _doubles(columns: Sequence[Values], n: int) -> Matrix:
    return _stack(columns, n, np.float64)


def _stack(columns: Sequence[Values], n: int, dtype: type[np.floating[Any]]) -> Matrix:
    """(n, k), its columns contiguous as a DataFrame's are, so that sums over a row add in the same order."""
    stacked = np.array(columns, dtype=dtype)
    if stacked.shape != (len(columns), n):
        raise Declined
    return stacked.T


def _rounded(matrix: Matrix, singles: Matrix) -> Matrix:
    matrix[:, singles] = matrix[:, singles].astype(np.float32)
    return matrix


def to_columns(source: Source) -> tuple[Step, Source]:
    """The other way: a matrix as columns for a step that looks values up one by one."""
    if source.features is not None:
        return (lambda columns, n: columns), source
    number = Feature("float", "float64", nullable=True)
    return (lambda matrix, n: list(matrix.T)), Source.of([number] * source.width)


def plain(values: Values, kind: str) -> Sequence[Any]:
    """The values of a column as Python's own, None where missing, to be looked up in a dict."""
    is_array = isinstance(values, np.ndarray)
    listed: Sequence[Any] = values.tolist() if isinstance(values, np.ndarray) else values
    if kind == "float" or is_array:
        return [None if value != value else value for value in listed]  # noqa: PLR0124 - only NaN is not itself
    return listed


def looked_up(values: Sequence[Any], table: dict[Any, float], unknown: float | None, n: int) -> Matrix:
    """(n,) what `table` says of each value. Declined if it does not know one and `unknown` is None."""
    if unknown is not None:
        return np.fromiter(map(table.get, values, repeat(unknown)), np.float64, n)
    try:
        return np.fromiter(map(table.__getitem__, values), np.float64, n)
    except KeyError:
        raise Declined from None


def refuse_infinite(matrix: Matrix) -> None:
    """Declined if a number is infinite; scikit-learn refuses it almost everywhere."""
    # A finite sum has finite terms; only an odd one needs a look at each.
    if not np.isfinite(np.add.reduce(matrix, axis=None)) and np.isinf(matrix).any():
        raise Declined


def refuse_odd(matrix: Matrix) -> None:
    """Declined if a number is infinite or missing."""
    if not np.isfinite(np.add.reduce(matrix, axis=None)) and not np.isfinite(matrix).all():
        raise Declined
