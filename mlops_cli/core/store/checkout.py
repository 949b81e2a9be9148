"""Bringing a path of the work tree to what an entry says, without ever losing bytes that are the user's alone."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from mlops_cli.core.base.digest import Digest
from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.base.names import name_some
from mlops_cli.core.base.progress import Progress, Silent
from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import IntegrityError, MloError, NotFound, WouldOverwrite
from mlops_cli.core.store.building import build_folder
from mlops_cli.core.store.index import Index
from mlops_cli.core.store.local import REFILL, LocalStore
from mlops_cli.core.store.placing import make_symlink
from mlops_cli.core.store.protocol import ObjectCorrupt, ObjectMissing
from mlops_cli.core.store.snapshot import links_to_object
from mlops_cli.core.store.standing import SELF, look, sweep
from mlops_cli.core.store.tree import DIR, EXEC, LINK, TreeEntry, item_of, walk_bytes

Items = dict[bytes, TreeEntry]


class Changes(msgspec.Struct, frozen=True):
    """What a restore did below its target, as relative paths (`.` for the target itself).

    `kept` are files of the user's that no entry knows. `missing` and `corrupt` could not be restored, for want of
    a good object; what stood in their place still stands.
    """

    added: list[str] = []
    updated: list[str] = []
    removed: list[str] = []
    kept: list[str] = []
    missing: list[str] = []
    corrupt: list[str] = []

    @property
    def count(self) -> int:
        return len(self.added) + len(self.updated) + len(self.removed)

    def raise_if_incomplete(self, path: str, *, refill: str = REFILL) -> None:
        """Raises ObjectCorrupt or ObjectMissing naming all that could not be restored; `refill` is the store's."""
        # `.` is the target itself, a file.
        missing, corrupt = ([path if it == "." else it for it in names] for names in (self.missing, self.corrupt))
        lacks = f"the cache has no objects for {name_some(missing)}"
        if corrupt:
            also = f", and {lacks}" if missing else ""
            raise ObjectCorrupt(
                f"{path}: the cached objects of {name_some(corrupt)} are damaged{also}",
                hint=f"run `mlo data fsck --repair`, which sets them aside and brings back what it can; else {refill}",
            )
        if missing:
            raise ObjectMissing(f"{path}: {lacks}", hint=refill)


def restore(
    store: LocalStore,
    index: Index,
    entry: Entry,
    target: Path,
    *,
    link: Sequence[str] = ("reflink", "copy"),
    force: bool = False,
    expected: Entry | None = None,
    progress: Progress | None = None,
) -> Changes:
    """Make `target` hold `entry`, touching only what differs.

    Bytes that the cache does not hold are the user's alone. Where they stand in the way, WouldOverwrite is raised
    and nothing is changed. Files that the entry does not know are removed if `expected` knew them (by default: what
    mlo last saw or put here); others stay and are `kept`. With `force` all that is replaced and removed. What has no
    good object is reported in Changes, and the rest restored. The index is changed in memory; the caller saves it.
    Raises ObjectMissing and ObjectCorrupt if the folder's own tree objects cannot be read, IntegrityError if they lie.
    """
    wanted = Wanted(entry, target, expected=expected)
    return restore_all(store, index, [wanted], link=link, force=force, progress=progress)[0]


class Wanted(msgspec.Struct, frozen=True):
    """What `target` should hold. `only` limits it to paths below the target; empty means everything."""

    entry: Entry
    target: Path
    expected: Entry | None = None
    only: tuple[bytes, ...] = ()


def restore_all(
    store: LocalStore,
    index: Index,
    wanted: Sequence[Wanted],
    *,
    link: Sequence[str] = ("reflink", "copy"),
    force: bool = False,
    progress: Progress | None = None,
    dry: bool = False,
) -> list[Changes]:
    """`restore` for several targets; if one of them is refused, none is touched. `dry` only says what would be done."""
    plans = [_plan(store, index, item, force) for item in wanted]
    for item, plan in zip(wanted, plans, strict=True):
        if plan.refused:
            raise _refused(index, item.target, plan.refused)
    if dry:
        return [_foreseen(store, plan) for plan in plans]
    done = []
    for item, plan in zip(wanted, plans, strict=True):
        with machine_errors(f"cannot write {item.target}"):
            restorer = _Restorer(store, index, os.fsencode(item.target), link, progress or Silent())
            changes = restorer.apply(plan)
        if not item.only and not changes.missing and not changes.corrupt:
            index.hold(item.target, item.entry)
        done.append(changes)
    return done


def _refused(index: Index, target: Path, paths: Sequence[bytes]) -> WouldOverwrite:
    name = index.key(os.fsencode(target))
    return WouldOverwrite(
        f"these bytes are in no cache and would be lost: {name_some(_texts([_join(name, path) for path in paths]))}",
        hint="keep them with `mlo data add`, or replace them with --force",
    )


