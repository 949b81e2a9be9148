"""Tensors of the Open Inference Protocol, as lists or as little-endian blobs, and the rows that they stand for.

Nothing is allocated for a tensor before its datatype, its shape and the length of its blob fit each other and the
server's limit of rows. Source of the blobs' layout:
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from math import isfinite, isinf
from typing import Any, NamedTuple

import msgspec
import numpy as np
from msgspec.structs import astuple
from numpy.typing import NDArray

from mlops_cli.core.serving.decode import Decoder, Rows
from mlops_cli.core.serving.problems import BadInput
from mlops_cli.core.serving.values import INT64_MAX, show

SMALL = 64  # elements up to which a list costs less than an array
_LENGTH = struct.Struct("<I")


class Datatype(NamedTuple):
    """`kinds` are its elements in JSON, `low` and `high` their bounds, `code` is that of `struct` and of NumPy."""

    name: str
    kinds: frozenset[type]
    size: int = 0
    code: str = ""
    low: int = 0
    high: int = 0


_WHOLE, _NUMBERS = frozenset({int}), frozenset({int, float})
DATATYPES: dict[str, Datatype] = {
    datatype.name: datatype
    for datatype in (
        Datatype("BOOL", frozenset({bool}), 1, "?"),
        *(
            Datatype(f"INT{8 * size}", _WHOLE, size, code, -(2 ** (8 * size - 1)), 2 ** (8 * size - 1) - 1)
            for size, code in ((1, "b"), (2, "h"), (4, "i"), (8, "q"))
        ),
        *(
            Datatype(f"UINT{8 * size}", _WHOLE, size, code, 0, 2 ** (8 * size) - 1)
            for size, code in ((1, "B"), (2, "H"), (4, "I"), (8, "Q"))
        ),
        Datatype("FP16", _NUMBERS, 2, "e"),
        Datatype("FP32", _NUMBERS, 4, "f"),
        Datatype("FP64", _NUMBERS, 8, "d"),
        Datatype("BF16", frozenset(), 2, "H"),
        Datatype("BYTES", frozenset({str})),
    )
}
_NUMERIC = frozenset(DATATYPES) - {"BOOL", "BYTES"}


_INT32 = (-(2**31), 2**31 - 1)
_ONE = ([1], [1, 1])
_EXACT = {"FP64": float, "FP32": float, "INT64": int, "INT32": int, "BYTES": str, "BOOL": bool}
_UNPACK = {name: struct.Struct("<" + DATATYPES[name].code).unpack for name in ("FP64", "FP32", "INT64", "INT32")}


class Tensor(msgspec.Struct, gc=False):
    """One input: `elements`, flat or nested by one level, or a `blob`."""

    name: str
    datatype: str
    shape: Sequence[int]
    elements: list[Any] | None = None
    blob: memoryview | None = None


def rows_of(tensors: Sequence[Tensor], decoder: Decoder) -> Rows:
    """One tensor an input, of the shape [n] or [n, 1]; or a single [n, k] one of numbers, where every input is one.

    Raises BadInput with the tensor at fault, TooLarge for more rows than the server takes.
    """
    if len(tensors) == 1 and _is_matrix(tensors[0], decoder):
        return _matrix(tensors[0], decoder)
    columns: dict[str, Any] | None = _one_row(tensors)
    if columns is not None:
        return decoder.columns(columns)
    columns = {}
    for tensor in tensors:
        if tensor.name in columns:
            raise BadInput(f"tensor {tensor.name[:100]} is given twice")
        shape = tensor.shape
        if len(shape) != 1 and (len(shape) != 2 or shape[1] != 1):
            raise BadInput(f"{_title(tensor)}: expected the shape [n] or [n, 1], got {_shape(tensor)}")
        columns[tensor.name] = _elements(tensor, _rows(tensor, decoder), 1)
    return decoder.columns(columns)


def _one_row(tensors: Sequence[Tensor]) -> dict[str, list[Any]] | None:
    """The columns of one row without fault or oddity; None for any other."""
    columns = {}
    for name, datatype, shape, elements, blob in map(astuple, tensors):
        if shape not in _ONE:
            return None
        if elements is not None:
            if len(elements) != 1 or type(elements[0]) is not _EXACT.get(datatype):
                return None
            if type(elements[0]) is int and not _INT32[0] <= elements[0] <= _INT32[1]:
                return None
            columns[name] = elements
        else:
            unpack = _UNPACK.get(datatype)
            if unpack is None or len(blob) != DATATYPES[datatype].size:
                return None
            (value,) = unpack(blob)
            if not isfinite(value):
                return None
            columns[name] = [value]
    return columns if len(columns) == len(tensors) else None


def _is_matrix(tensor: Tensor, decoder: Decoder) -> bool:
    """Does it stand for all inputs? One with an input's own name does only if it is as wide as all of them."""
    return (
        len(tensor.shape) == 2
        and tensor.datatype in _NUMERIC
        and decoder.is_numeric
        and (tensor.name not in decoder.names or tensor.shape[1] == len(decoder.names))
    )


