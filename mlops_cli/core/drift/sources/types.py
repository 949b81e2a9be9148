"""Which type texts fit, and which type two blocks of a column share.

A column's type must not depend on where a file is cut into blocks, so the types form a lattice: null under all,
integers under floats, microseconds under nanoseconds, and text over everything that does not meet below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

_SHORTEST_WORD = 4  # bytes of "true"; "0" and "1" are numbers, not booleans


def typed(texts: pa.Array) -> pa.Array:
    """Texts as the narrowest of null, integer, float, boolean and timestamp that all of them fit; else as they are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if texts.null_count == len(texts):
        return pa.nulls(len(texts))
    found = _cast(texts, pa.float64())
    if found is None:
        found = _cast(pc.utf8_trim_whitespace(texts), pa.float64())
        trimmed = found is not None
    else:
        trimmed = False
    if found is not None:
        whole = _cast(pc.utf8_trim_whitespace(texts) if trimmed else texts, pa.int64())
        return found if whole is None else whole
    if (pc.min(pc.binary_length(texts)).as_py() or 0) >= _SHORTEST_WORD:
        words = _cast(texts, pa.bool_())
        if words is not None:
            return words
    return timed(texts)


def timed(texts: pa.Array) -> pa.Array:
    """Texts as timestamps if all of them are, in ISO 8601, all with a zone or all without; else as they are."""
    import pyarrow as pa

    if texts.null_count == len(texts):
        return pa.nulls(len(texts))
    for unit in ("us", "ns"):
        for zone in (None, "UTC"):
            found = _cast(texts, pa.timestamp(unit, zone))
            if found is not None:
                return found
    return texts


def _cast(texts: pa.Array, kind: pa.DataType) -> pa.Array | None:
    import pyarrow as pa

    try:
        return texts.cast(kind)
    except pa.ArrowInvalid:
        return None


def joined(left: pa.DataType, right: pa.DataType) -> pa.DataType | None:
    """The type of two blocks of one column together; None if only text would hold both."""
    import pyarrow as pa

    types = pa.types
    if left == right or types.is_null(right):
        return left
    if types.is_null(left):
        return right
    if types.is_nested(left) or types.is_nested(right):
        return pa.struct([])  # values of several shapes: nothing that a test takes
    if {left, right} == {pa.int64(), pa.float64()}:
        return pa.float64()
    if types.is_timestamp(left) and types.is_timestamp(right) and left.tz == right.tz:
        return pa.timestamp("ns", left.tz)
    return None


def as_type(piece: pa.Array, kind: pa.DataType) -> pa.Array:
    """A piece in the type of its whole column. Raises pa.ArrowInvalid if a time is out of range."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if piece.type == kind:
        return piece
    if pa.types.is_null(piece.type):
        return pa.nulls(len(piece), kind)
    if pa.types.is_struct(kind) and kind.num_fields == 0:
        return shapeless(len(piece), pc.is_valid(piece).buffers()[1] if piece.null_count else None)
    # A whole number over 2^53 is rounded, as it would have been if its text had been read as a float.
    return piece.cast(kind, safe=not pa.types.is_integer(piece.type))


def shapeless(rows: int, valid: pa.Buffer | None = None) -> pa.Array:
    """Rows of objects: which of them are there (a bitmap; all, if None) is all that is known."""
    import pyarrow as pa

    return pa.StructArray.from_buffers(pa.struct([]), rows, [valid])


def wider(types: Sequence[pa.DataType]) -> pa.DataType | None:
    """The type that holds values of all of them without a change of kind, as between shards; None if there is none."""
    import pyarrow as pa

    try:
        schema = pa.unify_schemas([pa.schema([("", kind)]) for kind in types], promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return None
    return schema.field(0).type
