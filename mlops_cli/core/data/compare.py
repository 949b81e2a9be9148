"""How what stands in the work tree, what mlo.lock says and what the cache holds differ, file by file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from mlops_cli.core.base.progress import Progress
from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import IntegrityError, MloError, NotFound
from mlops_cli.core.store.index import Index
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.snapshot import survey
from mlops_cli.core.store.tree import DIR, EXEC, FILE, TreeEntry, walk_bytes

State = Literal["added", "modified", "deleted", "missing", "not_cached"]
Items = dict[bytes, TreeEntry]
SELF = b""


class FileState(msgspec.Struct, frozen=True):
    """One path that is not as mlo.lock says.

    added: in the folder, not in the lock. modified: other bytes, exec bit or kind. deleted: gone, the cache has it.
    missing: gone, and the cache does not have it. not_cached: as the lock says, but the cache does not have it.
    """

    path: str
    state: State
    size: int  # bytes; of what is here, or of what was
    entry: str  # the entry of mlo.lock it belongs to


class Difference(msgspec.Struct, frozen=True):
    """One path that two states hold differently; sizes in bytes, None where it is absent."""

    path: str
    change: Literal["added", "modified", "deleted", "renamed"]
    before: int | None = None
    after: int | None = None
    old_path: str | None = None


def items_here(index: Index, target: Path, algorithm: str, progress: Progress | None = None) -> Items:
    """What stands at a path, itself (under the empty name) and all below it; empty if nothing does."""
    try:
        found = survey(index, target, algorithm, progress=progress)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {SELF: _item(found.entry), **found.items}


def items_of(store: LocalStore, entry: Entry, lost: dict[bytes, MloError]) -> Items:
    """What an entry says; folders whose tree objects are missing or damaged go to `lost`, the top one included."""
    items = {SELF: _item(entry)}
    try:
        items.update(walk_bytes(store, entry, lost))
    except (NotFound, IntegrityError) as error:
        lost[SELF] = error
    return items


def compare_entry(
    store: LocalStore, index: Index, root: Path, name: str, entry: Entry, progress: Progress | None = None
) -> list[FileState]:
    """Every path of one entry that is not as it should be, sorted."""
    here = items_here(index, root / name, entry.name.algorithm, progress)
    lost: dict[bytes, MloError] = {}
    # Equal digests are equal folders: no need to read the lock's trees, which may not even be here.
    same = SELF in here and here[SELF].same_content(_item(entry))
    wanted = here if same else items_of(store, entry, lost)
    absent = store.missing(item.digest for item in wanted.values())
    states: dict[bytes, tuple[State, int]] = {}
    if not here:
        gone = bool(absent or lost)
        return [FileState(name, "missing" if gone else "deleted", entry.size, name)]
    for path in _told(wanted):
        item = wanted[path]
        if path not in here:
            states[path] = ("missing" if item.digest in absent else "deleted", item.size)
        elif not here[path].same_content(item) and (item.mode != DIR or here[path].mode != DIR):
            states[path] = ("modified", here[path].size)
        elif item.digest in absent:
            states[path] = ("not_cached", item.size)
    if SELF in lost:
        states[SELF] = ("modified", here[SELF].size)
    for path in _told(here):
        if path not in wanted and not any(_below(path, folder) for folder in lost):
            states[path] = ("added", here[path].size)
    trees = [path for path, item in wanted.items() if item.mode == DIR and path in here and item.digest in absent]
    for path in (*lost, *trees):
        states.setdefault(path, ("not_cached", wanted[path].size))
    return [FileState(join(name, path), *states[path], name) for path in sorted(states)]


def differences(before: Mapping[str, TreeEntry], after: Mapping[str, TreeEntry]) -> list[Difference]:
    """How two states differ, by path. A file that went and one that came with the same bytes are a rename."""
    changed = [
        Difference(path, "modified", before[path].size, after[path].size)
        for path in before.keys() & after.keys()
        if not before[path].same_content(after[path])
    ]
    gone = {path: before[path] for path in sorted(before.keys() - after.keys())}
    came = {path: after[path] for path in sorted(after.keys() - before.keys())}
    by_content: dict[tuple[str, int], list[str]] = {}
    for path, item in gone.items():
        if item.size:  # all empty files are alike; that says nothing
            by_content.setdefault((item.digest, item.mode), []).append(path)
    for path, item in list(came.items()):
        sources = by_content.get((item.digest, item.mode))
        if sources:
            old = sources.pop(0)
            del gone[old], came[path]
            changed.append(Difference(path, "renamed", item.size, item.size, old))
    changed += [Difference(path, "deleted", before=item.size) for path, item in gone.items()]
    changed += [Difference(path, "added", after=item.size) for path, item in came.items()]
    return sorted(changed, key=lambda row: (row.path, row.change))


def files_by_path(name: str, items: Items) -> dict[str, TreeEntry]:
    """The files, links and empty folders of an entry by their path in the project."""
    return {join(name, path): items[path] for path in _told(items)}


def join(name: str, path: bytes) -> str:
    return f"{name}/{os.fsdecode(path)}" if path else name


def under(states: Iterable[FileState], name: str, paths: Sequence[bytes]) -> list[FileState]:
    """Those that are or lie below one of `paths` in the entry `name`; all if there are none."""
    if not paths:
        return list(states)
    wanted = [join(name, path) for path in paths]
    return [
        state for state in states if any(state.path == path or state.path.startswith(path + "/") for path in wanted)
    ]


def _told(items: Items) -> list[bytes]:
    """What people are told of: files, links, and folders only if nothing is in them."""
    parents = {path.rpartition(b"/")[0] for path in items if path}
    return [path for path, item in items.items() if item.mode != DIR or path not in parents]


def _below(path: bytes, folder: bytes) -> bool:
    return not folder or path.startswith(folder + b"/")


def _item(entry: Entry) -> TreeEntry:
    mode = DIR if entry.kind == "dir" else EXEC if entry.executable else FILE
    return TreeEntry(SELF, mode, entry.digest, entry.size, entry.files)
