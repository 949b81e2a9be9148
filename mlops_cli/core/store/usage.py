"""What data costs: bytes as people count them, and bytes as a cache keeps them, each content once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import IntegrityError, NotFound
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.tree import DIR, MAX_DEPTH, TreeEntry, read_tree


class CacheUse(msgspec.Struct, frozen=True):
    """What lies in a cache, in bytes on its file system: objects that are files, packs, environments of stages
    (`envs`), and all else."""

    loose: int
    loose_bytes: int
    packs: int
    packed: int  # objects in packs
    packs_bytes: int
    other_bytes: int  # results of stages, temp files, what was set aside
    environments: int = 0
    environment_bytes: int = 0

    @property
    def size(self) -> int:
        return self.loose_bytes + self.packs_bytes + self.environment_bytes + self.other_bytes


def cache_use(store: LocalStore) -> CacheUse:
    """Count what is there; nothing is read through."""
    loose, loose_bytes = _below(Path(store.loose.folder))
    packs, packs_bytes = _below(Path(store.packs.folder))
    envs = store.cache / "envs"
    environments = sum(1 for _ in envs.glob("*/ready.json"))
    _, environment_bytes = _below(envs)
    _, everything = _below(store.cache)
    others = everything - loose_bytes - packs_bytes - environment_bytes
    packed = sum(len(index) for index in store.packs.indexes.values())
    return CacheUse(loose, loose_bytes, packs, packed, packs_bytes, others, environments, environment_bytes)


def _below(folder: Path) -> tuple[int, int]:
    """How many files lie below a folder, and their bytes."""
    files = size = 0
    folders = [os.fspath(folder)]
    while folders:
        try:
            with os.scandir(folders.pop()) as found:
                for item in found:
                    if item.is_dir(follow_symlinks=False):
                        folders.append(item.path)
                    else:
                        files += 1
                        size += item.stat(follow_symlinks=False).st_size
        except FileNotFoundError:  # not there yet, or gone since
            continue
    return files, size


class Contents(msgspec.Struct):
    """Every object of some entries with its size in bytes; `unread` counts folders whose trees are not here."""

    sizes: dict[str, int]
    unread: int = 0

    @property
    def size(self) -> int:
        return sum(self.sizes.values())


def contents(store: LocalStore, entries: Iterable[Entry]) -> Contents:
    """What the entries need, trees included. A folder that several of them hold is looked into once."""
    found = Contents({})
    for entry in entries:
        if entry.digest not in found.sizes:
            if entry.kind == "dir":
                _folder(store, entry, found, 0)
            else:
                found.sizes[entry.digest] = entry.size
    return found


def _folder(store: LocalStore, folder: Entry | TreeEntry, found: Contents, depth: int) -> None:
    try:
        inner = read_tree(store, folder)
    except (NotFound, IntegrityError):
        found.unread += 1
        return
    found.sizes[folder.digest] = store.size(folder.digest) or 0
    for item in inner:
        if item.digest in found.sizes:
            continue
        if item.mode != DIR:
            found.sizes[item.digest] = item.size
        elif depth < MAX_DEPTH:
            _folder(store, item, found, depth + 1)
        else:
            found.unread += 1
