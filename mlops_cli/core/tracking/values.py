"""What may be logged: names, numbers and plain values. Everything wrong is said at the call that is wrong."""

from __future__ import annotations

import datetime as dt
import enum
import re
from collections.abc import Mapping
from typing import Any

from mlops_cli.core.errors import UsageError
from mlops_cli.core.tracking.errors import NotANumber

MAX_KEY = 250
MAX_TEXT = 8000

_KEY = re.compile(r"[\w][\w .:/@=+-]*")
_ARTIFACT = re.compile(r"[\w][\w .@=+-]*(/[\w][\w .@=+-]*)*")


def key(name: object, what: str) -> str:
    """The name of a metric, parameter or tag: letters, digits, `_ . : / @ = + -` and blanks, at most 250."""
    if isinstance(name, str) and len(name) <= MAX_KEY and _KEY.fullmatch(name):
        return name
    shown = repr(name) if len(repr(name)) < 80 else f"{repr(name)[:77]}..."
    raise UsageError(
        f"{shown} is not a name for a {what}",
        hint=f"names begin with a letter or digit and hold letters, digits, blanks and _.:/@=+-, at most {MAX_KEY}",
    )


def artifact_name(name: object) -> str:
    """A relative path without `..` that every file system takes."""
    if isinstance(name, str) and len(name) <= MAX_KEY and _ARTIFACT.fullmatch(name):
        return name
    raise UsageError(
        f"{name!r} is not a name for an artifact", hint="write it as plots/roc.svg: relative, without .. and odd signs"
    )


def number(value: object, name: str) -> float:
    """A metric's value as a float: numbers, booleans, NumPy scalars, and tensors of one element. NaN and infinities
    are values as well. Raises NotANumber."""
    if isinstance(value, int | float):  # True is 1, as for MLflow
        return _float(value, value, name)
    item = getattr(value, "item", None)
    if callable(item) and not isinstance(value, str | bytes):
        try:
            inner = item()
        except (ValueError, TypeError, RuntimeError):  # more than one element
            inner = None
        if isinstance(inner, int | float):
            return _float(inner, value, name)
    if not isinstance(value, str | bytes | complex) and hasattr(value, "__float__") and not hasattr(value, "__len__"):
        return _float(value, value, name)
    shown = repr(value) if len(repr(value)) < 80 else f"{repr(value)[:77]}..."
    raise NotANumber(
        f"metric {name} is {shown}, a {type(value).__name__} and not a number",
        hint="log a number; text goes to set_tag or log_param",
    )


def _float(value: Any, given: object, name: str) -> float:
    try:
        return float(value)
    except (OverflowError, TypeError, ValueError) as error:
        raise NotANumber(
            f"metric {name} is {given!r}, which is no float: {error}", hint="log a smaller number"
        ) from None


def step(value: object) -> int:
    """A step as an integer. Raises UsageError."""
    item = getattr(value, "item", None)
    if callable(item):
        value = item()
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    raise UsageError(f"step {value!r} is not an integer", hint="count epochs or batches: step=0, 1, 2 ...")


def plain(value: Any, name: str) -> Any:
    """A parameter as what JSON can hold: NumPy scalars become Python's, times, paths and other objects their text.

    Raises UsageError for more than 8,000 characters.
    """
    result = _plain(value)
    if len(str(result)) > MAX_TEXT:
        raise UsageError(
            f"parameter {name} has {len(str(result)):,} characters; {MAX_TEXT:,} are the most", hint="use log_artifact"
        )
    return result


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        value = value.value
    if value is None or isinstance(value, bool | int | float | str):
        return _scalar(value)
    if isinstance(value, Mapping):
        return {_utf8(key): _plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((_plain(item) for item in value), key=str)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, dt.datetime | dt.date):
        return value.isoformat()
    return _utf8(value)


def _scalar(value: bool | int | float | str | None) -> bool | int | float | str | None:
    """Subclasses (NumPy's float64, enums of text) laid down to the plain type; integers past 64 bits as text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**63 else str(int(value))
    return float(value) if isinstance(value, float) else _utf8(value)


def _utf8(value: object) -> str:
    """The text of a value. A file name that is not UTF-8 comes from Python with half characters, which no file and
    no database takes; they are spelled out as `\\udcff`."""
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def text(value: object, name: str) -> str:
    """A tag as text. Raises UsageError for more than 8,000 characters."""
    result = _utf8(value)
    if len(result) > MAX_TEXT:
        raise UsageError(
            f"tag {name} has {len(result):,} characters; {MAX_TEXT:,} are the most", hint="use log_artifact"
        )
    return result
