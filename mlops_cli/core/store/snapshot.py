"""Looking at the work tree: what a path holds now, with or without keeping it in the store."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import msgspec

from mlops_cli.core.base.digest import HEX_DIGITS, digest_bytes
from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.base.progress import Progress, Silent
from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import MloError
from mlops_cli.core.store.index import Index, Row, make_row
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.placing import BESIDE
from mlops_cli.core.store.protocol import ChangedWhileRead, UnsupportedFile
from mlops_cli.core.store.stable import hash_stable, unsupported
from mlops_cli.core.store.tree import DIR, EXEC, FILE, LINK, MAX_DEPTH, TreeEntry, encode, forbidden_name, totals

_LINK_TO_OBJECT = re.compile(rb"/objects/(xxh128|blake3)/([0-9a-f]{2})/([0-9a-f]+)$")
_STRIDE = 64  # files between two calls of progress.advance


class Survey(msgspec.Struct, frozen=True):
    """What a path holds: its entry, and for a folder everything below it, by raw path relative to it."""

    entry: Entry
    items: dict[bytes, TreeEntry]


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
) -> Survey:
    """`observe` with everything that lies below; keeps what it reads in `store` if there is one."""
    surveyor = _Surveyor(index, algorithm, store, progress or Silent(), fresh)
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
        found = surveyor.single_file(raw)
    return Survey(found.entry, {})


def links_to_object(path: bytes) -> bool:
    """Whether a link is one that a checkout with `link: symlink` made: it points at an object of a cache."""
    match = _LINK_TO_OBJECT.search(os.readlink(path))
    return match is not None and len(match[2] + match[3]) == HEX_DIGITS[match[1].decode()]


class _Surveyor:
    def __init__(self, index: Index, algorithm: str, store: LocalStore | None, progress: Progress, fresh: bool) -> None:
        self._index = index
        self._algorithm = algorithm
        self._store = store
        self._progress = progress
        self._fresh = fresh
        self._files = 0

    def whole_folder(self, path: bytes) -> Survey:
        items: dict[bytes, TreeEntry] = {}
        visited: list[bytes] = []
        key = self._index.key(path)
        self._progress.begin(f"reading {os.path.basename(os.fsdecode(path))}", None, "files")
        try:
            digest, size, files = self._folder(path, key, b"", items, visited, 0)
        finally:
            self._progress.end()
        self._index.keep_only(key, visited)
        return Survey(Entry(digest, "dir", size, files), items)

    def single_file(self, path: bytes) -> TreeEntry:
        status = os.stat(path)
        digest = None if self._fresh else self._index.lookup(path, status)
        if digest is None or not self._can_skip(digest, status.st_size):
            digest, status = self._read(path)
            self._index.note(path, status, digest)
        return _file(os.path.basename(path), status, digest)

    def _folder(
        self, path: bytes, key: bytes, prefix: bytes, items: dict[bytes, TreeEntry], visited: list[bytes], depth: int
    ) -> tuple[str, int, int]:
        """Digest of the folder's tree, bytes and files below. Fills `items` and the index."""
        if depth > MAX_DEPTH:
            raise UnsupportedFile(f"{os.fsdecode(path)} lies more than {MAX_DEPTH} folders deep", hint="move it up")
        visited.append(key)
        old = {} if self._fresh else self._index.folder(key)
        rows: dict[bytes, Row] = {}
        entries: list[TreeEntry] = []
        with os.scandir(path) as found:
            listed = list(found)
        for item in listed:
            name = item.name
            if forbidden_name(name):
                raise _nested(item.path)
            if name.startswith(BESIDE):
                continue
            status = item.stat(follow_symlinks=False)
            mode = status.st_mode
            if stat.S_ISREG(mode):
                entry = self._file(item.path, name, status, old.get(name), rows)
            elif stat.S_ISDIR(mode):
                inner = key + b"/" + name if key else name
                digest, size, files = self._folder(item.path, inner, prefix + name + b"/", items, visited, depth + 1)
                entry = TreeEntry(name, DIR, digest, size, files)
            elif stat.S_ISLNK(mode):
                entry = self._link(item.path, name, old.get(name), rows)
            else:
                raise unsupported(item.path, mode)
            entries.append(entry)
            items[prefix + name] = entry
        self._index.replace_folder(key, rows)
        data = encode(entries, self._algorithm)
        return self._keep(data), *totals(entries)

    def _file(
        self, path: bytes, name: bytes, status: os.stat_result, row: Row | None, rows: dict[bytes, Row]
    ) -> TreeEntry:
        self._files += 1
        if self._files % _STRIDE == 0:
            self._progress.advance(_STRIDE)
        if (
            row is not None
            and not row[5]
            and row[1] == status.st_mtime_ns
            and row[0] == status.st_size
            and row[2] == status.st_ctime_ns
            and row[3] == status.st_ino
            and row[4] == status.st_mode
            and self._can_skip(row[6], row[0])
        ):
            rows[name] = row
            return TreeEntry(name, EXEC if status.st_mode & 0o100 else FILE, row[6], row[0])
        try:
            digest, status = self._read(path)
        except FileNotFoundError:
            raise ChangedWhileRead(
                f"{os.fsdecode(path)} vanished while its folder was read", hint="run the same command again"
            ) from None
        rows[name] = make_row(status, digest)
        return _file(name, status, digest)

    def _link(self, path: bytes, name: bytes, row: Row | None, rows: dict[bytes, Row]) -> TreeEntry:
        if links_to_object(path):
            try:
                return self._file(path, name, os.stat(path), row, rows)
            except FileNotFoundError:  # the object is gone: all that is left is a broken link
                pass
        target = os.readlink(path)
        return TreeEntry(name, LINK, self._keep(target), len(target))

    def _read(self, path: bytes) -> tuple[str, os.stat_result]:
        if self._store is not None:
            return self._store.ingest(path)
        return hash_stable(path, self._algorithm)

    def _keep(self, data: bytes) -> str:
        if self._store is not None:
            return self._store.put_text(data)
        return str(digest_bytes(data, self._algorithm))

    def _can_skip(self, digest: str, size: int) -> bool:
        """Whether a file the index knows needs no reading: its digest is of our algorithm, and kept if it should be."""
        return digest.startswith(self._algorithm) and (self._store is None or self._store.size(digest) == size)


def _file(name: bytes, status: os.stat_result, digest: str) -> TreeEntry:
    return TreeEntry(name, EXEC if status.st_mode & 0o100 else FILE, digest, status.st_size)


def _nested(path: bytes) -> MloError:
    return UnsupportedFile(
        f"{os.fsdecode(path)} belongs to git or mlo and is never versioned as data",
        hint="move it out of the folder that you add",
    )
