"""From Arrow columns to what the tests take: sorted numbers, category counts, time order, missing rows.

Values of any origin are taken alike: nullable or not, dictionary-encoded, decimal, chunked. NaN is missing;
infinities are values. Whole numbers beyond 2^53 are rounded to a double, on both sides alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.base.clock import format_time
from mlops_cli.core.base.digest import digest_bytes

if TYPE_CHECKING:
    import pyarrow as pa

Array = NDArray[np.float64]
Group = Literal["numeric", "boolean", "string", "datetime", "vector", "null", "other"]
Kind = Literal["float", "integer", "boolean", "string", "datetime", "vector", "other"]

GROUPS: dict[str, Group] = {
    "float": "numeric",
    "integer": "numeric",
    "boolean": "boolean",
    "string": "string",
    "datetime": "datetime",
    "vector": "vector",
    "other": "other",
}
_UNITS = {"s": 1e0, "ms": 1e3, "us": 1e6, "ns": 1e9}  # of each in a second
_NAMES = {"double": "float64", "float": "float32", "halffloat": "float16"}  # of Arrow's types in NumPy
_PART_ROWS = 1 << 20
LONGEST_VALUE = 200  # characters; a longer text is known by its beginning and its digest


@dataclass(frozen=True, slots=True)
class Numbers:
    """A numeric column. `values` (n,) without missing ones in row order; `present` (rows,) or None if all are."""

    values: Array
    present: NDArray[np.bool_] | None
    rows: int

    @property
    def missing(self) -> int:
        return self.rows - len(self.values)


@dataclass(frozen=True, slots=True)
class Categories:
    """A categorical column: `codes` (n,) into `values`, -1 for a value that is not among them; as in Numbers else."""

    codes: NDArray[np.int64]
    values: Sequence[str]
    present: NDArray[np.bool_] | None
    rows: int

    @property
    def missing(self) -> int:
        return self.rows - len(self.codes)


def group_of(kind: pa.DataType) -> Group:
    """Which tests fit values of an Arrow type."""
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return group_of(kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return group_of(kind.storage_type)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner = kind.value_type
        return "vector" if types.is_floating(inner) or types.is_integer(inner) else "other"
    known: tuple[tuple[Group, tuple[Callable[[pa.DataType], bool], ...]], ...] = (
        ("boolean", (types.is_boolean,)),
        ("numeric", (types.is_integer, types.is_floating, types.is_decimal, types.is_time, types.is_duration)),
        ("string", (types.is_string, types.is_large_string, types.is_string_view)),
        ("datetime", (types.is_timestamp, types.is_date)),
        ("null", (types.is_null,)),
    )
    return next((group for group, holds in known if any(one(kind) for one in holds)), "other")


def kind_of(kind: pa.DataType) -> Kind:
    """The kind of column that values of an Arrow type make, where no model says; RULE.md has the table."""
    import pyarrow as pa

    group = group_of(kind)
    if group == "numeric":
        while (
            pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind) or isinstance(kind, pa.BaseExtensionType)
        ):
            kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind.value_type
        return "integer" if pa.types.is_integer(kind) else "float"
    kinds: dict[Group, Kind] = {"boolean": "boolean", "string": "string", "datetime": "datetime", "vector": "vector"}
    # A column of nulls only holds numbers as well as anything: what comes later is compared with nothing.
    return "float" if group == "null" else kinds.get(group, "other")


def numbers(column: pa.ChunkedArray) -> Numbers:
    """A column of numbers or booleans as doubles. Raises pa.ArrowInvalid if it cannot be."""
    import pyarrow as pa

    column = plain(column)
    if pa.types.is_null(column.type):
        return Numbers(np.empty(0), np.zeros(len(column), bool), len(column))
    values = _doubles(column)
    absent = np.isnan(values)
    if not absent.any():
        return Numbers(values, None, len(values))
    return Numbers(values[~absent], ~absent, len(values))


def as_group(column: pa.ChunkedArray, group: Group) -> pa.ChunkedArray:
    """A categorical column as its model takes it: numbers become booleans for a boolean, anything becomes text else.

    Raises pa.ArrowInvalid for numbers other than 0 and 1 where booleans are meant.
    """
    import pyarrow as pa

    if group == "string" and pa.types.is_dictionary(column.type) and pa.types.is_string(column.type.value_type):
        return column  # a fraction of the memory of its texts
    column = plain(column)
    if group == "boolean" and group_of(column.type) == "numeric":
        if not np.isin(numbers(column).values, (0, 1)).all():
            raise pa.ArrowInvalid("numbers other than 0 and 1 are no booleans")
        return column.cast(pa.bool_())
    return column


def categories(column: pa.ChunkedArray, known: Sequence[str] | None = None) -> Categories:
    """A column of texts; other values are taken as texts. `known` fixes the values; without it, all that occur."""
    import pyarrow as pa

    if known is not None:
        return _known_categories(column, known)
    column = _texts(column)
    rows = len(column)
    present: NDArray[np.bool_] | None = None
    if column.null_count:
        present = valid(column)
        column = column.drop_null()
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    return Categories(to_numpy(encoded.indices.cast(pa.int64())), encoded.dictionary.to_pylist(), present, rows)


def _known_categories(column: pa.ChunkedArray, known: Sequence[str]) -> Categories:
    """A part at a time, so that no second copy of all texts is made; of a dictionary, each text once."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows, listed, start = len(column), text_array(known), 0
    codes = np.empty(rows, dtype=np.int64)

    def looked_up(texts: pa.ChunkedArray) -> NDArray[np.int64]:
        return filled(pc.index_in(_texts(texts), value_set=listed).cast(pa.int64()), -1)

    for chunk in column.chunks:
        for part in (chunk.slice(at, _PART_ROWS) for at in range(0, len(chunk), _PART_ROWS)):
            if pa.types.is_dictionary(column.type):
                places = looked_up(pa.chunked_array([part.dictionary]))
                indices = filled(pa.chunked_array([part.indices.cast(pa.int64())]), 0)
                found = places[indices] if len(places) else np.full(len(part), -1)
            else:
                found = looked_up(pa.chunked_array([part]))
            codes[start : start + len(part)] = found
            start += len(part)
    if not column.null_count:
        return Categories(codes, known, None, rows)
    present = valid(column)
    return Categories(codes[present], known, present, rows)


