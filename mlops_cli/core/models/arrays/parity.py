"""Whether two ways to predict with one model agree: on its example, and on what clients may send that is not in it.

From each row of the example others are made that differ in a column: a missing value where the signature allows one, a
text that no fit() has seen, a number far out. The array path may decline a row, for it is then predicted the long
way; it must never answer what the model refuses, nor answer otherwise.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_cli.core.base.records import Column, Signature
from mlops_cli.core.models.arrays.sources import NoArrayPath
from mlops_cli.core.models.load import LoadedModel
from mlops_cli.core.models.predictions import Predictions

if TYPE_CHECKING:
    import pyarrow as pa

Predict = Callable[[Mapping[str, Any], int], Predictions]
Columns = dict[str, list[Any]]

RELATIVE, ABSOLUTE = 1e-9, 1e-12  # of a score; the second where 1 - p cancels
_UNSEEN = "a value that no training row held \u2603"
_EXAMPLES = 20
_MOST_ROWS = 128  # made for one kind of change
_ALONE = 6  # rows tried one by one where the model refuses them together

# Powers of two and round numbers, which no scaling makes ties of; integers that a float64 holds exactly.
_NUMBERS: dict[str, dict[str, tuple[Any, ...]]] = {
    "float": {"zero": (0.0, -0.0), "plain": (-1.5, 3.25), "far": (-1e9, 1e9), "edge": (-1e300, 1e300, 1e-300)},
    "integer": {"zero": (0,), "plain": (-1, 7), "far": (-(2**31) - 1, 2**40), "edge": (-(2**53), 2**53)},
    "boolean": {"zero": (False,), "plain": (True,)},
    "string": {"zero": ("",), "unknown": (_UNSEEN,)},
    "datetime": {},
}
_CHANGES = ("missing", "zero", "plain", "far", "edge", "unknown")


def check_parity(direct: Predict, whole: Predict, loaded: LoadedModel, example: pa.Table) -> None:
    """Raises NoArrayPath with what differs, or what keeps `direct` from the example's own rows."""
    signature = loaded.signature
    rows = plain_columns(signature, example.slice(0, _EXAMPLES))
    count = min(example.num_rows, _EXAMPLES)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for place in range(count):
            _compare(direct, whole, _taken(rows, [place]), 1, "a row of the example", must_answer=True)
        _compare(direct, whole, rows, count, "the example", must_answer=True)
        for change in _CHANGES:
            made = list(_changed(signature, rows, count, change))[:_MOST_ROWS]
            if not made:
                continue
            together = {name: [row[name] for row in made] for name in rows}
            if _compare(direct, whole, together, len(made), f"rows with {change} values"):
                continue
            for row in made[:: max(1, len(made) // _ALONE)][:_ALONE]:
                alone = {name: [value] for name, value in row.items()}
                _compare(direct, whole, alone, 1, f"a row with {change} values")
    _check_silence(direct, rows, count)


def _check_silence(direct: Predict, rows: Columns, count: int) -> None:
    """A warning of scikit-learn's at every request is a sign that it was called as it does not want to be."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        try:
            direct(rows, count)
        except UserWarning as warning:
            raise NoArrayPath(f"it warns: {warning}") from None


def _compare(
    direct: Predict, whole: Predict, columns: Columns, n: int, what: str, *, must_answer: bool = False
) -> bool:
    """Whether the model answers at all. Raises NoArrayPath if `direct` answers otherwise."""
    try:
        expected = whole(columns, n)
    except Exception:  # noqa: BLE001 - the model refuses; any way of doing so counts
        expected = None
    try:
        found = direct(columns, n)
    except Exception as error:
        if must_answer:
            raise NoArrayPath(f"{what} cannot be predicted: {type(error).__name__}: {error}") from error
        return expected is not None
    if expected is None:
        raise NoArrayPath(f"it answers {what}, which the model refuses")
    if difference := _difference(expected, found):
        raise NoArrayPath(f"it predicts {what} otherwise: {difference}")
    return True


def _difference(expected: Predictions, found: Predictions) -> str | None:
    if expected.labels.shape != found.labels.shape or (expected.scores is None) != (found.scores is None):
        return "answers of another shape"
    if expected.labels.dtype.kind == "f" and expected.scores is None:
        if not _are_close(expected.labels, found.labels):
            return f"{found.labels.tolist()[:3]}, not {expected.labels.tolist()[:3]}"
    elif expected.labels.dtype != found.labels.dtype or not np.array_equal(expected.labels, found.labels):
        return "another label"
    if expected.scores is not None and found.scores is not None and not _are_close(expected.scores, found.scores):
        return f"scores that differ by {float(np.max(np.abs(expected.scores - found.scores))):.2g}"
    return None


def _are_close(expected: Any, found: Any) -> bool:
    return expected.shape == found.shape and np.allclose(found, expected, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)


def plain_columns(signature: Signature, table: pa.Table) -> Columns:
    """Rows of a table as serving hands them over: Python values of each column's kind, None where missing."""
    return {
        column.name: [_plain(value, column) for value in table.column(column.name).to_pylist()]
        for column in signature.inputs
    }


def _plain(value: Any, column: Column) -> Any:
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return None
    convert: dict[str, Callable[[Any], Any]] = {"float": float, "integer": int, "boolean": bool}
    return convert.get(column.kind, lambda given: given)(value)


def _taken(rows: Columns, places: list[int]) -> Columns:
    return {name: [values[place] for place in places] for name, values in rows.items()}


def _changed(signature: Signature, rows: Columns, count: int, change: str) -> Iterator[dict[str, Any]]:
    """Rows of the example with one column changed, each column in turn, and one with all of them changed."""
    options = {}
    for column in signature.inputs:
        values = (None,) if change == "missing" and column.nullable else _NUMBERS[column.kind].get(change, ())
        if values:
            options[column.name] = values
    if not options:
        return
    # All at once first: a model of very many columns is not tried column by column.
    first = {name: values[0] for name, values in rows.items()}
    for turn in range(max(map(len, options.values()))):
        yield {**first, **{name: values[turn % len(values)] for name, values in options.items()}}
    place = 0
    for name, values in options.items():
        for value in values:
            row = {other: given[place % count] for other, given in rows.items()}
            place += 1
            yield {**row, name: value}
