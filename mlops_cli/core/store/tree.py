"""Tree objects: what a folder holds, one object a folder, in one canonical spelling. See FORMAT.md, "Tree"."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from mlops_cli.core.base.digest import HEX_DIGITS, NUMBERS, Digest
from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import IntegrityError, MloError, NotFound

MAGIC = b"MLOTREE"
VERSION = 1
FILE, EXEC, LINK, DIR = 1, 2, 3, 4
KINDS: dict[int, Literal["file", "exec", "link", "dir"]] = {FILE: "file", EXEC: "exec", LINK: "link", DIR: "dir"}
MAX_DEPTH = 256  # a path of that many folders is longer than systems allow; a loop is deeper
_EMPTY_FOLDERS = 1_000_000  # more folders than this, beyond what the files explain, are an attack
_NAMES = {number: name for name, number in NUMBERS.items()}
_HEADER = struct.Struct("<7sBBI")  # magic, version, algorithm, number of entries
_FIXED = struct.Struct("<BHQQ")  # mode, length of the name, size, files; then digest and name
_NAME_BYTES = 255
_DOT = ord(".")
Row = tuple[bytes, int, bytes, int, int]  # name, mode, raw digest, size, files
FORBIDDEN = frozenset({b"", b".", b"..", b".git", b".mlo"})


class TreeEntry(msgspec.Struct, frozen=True, gc=False):
    """One name in a folder. `size` is in bytes; for a folder, of all files below it, and `files` counts those."""

    name: bytes
    mode: int
    digest: str
    size: int
    files: int = 1

    @property
    def kind(self) -> Literal["file", "exec", "link", "dir"]:
        return KINDS[self.mode]

    @property
    def is_dir(self) -> bool:
        return self.mode == DIR

    @property
    def entry(self) -> Entry:
        """The same as a record; a link counts as a file that holds its target."""
        if self.mode == DIR:
            return Entry(self.digest, "dir", self.size, self.files)
        return Entry(self.digest, "file", self.size, executable=self.mode == EXEC)

    def same_content(self, other: TreeEntry) -> bool:
        return self.digest == other.digest and self.mode == other.mode


def item_of(entry: Entry, name: bytes = b"") -> TreeEntry:
    """An entry as it would stand in a tree; without a name, as the path itself that one looks at."""
    mode = DIR if entry.kind == "dir" else EXEC if entry.executable else FILE
    return TreeEntry(name, mode, entry.digest, entry.size, entry.files)


class Readable(Protocol):
    def read(self, digest: Digest) -> bytes: ...


class Editable(Readable, Protocol):
    algorithm: str

    def put_bytes(self, data: bytes) -> Digest: ...


def forbidden_name(name: bytes) -> bool:
    """Names no tree may hold: `.git` and `.mlo` in any case, or a restored tree could run commands."""
    return not name or b"/" in name or b"\0" in name or (name[0] == _DOT and name.lower() in FORBIDDEN)


def encode(entries: Iterable[TreeEntry], algorithm: str) -> bytes:
    """The tree object of a folder. Raises IntegrityError for what `decode` would refuse."""
    prefix = len(algorithm) + 1
    rows = []
    for entry in entries:
        if not entry.digest.startswith(algorithm) or entry.mode not in KINDS:
            raise IntegrityError(
                f"{os.fsdecode(entry.name)!r} does not fit a tree of {algorithm}", hint="add its folder again"
            )
        rows.append((entry.name, entry.mode, bytes.fromhex(entry.digest[prefix:]), entry.size, entry.files))
    return encode_rows(rows, algorithm)


def encode_rows(rows: list[tuple[bytes, int, bytes, int, int]], algorithm: str) -> bytes:
    """As encode, from (name, mode, raw digest, size, files) in any order, for loops over many."""
    rows.sort()
    parts = [_HEADER.pack(MAGIC, VERSION, NUMBERS[algorithm], len(rows))]
    fixed, join = _FIXED.pack, parts.append
    previous = None
    for name, mode, raw, size, files in rows:
        if name == previous or len(name) > _NAME_BYTES or forbidden_name(name):
            raise IntegrityError(f"{os.fsdecode(name)!r} cannot stand in a tree", hint="rename it")
        previous = name
        join(fixed(mode, len(name), size, files))
        join(raw)
        join(name)
    return b"".join(parts)


def is_tree(data: bytes) -> bool:
    return data.startswith(MAGIC)


def decode(data: bytes) -> list[TreeEntry]:
    """The entries of a tree object, in order. Raises IntegrityError unless `encode` would write these very bytes."""
    algorithm, found = rows(data)
    prefix = f"{algorithm}:"
    return [TreeEntry(name, mode, prefix + raw.hex(), size, files) for name, mode, raw, size, files in found]


def rows(data: bytes) -> tuple[str, Iterator[Row]]:
    """A tree object's algorithm and its entries as plain rows, read one after another: a folder may hold millions.

    As strict as `decode`; what stands wrong raises IntegrityError where it is met."""
    if len(data) < _HEADER.size or not is_tree(data):
        raise _damaged("it does not begin like one")
    _, version, number, count = _HEADER.unpack_from(data)
    if version != VERSION:
        raise IntegrityError(f"this tree has version {version}; this mlo reads {VERSION}", hint="upgrade mlo")
    algorithm = _NAMES.get(number)
    if algorithm is None:
        raise _damaged(f"algorithm {number} is unknown")
    width = HEX_DIGITS[algorithm] // 2
    if count * (_FIXED.size + width + 1) > len(data):  # before anything of that length is built
        raise _damaged(f"it promises {count} entries in {len(data)} bytes")
    return algorithm, _rows(data, count, width)


def _rows(data: bytes, count: int, width: int) -> Iterator[Row]:
    offset, previous = _HEADER.size, b""
    for _ in range(count):
        start = offset + _FIXED.size + width
        if start > len(data):
            raise _damaged("it ends in the middle of an entry")
        mode, length, size, files = _FIXED.unpack_from(data, offset)
        name = data[start : start + length]
        if len(name) != length or length > _NAME_BYTES or forbidden_name(name):
            raise _damaged(f"{os.fsdecode(name)!r} is not a name")
        if name <= previous:
            raise _damaged(f"{os.fsdecode(name)!r} is out of order or stands twice")
        if mode not in KINDS or (mode != DIR and files != 1):
            raise _damaged(f"{os.fsdecode(name)!r} has mode {mode} and {files} files")
        yield name, mode, data[start - width : start], size, files
        offset, previous = start + length, name
    if offset != len(data):
        raise _damaged(f"{len(data) - offset} bytes follow the last entry")


def _damaged(why: str) -> IntegrityError:
    return IntegrityError(
        f"not a tree object: {why}",
        hint="run `mlo data fsck --repair`, which sets it aside and brings it back; or add the data again",
    )


def totals(entries: Sequence[TreeEntry]) -> tuple[int, int]:
    """Bytes and files below a folder with these entries."""
    return sum(entry.size for entry in entries), sum(entry.files for entry in entries)


def read_tree(store: Readable, entry: Entry | TreeEntry) -> list[TreeEntry]:
    """Decode the folder that `entry` names, and hold the entry's claims against it.

    Raises IntegrityError, ObjectMissing."""
    entries = decode(store.read(Digest.parse(entry.digest)))
    _hold_to(entry, *totals(entries))
    return entries


def read_rows(store: Readable, entry: Entry | TreeEntry) -> tuple[str, Iterator[Row]]:
    """As read_tree, as algorithm and plain rows; a claim that does not hold is found at the end of them."""
    algorithm, found = rows(store.read(Digest.parse(entry.digest)))
    return algorithm, _held_to(entry, found)


def _held_to(entry: Entry | TreeEntry, found: Iterator[Row]) -> Iterator[Row]:
    size = files = 0
    for row in found:
        size += row[3]
        files += row[4]
        yield row
    _hold_to(entry, size, files)


def _hold_to(entry: Entry | TreeEntry, size: int, files: int) -> None:
    if (size, files) != (entry.size, entry.files):
        raise IntegrityError(
            f"the tree {entry.digest} holds {files} files of {size} bytes, "
            f"but what names it says {entry.files} of {entry.size}",
            hint="the lock or the tree that names it was altered; restore it from git",
        )


def walk(store: Readable, entry: Entry) -> Iterator[tuple[str, TreeEntry]]:
    """Everything below a folder, parents first: (path relative to it, entry). Names that are not UTF-8 come
    as os.fsdecode gives them. Nothing for a file. Raises ObjectMissing, IntegrityError."""
    for path, found in walk_bytes(store, entry):
        yield os.fsdecode(path), found


def walk_bytes(
    store: Readable, entry: Entry, lost: dict[bytes, MloError] | None = None
) -> Iterator[tuple[bytes, TreeEntry]]:
    """As `walk`, with paths as raw bytes. With `lost`, a folder below the first whose tree object is missing or
    damaged is noted there with its error, and the walk goes on."""
    if entry.kind != "dir":
        return
    left = most_entries(entry.files)
    names = _NamesBelow(store)
    stack = [(b"", iter(read_tree(store, entry)))]
    while stack:
        prefix, entries = stack[-1]
        found = next(entries, None)
        if found is None:
            stack.pop()
            continue
        left -= 1
        if left < 0 or len(stack) > MAX_DEPTH + 1:  # the folder itself, and those below it
            raise endless(entry)
        path = prefix + found.name
        yield path, found
        if found.mode == DIR:
            if not found.files and names.count(found, len(stack)) > left:
                raise endless(entry)
            try:
                stack.append((path + b"/", iter(read_tree(store, found))))
            except (NotFound, IntegrityError) as error:
                if lost is None:
                    raise
                lost[path] = error


class _NamesBelow:
    """How many names stand below folders without files, each distinct tree read once.

    Such folders alone can stand for far more names than there are bytes in their trees: a folder that holds the same
    folder twice, which holds the same folder twice. So a walk knows before the first of them, not after a million."""

    def __init__(self, store: Readable) -> None:
        self._store = store
        self._known: dict[str, int] = {}

    def count(self, folder: TreeEntry, depth: int) -> int:
        """Raises IntegrityError for a folder nested too deeply; one that cannot be read counts as empty."""
        known = self._known.get(folder.digest)
        if known is None:
            if depth > MAX_DEPTH + 1:
                raise endless(folder)
            try:
                entries = read_tree(self._store, folder)
            except (NotFound, IntegrityError):
                entries = []
            known = len(entries) + sum(self.count(inner, depth + 1) for inner in entries if inner.mode == DIR)
            self._known[folder.digest] = known
        return known


def most_entries(files: int) -> int:
    """How many names a folder with so many files may hold below it; what has more was made to keep readers busy."""
    return _EMPTY_FOLDERS + MAX_DEPTH * files


def closure(store: Readable, entry: Entry) -> Iterator[Digest]:
    """Every object that `entry` needs, each once, content before the tree that names it; its own digest last."""
    seen: set[str] = set()
    if entry.kind == "dir":
        yield from _closure(store, entry, seen, 0)
    if entry.digest not in seen:
        yield entry.name


def _closure(store: Readable, folder: Entry | TreeEntry, seen: set[str], depth: int) -> Iterator[Digest]:
    if depth > MAX_DEPTH:
        raise endless(folder)
    for entry in read_tree(store, folder):
        if entry.digest in seen:
            continue
        if entry.mode == DIR:
            yield from _closure(store, entry, seen, depth + 1)
        else:
            seen.add(entry.digest)
            yield Digest.parse(entry.digest)
    if folder.digest not in seen:
        seen.add(folder.digest)
        yield Digest.parse(folder.digest)


def endless(folder: Entry | TreeEntry) -> IntegrityError:
    return IntegrityError(f"the tree {folder.digest} does not end", hint="it was made to do harm; do not restore it")


def graft(store: Editable, entry: Entry, changes: Mapping[bytes, TreeEntry | None]) -> Entry:
    """The folder `entry` with other things at some paths below it, or nothing; each new tree is made and kept once.

    Folders on the way are made where they are absent, and empty ones that a removal leaves stay. Raises ObjectMissing
    if a tree on the way is not here, IntegrityError if something else than a folder stands on the way.
    """
    entries = {found.name: found for found in read_tree(store, entry)}
    below: dict[bytes, dict[bytes, TreeEntry | None]] = {}
    for path, new in changes.items():
        name, _, rest = path.partition(b"/")
        if rest:
            below.setdefault(name, {})[rest] = new
        elif new is not None:
            entries[name] = new
        else:
            entries.pop(name, None)
    for name, inner in below.items():
        old = entries.get(name)
        if old is not None and old.mode != DIR:
            raise IntegrityError(f"{os.fsdecode(name)} is not a folder in {entry.digest}", hint="add its folder again")
        entries[name] = item_of(graft(store, old.entry if old is not None else empty_tree(store), inner), name)
    return _keep(store, list(entries.values()))


def empty_tree(store: Editable) -> Entry:
    return _keep(store, [])


def _keep(store: Editable, entries: Sequence[TreeEntry]) -> Entry:
    digest = store.put_bytes(encode(entries, store.algorithm))
    return Entry(str(digest), "dir", *totals(entries))
