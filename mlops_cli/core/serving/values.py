"""Single values and single columns of the outside, as the kind of an input wants them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.base.records import Column
from mlops_cli.core.serving.problems import BadInput

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
SHOWN = 10  # names or rows listed in one message
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d{1,40}", re.ASCII)
_EXPECTED = {
    "float": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "string": "a string",
    "datetime": "a time as in 2013-05-01T12:00:00Z",
}
PLAIN: dict[str, type] = {"float": float, "integer": int, "boolean": bool, "string": str, "datetime": datetime}


def check(column: Column, values: list[Any]) -> list[Any]:
    """The values of one column as its kind wants them. Raises BadInput at the first that does not fit."""
    kinds = set(map(type, values))
    if kinds <= {PLAIN[column.kind]} and column.kind != "integer":
        return values
    if type(None) in kinds and not column.nullable:
        row = values.index(None)
        raise BadInput(f"column {column.name}: row {row} is null, and this input may not be missing")
    convert = _CONVERT[column.kind]
    converted: list[Any] = []
    for row, value in enumerate(values):
        if value is None:
            converted.append(None)
            continue
        try:
            converted.append(convert(value))
        except (TypeError, ValueError, OverflowError) as error:
            reason = str(error) if isinstance(error, OverflowError) else f"expected {_EXPECTED[column.kind]}"
            raise BadInput(f"column {column.name}: row {row}: {reason}, got {show(value)}") from None
    return converted


def check_array(column: Column, values: NDArray[Any]) -> list[Any] | NDArray[Any]:
    """The same of a one-dimensional array of float64, int64, uint64 or bool. NaN stands for a missing value.

    Floats stay an array, NaN among them where the input may be missing; so do integers and booleans, which have none.
    """
    kind = values.dtype.kind
    if column.kind == "float" and kind in "fiu":
        if kind == "f":
            _check_finite(column, values)
        return values.astype(np.float64, copy=False)
    if column.kind == "integer" and kind == "f":
        return _whole(column, values)
    if column.kind == "integer" and kind in "iu":
        if kind == "u" and values.size and values.max() > INT64_MAX:
            _refuse(column, values, values > INT64_MAX, "the number does not fit 64 bits")
        return values.astype(np.int64, copy=False)
    if column.kind == "boolean" and kind == "b":
        return values
    return check(column, values.tolist())


def _check_finite(column: Column, values: NDArray[Any]) -> None:
    if np.isfinite(values).all():
        return
    if (infinite := np.isinf(values)).any():
        _refuse(column, values, infinite, "an infinite number is no value")
    if not column.nullable:
        _refuse(column, values, np.isnan(values), "this input may not be missing")


def _whole(column: Column, values: NDArray[Any]) -> list[Any] | NDArray[Any]:
    """Floats as integers: an array, or a list with None where they are NaN."""
    _check_finite(column, values)
    missing = np.isnan(values)
    given = values[~missing] if missing.any() else values
    if (given != np.floor(given)).any():
        _refuse(column, values, ~missing & (values != np.floor(values)), "expected a whole number")
    # 2**63 is a float64, 2**63 - 1 is none: what is below the former fits.
    if given.size and not (given.min() >= -(2.0**63) and given.max() < 2.0**63):
        _refuse(
            column, values, ~missing & ~((values >= -(2.0**63)) & (values < 2.0**63)), "the number does not fit 64 bits"
        )
    if given.size == values.size:
        return values.astype(np.int64)
    return [None if gone else int(value) for gone, value in zip(missing.tolist(), values.tolist(), strict=True)]


def _refuse(column: Column, values: NDArray[Any], wrong: NDArray[Any], reason: str) -> None:
    row = int(wrong.argmax())
    raise BadInput(f"column {column.name}: row {row}: {reason}, got {values[row]}")


def _float(value: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is not int:
        raise TypeError
    try:
        return float(value)
    except OverflowError:
        raise OverflowError("the number is out of range") from None


def _integer(value: Any) -> int:
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int:
        raise TypeError
    if not INT64_MIN <= value <= INT64_MAX:
        raise OverflowError("the number does not fit 64 bits")
    return value


def _exactly(kind: type) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError
        return value

    return convert


def _time(value: Any) -> datetime:
    if type(value) is not str and type(value) is not datetime:
        raise TypeError
    time: datetime = datetime.fromisoformat(value) if isinstance(value, str) else value
    try:  # an offset can lead out of the calendar at its ends
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError:
        raise OverflowError("the time is out of range") from None


_CONVERT: dict[str, Callable[[Any], Any]] = {
    "float": _float,
    "integer": _integer,
    "boolean": _exactly(bool),
    "string": _exactly(str),
    "datetime": _time,
}


def _number_cell(cell: str) -> Any:
    """An int or a float; what is neither stays text, for `check` to complain of."""
    text = cell.strip()
    if not text:
        return None
    if _WHOLE.fullmatch(text):
        return int(text)
    value = float(text) if _NUMBER.fullmatch(text) else text
    return text if value in (float("inf"), float("-inf")) else value


def _boolean_cell(cell: str) -> Any:
    text = cell.strip()
    return {"true": True, "false": False, "": None}.get(text.lower(), text)


def _text_cell(cell: str) -> str | None:
    return cell or None


CELLS: dict[str, Callable[[str], Any]] = {
    "float": _number_cell,
    "integer": _number_cell,
    "boolean": _boolean_cell,
    "string": _text_cell,
    "datetime": _text_cell,
}


def show(value: Any) -> str:
    """A value for a message: what kind it is, and the beginning of it."""
    if value is None:
        return "null"
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is dict:
        return "an object"
    if type(value) is list:
        return "a list"
    if type(value) is str:
        return f'the string "{value[:40]}{"…" if len(value) > 40 else ""}"'
    if type(value) is int and value.bit_length() > 200:
        return "a number of more than 60 digits"  # str() of a huge int is slow, and refused above 4,300 digits
    return str(value)


def listed(items: Iterable[str], total: int | None = None) -> str:
    items = list(items)
    total = len(items) if total is None else total
    shown = ", ".join(items[:SHOWN])
    return f"{shown} and {total - SHOWN} more" if total > SHOWN else shown
