"""What every file of the work tree hashed to when it was last read, so that it is read again only if it changed.

The index holds nothing that cannot be found out again: a lost or damaged one is an empty one. See FORMAT.md, "Index".
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from mlops_cli.core.base.digest import HEX_DIGITS, hasher
from mlops_cli.core.base.files import FileLock, write_atomic
from mlops_cli.core.base.records import Entry

MAGIC = b"MLOINDX"
VERSION = 2
RACY_NS = 2_000_000_000  # the coarsest time stamps in use (FAT) are two seconds apart
_HEADER = struct.Struct("<7sB16s")  # magic, version, xxh128 of the body
_MARK = struct.Struct("<QqqQI")  # size, mtime_ns, ctime_ns, inode, mode
_LATE_MARK = struct.Struct("<QQQQI")  # the same bytes for times that 63 bits can tell; and times after 2262

Key = TypeVar("Key")
Value = TypeVar("Value")
IsIgnored = Callable[[bytes, bool], bool]
"""Whether a path (absolute; and whether it is a folder) is passed over as if it were not there."""
Ignored = Callable[[bytes], IsIgnored | None]
"""What says so of all that stands in a folder; None if nothing in it is passed over."""


def mark(status: os.stat_result) -> bytes:
    """What changes whenever a file's bytes do. ctime is in it because an edit can restore size and mtime."""
    try:
        return _MARK.pack(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_mode)
    except struct.error:
        times = (time_ns % (1 << 64) for time_ns in (status.st_mtime_ns, status.st_ctime_ns))
        return _LATE_MARK.pack(status.st_size, *times, status.st_ino, status.st_mode)


def size_and_mode(row: bytes) -> tuple[int, int]:
    """What a mark says of a file's size in bytes, and of its mode."""
    size, _, _, _, mode = _MARK.unpack(row)
    return size, mode


def is_racy(status: os.stat_result) -> bool:
    """Whether an edit right after this look might leave every time stamp as it is."""
    # The file system's clock, not the project's: MLO_NOW must not make a fresh file look old.
    limit = time.time_ns() - RACY_NS
    return status.st_mtime_ns >= limit or status.st_ctime_ns >= limit


class Total(msgspec.Struct, frozen=True, array_like=True):
    """A folder as its parent knows it: the raw digest of its tree, and bytes and files below it."""

    digest: bytes
    size: int
    files: int


class Folder(msgspec.Struct, array_like=True):
    """What was in one folder. `rows` are the marks of its files and links, by name; their raw digests stand in `column`
    in the same order. Names in `racy` are read again. `tree` is what all of it came to, if it was looked at whole."""

    algorithm: str
    rows: dict[bytes, bytes] = {}
    column: bytes = b""
    racy: set[bytes] = set()
    below: dict[bytes, Total] = {}
    tree: Total | None = None

    def digests(self) -> Iterator[bytes]:
        """The raw digests, in the order of `rows`."""
        width = HEX_DIGITS[self.algorithm] // 2
        return (self.column[at : at + width] for at in range(0, len(self.column), width))

    def by_name(self) -> dict[bytes, bytes]:
        return dict(zip(self.rows, self.digests(), strict=True))


class _Body(msgspec.Struct, array_like=True):
    folders: dict[bytes, msgspec.Raw]
    held: dict[str, Entry]


