"""Versioning data: what stands in the work tree, what mlo.lock says of it, and what the cache can give back."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from mlops_cli.core.base import git
from mlops_cli.core.base.digest import Digest
from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.base.records import Entry
from mlops_cli.core.data import compare, names
from mlops_cli.core.data.ignore import edit_ignored, ignores_private
from mlops_cli.core.errors import MachineError, MloError, NotFound, ProjectError, UsageError
from mlops_cli.core.project.lock import Lock, parse_lock
from mlops_cli.core.store import fsck as fscking
from mlops_cli.core.store.checkout import Changes, Wanted, remove, restore_all
from mlops_cli.core.store.local import REFILL
from mlops_cli.core.store.snapshot import links_to_object, record
from mlops_cli.core.store.tree import DIR, EXEC, FILE, LINK, TreeEntry, graft, walk_bytes
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
    added: list[Added]


class Removed(msgspec.Struct, frozen=True):
    path: str
    deleted: bool  # from the work tree too


class RemoveResult(msgspec.Struct, frozen=True):
    removed: list[Removed]


class Moved(msgspec.Struct, frozen=True):
    source: str
    target: str
    digest: str


class DataStatus(msgspec.Struct, frozen=True):
    """`entries` and `files` were looked at; `changes` are those not as mlo.lock says. Sizes in bytes."""

    entries: int
    files: int
    size: int
    changes: list[compare.FileState]

    @property
    def clean(self) -> bool:
        return not self.changes


class DataDiff(msgspec.Struct, frozen=True):
    """`before` and `after` name the two states; `unread` are folders whose tree objects are not in the cache."""

    before: str
    after: str
    changes: list[compare.Difference]
    unread: list[str] = []


class CheckedOut(msgspec.Struct, frozen=True):
    path: str
    changes: Changes


class CheckoutResult(msgspec.Struct, frozen=True):
    restored: list[CheckedOut]

    def raise_if_incomplete(self, *, refill: str = REFILL) -> None:
        """Raises ObjectCorrupt or ObjectMissing that names every path for which there was no good object."""
        total = Changes(
            missing=[_below(item.path, path) for item in self.restored for path in item.changes.missing],
            corrupt=[_below(item.path, path) for item in self.restored for path in item.changes.corrupt],
        )
        total.raise_if_incomplete("checkout", refill=refill)


def add_paths(workspace: Workspace, paths: Sequence[Path], *, force: bool = False) -> AddResult:
    """Keep what the paths hold in the cache, and record it in mlo.lock and .gitignore. All of them or none.

    Relative paths are meant from the project's root. A path inside an entry updates the entry by that path alone.
    `force` reads every file again, whatever the index says. Raises NotFound, UsageError, ProjectError,
    ChangedWhileRead, UnsupportedFile, MachineError.
    """
    chosen = dict.fromkeys(names.lock_name(workspace.root, path) for path in paths)
    lock = workspace.read_lock()
    for name in chosen:
        names.refuse_outputs(name, workspace.project)
        names.refuse_overlap(name, lock)
        refuse_tracked(workspace, name)
    # Reading and hashing need no lock: two adds work side by side, and queue for mlo.lock only.
    with workspace.store.batch():
        found = {name: _read(workspace, name, inside=_owner(name, lock) is not None, fresh=force) for name in chosen}
    with workspace.exclusive():
        lock = workspace.read_lock()
        data = dict(lock.data)
        with workspace.store.batch():
            added = [_put(workspace, data, name, item) for name, item in found.items()]
        settle(workspace, msgspec.structs.replace(lock, data=data), add=[item.part_of or item.path for item in added])
    return AddResult(added)


def remove_paths(
    workspace: Workspace, paths: Sequence[Path], *, delete: bool = False, force: bool = False
) -> RemoveResult:
    """Take paths out of mlo.lock and .gitignore. The files stay, unless `delete`; the cache keeps its objects.

    Raises NotFound, ProjectError for a stage's output, WouldOverwrite if bytes would be lost and not `force`.
    """
    chosen = list(dict.fromkeys(names.lock_name(workspace.root, path) for path in paths))
    with workspace.exclusive():
        lock = workspace.read_lock()
        data = dict(lock.data)
        for name in chosen:
            if name not in data:
                names.refuse_outputs(name, workspace.project)
            _take_out(workspace, data, name)
        removed = []
        for name in chosen:
            gone = delete and remove(workspace.store, workspace.index, workspace.root / name, force=force)
            removed.append(Removed(name, gone))
        settle(workspace, msgspec.structs.replace(lock, data=data), remove=lock.data.keys() - data.keys())
    return RemoveResult(removed)


def move_path(workspace: Workspace, source: Path, target: Path) -> Moved:
    """Rename an entry: in the work tree, in mlo.lock and in .gitignore. Into `target` if that is a folder.

    Raises NotFound if `source` is no entry, ProjectError if `target` exists or cannot be one.
    """
    old = names.lock_name(workspace.root, source)
    place = workspace.root / names.lock_name(workspace.root, target)
    new = names.lock_name(workspace.root, place / Path(old).name if place.is_dir() else place)
    with workspace.exclusive():
        lock = workspace.read_lock()
        entry = lock.data.get(old)
        if entry is None:
            names.refuse_outputs(old, workspace.project)
            raise NotFound(
                f"{old} is no entry of mlo.lock", hint="mlo data status; inside a folder use mv and mlo data add"
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


def data_status(workspace: Workspace, paths: Sequence[Path] = ()) -> DataStatus:
    """Compare every entry, or those asked for, with the work tree and the cache, file by file."""
    lock = workspace.read_lock()
    chosen = names.chosen([names.lock_name(workspace.root, path) for path in paths], lock)
    changes: list[compare.FileState] = []
    for name, below in chosen.items():
        found = compare.compare_entry(
            workspace.store, workspace.index, workspace.root, name, lock.entries[name], workspace.progress
        )
        changes += compare.under(found, name, below)
    with suppress(MachineError):  # the index is a cache: a project that cannot be written can still be looked at
        workspace.index.save()
    entries = [lock.entries[name] for name in chosen]
    return DataStatus(len(chosen), sum(e.files for e in entries), sum(e.size for e in entries), changes)


def data_diff(workspace: Workspace, before: str = "HEAD", after: str | None = None) -> DataDiff:
    """How data differs between a git revision's mlo.lock and the work tree, or another revision's.

    Raises ProjectError outside git, NotFound for an unknown revision.
    """
    unread: list[str] = []
    old = lock_at(workspace, before)
    left = _recorded(workspace, old, unread)
    if after is None:
        here = workspace.read_lock()
        right = _standing(workspace, {**old.entries, **here.entries})
        workspace.index.save()
    else:
        right = _recorded(workspace, lock_at(workspace, after), unread)
    skipped = tuple(f"{name}/" for name in unread)
    known = [{path: item for path, item in side.items() if not path.startswith(skipped)} for side in (left, right)]
    return DataDiff(before, after or "work tree", compare.differences(known[0], known[1]), sorted(set(unread)))


def checkout_paths(
    workspace: Workspace, paths: Sequence[Path] = (), *, force: bool = False, revision: str | None = None
) -> CheckoutResult:
    """Bring entries, or paths below them, back to what mlo.lock says, now or at a git revision.

    Raises WouldOverwrite, having touched nothing, if the user's own bytes stand in the way and not `force`. What had
    no good object is in the result; ask `raise_if_incomplete`. mlo.lock stays as it is.
    """
    with workspace.exclusive():
        lock = workspace.read_lock() if revision is None else lock_at(workspace, revision)
        chosen = names.chosen([names.lock_name(workspace.root, path) for path in paths], lock)
        wanted = [
            Wanted(lock.entries[name], workspace.root / name, only=tuple(below)) for name, below in chosen.items()
        ]
        changes = restore_all(
            workspace.store,
            workspace.index,
            wanted,
            link=workspace.project.cache.link,
            force=force,
            progress=workspace.progress,
        )
        workspace.index.save()
    return CheckoutResult([CheckedOut(name, change) for name, change in zip(chosen, changes, strict=True)])


def verify_cache(workspace: Workspace) -> fscking.FsckReport:
    """Read every object of the cache through, and look for all that mlo.lock needs."""
    return fscking.fsck(workspace.store, workspace.read_lock().entries, progress=workspace.progress)


def lock_at(workspace: Workspace, revision: str) -> Lock:
    """mlo.lock at a git revision; empty if the revision has none. Raises ProjectError, NotFound."""
    try:
        return parse_lock(git.show(workspace.root, revision, "mlo.lock"), workspace.paths.lock)
    except NotFound:
        git.show(workspace.root, revision, "mlo.yaml")  # tells an unknown revision from one without a lock
        return Lock()


# -- inside ------------------------------------------------------------------------------------------------------


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
    return _tree_entry(os.path.basename(raw), entry)


def _put(workspace: Workspace, data: dict[str, Entry], name: str, item: TreeEntry) -> Added:
    """Write one path into the lock's `data`: as an entry, or into the folder it lies in."""
    owner = names.owner_of(name, data)
    if owner is None or owner == name:
        before, entry, part_of = data.get(name), item.entry, None
        data[name] = entry
        workspace.index.hold(workspace.root / name, entry)
        same = before == entry
    else:
        before, part_of = data[owner], owner
        data[owner] = graft(workspace.store, before, names.inside(name, owner), item)
        workspace.index.hold(workspace.root / owner, data[owner])
        same = data[owner] == before
        before = before if same or _knows(workspace, before, names.inside(name, owner)) else None
    change: Literal["added", "updated", "unchanged"] = "unchanged" if same else "updated" if before else "added"
    return Added(name, change, item.digest, item.size, item.files, part_of)


