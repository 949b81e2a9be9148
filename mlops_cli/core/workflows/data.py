"""Versioning data: what paths hold goes into the cache, and into mlo.lock; and out of mlo.lock again."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from mlops_cli.core.base import git
from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.base.records import Entry
from mlops_cli.core.data import compare, names
from mlops_cli.core.data.ignore import edit_ignored, ignores_private
from mlops_cli.core.data.linking import Linked, Way
from mlops_cli.core.errors import NotFound, ProjectError, UsageError
from mlops_cli.core.project.lock import Lock
from mlops_cli.core.store.checkout import remove
from mlops_cli.core.store.snapshot import links_to_object, record
from mlops_cli.core.store.tree import LINK, TreeEntry, graft, item_of, walk_bytes
from mlops_cli.core.workflows.data_links import link_entries
from mlops_cli.core.workflows.workspace import Workspace


class Added(msgspec.Struct, frozen=True):
    """What one path became in mlo.lock. `part_of` is the entry it lies in, if it is not one itself."""

    path: str
    change: Literal["added", "updated", "unchanged"]
    digest: str
    size: int
    files: int
    part_of: str | None = None


class AddResult(msgspec.Struct, frozen=True):
    """`links` says of each entry what became of its files, if they were to be links to the cache."""

    added: list[Added]
    links: list[Linked] = []


class Removed(msgspec.Struct, frozen=True):
    path: str
    deleted: bool  # from the work tree too


class RemoveResult(msgspec.Struct, frozen=True):
    removed: list[Removed]


class Moved(msgspec.Struct, frozen=True):
    source: str
    target: str
    digest: str


def add_paths(
    workspace: Workspace, paths: Sequence[Path], *, force: bool = False, link: Way | None = None, wait: bool = True
) -> AddResult:
    """Keep what the paths hold in the cache, and record it in mlo.lock and .gitignore. All of them or none.

    Relative paths are meant from the project's root. A path inside an entry updates the entry by that path alone.
    `force` reads every file again, whatever the index says. `link` makes the files links to the cache afterwards.
    Raises NotFound, UsageError, ProjectError, ChangedWhileRead, UnsupportedFile, MachineError, and Locked if another
    mlo holds the project and not `wait`.
    """
    chosen = dict.fromkeys(names.lock_name(workspace.root, path) for path in paths)
    lock = workspace.read_lock()
    for name in chosen:
        names.refuse_outputs(name, workspace.project)
        names.refuse_overlap(name, lock)
        _refuse_ignored(workspace, name, lock)
    refuse_tracked(workspace, chosen)
    # What is kept must be named in mlo.lock before a collection of garbage may look.
    with workspace.store.writing(wait=wait):
        # Reading and hashing need no lock: two adds work side by side, and queue for mlo.lock only.
        with workspace.store.batch():
            found = {
                name: _read(workspace, name, inside=_owner(name, lock) is not None, fresh=force) for name in chosen
            }
        with workspace.exclusive(list(chosen) if link is not None else (), wait=wait):
            lock = workspace.read_lock()
            data = dict(lock.data)
            with workspace.store.batch():
                added = _put(workspace, data, found)
            lock = msgspec.structs.replace(lock, data=data)
            settle(workspace, lock, add=[item.part_of or item.path for item in added])
            links = link_entries(workspace, lock, _by_entry(added), link) if link is not None else []
    return AddResult(added, links)


def remove_paths(
    workspace: Workspace, paths: Sequence[Path], *, delete: bool = False, force: bool = False, wait: bool = True
) -> RemoveResult:
    """Take paths out of mlo.lock and .gitignore. The files stay, unless `delete`; the cache keeps its objects.

    Raises NotFound, ProjectError for a stage's output, WouldOverwrite if bytes would be lost and not `force`.
    """
    chosen = list(dict.fromkeys(names.lock_name(workspace.root, path) for path in paths))
    with workspace.exclusive(chosen, wait=wait):
        lock = workspace.read_lock()
        data = dict(lock.data)
        for name in chosen:
            if name not in data:
                names.refuse_outputs(name, workspace.project)
        _take_out(workspace, data, chosen)
        removed = []
        for name in chosen:
            gone = delete and remove(workspace.store, workspace.index, workspace.root / name, force=force)
            removed.append(Removed(name, gone))
        settle(workspace, msgspec.structs.replace(lock, data=data), remove=lock.data.keys() - data.keys())
    return RemoveResult(removed)


def move_path(workspace: Workspace, source: Path, target: Path, *, wait: bool = True) -> Moved:
    """Rename an entry: in the work tree, in mlo.lock and in .gitignore. Into `target` if that is a folder.

    Raises NotFound if `source` is no entry, ProjectError if `target` exists or cannot be one.
    """
    old = names.lock_name(workspace.root, source)
    place = workspace.root / names.lock_name(workspace.root, target)
    new = names.lock_name(workspace.root, place / Path(old).name if place.is_dir() else place)
    with workspace.exclusive([old, new], wait=wait):
        lock = workspace.read_lock()
        entry = lock.data.get(old)
        if entry is None:
            names.refuse_outputs(old, workspace.project)
            owner = names.owner_of(old, lock.data)
            if owner is None:
                raise NotFound(f"{old} is not in mlo.lock", hint="mlo data list names what is")
            raise NotFound(
                f"{old} lies in {owner}, and only whole entries of mlo.lock are moved",
                hint=f"mv it, then mlo data add {shlex.quote(owner)}: what stays the same is not stored twice",
            )
        data = {path: item for path, item in lock.data.items() if path != old}
        rest = msgspec.structs.replace(lock, data=data)
        if new == old or new.startswith(f"{old}/"):
            raise UsageError(f"{old} cannot be moved into itself ({new})", hint="choose a path outside it")
        names.refuse_outputs(new, workspace.project)
        names.refuse_overlap(new, rest)
        owner = names.owner_of(new, data)
        if owner is not None:
            raise ProjectError(
                f"{new} lies in {owner}, which is in mlo.lock",
                hint=f"move it with mv, then mlo data add {shlex.quote(new)}",
            )
        _rename(workspace.root / old, workspace.root / new)
        held = workspace.index.held(workspace.root / old)
        workspace.index.hold(workspace.root / old, None)
        workspace.index.hold(workspace.root / new, held)
        sources = {new if path == old else path: source for path, source in lock.sources.items()}
        moved = msgspec.structs.replace(lock, data={**data, new: entry}, sources=sources)
        settle(workspace, moved, add=[new], remove=[old])
    return Moved(old, new, entry.digest)


def _refuse_ignored(workspace: Workspace, name: str, lock: Lock) -> None:
    """Raises ProjectError for what a .mloignore keeps out of data; what is an entry already stays one."""
    path = workspace.root / name
    is_dir = path.is_dir() and not path.is_symlink()
    rule = workspace.ignored.rule_for(path, is_dir=is_dir) if name not in lock.data else None
    if rule is not None:
        above = "" if rule.path == name else f", as {rule.path} is"
        raise ProjectError(
            f"{name} is ignored{above}: {rule.file}:{rule.line} says {rule.pattern}",
            hint=f"take that line out of {rule.file}, or take it back by a line after it that begins with !",
        )


def _owner(name: str, lock: Lock) -> str | None:
    owner = names.owner_of(name, lock.data)
    return None if owner == name else owner


def _read(workspace: Workspace, name: str, *, inside: bool, fresh: bool) -> TreeEntry:
    """Keep what a path holds; a link only inside an entry, where trees have a word for it."""
    path = workspace.root / name
    raw = os.fsencode(path)
    try:
        if inside and path.is_symlink() and not links_to_object(raw):
            target = os.readlink(raw)
            return TreeEntry(os.path.basename(raw), LINK, workspace.store.put_text(target), len(target))
        entry = record(workspace.store, workspace.index, path, progress=workspace.progress, fresh=fresh)
    except FileNotFoundError:
        raise NotFound(f"{name} does not exist in {workspace.root}", hint="check the spelling; ls") from None
    return item_of(entry, os.path.basename(raw))


def _put(workspace: Workspace, data: dict[str, Entry], found: Mapping[str, TreeEntry]) -> list[Added]:
    """Write paths into the lock's `data`: as entries, or into the folders they lie in, each of which is made once."""
    added: dict[str, Added] = {}
    parts: dict[str, dict[bytes, TreeEntry | None]] = {}
    for name, item in found.items():
        owner = names.owner_of(name, data)
        if owner is None or owner == name:
            before, data[name] = data.get(name), item.entry
            workspace.index.hold(workspace.root / name, item.entry)
            added[name] = Added(name, _change(before, item.entry), item.digest, item.size, item.files)
        else:
            parts.setdefault(owner, {})[names.inside(name, owner)] = item
    for owner, items in parts.items():
        known = _known(workspace, data[owner], items)
        data[owner] = graft(workspace.store, data[owner], items)
        workspace.index.hold(workspace.root / owner, data[owner])
        for path, new in items.items():
            if new is not None:
                name = compare.join(owner, path)
                change = _change(known.get(path), new)
                added[name] = Added(name, change, new.digest, new.size, new.files, owner)
    return [added[name] for name in found]


