"""What is versioned, path by path, and what it costs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from mlops_cli.core.base import git
from mlops_cli.core.base.records import Entry
from mlops_cli.core.data import names
from mlops_cli.core.data.compare import join
from mlops_cli.core.errors import NotFound
from mlops_cli.core.project.lock import Lock
from mlops_cli.core.store.tree import DIR, TreeEntry, item_of, read_tree, walk_bytes
from mlops_cli.core.store.usage import CacheUse, cache_use, contents
from mlops_cli.core.workflows.data_status import lock_at
from mlops_cli.core.workflows.workspace import Workspace


class Listed(msgspec.Struct, frozen=True):
    """One path that mlo.lock names, itself or through a folder. `stage` writes it, if a stage does."""

    path: str
    kind: Literal["file", "exec", "link", "dir"]
    size: int  # bytes
    files: int
    digest: str
    stage: str | None = None


class DataList(msgspec.Struct, frozen=True):
    revision: str | None
    rows: list[Listed]


class EntryUse(msgspec.Struct, frozen=True):
    """What an entry costs, in bytes: its files as they stand, each content once, and what no other entry shares.

    `unique` and `own` count the trees of its folders too. `unread` folders, whose trees are not here, count in `size`.
    """

    path: str
    files: int
    size: int
    objects: int
    unique: int
    own: int
    unread: int


class Revisions(msgspec.Struct, frozen=True):
    """What every mlo.lock that git knows would need together."""

    commits: int
    entries: int  # different ones
    size: int  # bytes, if each of them were a copy
    unique: int  # bytes, each content once
    unread: int


class DataUse(msgspec.Struct, frozen=True):
    """`size` and `unique` are of all rows together, so that contents which entries share count once in `unique`.

    `needed` are the bytes of the cache that mlo.lock as it stands needs.
    """

    entries: list[EntryUse]
    size: int
    unique: int
    needed: int
    cache: CacheUse
    revisions: Revisions | None


def list_data(
    workspace: Workspace, paths: Sequence[Path] = (), *, revision: str | None = None, recursive: bool = False
) -> DataList:
    """The entries; or what the folders among `paths` hold, one level deep or all, and the others themselves.

    Raises NotFound for what mlo.lock does not know, or if a folder's tree is not in the cache.
    """
    lock = workspace.read_lock() if revision is None else lock_at(workspace, revision)
    makers = {out: stage for stage, made in lock.stages.items() for out in made.outs}
    rows: dict[str, Listed] = {}
    asked = [names.lock_name(workspace.root, path) for path in paths]
    for name, below in names.chosen(asked, lock).items():
        entry = lock.entries[name]
        for path in below or [b""]:
            item = _at(workspace, entry, name, path)
            place = join(name, path)
            look_inside = recursive or place in asked
            for inner, found in _shown(workspace, item, recursive) if look_inside else [(b"", item)]:
                full = place if not inner else join(place, inner)
                rows[full] = Listed(full, found.kind, found.size, found.files, found.digest, makers.get(name))
    return DataList(revision, [rows[path] for path in sorted(rows)])


def data_use(workspace: Workspace, paths: Sequence[Path] = (), *, all_revisions: bool = False) -> DataUse:
    """What entries cost, and what lies in the cache. Raises NotFound, ProjectError outside git for `all_revisions`."""
    lock = workspace.read_lock()
    store = workspace.store
    found = {name: contents(store, [entry]) for name, entry in lock.entries.items()}
    sharers = Counter(digest for held in found.values() for digest in held.sizes)
    chosen = list(names.chosen([names.lock_name(workspace.root, path) for path in paths], lock))
    rows = []
    for name in chosen:
        entry, held = lock.entries[name], found[name]
        own = sum(size for digest, size in held.sizes.items() if sharers[digest] == 1)
        rows.append(EntryUse(name, entry.files, entry.size, len(held.sizes), held.size, own, held.unread))
    together = {digest: size for name in chosen for digest, size in found[name].sizes.items()}
    everything = {digest: size for held in found.values() for digest, size in held.sizes.items()}
    absent = store.missing(everything)
    needed = sum(size for digest, size in everything.items() if digest not in absent)
    return DataUse(
        rows,
        sum(row.size for row in rows),
        sum(together.values()),
        needed,
        cache_use(store),
        _revisions(workspace, chosen if paths else None, lock) if all_revisions else None,
    )


# -- inside ------------------------------------------------------------------------------------------------------


def _at(workspace: Workspace, entry: Entry, name: str, path: bytes) -> TreeEntry:
    """What an entry holds at a path below it."""
    item = item_of(entry, os.path.basename(os.fsencode(name)))
    for part in path.split(b"/") if path else ():
        inner = read_tree(workspace.store, item) if item.mode == DIR else []
        found = next((child for child in inner if child.name == part), None)
        if found is None:
            raise NotFound(f"{join(name, path)} is not in {name} as mlo.lock has it", hint=f"mlo data list {name}")
        item = found
    return item


def _shown(workspace: Workspace, item: TreeEntry, recursive: bool) -> list[tuple[bytes, TreeEntry]]:
    """What `item` is listed as: what lies in it if it is a folder, else itself."""
    if item.mode != DIR:
        return [(b"", item)]
    if recursive:
        everything = list(walk_bytes(workspace.store, item.entry))
        return [(path, found) for path, found in everything if found.mode != DIR or not found.files] or [(b"", item)]
    return [(found.name, found) for found in read_tree(workspace.store, item)]


def _revisions(workspace: Workspace, chosen: Sequence[str] | None, lock: Lock) -> Revisions:
    """Every mlo.lock in the history of all branches and tags, and the one here; at and below `chosen` if there are."""
    commits = git.commits_of(workspace.root, "mlo.lock")
    wanted = dict.fromkeys(chosen or ())
    entries: set[Entry] = set()
    for state in (lock, *(lock_at(workspace, commit) for commit in commits)):
        entries |= {e for name, e in state.entries.items() if chosen is None or names.owner_of(name, wanted)}
    found = contents(workspace.store, sorted(entries, key=lambda entry: entry.digest))
    return Revisions(len(commits), len(entries), sum(entry.size for entry in entries), found.size, found.unread)