def remove(store: LocalStore, index: Index, target: Path, *, force: bool = False) -> bool:
    """Take away what stands at `target`, if all its bytes are in the cache or by force; False if nothing is there.

    Raises WouldOverwrite, and changes nothing, if some bytes are nowhere else.
    """
    current = look(index, target, store.algorithm)
    if current is None:
        return False
    raw = os.fsencode(target)
    refused = [] if force else _unsafe(store, raw, current, list(current))
    if refused:
        raise _refused(index, target, refused)
    with machine_errors(f"cannot remove {target}"):
        for path in sorted(current, reverse=True):  # what lies in a folder sorts after the folder
            _remove_one(_join(raw, path), current[path])
    index.hold(target, None)
    return True


class _Plan(msgspec.Struct, frozen=True):
    wanted: Items
    current: Items
    write: list[bytes]  # wanted, and absent or different; parents first
    remove: list[bytes]  # there and not wanted
    kept: list[bytes]
    refused: list[bytes]
    lost: dict[bytes, MloError]  # folders whose trees cannot be read; what stands there is left alone


def _plan(store: LocalStore, index: Index, goal: Wanted, force: bool) -> _Plan:
    entry, target = goal.entry, goal.target
    lost: dict[bytes, MloError] = {}
    wanted = {SELF: item_of(entry), **dict(walk_bytes(store, entry, lost))}
    current = look(index, target, entry.name.algorithm, wanted) or {}
    write = [path for path, item in wanted.items() if path not in current or _differs(item, current[path])]
    # Where a folder stands and a file must come, what is in the folder has to go.
    blocking = tuple(path for path in write if path in current and current[path].mode == DIR)
    ours = _known(store, goal.expected if goal.expected is not None else index.held(target))
    extra = [path for path in current if path not in wanted and not _lies_in(path, tuple(lost))]
    if goal.only:
        on_the_way = {parent for path in goal.only for parent in _parents(path)}
        write = [path for path in write if _lies_in(path, goal.only) or path in goal.only or path in on_the_way]
        extra = [path for path in extra if _lies_in(path, goal.only) or path in goal.only]
        lost = {path: lost[path] for path in lost if _lies_in(path, goal.only) or path in goal.only}
    remove = [path for path in extra if force or path in ours or _lies_in(path, blocking)]
    kept = sorted(set(extra) - set(remove))
    occupied = {parent for path in kept for parent in _parents(path)}
    remove = [path for path in remove if path not in occupied]
    touched = [path for path in (*write, *remove) if path in current]
    refused = [] if force else _unsafe(store, os.fsencode(target), current, touched)
    return _Plan(wanted, current, write, remove, kept, refused, lost)


def _foreseen(store: LocalStore, plan: _Plan) -> Changes:
    """What carrying a plan out would do, if every object that is there is good."""
    absent = store.missing(plan.wanted[path].digest for path in plan.write if plan.wanted[path].mode != DIR)
    changes = Changes(removed=_texts(sorted(plan.remove, reverse=True)), kept=_texts(plan.kept))
    for path, error in plan.lost.items():
        (changes.missing if isinstance(error, NotFound) else changes.corrupt).append(_text(path) + "/")
    for path in plan.write:
        wanted = plan.wanted[path]
        if wanted.digest in absent:
            changes.missing.append(_text(path))
        elif path in plan.current:
            changes.updated.append(_text(path))
        elif wanted.mode != DIR or wanted.files == 0:
            changes.added.append(_text(path))
    return changes


def _differs(wanted: TreeEntry, current: TreeEntry) -> bool:
    return wanted.mode != current.mode or (wanted.mode != DIR and wanted.digest != current.digest)


def _known(store: LocalStore, before: Entry | None) -> set[bytes]:
    """The paths of what mlo put or saw here before; none if its trees are gone, and then nothing is removed."""
    if before is None:
        return set()
    try:
        return {path for path, _ in walk_bytes(store, before)}
    except (NotFound, IntegrityError):
        return set()


def _unsafe(store: LocalStore, target: bytes, current: Items, touched: Sequence[bytes]) -> list[bytes]:
    """Those of `touched` whose bytes would be lost: the cache has no object of them, or a damaged one."""
    found = []
    for path in touched:
        item = current[path]
        if item.mode == DIR or (item.mode == LINK and links_to_object(_join(target, path))):
            continue
        try:
            store.verify(Digest.parse(item.digest))
        except (ObjectMissing, ObjectCorrupt):
            found.append(path)
    return found


