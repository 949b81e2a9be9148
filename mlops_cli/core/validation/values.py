"""Values of Arrow columns: of which kind they are, and comparisons that mean what people mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlops_cli.core.base.clock import parse_time
from mlops_cli.core.validation.rules import Range


class CannotAsk(Exception):
    """The data is not such that this can be asked; the text says why."""


def kind_of(values: Any) -> str:
    import pyarrow as pa

    tests: list[tuple[str, Callable[[Any], bool]]] = [
        ("integer", pa.types.is_integer),
        ("float", lambda kind: pa.types.is_floating(kind) or pa.types.is_decimal(kind)),
        ("boolean", pa.types.is_boolean),
        ("string", lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind)),
        ("datetime", lambda kind: pa.types.is_timestamp(kind) or pa.types.is_date(kind)),
        ("null", pa.types.is_null),
    ]
    return next((name for name, test in tests if test(values.type)), str(values.type))


def scalar_kind(value: object) -> str:
    return "boolean" if isinstance(value, bool) else "string" if isinstance(value, str) else "number"


def bound_for(bound: Any, values: Any) -> Any:
    """A bound as a scalar that compares with the values. Raises CannotAsk if it is of another kind."""
    import pyarrow as pa

    kind = kind_of(values)
    if kind == "null":
        return pa.scalar(None, pa.null())
    if isinstance(bound, str) != (kind == "datetime"):
        raise CannotAsk(f"the bound {bound!r} does not compare with a column that is {kind}")
    if not isinstance(bound, str):
        return pa.scalar(bound if isinstance(bound, float) or abs(bound) < 2**63 else float(bound))
    time = pa.scalar(parse_time(bound), pa.timestamp("us", "UTC"))
    if pa.types.is_date(values.type):
        return time.cast(pa.timestamp("us")).cast(values.type, safe=False)
    return time if values.type.tz else time.cast(pa.timestamp("us"))


def compare(operator: str, left: Any, right: Any) -> Any:
    """pc.less and its kin, where int64 beside uint64 or float64 is compared as float64 instead of failing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_null(left.type) or pa.types.is_null(right.type):
        return pa.chunked_array([pa.nulls(len(left), pa.bool_())])
    try:
        return pc.call_function(operator, [left, right])
    except pa.ArrowInvalid:
        return pc.call_function(operator, [left.cast("float64", safe=False), right.cast("float64", safe=False)])


def as_integers(items: list[Any], kind: Any) -> Any:
    """Those of `items` that a column of the integer type `kind` can hold, as an array: 2.0 is 2, 2.5 is none.

    Exact beyond 2**53, where a comparison as floats would not be.
    """
    import pyarrow as pa

    low, high = (
        (-(2 ** (kind.bit_width - 1)), 2 ** (kind.bit_width - 1)) if _is_signed(kind) else (0, 2**kind.bit_width)
    )
    whole = [int(item) for item in items if isinstance(item, int) or item.is_integer()]
    return pa.array([item for item in whole if low <= item < high], kind)


def _is_signed(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_signed_integer(kind))


def plain_zero(values: Any) -> Any:
    """-0.0 as 0.0: Arrow's hashing tells them apart, people do not."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.add(values, pa.scalar(0.0)) if pa.types.is_floating(values.type) else values


def none_bad(values: Any) -> Any:
    """False for every row with a value, null for the others."""
    import pyarrow.compute as pc

    return pc.invert(pc.true_unless_null(values))


def is_inside(observed: Any, bounds: Range) -> bool:
    low, high = bounds
    below = low is not None and compare("less", observed, bound_for(low, observed)).as_py()
    above = high is not None and compare("greater", observed, bound_for(high, observed)).as_py()
    return not (below or above)


def range_text(bounds: Range) -> str:
    low, high = bounds
    if low is None or high is None:
        return f"at least {low}" if high is None else f"at most {high}"
    return f"{low} to {high}"


def value_text(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
