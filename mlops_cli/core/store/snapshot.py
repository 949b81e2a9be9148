"""Looking at the work tree: what a path holds now, with or without keeping it in the store."""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from mlops_cli.core.base.digest import digest_bytes
from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.base.progress import Progress, Silent
from mlops_cli.core.base.records import Entry
from mlops_cli.core.store.index import Folder, Ignored, Index, Total, is_racy, mark, size_and_mode
from mlops_cli.core.store.links import object_behind
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.placing import BESIDE
from mlops_cli.core.store.protocol import ChangedWhileRead, UnsupportedFile
from mlops_cli.core.store.stable import hash_stable, unsupported
from mlops_cli.core.store.tree import DIR, EXEC, FILE, FORBIDDEN, LINK, MAX_DEPTH, TreeEntry, encode_rows, most_entries

_DOT = ord(".")


class Survey:
    """What a path holds: its entry, and for a folder everything below it."""

    def __init__(self, entry: Entry, folders: dict[bytes, Folder]) -> None:
        self.entry = entry
        self._folders = folders  # raw path relative to the surveyed one -> what is in it

    @functools.cached_property
    def items(self) -> dict[bytes, TreeEntry]:
        """Everything below, by raw path relative to the surveyed one."""
        found: dict[bytes, TreeEntry] = {}
        for path, folder in self._folders.items():
            prefix = path + b"/" if path else b""
            for entry in entries_of(folder):
                found[prefix + entry.name] = entry
        return found

    def digests(self) -> Iterator[tuple[str, set[bytes]]]:
        """Everything that must be kept to restore it: algorithm and raw digests, by and by."""
        yield self.entry.name.algorithm, {bytes.fromhex(self.entry.name.hex)}
        for folder in self._folders.values():
            yield folder.algorithm, {*folder.digests(), *(total.digest for total in folder.below.values())}


def entries_of(folder: Folder) -> list[TreeEntry]:
    """A folder of the index as the entries of its tree, in no order."""
    prefix = f"{folder.algorithm}:"
    found = []
    for (name, row), raw in zip(folder.rows.items(), folder.digests(), strict=True):
        size, mode = size_and_mode(row)
        found.append(TreeEntry(name, _kind(mode), prefix + raw.hex(), size))
    for name, total in folder.below.items():
        found.append(TreeEntry(name, DIR, prefix + total.digest.hex(), total.size, total.files))
    return found


def record(
    store: LocalStore, index: Index, path: Path, *, progress: Progress | None = None, fresh: bool = False
) -> Entry:
    """Hash what `path` holds and keep it in the store: files, links, and a tree object for each folder.

    `fresh` reads every file, whatever the index says. Nothing in the work tree is touched. The index is changed in
    memory; the caller saves it. Raises FileNotFoundError, UnsupportedFile, ChangedWhileRead, MachineError.
    """
    with store.batch():
        return survey(index, path, store.algorithm, store=store, progress=progress, fresh=fresh).entry


def observe(index: Index, path: Path, algorithm: str, *, progress: Progress | None = None) -> Entry | None:
    """What `path` holds, hashed only; None if nothing is there. Raises as `record`."""
    try:
        return survey(index, path, algorithm, progress=progress).entry
    except FileNotFoundError:
        return None


def survey(
    index: Index,
    path: Path,
    algorithm: str,
    *,
    store: LocalStore | None = None,
    progress: Progress | None = None,
    fresh: bool = False,
    ignored: Ignored | None = None,
) -> Survey:
    """`observe` with everything that lies below; keeps what it reads in `store` if there is one.

    What `ignored` names, or else `index.ignored`, is passed over.
    """
    surveyor = _Surveyor(index, algorithm, store, progress or Silent(), fresh, ignored or index.ignored)
    raw = os.fsencode(path)
    with machine_errors(f"cannot read {path}"):
        status = os.lstat(raw)
        if stat.S_ISDIR(status.st_mode):
            return surveyor.whole_folder(raw)
        if stat.S_ISLNK(status.st_mode) and not links_to_object(raw):
            raise UnsupportedFile(
                f"{path} is a link to {os.readlink(path)}",
                hint="add what it points to, or the folder that holds the link",
            )
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISLNK(status.st_mode):
            raise unsupported(raw, status.st_mode)
        return Survey(surveyor.single_file(raw), {})


