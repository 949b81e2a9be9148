"""Two folders that grew out of one, put together: what only one side changed is taken, name by name."""

from __future__ import annotations

import os
from collections.abc import Sequence

from mlops_cli.core.base.records import Entry
from mlops_cli.core.store.tree import (
    DIR,
    MAX_DEPTH,
    Editable,
    TreeEntry,
    encode,
    endless,
    item_of,
    most_entries,
    read_tree,
    totals,
)


def merge_folders(store: Editable, base: Entry | None, ours: Entry, theirs: Entry) -> tuple[Entry, list[str]]:
    """The folder that holds the changes of both since `base`, its trees kept in the store; and the paths in it that
    both changed, of which it holds ours.

    The bytes of the files need not be here, only the trees. Raises ObjectMissing, IntegrityError.
    """
    sides = [item_of(entry) if entry is not None else None for entry in (base, ours, theirs)]
    walk = _Walk(store, sum(most_entries(item.files) for item in sides if item is not None))
    merged = walk.folder(b"", *sides)
    entry = (merged or walk.keep(b"", [])).entry
    return entry, [os.fsdecode(path) for path in walk.clashes]


class _Walk:
    """Goes down all three together; folders that only one side changed are not even read."""

    def __init__(self, store: Editable, names: int) -> None:
        self._store = store
        self._names_left = names
        self.clashes: list[bytes] = []

    def pick(
        self, path: bytes, base: TreeEntry | None, ours: TreeEntry | None, theirs: TreeEntry | None
    ) -> TreeEntry | None:
        if _same(ours, theirs) or _same(base, theirs):
            return ours
        if _same(base, ours):
            return theirs
        sides = [item for item in (ours, theirs) if item is not None]
        # A folder that went on one side may have come apart on the other: only what changed in it is a clash.
        if all(item.mode == DIR for item in sides) and (base is None or base.mode == DIR):
            return self.folder(path, base, ours, theirs)
        self.clashes.append(path)
        return ours

    def folder(
        self, path: bytes, base: TreeEntry | None, ours: TreeEntry | None, theirs: TreeEntry | None
    ) -> TreeEntry | None:
        """None for a folder that one side took away and nothing is left of."""
        if path.count(b"/") > MAX_DEPTH:
            raise endless(ours or theirs or item_of(Entry("", "dir", 0)))
        before, here, there = (self._names(item) for item in (base, ours, theirs))
        entries = []
        for name in sorted(before.keys() | here.keys() | there.keys()):
            self._names_left -= 1
            if self._names_left < 0:
                raise endless(ours or theirs or item_of(Entry("", "dir", 0)))
            below = path + b"/" + name if path else name
            found = self.pick(below, before.get(name), here.get(name), there.get(name))
            if found is not None:
                entries.append(found)
        if not entries and (ours is None or theirs is None):
            return None
        return self.keep(path.rpartition(b"/")[2], entries)

    def keep(self, name: bytes, entries: Sequence[TreeEntry]) -> TreeEntry:
        digest = self._store.put_bytes(encode(entries, self._store.algorithm))
        return TreeEntry(name, DIR, str(digest), *totals(entries))

    def _names(self, item: TreeEntry | None) -> dict[bytes, TreeEntry]:
        return {found.name: found for found in read_tree(self._store, item)} if item is not None else {}


def _same(one: TreeEntry | None, other: TreeEntry | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.same_content(other)
