"""The work tree as the pipeline sees it: what its paths hold, and how outputs are taken away and brought back."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from mlops_cli.core.base.digest import digest_bytes
from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.base.progress import Progress
from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import IntegrityError, MloError, NotFound
from mlops_cli.core.store.checkout import restore
from mlops_cli.core.store.index import Index
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.owning import unprotect
from mlops_cli.core.store.snapshot import Survey, record, survey
from mlops_cli.core.store.tree import DIR, TreeEntry, closure, encode, item_of, totals, walk, walk_bytes

# Programs leave these in folders of source code just by looking; a stage that reads such a folder did not change it.
LITTER = frozenset(
    {b"__pycache__", b".ipynb_checkpoints", b".DS_Store", b".pytest_cache", b".mypy_cache", b".ruff_cache"}
)


class WorkTree:
    """Paths are relative to `root`. What was seen is remembered until `forget`.

    `made` are paths whose folders hold data, and count byte for byte; other folders hold source code, whose digest
    leaves out LITTER. `locked` is what mlo.lock says of paths: bytes that it names are mlo's to put back, even
    where the cache has lost them.
    """

    def __init__(
        self,
        root: Path,
        store: LocalStore,
        index: Index,
        *,
        link: Sequence[str] = ("reflink", "copy"),
        made: Iterable[str] = (),
        locked: Mapping[str, Entry] | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.root = root
        self.store = store
        self.index = index
        self._link = link
        self._progress = progress
        self._made = frozenset(made)
        self._locked = locked or {}
        self._seen: dict[str, Entry | None] = {}

    def path(self, name: str) -> Path:
        return self.root / name

    def entry(self, name: str) -> Entry | None:
        """What the path holds now; None for nothing. Raises UnsupportedFile, ChangedWhileRead."""
        if name not in self._seen:
            self._seen[name] = self._look(name)
        return self._seen[name]

    def entry_with(self, name: str, others: Mapping[str, Entry]) -> Entry | None:
        """What a folder would hold with these entries, which the store has, at paths below it."""
        if not all(entry.digest.startswith(self.store.algorithm) for entry in others.values()):
            others = {}  # kept before the project changed its algorithm: no tree holds both
        if not others:
            return self.entry(name)
        path = self.path(name).resolve()
        items = dict(survey(self.index, path, self.store.algorithm).items) if path.is_dir() else {}
        for other, entry in others.items():
            place = os.fsencode(other.removeprefix(name + "/"))
            items = {at: it for at, it in items.items() if at != place and not at.startswith(place + b"/")}
            items[place] = item_of(entry, place.rpartition(b"/")[2])
            items |= {place + b"/" + below: found for below, found in walk_bytes(self.store, entry)}
            around = place.rpartition(b"/")[0]
            while around and around not in items:
                items[around] = TreeEntry(around.rpartition(b"/")[2], DIR, entry.digest, 0, 0)
                around = around.rpartition(b"/")[0]
        return _folder(items, self.store.algorithm)

    def forget(self, names: Iterable[str] | None = None) -> None:
        """A process ran: anything may have changed, or, with `names`, these paths may have."""
        for name in list(self._seen) if names is None else names:
            self._seen.pop(name, None)

    def _look(self, name: str) -> Entry | None:
        path = self.path(name)
        if path.is_symlink() and not self._is_made(name):
            path = path.resolve()  # who reads a link reads what it leads to
        try:
            found = survey(self.index, path, self.store.algorithm)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if found.entry.kind == "file" or self._is_made(name):
            return found.entry
        return without_litter(found, self.store.algorithm)

    def _is_made(self, name: str) -> bool:
        return any(path.as_posix() in self._made for path in (PurePosixPath(name), *PurePosixPath(name).parents))

    def exists(self, name: str) -> bool:
        return os.path.lexists(self.path(name))

    def is_kept(self, entry: Entry) -> bool:
        """Whether the store can give the entry back: every byte of it, and for a folder its trees."""
        try:
            return not self.store.missing(str(digest) for digest in closure(self.store, entry))
        except (NotFound, IntegrityError):
            return False

    def unsaved(self, names: Iterable[str]) -> list[str]:
        """Those of the paths that hold a file whose bytes are neither in the store nor what mlo.lock names, which
        `secure` puts back there before they go."""
        return [name for name in names if self.exists(name) and not self._is_mine(name)]

    def _is_mine(self, name: str) -> bool:
        return (name in self._locked and self.holds(name, self._locked[name])) or self._holds_kept_bytes(name)

    def _holds_kept_bytes(self, name: str) -> bool:
        found = survey(self.index, self.path(name), self.store.algorithm)
        files = (
            [item for item in found.items.values() if not item.is_dir] if found.entry.kind == "dir" else [found.entry]
        )
        return not self.store.missing(item.digest for item in files)

    def holds(self, name: str, entry: Entry | None) -> bool:
        """Whether the path holds exactly that, None meaning nothing."""
        if entry is None or not self.exists(name):
            return entry is None and not self.exists(name)
        try:
            return self.entry(name) == entry
        except MloError:  # a socket, a link: certainly not an entry
            return False

    def secure(self, name: str) -> Entry | None:
        """What the path holds, now certain to be whole in the store: read through there, and mended from the path
        where an object is missing or damaged. To be asked before the path's own bytes go."""
        entry = self.entry(name)
        if entry is None or self._is_sound(entry):
            return entry
        return self.keep(name, fresh=True)

    def _is_sound(self, entry: Entry) -> bool:
        try:
            for digest in closure(self.store, entry):
                self.store.verify(digest)
        except (NotFound, IntegrityError):
            return False
        return True

    def keep(self, name: str, *, fresh: bool = False) -> Entry:
        """Put what the path holds into the store; `fresh` reads every byte of it again.

        Raises FileNotFoundError if it holds nothing.
        """
        entry = record(self.store, self.index, self.path(name), progress=self._progress, fresh=fresh)
        self.index.hold(self.path(name), entry)
        self._seen[name] = entry
        return entry

    def take_away(self, name: str) -> None:
        """Remove what stands at the path; nothing is fine. The folder around it is made."""
        path = self.path(name)
        with machine_errors(f"cannot remove {name}"):
            _remove(path)
            path.parent.mkdir(parents=True, exist_ok=True)
        self._seen.pop(name, None)

    def loosen(self, name: str) -> None:
        """Let what stands at the path be written in place: no links to the cache, no files that are read-only."""
        if self.exists(name):
            unprotect(self.store, self.path(name))
            self._seen.pop(name, None)

    def put_aside(self, name: str, folder: Path) -> bool:
        """Move what stands at the path to `folder/path`; whether there was anything."""
        path, target = self.path(name), folder / name
        if not self.exists(name):
            return False
        with machine_errors(f"cannot move {name} to {target}"):
            _remove(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, target)
        self._seen.pop(name, None)
        return True

    def bring_back(self, name: str, entry: Entry) -> None:
        """Make the path hold `entry` and nothing else, from the store.

        What stands there is replaced: ask `unsaved` first, then `secure`. Raises ObjectMissing, ObjectCorrupt.
        """
        if self.entry(name) != entry:
            self._seen.pop(name, None)
            if entry.kind == "file":
                # A rename over a file makes ext4 flush the new one at once; a crash before it leaves an output missing,
                # and the next run brings that back.
                self.take_away(name)
            changes = restore(self.store, self.index, entry, self.path(name), link=self._link, force=True)
            changes.raise_if_incomplete(name, refill=self.store.refill)
        self._seen[name] = entry

    def below(self, entry: Entry, name: str) -> Entry | None:
        """What a kept folder holds at the relative path `name`."""
        return next((found.entry for path, found in walk(self.store, entry) if path == name), None)