def links_to_object(path: bytes) -> bool:
    """Whether a link is one that a checkout with `link: symlink` made: it points at an object of a cache."""
    return object_behind(path) is not None


class _Surveyor:
    def __init__(
        self,
        index: Index,
        algorithm: str,
        store: LocalStore | None,
        progress: Progress,
        fresh: bool,
        ignored: Ignored | None,
    ) -> None:
        self._index = index
        self._algorithm = algorithm
        self._prefix = len(algorithm) + 1
        self._store = store
        self._progress = progress
        self._fresh = fresh
        self._ignored = ignored
        self._folders: dict[bytes, Folder] = {}

    def whole_folder(self, path: bytes) -> Survey:
        key = self._index.key(path)
        self._progress.begin(f"reading {os.path.basename(os.fsdecode(path))}", None, "files")
        try:
            total = self._folder(path, key, b"", 0)
        finally:
            self._progress.end()
        below = len(self._folders) - 1
        if below + total.files > most_entries(total.files):
            raise UnsupportedFile(
                f"{os.fsdecode(path)} holds {below:,} folders for {total.files:,} files; no checkout would believe it",
                hint="remove empty folders, or name them in a .mloignore",
            )
        beyond = key + b"/" if key else b""
        self._index.keep_only(key, [key, *(beyond + below for below in self._folders if below)])
        entry = Entry(f"{self._algorithm}:{total.digest.hex()}", "dir", total.size, total.files)
        return Survey(entry, self._folders)

    def single_file(self, path: bytes) -> Entry:
        status = os.stat(path)
        digest = None if self._fresh else self._index.lookup(path, status)
        if digest is None or not digest.startswith(self._algorithm) or not self._is_kept(digest, status.st_size):
            digest, status = self._read(path)
            self._index.note(path, status, digest)
        return Entry(digest, "file", status.st_size, executable=_kind(status.st_mode) == EXEC)

    def _folder(self, path: bytes, key: bytes, relative: bytes, depth: int) -> Total:
        """What the folder's tree is. Fills the index, and `_folders`."""
        if depth > MAX_DEPTH:
            raise UnsupportedFile(f"{os.fsdecode(path)} lies more than {MAX_DEPTH} folders deep", hint="move it up")
        old = self._index.folder(key)
        if old is None or self._fresh or old.algorithm != self._algorithm:
            old = Folder(self._algorithm)
        known = old.rows
        rows: dict[bytes, bytes] = {}
        unknown: list[os.DirEntry[bytes]] = []
        inner: list[bytes] = []
        ignored = self._ignored(path) if self._ignored is not None else None
        with os.scandir(path) as listed:
            for item in listed:
                name = item.name
                if name[0] == _DOT and _is_private(item):
                    continue
                if ignored is not None and ignored(item.path, item.is_dir(follow_symlinks=False)):
                    continue
                if item.is_dir(follow_symlinks=False):
                    inner.append(name)
                elif name not in known:
                    unknown.append(item)
                elif item.is_symlink():
                    rows[name] = mark(_status_of_link(item.path))
                else:
                    rows[name] = mark(item.stat(follow_symlinks=False))
        self._progress.advance(len(rows))
        folder = old
        if unknown or old.racy or rows != known or not self._has_all(old):
            folder = Folder(self._algorithm)
            self._read_all(path, old, rows, unknown, folder)
        below = {
            name: self._folder(
                path + b"/" + name,
                key + b"/" + name if key else name,
                relative + b"/" + name if relative else name,
                depth + 1,
            )
            for name in inner
        }
        return self._sum_up(key, relative, old, folder, below)

    def _sum_up(self, key: bytes, relative: bytes, old: Folder, folder: Folder, below: dict[bytes, Total]) -> Total:
        """The folder's tree, made anew unless nothing in it or below it changed."""
        if folder is old:
            tree = old.tree
            if tree is not None and old.below == below and self._is_kept(self._text(tree.digest), None):
                self._folders[relative] = old
                return tree
            folder = Folder(old.algorithm, old.rows, old.column, old.racy)
        folder.below = below
        rows = [(name, DIR, total.digest, total.size, total.files) for name, total in below.items()]
        for (name, row), raw in zip(folder.rows.items(), folder.digests(), strict=True):
            size, mode = size_and_mode(row)
            rows.append((name, _kind(mode), raw, size, 1))
        digest = self._keep(encode_rows(rows, self._algorithm))
        size, files = sum(row[3] for row in rows), sum(row[4] for row in rows)
        folder.tree = Total(bytes.fromhex(digest[self._prefix :]), size, files)
        self._index.replace_folder(key, folder)
        self._folders[relative] = folder
        return folder.tree

    def _read_all(
        self,
        path: bytes,
        old: Folder,
        rows: dict[bytes, bytes],
        unknown: list[os.DirEntry[bytes]],
        folder: Folder,
    ) -> None:
        """Fill `folder`, reading the files that are new, changed or racy."""
        digests = old.by_name()
        column: list[bytes] = []
        for name, row in rows.items():
            same = row == old.rows[name] and name not in old.racy
            if same and self._is_kept(self._text(digests[name]), size_and_mode(row)[0]):
                folder.rows[name] = row
                column.append(digests[name])
            else:
                place = path + b"/" + name
                self._read_one(place, name, os.path.islink(place), folder, column)
        for number, item in enumerate(unknown, 1):
            self._read_one(item.path, item.name, item.is_symlink(), folder, column)
            if number % 64 == 0:
                self._progress.advance(64)
        folder.column = b"".join(column)

    def _read_one(self, path: bytes, name: bytes, is_link: bool, folder: Folder, column: list[bytes]) -> None:
        """Read a file or link of a folder."""
        try:
            if is_link and not _stands_for_object(path):
                target, status = os.readlink(path), os.lstat(path)
                digest = self._keep(target)
            else:
                digest, status = self._read(path)
        except FileNotFoundError:
            raise ChangedWhileRead(
                f"{os.fsdecode(path)} vanished while its folder was read", hint="run the same command again"
            ) from None
        folder.rows[name] = mark(status)
        column.append(bytes.fromhex(digest[self._prefix :]))
        if is_racy(status):
            folder.racy.add(name)

    def _read(self, path: bytes) -> tuple[str, os.stat_result]:
        if self._store is not None:
            return self._store.ingest(path)
        return hash_stable(path, self._algorithm)

    def _keep(self, data: bytes) -> str:
        if self._store is not None:
            return self._store.put_text(data)
        return str(digest_bytes(data, self._algorithm))

    def _text(self, raw: bytes) -> str:
        return f"{self._algorithm}:{raw.hex()}"

    def _is_kept(self, digest: str, size: int | None) -> bool:
        """Whether the store, if there is one, has the object; of that size, if it is known."""
        if self._store is None:
            return True
        found = self._store.size(digest)
        return found is not None and size in (None, found)

    def _has_all(self, folder: Folder) -> bool:
        """Whether the store, if there is one, has everything a folder holds."""
        if self._store is None:
            return True
        packed = self._store.packs.table(self._algorithm)
        return all(
            raw in packed or self._is_kept(self._text(raw), size_and_mode(row)[0])
            for raw, row in zip(folder.digests(), folder.rows.values(), strict=True)
        )


def _is_private(item: os.DirEntry[bytes]) -> bool:
    """Whether a name is mlo's own and passed over. Raises UnsupportedFile for what must not be there at all."""
    if item.name.lower() in FORBIDDEN:
        raise UnsupportedFile(
            f"{os.fsdecode(item.path)} belongs to git or mlo and is never versioned as data",
            hint="move it out of the folder that you add",
        )
    return item.name.startswith(BESIDE)


def _stands_for_object(path: bytes) -> bool:
    """Whether a link is one to an object, which is still there."""
    return links_to_object(path) and os.path.exists(path)


def _status_of_link(path: bytes) -> os.stat_result:
    return os.stat(path) if _stands_for_object(path) else os.lstat(path)


def _kind(mode: int) -> int:
    if stat.S_ISLNK(mode):
        return LINK
    return EXEC if mode & stat.S_IXUSR else FILE