def _matrix(tensor: Tensor, decoder: Decoder) -> Rows:
    width = len(decoder.names)
    if tensor.shape[1] != width:
        raise BadInput(f"{_title(tensor)}: shape {_shape(tensor)} does not fit the model's {width} inputs")
    n = _rows(tensor, decoder)
    flat = _elements(tensor, n, width)
    if type(flat) is list and n * width > SMALL:
        flat = _array(flat, tensor.datatype, decoder)
    if isinstance(flat, np.ndarray):
        return decoder.columns(dict(zip(decoder.names, np.ascontiguousarray(flat.reshape(n, width).T), strict=True)))
    if n == 1:
        return decoder.row(flat)
    # Element i*k + j stands in row i, column j.
    return decoder.columns({name: flat[place::width] for place, name in enumerate(decoder.names)})


def _array(flat: list[Any], datatype: str, decoder: Decoder) -> list[Any] | NDArray[Any]:
    """An array where it loses nothing: not where null stands among the elements, nor for integers that FP64 rounds."""
    kinds = set(map(type, flat))
    if kinds == {float} or (kinds <= _NUMBERS and decoder.is_float):
        try:
            return np.array(flat, np.float64)
        except OverflowError:
            return flat
    return np.array(flat, np.uint64 if datatype == "UINT64" else np.int64) if kinds == {int} else flat


def _rows(tensor: Tensor, decoder: Decoder) -> int:
    n = tensor.shape[0]
    if n < 0:
        raise BadInput(f"{_title(tensor)}: the shape {_shape(tensor)} has a negative size")
    if n > INT64_MAX:  # a number of thousands of digits would be written out in the refusal
        raise BadInput(f"{_title(tensor)}: the shape {_shape(tensor)} has a size that does not fit 64 bits")
    decoder.count(n)
    return n


def _elements(tensor: Tensor, n: int, width: int) -> list[Any] | NDArray[Any]:
    """The n * width elements, row by row, checked against the datatype."""
    datatype = DATATYPES.get(tensor.datatype)
    if datatype is None:
        raise BadInput(f"{_title(tensor)}: {tensor.datatype[:20]} is no datatype; use {', '.join(DATATYPES)}")
    if tensor.blob is not None:
        return _unpacked(tensor, tensor.blob, datatype, n * width)
    return _listed(tensor, tensor.elements or [], datatype, n * width)


# -- lists -----------------------------------------------------------------------------------------------------


def _listed(tensor: Tensor, data: list[Any], datatype: Datatype, count: int) -> list[Any]:
    if data and type(data[0]) is list:
        data = _unnested(tensor, data)
    if len(data) != count:
        raise BadInput(f"{_title(tensor)}: the shape {_shape(tensor)} does not fit {len(data)} elements of data")
    kinds = set(map(type, data))
    if not kinds <= datatype.kinds:
        _check_kinds(tensor, data, datatype)
        kinds.discard(type(None))
    if datatype.high and kinds:
        given = data if None not in data else [element for element in data if element is not None]
        if min(given) < datatype.low or max(given) > datatype.high:
            low, high = datatype.low, datatype.high
            place = next(i for i, element in enumerate(data) if element is not None and not low <= element <= high)
            raise BadInput(f"{_title(tensor)}: element {place} does not fit {datatype.name}")
    return data


def _unnested(tensor: Tensor, data: list[Any]) -> list[Any]:
    width = tensor.shape[1] if len(tensor.shape) == 2 else None
    if any(type(row) is not list or len(row) != (width if width is not None else len(row)) for row in data):
        raise BadInput(f"{_title(tensor)}: its nested data does not have the shape {_shape(tensor)}")
    return [element for row in data for element in row]


def _check_kinds(tensor: Tensor, data: list[Any], datatype: Datatype) -> None:
    if not datatype.kinds:
        raise BadInput(f"{_title(tensor)}: {datatype.name} is taken as binary data only")
    for place, element in enumerate(data):
        if element is not None and type(element) not in datatype.kinds:
            raise BadInput(f"{_title(tensor)}: element {place} is {show(element)}, which is no {datatype.name}")


