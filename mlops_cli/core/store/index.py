"""What every file of the work tree hashed to when it was last read, so that it is read again only if it changed.

The index holds nothing that cannot be found out again: a lost or damaged one is an empty one. See FORMAT.md, "Index".
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from mlops_cli.core.base.digest import hasher
from mlops_cli.core.base.files import write_atomic
from mlops_cli.core.base.records import Entry
from mlops_cli.core.store.stable import signature

MAGIC = b"MLOINDX"
VERSION = 1
RACY_NS = 2_000_000_000  # the coarsest time stamps in use (FAT) are two seconds apart
_HEADER = struct.Struct("<7sB16s")  # magic, version, xxh128 of the body

Row = tuple[int, int, int, int, int, bool, str]
"""size, mtime_ns, ctime_ns, inode, mode, racy, digest"""


class _Body(msgspec.Struct, array_like=True):
    folders: dict[bytes, dict[bytes, Row]]
    held: dict[str, Entry]


class Index:
    """Folder -> name -> Row, for paths below `root` (the folder above the index's own, unless given).

    `held` remembers which entry mlo last saw or put at a path, so that checkout can tell a file that was
    deleted upstream from one the user made.
    """

    def __init__(self, path: Path, *, root: Path | None = None) -> None:
        self.path = path
        self._root = os.fsencode((root or path.parent.parent).absolute())
        self._folders: dict[bytes, dict[bytes, Row]] = {}
        self._held: dict[str, Entry] = {}
        self._changed = False
        self._load()

    def key(self, folder: bytes) -> bytes:
        """How a folder is called in the index: relative to the root where it lies below it."""
        absolute = os.path.abspath(folder)
        if absolute == self._root:
            return b""
        return absolute.removeprefix(self._root + b"/")

    def folder(self, key: bytes) -> dict[bytes, Row]:
        """The rows of a folder; not to be changed by the caller."""
        return self._folders.get(key, {})

    def replace_folder(self, key: bytes, rows: dict[bytes, Row]) -> None:
        if self._folders.get(key) != rows:
            self._changed = True
            if rows:
                self._folders[key] = rows
            else:
                self._folders.pop(key, None)

    def keep_only(self, key: bytes, visited: Iterable[bytes]) -> None:
        """Forget the folders below `key` that were not visited: they are gone."""
        if not key:
            return
        alive = set(visited)
        gone = [name for name in self._folders if name.startswith(key + b"/") and name not in alive]
        for name in gone:
            del self._folders[name]
            self._changed = True

    def lookup(self, path: bytes, status: os.stat_result) -> str | None:
        """The digest of a file if it is as it was; None if it must be read."""
        folder, name = os.path.split(os.path.abspath(path))
        row = self._folders.get(self.key(folder), {}).get(name)
        return row[6] if row is not None and not row[5] and row[:5] == signature(status) else None

    def note(self, path: bytes, status: os.stat_result, digest: str, *, trusted: bool = True) -> None:
        """Remember what a file hashed to. Not `trusted`: written by us but not flushed, so read it once more."""
        folder, name = os.path.split(os.path.abspath(path))
        row = make_row(status, digest, trusted=trusted)
        rows = self._folders.setdefault(self.key(folder), {})
        if rows.get(name) != row:
            rows[name] = row
            self._changed = True

    def held(self, path: Path) -> Entry | None:
        """The entry mlo last saw or put at a path."""
        return self._held.get(os.fsdecode(self.key(os.fsencode(path))))

    def hold(self, path: Path, entry: Entry | None) -> None:
        key = os.fsdecode(self.key(os.fsencode(path)))
        if self._held.get(key) == entry:
            return
        self._changed = True
        if entry is None:
            del self._held[key]
        else:
            self._held[key] = entry

    def save(self) -> None:
        """Write the index if anything changed. Two writers at once: the last wins, the other's rows are read anew."""
        if not self._changed:
            return
        body = msgspec.msgpack.encode(_Body(self._folders, self._held))
        # Not flushed to the disk: the checksum finds an index that a power cut tore, and it is rebuilt.
        write_atomic(self.path, _HEADER.pack(MAGIC, VERSION, _checksum(body)) + body, durable=False)
        self._changed = False

    def _load(self) -> None:
        try:
            data = self.path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return
        if len(data) < _HEADER.size:
            return
        magic, version, checksum = _HEADER.unpack_from(data)
        body = memoryview(data)[_HEADER.size :]
        if magic != MAGIC or version != VERSION or checksum != _checksum(body):
            return
        try:
            found = msgspec.msgpack.decode(body, type=_Body)
        except msgspec.DecodeError:
            return
        self._folders, self._held = found.folders, found.held


def make_row(status: os.stat_result, digest: str, *, trusted: bool = True) -> Row:
    """A row for a file read just now. It is racy if an edit right after would not have changed the time stamps."""
    # The file system's clock, not the project's: MLO_NOW must not make a fresh file look old.
    limit = time.time_ns() - RACY_NS
    racy = not trusted or status.st_mtime_ns >= limit or status.st_ctime_ns >= limit
    return (*signature(status), racy, digest)


def _checksum(body: bytes | memoryview) -> bytes:
    state = hasher("xxh128")
    state.update(body)
    return bytes.fromhex(state.hexdigest())