def unseen_values(column: pa.ChunkedArray, known: Sequence[str], limit: int) -> list[tuple[str, int]]:
    """The most frequent values that are not in `known`, with their rows; ties by value."""
    import pyarrow.compute as pc

    column = _texts(column).drop_null()
    fresh = column.filter(pc.invert(pc.is_in(column, value_set=text_array(known))))
    counted = pc.value_counts(fresh.combine_chunks())
    pairs = [(str(item["values"]), int(item["counts"])) for item in counted.to_pylist()] if len(counted) else []
    return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:limit]


def time_order(column: pa.ChunkedArray) -> NDArray[np.int64] | None:
    """Row numbers in order of time, rows of one time in their own order; None if the column orders nothing.

    Texts are read as ISO 8601; numbers are taken as they are; rows without a time come last.
    """
    found = times(column)
    if found is None or len(found) < 2 or found.min() == found.max():
        return None
    if np.all(found[1:] >= found[:-1]):
        return np.arange(len(found))
    return np.argsort(found, kind="stable")


def times(column: pa.ChunkedArray) -> Array | NDArray[np.int64] | None:
    """Times (rows,) in microseconds since 1970, or numbers as they are; the largest there is where there is none, and
    None for a column of anything else."""
    import pyarrow as pa

    group = group_of(column.type)
    try:
        if group == "string":
            column = plain(column).cast(pa.timestamp("us", tz="UTC"))
            group = "datetime"
        if group == "datetime":
            stamps = plain(column).cast(pa.timestamp("us"), safe=False).cast(pa.int64())
            last = np.iinfo(np.int64).max
            return filled(stamps, last)
        if group == "numeric":
            values = _doubles(plain(column))
            return np.where(np.isnan(values), np.inf, values)
    except pa.ArrowInvalid:
        return None
    return None


