"""Packs: many small objects in one file, with a sorted index at its end. See FORMAT.md, "Pack"."""

from __future__ import annotations

import contextlib
import os
import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from operator import add, le, lt

from mlops_cli.core.base import durable
from mlops_cli.core.base.digest import HEX_DIGITS, NUMBERS, hasher
from mlops_cli.core.errors import IntegrityError, ProjectError
from mlops_cli.core.store.placing import write_all

MAGIC, IDX_MAGIC, END_MAGIC = b"MLOPACK", b"MLOPIDX", b"MLOPACKE"
VERSION = 1
RAW = 0  # the only flag: bytes as they are
PACK_BYTES = 1 << 26  # a pack that has reached this is closed
_NAMES = {number: name for name, number in NUMBERS.items()}
_HEADER = struct.Struct("<7sBB7x")
_COUNT = struct.Struct("<I")
_PACK_SIZE = struct.Struct("<Q")
_TRAILER = struct.Struct("<I8s")
HEADER_BYTES = _HEADER.size
_BUFFER_BYTES = 1 << 22
_RUN_BYTES = 1 << 16  # a run of objects from here on is written without being copied first


class PackIndex:
    """What a pack holds: `digests` is the column of raw digests, ascending; `offsets` and `lengths` go with it."""

    __slots__ = ("algorithm", "digests", "lengths", "name", "offsets", "width")

    def __init__(self, name: str, algorithm: str, digests: bytes, offsets: array[int], lengths: array[int]) -> None:
        self.name = name
        self.algorithm = algorithm
        self.width = HEX_DIGITS[algorithm] // 2
        self.digests = digests
        self.offsets = offsets
        self.lengths = lengths

    def __len__(self) -> int:
        return len(self.offsets)

    def find(self, raw: bytes) -> tuple[int, int] | None:
        """Offset and length of an object in the pack."""
        at = bisect_left(range(len(self)), raw, key=self.digest_at)
        if at < len(self) and self.digest_at(at) == raw:
            return self.offsets[at], self.lengths[at]
        return None

    def digest_at(self, row: int) -> bytes:
        return self.digests[row * self.width : (row + 1) * self.width]

    def raw_digests(self) -> Iterator[bytes]:
        """Every digest, ascending."""
        width = self.width
        return (self.digests[at : at + width] for at in range(0, len(self.digests), width))

    def rows(self) -> Iterator[tuple[bytes, int, int]]:
        """(raw digest, offset, length), ascending by digest."""
        return zip(self.raw_digests(), self.offsets, self.lengths, strict=True)

    def body(self) -> bytes:
        """The index as it stands in a pack and in an .idx; its hash is the pack's name."""
        flags = bytes(len(self))
        columns = _little(self.offsets), _little(self.lengths), flags
        return _COUNT.pack(len(self)) + self.digests + b"".join(columns)

    def to_idx(self, pack_bytes: int) -> bytes:
        """The `.idx` that announces the pack on a remote."""
        return _header(IDX_MAGIC, self.algorithm) + _PACK_SIZE.pack(pack_bytes) + self.body()

    @classmethod
    def from_idx(cls, data: bytes, name: str, *, strict: bool = True) -> tuple[PackIndex, int]:
        """Read an `.idx`, and the size its pack must have. Raises IntegrityError, ProjectError for a newer format.

        Not `strict` is for one that was read strictly before: its name still is the digest of what it says."""
        algorithm = _read_header(data, IDX_MAGIC, f"{name}.idx")
        start = _HEADER.size + _PACK_SIZE.size
        if len(data) < start:
            raise _damaged(f"{name}.idx", "it is cut short")
        (pack_bytes,) = _PACK_SIZE.unpack_from(data, _HEADER.size)
        body = data[start:]
        index = _parse(body, algorithm, name)
        if strict:
            _hold_against(index, pack_bytes - _TRAILER.size - len(body))
        return index, pack_bytes