class Index:
    """Folder -> what was in it, for paths below `root` (the folder above the index's own, unless given).

    `held` remembers which entry mlo last saw or put at a path, so that checkout can tell a file that was
    deleted upstream from one the user made. `ignored` names what every look at the work tree passes over.
    """

    def __init__(self, path: Path, *, root: Path | None = None, ignored: Ignored | None = None) -> None:
        self.path = path
        self.ignored = ignored
        self._root = os.fsencode((root or path.parent.parent).absolute())
        self._known: dict[bytes, Folder | None] = {}  # read or changed; None: forgotten
        self._notes: dict[bytes, tuple[Folder, dict[bytes, bytes]]] = {}  # with raw digests, while files are noted
        self._asked: dict[bytes, tuple[Folder, dict[bytes, bytes]]] = {}  # digests by name, for lookups one by one
        self._dirty: set[bytes] = set()
        self._dirty_held: dict[str, Entry | None] = {}
        self._checksum, self._body = self._load()

    def key(self, folder: bytes) -> bytes:
        """How a folder is called in the index: relative to the root where it lies below it."""
        absolute = os.path.abspath(folder)
        if absolute == self._root:
            return b""
        return absolute.removeprefix(self._root + b"/")

    def folder(self, key: bytes) -> Folder | None:
        """What was in a folder; not to be changed by the caller."""
        if key in self._notes:
            self._settle(key)
        if key not in self._known:
            raw = self._body.folders.get(key)
            self._known[key] = None if raw is None else _decoded(raw)
        return self._known[key]

    def replace_folder(self, key: bytes, folder: Folder | None) -> None:
        if self.folder(key) != folder:
            self._known[key] = folder
            self._dirty.add(key)

    def keep_only(self, key: bytes, visited: Iterable[bytes]) -> None:
        """Forget the folders below `key` that were not visited: they are gone."""
        if not key:
            return
        alive = set(visited)
        for name in [*self._body.folders, *self._known]:
            if name.startswith(key + b"/") and name not in alive:
                self.replace_folder(name, None)

    def lookup(self, path: bytes, status: os.stat_result) -> str | None:
        """The digest of a file if it is as it was; None if it must be read."""
        key, name = self._split(path)
        noted = self._notes.get(key)
        folder = noted[0] if noted is not None else self.folder(key)
        if folder is None or name in folder.racy or folder.rows.get(name) != mark(status):
            return None
        if noted is not None:
            return f"{folder.algorithm}:{noted[1][name].hex()}"
        asked, digests = self._asked.get(key, (None, {}))
        if asked is not folder:
            digests = folder.by_name()
            self._asked[key] = folder, digests
        return f"{folder.algorithm}:{digests[name].hex()}"

    def note(self, path: bytes, status: os.stat_result, digest: str, *, trusted: bool = True) -> None:
        """Remember what a file hashed to. Not `trusted`: written by us but not flushed, so read it once more."""
        key, name = self._split(path)
        algorithm, _, hexadecimal = digest.partition(":")
        if key not in self._notes or self._notes[key][0].algorithm != algorithm:
            self._notes[key] = self._to_note(self.folder(key), algorithm)
        folder, digests = self._notes[key]
        folder.rows[name] = mark(status)
        digests[name] = bytes.fromhex(hexadecimal)
        if trusted and not is_racy(status):
            folder.racy.discard(name)
        else:
            folder.racy.add(name)

    def held(self, path: Path) -> Entry | None:
        """The entry mlo last saw or put at a path."""
        key = os.fsdecode(self.key(os.fsencode(path)))
        return self._dirty_held[key] if key in self._dirty_held else self._body.held.get(key)

    def held_names(self) -> list[str]:
        """What mlo saw or put entries at, relative to the root where it lies below it."""
        known = {**self._body.held, **self._dirty_held}
        return sorted(name for name, entry in known.items() if entry is not None)

    def hold(self, path: Path, entry: Entry | None) -> None:
        if self.held(path) != entry:
            self._dirty_held[os.fsdecode(self.key(os.fsencode(path)))] = entry

    def save(self) -> None:
        """Write what changed. What another mlo wrote meanwhile of other folders stays."""
        for key in list(self._notes):
            self._settle(key)
        if not self._dirty and not self._dirty_held:
            return
        with FileLock(self.path.with_name(f"{self.path.name}.lock"), command="mlo").held():
            self._checksum, self._body = self._load(self._checksum, self._body)
            folders, held = dict(self._body.folders), dict(self._body.held)
            for key in self._dirty:
                _put(folders, key, None if (known := self._known[key]) is None else _encoded(known))
            for name, entry in self._dirty_held.items():
                _put(held, name, entry)
            self._body = _Body(folders, held)
            body = msgspec.msgpack.encode(self._body)
            self._checksum = _checksum(body)
            # Not flushed to the disk: the checksum finds an index that a power cut tore, and it is rebuilt.
            header = _HEADER.pack(MAGIC, VERSION, self._checksum)
            write_atomic(self.path, header + body, durable=False)
        self._dirty.clear()
        self._dirty_held.clear()

    # -- inside --------------------------------------------------------------------------------------------

    def _split(self, path: bytes) -> tuple[bytes, bytes]:
        folder, name = os.path.split(os.path.abspath(path))
        return self.key(folder), name

    @staticmethod
    def _to_note(old: Folder | None, algorithm: str) -> tuple[Folder, dict[bytes, bytes]]:
        """A folder to write into, and its digests by name. What it came to as a whole is forgotten."""
        if old is None or old.algorithm != algorithm:
            return Folder(algorithm), {}
        return Folder(algorithm, dict(old.rows), racy=set(old.racy)), old.by_name()

    def _settle(self, key: bytes) -> None:
        """Bring the digests of noted files into their folder's column."""
        folder, digests = self._notes.pop(key)
        folder.column = b"".join(digests[name] for name in folder.rows)
        self._known[key] = folder
        self._dirty.add(key)

    def _load(self, known: bytes = b"", body: _Body | None = None) -> tuple[bytes, _Body]:
        """The checksum and what the file holds; `body` if the file still has the checksum `known`."""
        empty = b"", _Body({}, {})
        try:
            data = self.path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return empty
        if len(data) < _HEADER.size:
            return empty
        magic, version, checksum = _HEADER.unpack_from(data)
        if body is not None and checksum == known:
            return known, body
        content = memoryview(data)[_HEADER.size :]
        if magic != MAGIC or version != VERSION or checksum != _checksum(content):
            return empty
        try:
            return checksum, msgspec.msgpack.decode(content, type=_Body)
        except msgspec.DecodeError:
            return empty


def _encoded(folder: Folder) -> msgspec.Raw:
    return msgspec.Raw(msgspec.msgpack.encode(folder))


def _decoded(raw: msgspec.Raw) -> Folder | None:
    try:
        return msgspec.msgpack.decode(raw, type=Folder)
    except msgspec.DecodeError:
        return None


def _put(mapping: dict[Key, Value], key: Key, value: Value | None) -> None:
    if value is None:
        mapping.pop(key, None)
    else:
        mapping[key] = value


def _checksum(body: bytes | memoryview) -> bytes:
    state = hasher("xxh128")
    state.update(body)
    return bytes.fromhex(state.hexdigest())