class _Restorer:
    """Carries a plan out, one folder's index key at a time."""

    def __init__(self, store: LocalStore, index: Index, target: bytes, link: Sequence[str], progress: Progress) -> None:
        self._store = store
        self._index = index
        self._target = target
        self._link = link
        self._progress = progress

    def apply(self, plan: _Plan) -> Changes:
        changes = Changes(kept=_texts(plan.kept))
        for path, error in plan.lost.items():
            (changes.missing if isinstance(error, NotFound) else changes.corrupt).append(_text(path) + "/")
        groups = list(_grouped(plan))
        alone = (plan.wanted[path] for path, below in groups if not below)
        absent = self._store.missing(item.digest for item in alone if item.mode != DIR)
        parent = os.path.dirname(self._target)
        if plan.write and parent:
            os.makedirs(parent, exist_ok=True)
        if plan.write and os.stat(parent or b".").st_dev != self._store.device:
            sweep(self._target)
        for path in sorted(plan.remove, reverse=True):
            _remove_one(_join(self._target, path), plan.current[path])
            changes.removed.append(_text(path))
        self._progress.begin("restoring", len(plan.write), "files")
        try:
            for path, below in groups:
                if below:
                    self._build(path, below, plan, changes)
                else:
                    self._write_one(path, plan, absent, changes)
                self._progress.advance(1 + len(below))
        finally:
            self._progress.end()
        return changes

    def _build(self, folder: bytes, below: list[bytes], plan: _Plan, changes: Changes) -> None:
        """Make a folder that is not there, with what belongs in it."""
        start = len(folder) + 1 if folder else 0
        items = [(path[start:], plan.wanted[path]) for path in below]
        place = _join(self._target, folder)
        try:
            outcomes = build_folder(self._store, place, items, link=self._link)
        except FileExistsError as error:
            raise _in_the_way(os.fsencode(error.filename or place)) from None
        named = {"added": changes.added, "missing": changes.missing, "corrupt": changes.corrupt}
        for (path, item), name in zip(items, below, strict=True):
            outcome = outcomes[path]
            if outcome != "added" or item.mode != DIR or item.files == 0:
                named[outcome].append(os.fsdecode(name))

    def _write_one(self, path: bytes, plan: _Plan, absent: set[str], changes: Changes) -> None:
        wanted, current = plan.wanted[path], plan.current.get(path)
        if wanted.digest in absent:
            changes.missing.append(_text(path))
            return
        place = _join(self._target, path)
        try:
            if current is not None and wanted.mode != current.mode and DIR in (wanted.mode, current.mode):
                if wanted.mode != DIR:
                    self._store.verify(Digest.parse(wanted.digest))
                _remove_one(place, current)
                current = None
            self._put(place, wanted, new=current is None)
        except ObjectCorrupt:
            changes.corrupt.append(_text(path))
            return
        except FileExistsError:
            raise _in_the_way(place) from None
        if path in plan.current:
            changes.updated.append(_text(path))
        elif wanted.mode != DIR or wanted.files == 0:
            changes.added.append(_text(path))

    def _put(self, place: bytes, wanted: TreeEntry, *, new: bool) -> None:
        if wanted.mode == DIR:
            os.mkdir(place)
        elif wanted.mode == LINK:
            make_symlink(self._store, self._store.read(Digest.parse(wanted.digest)), place, new=new)
        else:
            # Not flushed to the disk, since the cache has the bytes; so the index learns nothing of it, and it is
            # read at the next look.
            self._store.place(wanted.digest, place, link=self._link, executable=wanted.mode == EXEC, new=new)


def _grouped(plan: _Plan) -> Iterator[tuple[bytes, list[bytes]]]:
    """What to write, path by path; but a folder that is not there yet together with all that belongs in it."""
    folder: bytes | None = None
    below: list[bytes] = []
    for path in plan.write:
        if folder is not None and (not folder or path.startswith(folder + b"/")):
            below.append(path)
            continue
        if folder is not None:
            yield folder, below
        folder, below = None, []
        if plan.wanted[path].mode == DIR and path not in plan.current:
            folder = path
        else:
            yield path, []
    if folder is not None:
        yield folder, below


def _in_the_way(place: bytes) -> WouldOverwrite:
    return WouldOverwrite(
        f"{os.fsdecode(place)} came into being meanwhile, or this file system takes two names for one",
        hint="look at it and move it away, then run the same command again",
    )


def _remove_one(place: bytes, item: TreeEntry) -> None:
    """Unlink a file or link; remove a folder unless something is still in it."""
    try:
        if item.mode == DIR:
            os.rmdir(place)
        else:
            os.unlink(place)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or item.mode != DIR:
            raise


def _join(folder: bytes, path: bytes) -> bytes:
    return folder + b"/" + path if path else folder


def _lies_in(path: bytes, folders: tuple[bytes, ...]) -> bool:
    return any(not folder or path.startswith(folder + b"/") for folder in folders)


def _parents(path: bytes) -> list[bytes]:
    found = []
    while path:
        path = path.rpartition(b"/")[0]
        found.append(path)
    return found


def _text(path: bytes) -> str:
    return os.fsdecode(path) or "."


def _texts(paths: Sequence[bytes]) -> list[str]:
    return [_text(path) for path in paths]
