"""How what stands in the work tree, what mlo.lock says and what the cache holds differ, file by file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from mlops_cli.core.base.progress import Progress
from mlops_cli.core.base.records import Entry
from mlops_cli.core.data.mloignore import Ignored
from mlops_cli.core.errors import IntegrityError, MloError, NotFound
from mlops_cli.core.store.index import Index
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.snapshot import Survey, survey
from mlops_cli.core.store.tree import DIR, TreeEntry, item_of, walk_bytes

State = Literal["added", "modified", "deleted", "missing", "not_cached", "ignored"]
Items = dict[bytes, TreeEntry]
SELF = b""


class FileState(msgspec.Struct, frozen=True):
    """One path that is not as mlo.lock says.

    added: in the folder, not in the lock. modified: other bytes, exec bit or kind. deleted: gone, the cache has it.
    missing: gone, and the cache does not have it. not_cached: as the lock says, but the cache does not have it.
    ignored: in the lock, and here, but a .mloignore names it; the next add takes it out of the lock.
    """

    path: str
    state: State
    size: int  # bytes; of what is here, or of what was
    entry: str  # the entry of mlo.lock it belongs to
    folder: str | None = None  # the topmost folder that came or went with it, if one did


class Amount(msgspec.Struct, frozen=True):
    files: int
    size: int  # bytes


def amounts(states: Iterable[FileState]) -> dict[State, Amount]:
    """How many files, and bytes, are in each state."""
    found: dict[State, list[int]] = {}
    for row in states:
        found.setdefault(row.state, []).append(row.size)
    return {state: Amount(len(sizes), sum(sizes)) for state, sizes in found.items()}


def items_here(index: Index, target: Path, algorithm: str, progress: Progress | None = None) -> Items:
    """What stands at a path, itself (under the empty name) and all below it; empty if nothing does."""
    found = _surveyed(index, target, algorithm, progress)
    return {} if found is None else {SELF: item_of(found.entry), **found.items}


def _surveyed(index: Index, target: Path, algorithm: str, progress: Progress | None) -> Survey | None:
    try:
        return survey(index, target, algorithm, progress=progress)
    except (FileNotFoundError, NotADirectoryError):
        return None


def items_of(store: LocalStore, entry: Entry, lost: dict[bytes, MloError]) -> Items:
    """What an entry says; folders whose tree objects are missing or damaged go to `lost`, the top one included."""
    items = {SELF: item_of(entry)}
    try:
        items.update(walk_bytes(store, entry, lost))
    except (NotFound, IntegrityError) as error:
        lost[SELF] = error
    return items


def compare_entry(
    store: LocalStore,
    index: Index,
    root: Path,
    name: str,
    entry: Entry,
    progress: Progress | None = None,
    *,
    ignored: Ignored | None = None,
) -> list[FileState]:
    """Every path of one entry that is not as it should be, sorted. `ignored` are the rules that the index goes by."""
    found = _surveyed(index, root / name, entry.name.algorithm, progress)
    # Equal digests are equal folders: no need to read the lock's trees, which may not even be here.
    same = found is not None and item_of(found.entry).same_content(item_of(entry))
    if same and found is not None and all(store.has_all(*part) for part in found.digests()):
        return []
    here = {} if found is None else {SELF: item_of(found.entry), **found.items}
    lost: dict[bytes, MloError] = {}
    wanted = here if same else items_of(store, entry, lost)
    absent = store.missing(item.digest for item in wanted.values())
    if not here:
        gone = bool(absent or lost)
        return [FileState(name, "missing" if gone else "deleted", entry.size, name)]
    states: dict[bytes, tuple[State, int]] = {}
    for path in told(wanted):
        item = wanted[path]
        if path not in here:
            passed = ignored is not None and _is_ignored(ignored, root / name, path)
            states[path] = ("ignored" if passed else "missing" if item.digest in absent else "deleted", item.size)
        elif not here[path].same_content(item) and (item.mode != DIR or here[path].mode != DIR):
            states[path] = ("modified", here[path].size)
        elif item.digest in absent:
            states[path] = ("not_cached", item.size)
    if SELF in lost:
        states[SELF] = ("modified", here[SELF].size)
    for path in told(here):
        if path not in wanted and not any(is_below(path, folder) for folder in lost):
            states[path] = ("added", here[path].size)
    trees = [path for path, item in wanted.items() if item.mode == DIR and path in here and item.digest in absent]
    for path in (*lost, *trees):
        states.setdefault(path, ("not_cached", wanted[path].size))
    other = {"added": wanted, "deleted": here, "missing": here, "ignored": here}
    return [
        FileState(join(name, path), *states[path], name, _whole(name, path, other.get(states[path][0])))
        for path in sorted(states)
    ]


def _is_ignored(ignored: Ignored, target: Path, path: bytes) -> bool:
    place = target / os.fsdecode(path)
    return os.path.lexists(place) and ignored.rule_for(place, is_dir=place.is_dir()) is not None


def _whole(name: str, path: bytes, other: Mapping[bytes, TreeEntry] | None) -> str | None:
    """The topmost folder above `path` that the other side does not have at all."""
    found = None
    parent = path.rpartition(b"/")[0]
    while other is not None and parent and parent not in other:
        found, parent = parent, parent.rpartition(b"/")[0]
    return None if found is None else join(name, found)


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


def told(items: Mapping[bytes, TreeEntry]) -> list[bytes]:
    """What people are told of: files, links, and folders only if nothing is in them."""
    parents = {path.rpartition(b"/")[0] for path in items if path}
    return [path for path, item in items.items() if item.mode != DIR or path not in parents]


def is_below(path: bytes, folder: bytes) -> bool:
    return not folder or path.startswith(folder + b"/")