def _change(before: object, after: object) -> Literal["added", "updated", "unchanged"]:
    return "added" if before is None else "unchanged" if before == after else "updated"


def _by_entry(added: Iterable[Added]) -> dict[str, list[bytes]]:
    """Entry -> the paths below it that were added; none if it was added whole."""
    found: dict[str, list[bytes]] = {}
    for item in added:
        found.setdefault(item.part_of or item.path, []).append(names.inside(item.path, item.part_of or item.path))
    return {entry: [] if b"" in paths else paths for entry, paths in found.items()}


def _known(workspace: Workspace, entry: Entry, paths: Container[bytes]) -> dict[bytes, TreeEntry]:
    """What stands at some paths of an entry, as far as anything does."""
    return {path: item for path, item in walk_bytes(workspace.store, entry) if path in paths}


def _take_out(workspace: Workspace, data: dict[str, Entry], chosen: Iterable[str]) -> None:
    parts: dict[str, dict[bytes, TreeEntry | None]] = {}
    for name in chosen:
        owner = names.owner_of(name, data)
        if owner is None:
            raise NotFound(f"{name} is not in mlo.lock", hint="mlo data list names what is")
        if owner == name:
            del data[name]
            workspace.index.hold(workspace.root / name, None)
        else:
            parts.setdefault(owner, {})[names.inside(name, owner)] = None
    for owner, items in parts.items():
        if owner not in data:
            continue  # it was taken out whole
        lost = items.keys() - _known(workspace, data[owner], items).keys()
        if lost:
            raise NotFound(
                f"{compare.join(owner, min(lost))} is not in {owner} as mlo.lock has it",
                hint=f"mlo data list -R {shlex.quote(owner)} names what is",
            )
        data[owner] = graft(workspace.store, data[owner], items)
        workspace.index.hold(workspace.root / owner, data[owner])


