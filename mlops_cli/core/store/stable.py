"""Reading files that others may be writing: the digest returned is of bytes the file held at one time."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import TypeVar

from mlops_cli.core.base.digest import BLOCK_BYTES, hasher
from mlops_cli.core.store.protocol import ChangedWhileRead, UnsupportedFile

Result = TypeVar("Result")
Signature = tuple[int, int, int, int, int]
SMALL_BYTES = 1 << 18  # read in one piece
_ATTEMPTS = 3
_WHAT = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def signature(status: os.stat_result) -> Signature:
    """What changes whenever a file's bytes do. ctime is in it because an edit can restore size and mtime."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_mode


def unsupported(path: bytes, mode: int) -> UnsupportedFile:
    what = _WHAT.get(stat.S_IFMT(mode), "no ordinary file")
    return UnsupportedFile(
        f"{os.fsdecode(path)} is {what}; only files, folders and links can be versioned",
        hint="move it out of the folder that you add",
    )


def open_regular(path: bytes) -> tuple[int, os.stat_result]:
    """Open a file for reading; O_NONBLOCK, so that a FIFO put there meanwhile cannot hang us."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise unsupported(path, stat.S_IFSOCK) from None
        raise
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise unsupported(path, status.st_mode)
    return handle, status


def read_stable(path: bytes, consume: Callable[[int, os.stat_result], Result]) -> tuple[Result, os.stat_result]:
    """Call `consume` with the open file until the file stood still meanwhile; it must be harmless to repeat.

    Raises ChangedWhileRead after three attempts, UnsupportedFile, OSError.
    """
    for _ in range(_ATTEMPTS):
        handle, before = open_regular(path)
        try:
            result = consume(handle, before)
            after = os.fstat(handle)
        finally:
            os.close(handle)
        if signature(before) == signature(after):
            return result, after
    raise _changed(path)


def read_small(path: bytes) -> tuple[bytes | None, os.stat_result]:
    """The bytes of a file of at most SMALL_BYTES and the status it had meanwhile; None for a larger one.

    As read_stable, for loops over many small files. Raises ChangedWhileRead, UnsupportedFile, OSError.
    """
    for _ in range(_ATTEMPTS):
        handle, before = open_regular(path)
        try:
            size = before.st_size
            if size > SMALL_BYTES:
                return None, before
            data = read_all(handle, size)
            after = os.fstat(handle)
        finally:
            os.close(handle)
        # Inode and mode are those of one open file, and a change of its mode moves its ctime.
        if after.st_mtime_ns == before.st_mtime_ns and after.st_ctime_ns == before.st_ctime_ns and len(data) == size:
            return data, after
    raise _changed(path)


def hash_stable(
    path: bytes, algorithm: str, *, seen: Callable[[int], None] | None = None
) -> tuple[str, os.stat_result]:
    """The digest of a file, as text, and the status it had while it was read."""

    def consume(handle: int, status: os.stat_result) -> str:
        state = hasher(algorithm)
        block_bytes = min(max(status.st_size + 1, 4096), BLOCK_BYTES)
        left = status.st_size  # a file that grows for ever must not keep us
        while left >= 0 and (block := os.read(handle, block_bytes)):
            left -= len(block)
            state.update(block)
            if seen is not None:
                seen(len(block))
        return f"{algorithm}:{state.hexdigest()}"

    return read_stable(path, consume)


def _changed(path: bytes) -> ChangedWhileRead:
    return ChangedWhileRead(
        f"{os.fsdecode(path)} changed while it was read, {_ATTEMPTS} times",
        hint="wait until whatever writes it is done, then run the same command again",
    )


def read_all(handle: int, size: int) -> bytes:
    """What is left of an open file that should hold `size` bytes; one byte more of a file that holds more."""
    data = os.read(handle, size + 1)
    if len(data) >= size:
        return data
    parts = [data]  # a file that shrank, or a system that answers reads in parts
    left = size + 1 - len(data)  # a file that grows for ever must not keep us
    while left and (block := os.read(handle, left)):
        parts.append(block)
        left -= len(block)
    return b"".join(parts)
