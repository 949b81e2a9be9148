"""JSON lines: one object a line, in blocks of whole lines."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from mlops_cli.core.drift.columns import text_array
from mlops_cli.core.drift.sources.csv_files import is_gzip
from mlops_cli.core.drift.sources.types import shapeless, timed
from mlops_cli.core.errors import ProjectError

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_BYTES = 4 << 20
_SMALLEST, _LARGEST = -(1 << 63), (1 << 63) - 1
_NUMBERS = (int, float)


@dataclass(frozen=True, slots=True)
class JsonLinesSource:
    """One file, or several read one after the other. A key that a line lacks is null there."""

    paths: Sequence[Path]
    names: Sequence[str]
    block_bytes: int = BLOCK_BYTES

    def blocks(
        self, texts: frozenset[str], only: frozenset[str] | None = None
    ) -> Iterator[tuple[int, dict[str, pa.Array]]]:
        """Raises ProjectError that names the file and the line."""
        for path, name in zip(self.paths, self.names, strict=True):
            number = 1
            for block in _lines(path, name, self.block_bytes):
                rows = _rows(block, name, number)
                number += block.count(b"\n")
                keys = dict.fromkeys(key for row in rows for key in row) if only is None else only
                yield len(rows), {key: column([row.get(key) for row in rows], as_text=key in texts) for key in keys}


def _lines(path: Path, name: str, block_bytes: int) -> Iterator[bytes]:
    """Blocks that end where a line does."""
    try:
        with gzip.open(path) if is_gzip(path) else path.open("rb") as file:
            rest = b""
            while block := file.read(block_bytes):
                whole, end, tail = (rest + block).rpartition(b"\n")
                rest = tail
                if end:
                    yield whole + end
            if rest.strip():
                yield rest
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ProjectError(f"{name} does not read as gzip: {error}", hint="copy it again") from None


def _rows(block: bytes, name: str, first: int) -> list[dict[str, Any]]:
    if first == 1:
        block = block.removeprefix(b"\xef\xbb\xbf")
    try:
        rows = _DECODER.decode_lines(block)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _rows_one_by_one(block, name, first)
    return rows


_DECODER = msgspec.json.Decoder(dict[str, Any])


def _rows_one_by_one(block: bytes, name: str, first: int) -> list[dict[str, Any]]:
    """Slower, but it takes NaN and Infinity, which Python writes, and knows the line."""
    rows = []
    for number, line in enumerate(block.split(b"\n"), first):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except UnicodeDecodeError:
            raise ProjectError(f"{name}:{number} is not UTF-8", hint="save it as that") from None
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "it nests too deeply"
            raise ProjectError(
                f"{name}:{number} is no JSON: {reason}", hint="give one JSON object a line, without line ends in it"
            ) from None
        if not isinstance(row, dict):
            raise ProjectError(
                f"{name}:{number} is no JSON object",
                hint='give one object a line, as {"temp": 39.2, "carrier": "UA"}',
            )
        rows.append(row)
    return rows


def column(values: list[Any], *, as_text: bool = False) -> pa.Array:
    """Values of one key in the narrowest type that fits; null where None. Objects are known to be there, and no more.

    Lists of numbers are vectors. Texts that are all times in ISO 8601 are timestamps, unless `as_text`; texts are never
    numbers. Values of several kinds are texts, as JSON would write them.
    """
    import pyarrow as pa

    kinds = set(map(type, values))
    kinds.discard(type(None))
    if not kinds:
        return pa.nulls(len(values))
    if kinds & {dict, list}:
        return _vectors(values) if kinds == {list} else shapeless(len(values), _validity(values)[0])
    if not as_text and len(kinds & {str, bool}) == 0:
        return _numbers(values, whole=kinds == {int})
    if not as_text and kinds == {bool}:
        return _booleans(values)
    texts = _texts([value if value is None or isinstance(value, str) else json.dumps(value) for value in values])
    return timed(texts) if not as_text and kinds == {str} else texts


def _validity(values: list[Any]) -> tuple[pa.Buffer | None, int]:
    import pyarrow as pa

    present = np.fromiter((value is not None for value in values), bool, len(values))
    missing = len(values) - int(np.count_nonzero(present))
    if not missing:
        return None, 0
    return pa.py_buffer(np.packbits(present, bitorder="little").tobytes()), missing


def _numbers(values: list[Any], *, whole: bool) -> pa.Array:
    """Taken from buffers, since pa.array() would import pandas."""
    import pyarrow as pa

    validity, missing = _validity(values)
    filled = [0 if value is None else value for value in values] if missing else values
    if whole and all(_SMALLEST <= value <= _LARGEST for value in filled):
        data = np.array(filled, dtype=np.int64)
        return pa.Array.from_buffers(pa.int64(), len(values), [validity, pa.py_buffer(data)], missing)
    doubles = np.array([_double(value) for value in filled], dtype=np.float64)
    return pa.Array.from_buffers(pa.float64(), len(values), [validity, pa.py_buffer(doubles)], missing)


def _double(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of more than 308 digits
        return float("inf") if value > 0 else float("-inf")


def _booleans(values: list[Any]) -> pa.Array:
    import pyarrow as pa

    validity, missing = _validity(values)
    bits = np.packbits(np.fromiter((value is True for value in values), bool, len(values)), bitorder="little")
    return pa.Array.from_buffers(pa.bool_(), len(values), [validity, pa.py_buffer(bits.tobytes())], missing)


def _texts(values: list[str | None]) -> pa.Array:
    import pyarrow as pa

    # A lone surrogate, which JSON can escape and UTF-8 cannot hold, becomes a question mark.
    filled = ["" if value is None else value.encode("utf-8", "replace").decode() for value in values]
    array = text_array(filled)
    validity, missing = _validity(values)
    if not missing:
        return array
    return pa.Array.from_buffers(array.type, len(values), [validity, *array.buffers()[1:]], missing)


def _vectors(values: list[Any]) -> pa.Array:
    """Lists of numbers; None among them is NaN. Other lists are objects."""
    import pyarrow as pa

    lists = [value or [] for value in values]
    flat = list(chain.from_iterable(lists))
    if not all(value is None or (isinstance(value, _NUMBERS) and not isinstance(value, bool)) for value in flat):
        return shapeless(len(values), _validity(values)[0])
    validity, missing = _validity(values)
    offsets = np.zeros(len(lists) + 1, dtype=np.int32)
    np.cumsum([len(value) for value in lists], out=offsets[1:])
    inner = _numbers([float("nan") if value is None else value for value in flat], whole=False)
    kind = pa.list_(pa.float64())
    return pa.Array.from_buffers(kind, len(values), [validity, pa.py_buffer(offsets)], missing, children=[inner])