# -- blobs -----------------------------------------------------------------------------------------------------


def _unpacked(tensor: Tensor, blob: memoryview, datatype: Datatype, count: int) -> list[Any] | NDArray[Any]:
    if datatype.name == "BYTES":
        return _strings(tensor, blob, count)
    if len(blob) != count * datatype.size:
        raise BadInput(
            f"{_title(tensor)}: the shape {_shape(tensor)} of {datatype.name} takes {count * datatype.size:,} bytes, "
            f"and its binary data has {len(blob):,}"
        )
    if datatype.name == "BOOL":
        return _booleans(tensor, blob)
    if datatype.name == "BF16":
        # The upper half of a 32-bit float.
        wide = (np.frombuffer(blob, "<u2").astype("<u4") << 16).view("<f4").astype(np.float64)
        return finite(tensor, wide.tolist()) if count <= SMALL else _without_infinities(tensor, wide)
    if count <= SMALL:
        values = list(struct.unpack(f"<{count}{datatype.code}", blob))
        return finite(tensor, values) if datatype.code in "efd" else values
    array = np.frombuffer(blob, np.dtype(datatype.code).newbyteorder("<"))
    if datatype.code in "efd":
        return _without_infinities(tensor, array.astype(np.float64))
    return array.astype(np.uint64 if datatype.code == "Q" else np.int64)


def finite(tensor: Tensor, values: list[Any]) -> list[Any]:
    """NaN becomes None. Raises BadInput for infinities. A finite sum has finite terms; another sum may have too."""
    if isfinite(sum(values)):
        return values
    for place, value in enumerate(values):
        if isinf(value):
            raise _infinite(tensor, place)
    return [value if value == value else None for value in values]  # noqa: PLR0124 - NaN is not itself


def _without_infinities(tensor: Tensor, values: NDArray[np.float64]) -> NDArray[np.float64]:
    if not np.isfinite(values).all() and (infinite := np.isinf(values)).any():
        raise _infinite(tensor, int(infinite.argmax()))
    return values


def _infinite(tensor: Tensor, place: int) -> BadInput:
    return BadInput(f"{_title(tensor)}: element {place} is infinite; only finite numbers and NaN (missing) are taken")


def _booleans(tensor: Tensor, blob: memoryview) -> list[Any] | NDArray[Any]:
    array = np.frombuffer(blob, np.uint8)
    if array.size and array.max() > 1:
        raise BadInput(f"{_title(tensor)}: element {int((array > 1).argmax())} is no BOOL, which is a byte 0 or 1")
    return array.astype(np.bool_) if array.size > SMALL else list(map(bool, blob))


def _strings(tensor: Tensor, blob: memoryview, count: int) -> list[str]:
    """Each element is its length in 4 bytes and so many bytes of UTF-8."""
    if len(blob) < _LENGTH.size * count:
        raise BadInput(f"{_title(tensor)}: {count:,} elements of BYTES take more than {len(blob):,} bytes")
    strings = []
    at, end = 0, len(blob)
    for place in range(count):
        start = at + _LENGTH.size
        at = start + _LENGTH.unpack_from(blob, at)[0] if start <= end else end + 1
        if at > end:
            raise BadInput(f"{_title(tensor)}: element {place} ends after its binary data does")
        strings.append(text(tensor, place, blob[start:at]))
    if at != end:
        raise BadInput(f"{_title(tensor)}: {end - at:,} bytes of binary data are left after {count:,} elements")
    return strings


def text(tensor: Tensor, place: int, element: bytes | memoryview) -> str:
    """An element of BYTES. Raises BadInput."""
    try:
        return str(element, "utf-8")
    except UnicodeDecodeError:
        raise BadInput(f"{_title(tensor)}: element {place} is not UTF-8") from None


def pack(values: Sequence[Any], datatype: str) -> bytes:
    """Elements as a blob."""
    if datatype == "BYTES":
        encoded = [value.encode() for value in values]
        return b"".join(_LENGTH.pack(len(value)) + value for value in encoded)
    return struct.pack(f"<{len(values)}{DATATYPES[datatype].code}", *values)


def _title(tensor: Tensor) -> str:
    return f"tensor {tensor.name[:100]}"


def _shape(tensor: Tensor) -> str:
    shown = ", ".join(show(size) for size in tensor.shape[:8])
    return f"[{shown}{', ...' if len(tensor.shape) > 8 else ''}]"
