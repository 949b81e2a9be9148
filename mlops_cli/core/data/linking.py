"""Files of the work tree as links to the cache, and as files of their own again; one at a time, each in one step.

A file is replaced only by the same bytes, and only while nobody changes it: killed at any point, every path holds
what it held. See "Checkout" in store/FORMAT.md for what may be a link.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

import msgspec

from mlops_cli.core.base.digest import BLOCK_BYTES, Digest
from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.data.compare import Items
from mlops_cli.core.errors import NotFound, UsageError
from mlops_cli.core.store.index import Index
from mlops_cli.core.store.links import reflink
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.placing import BESIDE, beside, homes, rename, write_all
from mlops_cli.core.store.protocol import ChangedWhileRead
from mlops_cli.core.store.snapshot import links_to_object
from mlops_cli.core.store.stable import hash_stable, open_regular, signature
from mlops_cli.core.store.tree import EXEC, FILE

Way = Literal["reflink", "hardlink", "symlink", "copy"]


class Linked(msgspec.Struct):
    """What became of the files at and below one path.

    `linked` are links of the asked kind now, `small` copies because packs and executables have no file to link to,
    `refused` copies because the file system makes no such link. `changed` are paths that were written to meanwhile.
    """

    path: str
    way: Way
    linked: int = 0
    small: int = 0
    refused: int = 0
    changed: list[str] = []


def parse_way(text: str | None) -> Way | None:
    """Raises UsageError for what is no way to put a file."""
    for way in get_args(Way):
        if text == way:
            return way  # type: ignore[no-any-return]
    if text is None:
        return None
    raise UsageError(f"{text} is no kind of link", hint=f"--link {' | '.join(get_args(Way))}")


def link_files(
    store: LocalStore, index: Index, target: Path, name: str, items: Items, way: Way, only: Sequence[bytes] = ()
) -> Linked:
    """Make the files that `items` says stand at and below `target` links to their objects; copies, for `copy`.

    Only those at or below `only`, if there are any. Raises ObjectMissing, ObjectCorrupt, MachineError.
    """
    done, base = Linked(name, way), os.fsencode(target)
    possible = way != "reflink" or _can_reflink(store, base)
    for path, item in items.items():
        if item.mode not in (FILE, EXEC) or (only and not _among(path, only)):
            continue
        place = base + b"/" + path if path else base
        with machine_errors(f"cannot link {os.fsdecode(place)}"):
            if way == "copy":
                done.linked += _own(store, place)
            elif item.mode == EXEC or not os.path.exists(store.loose.path(item.digest)):
                done.small += 1
            elif not possible:
                done.refused += 1
            elif is_link(store, place, item.digest, way):
                done.linked += 1
            elif not _holds(place, item.digest):
                done.changed.append(os.fsdecode(path) or ".")
            else:
                store.place(item.digest, place, link=(way,), executable=False)
                # A link's bytes are the object's, which are on the disk; a clone's may not be yet.
                index.note(place, os.stat(place), item.digest, trusted=way != "reflink")
                made = way == "reflink" or is_link(store, place, item.digest, way)
                done.linked, done.refused = done.linked + made, done.refused + (not made)
    return done


def is_link(store: LocalStore, place: bytes, digest: str, way: Way) -> bool:
    """Whether a path is that kind of link to its object. Shared blocks cannot be seen."""
    with contextlib.suppress(FileNotFoundError):
        if way == "hardlink":
            return os.path.samestat(os.lstat(place), os.stat(store.loose.path(digest)))
        if way == "symlink":
            return os.path.islink(place) and os.path.samefile(place, store.loose.path(digest))
    return False


def unprotect(store: LocalStore, target: Path) -> int:
    """Give every file at and below `target` bytes of its own, that its owner may write; how many were changed.

    Links of the user's, and what is a writable file of its own already, are left alone. Raises NotFound where a link
    into the cache leads nowhere, ChangedWhileRead, MachineError.
    """
    with machine_errors(f"cannot unprotect {target}"):
        return sum(_own(store, place) for place in list(_files(os.fsencode(target))))


# -- inside ------------------------------------------------------------------------------------------------------


def _files(path: bytes) -> Iterator[bytes]:
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        yield path
        return
    with os.scandir(path) as found:
        for item in sorted(found, key=lambda item: item.name):
            if not item.name.startswith(BESIDE):
                yield from _files(item.path)


def _own(store: LocalStore, place: bytes) -> bool:
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


def _holds(place: bytes, digest: str) -> bool:
    """Whether a file still has the bytes that it is about to be replaced by; read, for nobody holds it still."""
    with contextlib.suppress(FileNotFoundError):
        return hash_stable(place, Digest.parse(digest).algorithm)[0] == digest
    return False


def _can_reflink(store: LocalStore, target: bytes) -> bool:
    """Try it, with a byte, from the cache to where the file stands."""
    source, clone = os.fsencode(store.temporary()), beside(target)
    handles: list[int] = []
    try:
        with machine_errors(f"cannot write beside {os.fsdecode(target)}"):
            for path in (source, clone):
                handles.append(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            os.write(handles[0], b"1")
            return reflink(handles[0], handles[1])
    finally:
        for handle, path in zip(handles, (source, clone), strict=False):
            os.close(handle)
            os.unlink(path)


def _among(path: bytes, only: Sequence[bytes]) -> bool:
    return any(path == place or path.startswith(place + b"/") for place in only)
