"""Counts as bytes: LEB128, in which a small count takes one byte."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]


def pack(counts: Counts) -> bytes:
    """Counts (k,) >= 0, seven bits a byte, lowest first; the top bit says that more follow."""
    left = np.asarray(counts, dtype=np.uint64)
    if len(left) == 0:
        return b""
    lengths = np.ones(len(left), dtype=np.int64)
    for bits in range(7, 63, 7):
        lengths += left >= np.uint64(1 << bits)
    ends = np.cumsum(lengths)
    packed = np.zeros(ends[-1], dtype=np.uint8)
    starts = ends - lengths
    for byte in range(int(lengths.max())):
        inside = lengths > byte
        more = (lengths[inside] > byte + 1).astype(np.uint8) << 7
        packed[starts[inside] + byte] = ((left[inside] >> np.uint64(7 * byte)) & np.uint64(127)).astype(np.uint8) | more
    return packed.tobytes()


def unpack(data: bytes) -> Counts:
    """What `pack` packed. Raises ValueError for bytes that end within a count."""
    packed = np.frombuffer(data, dtype=np.uint8)
    if len(packed) == 0:
        return np.empty(0, dtype=np.int64)
    if packed[-1] & 128:
        raise ValueError("packed counts end within one")
    last = np.flatnonzero(packed < 128)
    starts = np.concatenate(([0], last[:-1] + 1))
    places = np.arange(len(packed)) - np.repeat(starts, last - starts + 1)
    return np.add.reduceat((packed & 127).astype(np.int64) << (7 * places), starts)


def pack_signed(numbers: Counts) -> bytes:
    """Integers (k,) of less than 2^62 either way, as `pack` writes 0, -1, 1, -2 ...: 0, 1, 2, 3 ..."""
    wide = np.asarray(numbers, dtype=np.int64)
    return pack((wide << 1) ^ (wide >> 63))


def unpack_signed(data: bytes) -> Counts:
    """What `pack_signed` packed."""
    folded = unpack(data)
    return (folded >> 1) ^ -(folded & 1)
