"""Putting an object's bytes at a path of the work tree: verified, and in one step."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import zlib
from collections.abc import Callable, Sequence
from typing import Protocol

from mlops_cli.core.base import durable
from mlops_cli.core.base.digest import BLOCK_BYTES, Digest, hasher
from mlops_cli.core.store.links import NOT_LINKABLE, reflink
from mlops_cli.core.store.protocol import ObjectCorrupt, ObjectMissing

# A temp file beside its target, needed where cache and work tree are different file systems. Nothing records such
# names as data, so one that a killed mlo left behind is never in the way; checkout sweeps them.
BESIDE = b".mlo-tmp-"
_FLUSH_BYTES = 1 << 25


def beside(target: bytes) -> bytes:
    """The path of a new temp file beside its target."""
    return os.path.join(os.path.dirname(target), beside_prefix(target) + secrets.token_hex(6).encode())


def beside_prefix(target: bytes) -> bytes:
    """How names of temp files for `target` begin: whoever sweeps must leave alone what others are writing."""
    return b"%s%08x-" % (BESIDE, zlib.crc32(os.path.basename(target)))


class _Source(Protocol):
    @property
    def device(self) -> int: ...
    def temporary(self) -> str: ...
    def absent(self, digest: Digest) -> ObjectMissing: ...
    def corrupt(self, digest: Digest) -> ObjectCorrupt: ...


def place(
    store: _Source, digest: str, source: str, target: bytes, *, link: Sequence[str], executable: bool, new: bool
) -> None:
    """Bring the object file `source` to `target` by the first way of `link` that works. See LocalStore.copy_to."""
    try:
        handle = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise store.absent(Digest.parse(digest)) from None
    try:
        for way in (*link, "copy"):
            if way in ("hardlink", "symlink"):
                if executable:
                    continue
                _verify(store, handle, digest)
                if _link(store, way, source, target, new=new):
                    return
            elif _copy(store, handle, digest, target, clone=way == "reflink", executable=executable, new=new):
                return
    finally:
        os.close(handle)


def place_bytes(store: _Source, data: bytes, target: bytes, *, executable: bool, new: bool) -> None:
    """A new file at `target` that holds some bytes."""
    for temporary in homes(store, target):
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o777 if executable else 0o666)
        try:
            try:
                write_all(handle, data)
            finally:
                os.close(handle)
            rename(temporary, target, new=new)
            return
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        finally:
            _unlink(temporary)


def _link(store: _Source, way: str, source: str, target: bytes, *, new: bool) -> bool:
    """A hard or soft link, made under a temp name and renamed. False where the file system has none."""
    for temporary in homes(store, target):
        try:
            if way == "hardlink":
                os.link(source, temporary)
            else:
                os.symlink(os.path.abspath(source), temporary)
        except OSError as error:
            if error.errno in NOT_LINKABLE:
                continue
            raise
        try:
            rename(temporary, target, new=new)
            return True
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        finally:
            _unlink(temporary)
    return False


def _copy(store: _Source, source: int, digest: str, target: bytes, *, clone: bool, executable: bool, new: bool) -> bool:
    """A copy, hashed while it is made. False if it should share blocks (`clone`) and cannot."""
    algorithm, _, hexadecimal = digest.partition(":")
    for temporary in homes(store, target):
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        handle = os.open(temporary, flags, 0o777 if executable else 0o666)  # less the user's umask
        try:
            try:
                if clone and not reflink(source, handle):
                    return False
                os.lseek(source, 0, os.SEEK_SET)
                state = hasher(algorithm)
                while block := os.read(handle if clone else source, BLOCK_BYTES):
                    state.update(block)
                    if not clone:
                        write_all(handle, block)
            finally:
                os.close(handle)
            if state.hexdigest() != hexadecimal:
                raise store.corrupt(Digest.parse(digest))
            rename(temporary, target, new=new)
            return True
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        finally:
            _unlink(temporary)
    return False


def rename(temporary: bytes, target: bytes, *, new: bool = False) -> None:
    """Rename last: whoever looks sees the old file or the new one, never half of one."""
    # Two names that a file system takes for one (A and a, NFC and NFD) must not silently replace each other.
    if new and os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fsdecode(target))
    os.rename(temporary, target)


def make_symlink(store: _Source, content: bytes, target: bytes, *, new: bool = False) -> None:
    """A link that says `content`, whatever that may point at."""
    for temporary in homes(store, target):
        os.symlink(content, temporary)
        try:
            rename(temporary, target, new=new)
            return
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        finally:
            _unlink(temporary)


def copy_in(source: int, size: int, path: str, algorithm: str, seen: Callable[[int], None] | None = None) -> str:
    """Copy an open file to the new file `path`, hashing what is written; the digest as text.

    Reflinked where that can be: such a copy cannot change under us.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
    try:
        state = hasher(algorithm)
        cloned = reflink(source, handle)
        written = begun = 0
        # One byte past the end tells a file that grows, and one that grows for ever must not keep us.
        while size >= 0 and (block := os.read(handle if cloned else source, BLOCK_BYTES)):
            size -= len(block)
            state.update(block)
            if not cloned:
                write_all(handle, block)
                written += len(block)
                if written - begun >= _FLUSH_BYTES:
                    durable.begin_flush(handle, begun, written - begun)
                    begun = written
            if seen is not None:
                seen(len(block))
    finally:
        os.close(handle)
    return f"{algorithm}:{state.hexdigest()}"


def hash_file(path: str, algorithm: str, *, seen: Callable[[int], None] | None = None) -> tuple[str, int]:
    """Hex digest and size of a file."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _hash(handle, algorithm, seen)
    finally:
        os.close(handle)


def _hash(handle: int, algorithm: str, seen: Callable[[int], None] | None = None) -> tuple[str, int]:
    state, size = hasher(algorithm), 0
    while block := os.read(handle, BLOCK_BYTES):
        state.update(block)
        size += len(block)
        if seen is not None:
            seen(len(block))
    return state.hexdigest(), size


def _verify(store: _Source, handle: int, digest: str) -> None:
    algorithm, _, hexadecimal = digest.partition(":")
    os.lseek(handle, 0, os.SEEK_SET)
    if _hash(handle, algorithm)[0] != hexadecimal:
        raise store.corrupt(Digest.parse(digest))


def write_all(handle: int, data: bytes | bytearray | memoryview) -> None:
    """os.write until all is written; it may stop early at a full disk's edge."""
    written = os.write(handle, data)
    while written < len(data):
        data = data[written:]
        written = os.write(handle, data)


def homes(store: _Source, target: bytes) -> list[bytes]:
    """Where to make a file or folder that can be renamed to `target`: the cache's temp folder, where the user never
    meets it, if that is the same file system (bind mounts may still refuse); else beside the target."""
    ours = os.fsencode(store.temporary())
    same = os.stat(os.path.dirname(target) or b".").st_dev == store.device
    return [ours, beside(target)] if same else [beside(target)]


def _unlink(path: bytes) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
