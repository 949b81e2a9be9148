"""Files that are links into the cache made files of their own again; one at a time, each in one step."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from mlops_cli.core.base.digest import BLOCK_BYTES
from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.errors import NotFound
from mlops_cli.core.store.links import reflink
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.placing import BESIDE, homes, rename, write_all
from mlops_cli.core.store.protocol import ChangedWhileRead
from mlops_cli.core.store.snapshot import links_to_object
from mlops_cli.core.store.stable import open_regular, signature


def unprotect(store: LocalStore, target: Path) -> int:
    """Give every file at and below `target` bytes of its own, that its owner may write; how many were changed.

    Links of the user's, and what is a writable file of its own already, are left alone. Raises NotFound where a link
    into the cache leads nowhere, ChangedWhileRead, MachineError.
    """
    with machine_errors(f"cannot unprotect {target}"):
        return sum(make_own(store, place) for place in list(_files(os.fsencode(target))))


def _files(path: bytes) -> Iterator[bytes]:
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        yield path
        return
    with os.scandir(path) as found:
        for item in sorted(found, key=lambda item: item.name):
            if not item.name.startswith(BESIDE):
                yield from _files(item.path)


def make_own(store: LocalStore, place: bytes) -> bool:
    """Make one file a writable one with no other name; whether that changed anything."""
    status = os.lstat(place)
    if stat.S_ISLNK(status.st_mode):
        if not links_to_object(place):
            return False
        _copy(store, place)
    elif not stat.S_ISREG(status.st_mode):
        return False
    elif status.st_nlink > 1:  # the other name is an object's, and writing here would harm it
        _copy(store, place)
    elif not status.st_mode & stat.S_IWUSR:
        os.chmod(place, stat.S_IMODE(status.st_mode) | stat.S_IWUSR)
    else:
        return False
    return True


def _copy(store: LocalStore, place: bytes) -> None:
    """Replace a link by a copy of what it shows, in one step; with its times, and writable."""
    try:
        source, before = open_regular(place)
    except FileNotFoundError:
        raise NotFound(
            f"{os.fsdecode(place)} leads to an object that is not in the cache any more", hint=store.refill
        ) from None
    named = os.lstat(place)
    try:
        for temporary in homes(store, place):
            # 0666 less the user's umask, as for any new file.
            mode = 0o777 if before.st_mode & stat.S_IXUSR else 0o666
            handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            try:
                try:
                    _fill(handle, source)
                    os.utime(handle, ns=(before.st_atime_ns, before.st_mtime_ns))
                finally:
                    os.close(handle)
                now = os.lstat(place)
                if signature(os.fstat(source)) != signature(before) or signature(now) != signature(named):
                    raise ChangedWhileRead(
                        f"{os.fsdecode(place)} changed while it was copied", hint="run the same command again"
                    )
                rename(temporary, place)
                return
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
            finally:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
    finally:
        os.close(source)


def _fill(handle: int, source: int) -> None:
    if reflink(source, handle):
        return
    os.lseek(source, 0, os.SEEK_SET)
    while block := os.read(source, BLOCK_BYTES):
        write_all(handle, block)
    # The other name may be no object's, and then these are the only bytes.
    os.fdatasync(handle)