def settle(workspace: Workspace, lock: Lock, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
    """The index first, mlo.lock last: whatever a crash leaves, the lock names nothing that is not there."""
    workspace.index.save()
    private = [] if ignores_private(workspace.root) else [workspace.paths.private.name]
    outs = (os.path.normpath(path) for stage in workspace.project.stages.values() for path in stage.written)
    keep = [*lock.entries, *outs, workspace.paths.private.name]
    edit_ignored(workspace.root, add=[*add, *private], remove=remove, keep=keep)
    workspace.write_lock(lock)


def refuse_tracked(workspace: Workspace, chosen: Collection[str]) -> None:
    """Raises ProjectError if git keeps one of these paths, or what lies in it."""
    tracked = git.tracked(workspace.root, chosen)
    if tracked:
        name = names.owner_of(tracked[0], dict.fromkeys(chosen)) or tracked[0]
        inside = [path for path in tracked if path == name or path.startswith(f"{name}/")]
        count = "1 file" if len(inside) == 1 else f"{len(inside):,} files"
        raise ProjectError(
            f"git tracks {name} already ({count}, {tracked[0]} first)",
            hint=f"take it out of git first, the files stay: git rm -r -q --cached {shlex.quote(name)}",
        )


def _rename(old: Path, new: Path) -> None:
    """Move what stands in the work tree; nothing may be in the way, and nothing may stand at `old` at all."""
    with machine_errors(f"cannot move {old}"):
        if os.path.lexists(new):
            if os.path.lexists(old):
                raise UsageError(f"{new} exists already", hint="remove it, or choose another name")
            return  # a move that was killed between the rename and mlo.lock
        new.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(old):
            os.rename(old, new)