class PackWriter:
    """A pack being written to a new file. `finish` leaves a whole and durable pack there, to be renamed to its name.

    Bytes go through a buffer; objects can be read back at any time. Not for several threads at once.
    """

    def __init__(self, path: str, algorithm: str) -> None:
        self.path = path
        self.algorithm = algorithm
        self.rows: dict[bytes, tuple[int, int]] = {}
        self.size = _HEADER.size
        self._handle: int | None = None
        self._buffer = bytearray(_header(MAGIC, algorithm))
        self._written = 0
        self._begun = 0  # what the disk was asked to take in
        self._torn = False  # a write was cut short, and something may stand behind the end

    def add(self, raw: bytes, data: bytes) -> None:
        """Append an object that is not in this pack yet."""
        length = len(data)
        self.rows[raw] = (self.size, length)
        self.size += length
        self._buffer += data
        if len(self._buffer) >= _BUFFER_BYTES:
            self._spill()

    def add_run(self, raws: Sequence[bytes], lengths: Sequence[int], data: memoryview) -> None:
        """Append objects that are not in this pack yet, and that lie one after another in `data`."""
        if len(data) < _RUN_BYTES:
            self._buffer += data
        else:
            handle = self._spill()
            try:
                write_all(handle, data)
            except BaseException:
                self._torn = True
                raise
            self._advance(handle, len(data))
        self.rows.update(zip(raws, zip(accumulate(lengths, initial=self.size), lengths, strict=False), strict=True))
        self.size += len(data)
        if len(self._buffer) >= _BUFFER_BYTES:
            self._spill()

    def read(self, raw: bytes) -> bytes:
        """The bytes of an object of this pack."""
        offset, length = self.rows[raw]
        if offset >= self._written and self._buffer:
            start = offset - self._written
            return bytes(self._buffer[start : start + length])
        return os.pread(self._spill(), length, offset)

    def seal(self, index: PackIndex | None = None) -> PackIndex:
        """Write the index, after which nothing can be added; `sync` then makes the file durable.

        `index` is that of a pack which this one is a copy of, object by object."""
        if index is None:
            index = make_index(self.rows, self.algorithm)
        body = index.body()
        self._buffer += body
        self._buffer += _TRAILER.pack(len(body), END_MAGIC)
        handle = self._spill()
        if self._torn:
            os.ftruncate(handle, self._written)
        return index

    def sync(self) -> None:
        """Flush a sealed pack to the disk. May run on a thread of its own."""
        if self._handle is not None:
            os.fsync(self._handle)

    def finish(self) -> PackIndex:
        """Seal, flush to the disk, close."""
        index = self.seal()
        self.sync()
        self.close()
        return index

    def abandon(self) -> None:
        """Leave nothing behind."""
        self.close()
        self._buffer.clear()
        with contextlib.suppress(OSError):
            os.unlink(self.path)

    def _spill(self) -> int:
        """Write what is in the buffer; the open file."""
        if self._handle is None:
            self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
        # A disk that was full may have taken a part of it: what is tried again goes to the same place.
        os.lseek(self._handle, self._written, os.SEEK_SET)
        if self._buffer:
            write_all(self._handle, self._buffer)
            self._advance(self._handle, len(self._buffer))
            self._buffer.clear()
        return self._handle

    def _advance(self, handle: int, length: int) -> None:
        self._written += length
        if self._written - self._begun >= _BUFFER_BYTES:
            durable.begin_flush(handle, self._begun, self._written - self._begun)
            self._begun = self._written

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def make_index(rows: dict[bytes, tuple[int, int]], algorithm: str) -> PackIndex:
    """The index of a pack whose objects lie at `rows` (raw digest -> offset, length)."""
    ordered = sorted(rows)
    offsets = array("I", [rows[raw][0] for raw in ordered])
    lengths = array("I", [rows[raw][1] for raw in ordered])
    index = PackIndex("", algorithm, b"".join(ordered), offsets, lengths)
    index.name = _name(index.body(), algorithm)
    return index


def data_end(index: PackIndex, pack_bytes: int) -> int:
    """Where the data of a pack of so many bytes ends, and its index begins."""
    return pack_bytes - _TRAILER.size - _COUNT.size - len(index) * (index.width + 9)