def _remove(path: Path) -> None:
    """Whatever it is; nothing is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def checks_digests(tree: WorkTree, files: Sequence[str]) -> dict[str, str]:
    entries = {file: tree.entry(file) for file in files}
    return {file: entry.digest for file, entry in entries.items() if entry is not None}


def put_back(tree: WorkTree, previous: Mapping[str, Entry | None], failed: Path) -> list[str]:
    """Move what stands at the outputs to `failed`, and bring back what stood there before.

    Returns what to tell of those that the cache cannot give back any more: there is nothing left to wait for.
    """
    problems = []
    for path, entry in previous.items():
        if tree.holds(path, entry):
            continue
        tree.put_aside(path, failed)
        if entry is not None:
            try:
                tree.bring_back(path, entry)
            except (NotFound, IntegrityError) as error:
                problems.append(f"{path} is not as before: {error.message}")
    return problems


def without_litter(found: Survey, algorithm: str) -> Entry:
    """The entry of a folder as it would be without LITTER."""
    if not any(path.rpartition(b"/")[2] in LITTER for path in found.items):
        return found.entry
    return _folder(found.items, algorithm)


def _folder(items: Mapping[bytes, TreeEntry], algorithm: str) -> Entry:
    """The entry of a folder that holds these items, by path, without LITTER; the digests of folders are made anew."""
    folders: dict[bytes, list[TreeEntry]] = {b"": []}
    for path, item in items.items():
        if item.is_dir:
            folders[path] = []
    # Deepest first: a folder's digest is of its entries, so these must be final. The survey lists folders after
    # what they hold, but a litter folder's own contents must not count either.
    for path, item in sorted(items.items(), key=lambda pair: -pair[0].count(b"/")):
        parent, _, name = path.rpartition(b"/")
        if name in LITTER:
            continue
        folders[parent].append(_rebuilt(name, folders[path], algorithm) if item.is_dir else item)
    whole = _rebuilt(b".", folders[b""], algorithm)
    return Entry(whole.digest, "dir", whole.size, whole.files)


def _rebuilt(name: bytes, entries: list[TreeEntry], algorithm: str) -> TreeEntry:
    size, files = totals(entries)
    return TreeEntry(name, DIR, str(digest_bytes(encode(entries, algorithm), algorithm)), size, files)
