"""The bytes of a spool file: a header, then frames. Written whole, found again after damage. See FORMAT.md."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

MAGIC = b"MLOSPL"
VERSION = 1


def header(version: int = VERSION) -> bytes:
    """Magic, version and the version's complement: a flipped bit is told from a newer version."""
    return MAGIC + struct.pack(">HH", version, version ^ 0xFFFF)


HEADER = header()

# 0xc1 is the one byte that MessagePack never writes for itself.
MARK = b"\xc1mlo"
_LENGTH_AND_CRC = struct.Struct(">II")
OVERHEAD = len(MARK) + _LENGTH_AND_CRC.size
MAX_PAYLOAD = 16 << 20


def encode(payload: bytes) -> bytes:
    """One frame: mark, length, CRC-32 of length and payload, payload."""
    length = struct.pack(">I", len(payload))
    return MARK + _LENGTH_AND_CRC.pack(len(payload), zlib.crc32(payload, zlib.crc32(length))) + payload


def version_of(data: bytes) -> int | None:
    """The version that the header states, or None if there is no undamaged header."""
    if len(data) < len(HEADER) or not data.startswith(MAGIC):
        return None
    version, complement = struct.unpack_from(">HH", data, len(MAGIC))
    return int(version) if version ^ complement == 0xFFFF else None


@dataclass(frozen=True, slots=True)
class Read:
    """The payloads of whole, undamaged frames in order; how many stretches between them were damaged; and the
    offset behind the last byte that need not be read again. What follows it may still be in the writing."""

    payloads: tuple[bytes, ...]
    damaged: int
    end: int


def decode(data: bytes, start: int = 0, *, final: bool = False) -> Read:
    """Read frames from `start`. A torn frame at the end is left for later, or, if `final`, dropped silently:
    it is what a killed writer leaves, and was never acknowledged. Anything else that does not read is damage:
    it is counted once a stretch, and reading goes on at the next frame."""
    payloads: list[bytes] = []
    damaged = 0
    position = start
    whole_until = start
    while position < len(data):
        payload = _frame_at(data, position)
        if payload is not None:
            payloads.append(payload)
            position += OVERHEAD + len(payload)
            whole_until = position
            continue
        following = _next_frame(data, position + 1)
        if following is None:
            # A tail that begins as a frame does is a torn write; another one is damage.
            if final:
                damaged += not _begins_frame(data, position)
                whole_until = len(data)
            break
        damaged += 1
        position = whole_until = following
    return Read(tuple(payloads), damaged, whole_until)


def _frame_at(data: bytes, position: int) -> bytes | None:
    """The payload of a whole, undamaged frame at `position`, or None."""
    body = position + OVERHEAD
    if data[position : position + len(MARK)] != MARK or body > len(data):
        return None
    length, crc = _LENGTH_AND_CRC.unpack_from(data, position + len(MARK))
    if length > MAX_PAYLOAD or body + length > len(data):
        return None
    payload = data[body : body + length]
    if zlib.crc32(payload, zlib.crc32(struct.pack(">I", length))) != crc:
        return None
    return payload


def _next_frame(data: bytes, position: int) -> int | None:
    """Where the next whole frame begins, at or after `position`."""
    while (position := data.find(MARK, position)) >= 0:
        if _frame_at(data, position) is not None:
            return position
        position += 1
    return None


def _begins_frame(data: bytes, position: int) -> bool:
    """Whether the rest of `data` can be the beginning of a frame that was cut off."""
    rest = data[position:]
    if len(rest) < OVERHEAD:
        return MARK.startswith(rest[: len(MARK)])
    length, _ = _LENGTH_AND_CRC.unpack_from(rest, len(MARK))
    return rest.startswith(MARK) and length <= MAX_PAYLOAD and OVERHEAD + length > len(rest)