def _knows(workspace: Workspace, entry: Entry, path: bytes) -> bool:
    return any(found == path for found, _ in walk_bytes(workspace.store, entry))


def _take_out(workspace: Workspace, data: dict[str, Entry], name: str) -> None:
    owner = names.owner_of(name, data)
    if owner is None:
        raise NotFound(f"{name} is not in mlo.lock", hint="mlo data status")
    if owner == name:
        del data[name]
        workspace.index.hold(workspace.root / name, None)
        return
    path = names.inside(name, owner)
    if not _knows(workspace, data[owner], path):
        raise NotFound(f"{name} is not in {owner} as mlo.lock has it", hint=f"mlo data status {shlex.quote(owner)}")
    data[owner] = graft(workspace.store, data[owner], path, None)
    workspace.index.hold(workspace.root / owner, data[owner])


def settle(workspace: Workspace, lock: Lock, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
    """The index first, mlo.lock last: whatever a crash leaves, the lock names nothing that is not there."""
    workspace.index.save()
    private = [] if ignores_private(workspace.root) else [workspace.paths.private.name]
    outs = (os.path.normpath(path) for stage in workspace.project.stages.values() for path in stage.written)
    keep = [*lock.entries, *outs, workspace.paths.private.name]
    edit_ignored(workspace.root, add=[*add, *private], remove=remove, keep=keep)
    workspace.write_lock(lock)


def refuse_tracked(workspace: Workspace, name: str) -> None:
    tracked = git.tracked(workspace.root, name)
    if tracked:
        raise ProjectError(
            f"git tracks {name} already ({len(tracked)} files, {tracked[0]} first)",
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


def _recorded(workspace: Workspace, lock: Lock, unread: list[str]) -> dict[str, TreeEntry]:
    found: dict[str, TreeEntry] = {}
    for name, entry in lock.entries.items():
        lost: dict[bytes, MloError] = {}
        found.update(compare.files_by_path(name, compare.items_of(workspace.store, entry, lost)))
        unread += [compare.join(name, path) for path in lost]
    return found


def _standing(workspace: Workspace, entries: Mapping[str, Entry]) -> dict[str, TreeEntry]:
    found: dict[str, TreeEntry] = {}
    for name, entry in entries.items():
        algorithm = Digest.parse(entry.digest).algorithm
        items = compare.items_here(workspace.index, workspace.root / name, algorithm, workspace.progress)
        found.update(compare.files_by_path(name, items))
    return found


def _tree_entry(name: bytes, entry: Entry) -> TreeEntry:
    mode = DIR if entry.kind == "dir" else EXEC if entry.executable else FILE
    return TreeEntry(name, mode, entry.digest, entry.size, entry.files)


def _below(name: str, path: str) -> str:
    return name if path in (".", "./") else f"{name}/{path}"
