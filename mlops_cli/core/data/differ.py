"""How two states of data differ, looking only where they do: folders with equal digests are not even read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from mlops_cli.core.base.records import Entry
from mlops_cli.core.data.compare import Items
from mlops_cli.core.errors import IntegrityError, NotFound
from mlops_cli.core.store.tree import DIR, MAX_DEPTH, Readable, TreeEntry, item_of, most_entries, read_tree

Change = Literal["added", "modified", "deleted", "renamed"]
Children = Callable[[bytes, TreeEntry], Sequence[TreeEntry]]


class Difference(msgspec.Struct, frozen=True):
    """One path that two states hold differently; sizes in bytes, None where it is absent."""

    path: str
    change: Change
    before: int | None = None
    after: int | None = None
    old_path: str | None = None
    folder: str | None = None  # the topmost folder that came, went or got this name with it, if one did


class Total(msgspec.Struct, frozen=True):
    """How many files changed in one way, and their bytes before and after."""

    files: int
    before: int
    after: int


class Side(msgspec.Struct, frozen=True):
    """One state: what stands at each name, and how to look into a folder, given its path from the project's root.

    Looking raises NotFound or IntegrityError if the folder's tree is not there or not good.
    """

    roots: Mapping[str, TreeEntry]
    children: Children


def recorded(store: Readable, entries: Mapping[str, Entry]) -> Side:
    """What some mlo.lock says."""
    return Side({name: item_of(entry) for name, entry in entries.items()}, lambda _, item: read_tree(store, item))


def standing(found: Mapping[str, Items]) -> Side:
    """What stands in the work tree, as surveys found it below each name."""
    folders: dict[bytes, list[TreeEntry]] = {}
    for name, items in found.items():
        base = os.fsencode(name)
        for path, item in items.items():
            if path:
                parent = path.rpartition(b"/")[0]
                folders.setdefault(base + b"/" + parent if parent else base, []).append(item)
    roots = {name: items[b""] for name, items in found.items() if items}
    return Side(roots, lambda path, _: folders.get(path, ()))


class Comparison(msgspec.Struct):
    """What `compare` found. `unread` are folders that cannot be looked into, with all that lies below them."""

    changes: list[Difference]
    unread: list[str]


def compare(left: Side, right: Side) -> Comparison:
    """Every path that the two hold differently, sorted. What went and came with the same bytes is a rename."""
    walk = _Walk(left, right)
    for name in sorted(left.roots.keys() | right.roots.keys()):
        walk.pair(os.fsencode(name), left.roots.get(name), right.roots.get(name), 0)
    unread = sorted(set(walk.unread))
    below = tuple(folder + b"/" for folder in unread)
    gone, came = (
        {path: i for path, i in side.items() if not path.startswith(below)} for side in (walk.gone, walk.came)
    )
    # An entry that became part of another, or the other way round, is met from both sides.
    both = gone.keys() & came.keys()
    changes = [_modified(path, gone[path], came[path]) for path in both if not gone[path].same_content(came[path])] + [
        _modified(path, *pair) for path, pair in walk.modified.items()
    ]
    for path in both:
        del gone[path], came[path]
    changes += _renames(gone, came)
    changes += [
        Difference(os.fsdecode(path), "deleted", before=item.size, folder=_above(path, walk.gone_folders))
        for path, item in gone.items()
    ]
    changes += [
        Difference(os.fsdecode(path), "added", after=item.size, folder=_above(path, walk.came_folders))
        for path, item in came.items()
    ]
    changes.sort(key=lambda row: (row.path, row.change))
    return Comparison(changes, [os.fsdecode(path) for path in unread])


def totals(changes: Iterable[Difference]) -> dict[Change, Total]:
    found: dict[Change, list[int]] = {}
    for row in changes:
        total = found.setdefault(row.change, [0, 0, 0])
        total[0] += 1
        total[1] += row.before or 0
        total[2] += row.after or 0
    return {change: Total(*total) for change, total in sorted(found.items())}


class _Walk:
    """Goes down both sides together, and apart where only one of them has something."""

    def __init__(self, left: Side, right: Side) -> None:
        self._left = left
        self._right = right
        roots = [*left.roots.values(), *right.roots.values()]
        self._names_left = sum(most_entries(item.files) for item in roots)  # what has more names was made to do harm
        self.modified: dict[bytes, tuple[TreeEntry, TreeEntry]] = {}
        self.gone: dict[bytes, TreeEntry] = {}
        self.came: dict[bytes, TreeEntry] = {}
        self.gone_folders: set[bytes] = set()
        self.came_folders: set[bytes] = set()
        self.unread: list[bytes] = []

    def pair(self, path: bytes, before: TreeEntry | None, after: TreeEntry | None, depth: int) -> None:
        if before is not None and after is not None:
            if before.same_content(after):
                return
            if before.mode == after.mode == DIR:
                self._folders(path, before, after, depth)
                return
            if DIR not in (before.mode, after.mode):
                self.modified[path] = (before, after)
                return
        if before is not None:
            self._apart(self._left, path, before, self.gone, self.gone_folders)
        if after is not None:
            self._apart(self._right, path, after, self.came, self.came_folders)

    def _folders(self, path: bytes, before: TreeEntry, after: TreeEntry, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise _endless(path)
        try:
            old = {item.name: item for item in self._left.children(path, before)}
            new = {item.name: item for item in self._right.children(path, after)}
        except (NotFound, IntegrityError):
            self.unread.append(path)
            return
        for name in sorted(old.keys() | new.keys()):
            self._meet(path)
            self.pair(path + b"/" + name, old.get(name), new.get(name), depth + 1)

    def _apart(
        self, side: Side, path: bytes, item: TreeEntry, found: dict[bytes, TreeEntry], folders: set[bytes]
    ) -> None:
        if item.mode == DIR:
            folders.add(path)
        found.update(self._leaves(side, path, item, 0))

    def _leaves(self, side: Side, path: bytes, item: TreeEntry, depth: int) -> Iterator[tuple[bytes, TreeEntry]]:
        """The files, links and empty folders at and below a path."""
        if depth > MAX_DEPTH:
            raise _endless(path)
        inner: Sequence[TreeEntry] = ()
        if item.mode == DIR:
            try:
                inner = side.children(path, item)
            except (NotFound, IntegrityError):
                self.unread.append(path)
                return
        if not inner:
            yield path, item
        for child in inner:
            self._meet(path)
            yield from self._leaves(side, path + b"/" + child.name, child, depth + 1)

    def _meet(self, folder: bytes) -> None:
        self._names_left -= 1
        if self._names_left < 0:
            raise _endless(folder)


def _endless(path: bytes) -> IntegrityError:
    return IntegrityError(
        f"{os.fsdecode(path)} does not end", hint="its tree was made to do harm; restore mlo.lock from git"
    )


def _modified(path: bytes, before: TreeEntry, after: TreeEntry) -> Difference:
    return Difference(os.fsdecode(path), "modified", before.size, after.size)


def _renames(gone: dict[bytes, TreeEntry], came: dict[bytes, TreeEntry]) -> list[Difference]:
    """Take from both what has the same bytes; first what kept its own name, so that moved folders stay in step."""
    found = []
    for key in (_name_and_content, _content):
        sources: dict[object, list[bytes]] = {}
        for path in sorted(gone, reverse=True):
            if gone[path].size:  # all empty files are alike; that says nothing
                sources.setdefault(key(path, gone[path]), []).append(path)
        for path in sorted(came):
            matching = sources.get(key(path, came[path]))
            if matching:
                old = matching.pop()
                item = came.pop(path)
                del gone[old]
                found.append(_renamed(old, path, item.size))
    return found


def _name_and_content(path: bytes, item: TreeEntry) -> object:
    return path.rpartition(b"/")[2], item.digest, item.mode


def _content(_: bytes, item: TreeEntry) -> object:
    return item.digest, item.mode


def _renamed(old: bytes, new: bytes, size: int) -> Difference:
    was, now = old.split(b"/"), new.split(b"/")
    while len(was) > 1 and len(now) > 1 and was[-1] == now[-1]:
        was.pop()
        now.pop()
    folder = b"/".join(now)
    return Difference(
        os.fsdecode(new), "renamed", size, size, os.fsdecode(old), os.fsdecode(folder) if folder != new else None
    )


def _above(path: bytes, folders: set[bytes]) -> str | None:
    while path:
        path = path.rpartition(b"/")[0]
        if path in folders:
            return os.fsdecode(path)
    return None