def span(column: pa.ChunkedArray) -> tuple[str, str] | None:
    """The first and last time in a datetime column, as text; None if it holds none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if group_of(column.type) != "datetime":
        return None
    found = pc.min_max(plain(column).cast(pa.timestamp("us"), safe=False).cast(pa.int64())).as_py()
    if found["min"] is None:
        return None
    return time_text(found["min"]), time_text(found["max"])


def time_text(microseconds: int) -> str:
    """Microseconds since 1970 as a time, or in words where the calendar ends."""
    try:
        return format_time(datetime.fromtimestamp(microseconds / 1e6, UTC))
    except (OverflowError, ValueError, OSError):
        return f"{microseconds} µs after 1970"


def in_time(values: NDArray[Any], present: NDArray[np.bool_] | None, order: NDArray[np.int64]) -> NDArray[Any]:
    """Present values (n,) in order of time, given the order (rows,) of all rows."""
    if present is None:
        return values[order]
    place = np.cumsum(present) - 1
    return np.asarray(values[place[order][present[order]]])


def valid(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Which rows (rows,) are not null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return to_numpy(pc.is_valid(column).cast(pa.uint8())).astype(bool)


def _doubles(column: pa.ChunkedArray) -> Array:
    """Numbers or booleans (rows,) as doubles, NaN where null; durations and times of day in seconds."""
    import pyarrow as pa

    if pa.types.is_duration(column.type) or pa.types.is_time(column.type):
        unit = _UNITS[column.type.unit]
        width = pa.int32() if pa.types.is_time32(column.type) else pa.int64()
        return filled(column.cast(width).cast(pa.float64(), safe=False), np.nan) / unit
    return filled(column.cast(pa.float64(), safe=False), np.nan)


def filled(values: pa.ChunkedArray, null: float) -> NDArray[Any]:
    """Numbers (rows,), with `null` where they are null; without a copy where none is and they lie in one piece.

    Taken from the buffers: Arrow's to_numpy(), array() and scalar() all import pandas, which costs more than a check.
    """
    found = to_numpy(values)
    return np.where(valid(values), found, found.dtype.type(null)) if values.null_count else found


def to_numpy(values: pa.ChunkedArray | pa.Array) -> NDArray[Any]:
    """The numbers in the buffers; where a value is null, whatever lies there."""
    import pyarrow as pa

    chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
    dtype = np.dtype(_NAMES.get(str(values.type), str(values.type)))
    parts = [
        np.frombuffer(chunk.buffers()[1], dtype, count=len(chunk), offset=chunk.offset * dtype.itemsize)
        for chunk in chunks
        if len(chunk)
    ]
    return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, dtype), *parts])


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values themselves, without a dictionary, runs or an extension type around them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(column.type, pa.BaseExtensionType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
    if pa.types.is_run_end_encoded(column.type):
        column = pc.run_end_decode(column)
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column as large strings, with long ones replaced by their beginning and digest."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = plain(column).cast(pa.large_string())
    if len(column) == 0 or (pc.max(pc.binary_length(column)).as_py() or 0) <= LONGEST_VALUE:
        return column
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    short = text_array([_shortened(value) for value in encoded.dictionary.to_pylist()])
    return pa.chunked_array([short.take(encoded.indices)])


def text_array(values: Sequence[str]) -> pa.LargeStringArray:
    """Texts as an Arrow array, from buffers: pa.array() would import pandas, if only to ask whether it is a Series."""
    import pyarrow as pa

    encoded = [value.encode() for value in values]
    offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
    np.cumsum([len(value) for value in encoded], out=offsets[1:])
    return pa.LargeStringArray.from_buffers(len(encoded), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded)))


def _shortened(value: str) -> str:
    if len(value.encode()) <= LONGEST_VALUE:
        return value
    return f"{value[:60]}… {digest_bytes(value.encode(), 'xxh128')}"
