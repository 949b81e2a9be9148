"""What stands where a checkout is about to write: all that it might touch, and nothing of what is ignored."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import time
from collections.abc import Container
from pathlib import Path

from mlops_cli.core.base.digest import digest_bytes
from mlops_cli.core.store.cache import LEFTOVER_S
from mlops_cli.core.store.index import Ignored, Index, IsIgnored
from mlops_cli.core.store.placing import BESIDE, beside_prefix
from mlops_cli.core.store.snapshot import links_to_object, survey
from mlops_cli.core.store.tree import LINK, TreeEntry, item_of

SELF = b""  # the path of the target itself, relative to the target


def look(
    index: Index, target: Path, algorithm: str, wanted: Container[bytes] = frozenset()
) -> dict[bytes, TreeEntry] | None:
    """What stands at the target, itself included, by path relative to it; None if nothing does.

    Of what is ignored only the paths in `wanted` are looked at: the others stay whatever happens.
    """
    raw = os.fsencode(target)
    try:
        if stat.S_ISLNK(os.lstat(raw).st_mode) and (not links_to_object(raw) or not os.path.exists(raw)):
            content = os.readlink(raw)
            return {SELF: TreeEntry(SELF, LINK, str(digest_bytes(content, algorithm)), len(content))}
        ignored = _Except(index.ignored, raw, wanted) if index.ignored is not None else None
        found = survey(index, target, algorithm, ignored=ignored)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return {SELF: item_of(found.entry), **found.items}


def sweep(target: bytes) -> None:
    """Remove temp files that a killed mlo left beside `target` and below it; not those that others are writing."""
    parent, ours = os.path.dirname(target) or b".", beside_prefix(target)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(parent) as found:
        for item in found:
            if item.name.startswith(ours) or (item.name.startswith(BESIDE) and _is_left(item)):
                _discard(item)
    folders = [] if os.path.islink(target) else [target]
    while folders:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folders.pop()) as found:
            for item in found:
                if item.name.startswith(BESIDE):
                    _discard(item)
                elif item.is_dir(follow_symlinks=False):
                    folders.append(item.path)


def _is_left(item: os.DirEntry[bytes]) -> bool:
    """Whether a temp file is so old that nobody writes it any more."""
    try:
        return time.time() - item.stat(follow_symlinks=False).st_mtime >= LEFTOVER_S
    except FileNotFoundError:
        return False


def _discard(item: os.DirEntry[bytes]) -> None:
    shutil.rmtree(item.path) if item.is_dir(follow_symlinks=False) else os.unlink(item.path)


class _Except:
    """What is ignored below `target`, but for the paths in `wanted`."""

    def __init__(self, ignored: Ignored, target: bytes, wanted: Container[bytes]) -> None:
        self._ignored = ignored
        self._start = len(target) + 1
        self._wanted = wanted
        self._entered: set[bytes] = set()  # ignored folders that hold wanted paths

    def __call__(self, folder: bytes) -> IsIgnored | None:
        is_ignored = _always if folder in self._entered else self._ignored(folder)
        if is_ignored is None:
            return None

        def but_for_wanted(path: bytes, is_dir: bool) -> bool:
            if not is_ignored(path, is_dir):
                return False
            if path[self._start :] not in self._wanted:
                return True
            if is_dir:
                self._entered.add(path)
            return False

        return but_for_wanted


def _always(_path: bytes, _is_dir: bool) -> bool:
    return True