def read_index(path: str, name: str, *, strict: bool = False) -> PackIndex:
    """The index of the pack file `name`. `strict` also refuses what no writer writes, which takes longer.

    Raises IntegrityError, ProjectError for a newer format, OSError.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        algorithm = _read_header(os.pread(handle, _HEADER.size, 0), MAGIC, name)
        size = os.fstat(handle).st_size
        end = size - _TRAILER.size
        trailer = os.pread(handle, _TRAILER.size, max(end, 0))
        if len(trailer) != _TRAILER.size or trailer[4:] != END_MAGIC:
            raise _damaged(name, "its end is missing")
        (length,) = _COUNT.unpack_from(trailer)
        start = end - length
        if start < _HEADER.size:
            raise _damaged(name, "its index does not fit into it")
        index = _parse(os.pread(handle, length, start), algorithm, name)
        if strict:
            _hold_against(index, start)
        return index
    finally:
        os.close(handle)


def _parse(body: bytes, algorithm: str, name: str) -> PackIndex:
    width = HEX_DIGITS[algorithm] // 2
    if len(body) < _COUNT.size or _name(body, algorithm) != name:
        raise _damaged(name, "its index has another digest than its name")
    (count,) = _COUNT.unpack_from(body)
    columns = _COUNT.size + count * width
    if len(body) != columns + count * 9:
        raise _damaged(name, f"its index does not hold {count} rows")
    digests = body[_COUNT.size : columns]
    offsets, lengths = array("I"), array("I")
    offsets.frombytes(body[columns : columns + count * 4])
    lengths.frombytes(body[columns + count * 4 : columns + count * 8])
    if sys.byteorder == "big":
        offsets.byteswap()
        lengths.byteswap()
    if body.count(RAW, columns + count * 8) != count:
        raise _damaged(name, "it holds objects in a form that this mlo does not know")
    return PackIndex(name, algorithm, digests, offsets, lengths)


def _hold_against(index: PackIndex, end: int) -> None:
    """Refuse what no writer writes; `end` is where the data ends.

    Digests ascend, and no byte of the data belongs to two objects: else few bytes could claim to be many.
    """
    raws = list(index.raw_digests())
    if not all(map(lt, raws, raws[1:])):
        raise _damaged(index.name, "its digests are out of order")
    order = in_order(index)
    starts = [index.offsets[row] for row in order]
    ends = [_HEADER.size, *map(add, starts, (index.lengths[row] for row in order))]
    if not all(map(le, ends, starts)):
        raise _damaged(index.name, "two of its objects overlap")
    if ends[-1] > end:
        raise _damaged(index.name, "an object reaches beyond its data")


def in_order(index: PackIndex) -> list[int]:
    """The rows of a pack as their objects lie in it; what is empty stands before what begins where it does."""
    rows: Iterable[int] = range(len(index))
    if 0 in index.lengths:
        rows = sorted(rows, key=index.lengths.__getitem__)
    return sorted(rows, key=index.offsets.__getitem__)


def _header(magic: bytes, algorithm: str) -> bytes:
    return _HEADER.pack(magic, VERSION, NUMBERS[algorithm])


def _read_header(data: bytes, magic: bytes, name: str) -> str:
    """The algorithm."""
    if len(data) < _HEADER.size or data[:7] != magic:
        raise _damaged(name, "it does not begin as one")
    _, version, algorithm = _HEADER.unpack_from(data)
    if version > VERSION:
        raise ProjectError(
            f"pack {name} has version {version}; this mlo reads up to {VERSION}",
            hint="upgrade mlo: pip install --upgrade mlops-cli",
        )
    if version != VERSION or algorithm not in _NAMES:
        raise _damaged(name, "its header is wrong")
    return _NAMES[algorithm]


def _name(body: bytes, algorithm: str) -> str:
    state = hasher(algorithm)
    state.update(body)
    return state.hexdigest()


def _little(column: array[int]) -> bytes:
    if sys.byteorder == "little":
        return column.tobytes()
    swapped = array("I", column)
    swapped.byteswap()
    return swapped.tobytes()


def _damaged(name: str, why: str) -> IntegrityError:
    return IntegrityError(
        f"pack {name} is damaged: {why}", hint="run `mlo data fsck --repair`, or `mlo data push` where its data is"
    )
