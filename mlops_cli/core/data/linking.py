"""Files of the work tree as links to the cache; one at a time, each in one step.

A file is replaced only by the same bytes, and only while nobody changes it: killed at any point, every path holds
what it held. See "Checkout" in store/FORMAT.md for what may be a link.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import msgspec

from mlops_cli.core.base.digest import Digest
from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.data.compare import Items
from mlops_cli.core.errors import UsageError
from mlops_cli.core.store.index import Index
from mlops_cli.core.store.links import reflink
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.owning import make_own
from mlops_cli.core.store.placing import beside
from mlops_cli.core.store.stable import hash_stable
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
                done.linked += make_own(store, place)
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


# -- inside ------------------------------------------------------------------------------------------------------


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
