"""What entries need, in a form that millions of objects fit into: raw digests and sizes, no paths."""

from __future__ import annotations

from typing import NamedTuple

from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import IntegrityError, MloError, NotFound
from mlops_cli.core.store.exchange import Entries, named, raw_of
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.tree import DIR, MAX_DEPTH, TreeEntry, endless, read_rows

Contents = dict[str, dict[bytes, int]]  # algorithm -> raw digest -> size
ANY_SIZE = -1  # of an object whose size is not known here


class Lost(NamedTuple):
    """A folder whose tree object cannot be read here, and what it is said to hold."""

    error: MloError
    size: int
    files: int


class Tree(NamedTuple):
    """A tree is higher than all trees that it names."""

    height: int
    size: int  # of the tree object itself


class Needs:
    """The closure of some entries, as far as the store can read it. A tree comes after all that it names."""

    def __init__(self) -> None:
        self.contents: Contents = {}
        self.trees: dict[str, Tree] = {}
        self.lost: dict[str, Lost] = {}
        self._open: set[str] = set()

    @property
    def count(self) -> int:
        return sum(len(wanted) for wanted in self.contents.values()) + len(self.trees)

    def tree_sizes(self) -> Contents:
        """The trees in the form of `contents`."""
        found: Contents = {}
        for digest, tree in self.trees.items():
            algorithm, raw = raw_of(digest)
            found.setdefault(algorithm, {})[raw] = tree.size
        return found

    def add(self, store: LocalStore, entry: Entry) -> None:
        """Raises IntegrityError for a folder that does not end."""
        if entry.kind == "file":
            algorithm, raw = raw_of(entry.digest)
            size = store.size(entry.digest)
            self.contents.setdefault(algorithm, {})[raw] = entry.size if size is None else size
        else:
            self._height(store, entry, 0)

    def lost_sizes(self) -> Contents:
        """The trees that cannot be read here, in the form of `contents`; nobody knows their sizes."""
        found: Contents = {}
        for digest in self.lost:
            algorithm, raw = raw_of(digest)
            found.setdefault(algorithm, {})[raw] = ANY_SIZE
        return found

    def _height(self, store: LocalStore, folder: Entry | TreeEntry, depth: int) -> int:
        digest = folder.digest
        known = self.trees.get(digest)
        if known is not None:
            return known.height
        if digest in self.lost:
            return 0
        if depth > MAX_DEPTH or digest in self._open:
            raise endless(folder)
        try:
            contents, folders = read_folder(store, folder)
        except (NotFound, IntegrityError) as error:
            self.lost[digest] = Lost(error, folder.size, folder.files)
            return 0
        self._open.add(digest)
        height = 1 + max((self._height(store, below, depth + 1) for below in folders), default=-1)
        self._open.discard(digest)
        join(self.contents, digest.partition(":")[0], contents)
        self.trees[digest] = Tree(height, store.size(digest) or 0)
        return height


def join(all_of_them: Contents, algorithm: str, more: dict[bytes, int]) -> None:
    """Add contents to others, without a second copy of the first."""
    known = all_of_them.get(algorithm)
    if known is None:
        all_of_them[algorithm] = more
    else:
        known.update(more)


def needs_of(store: LocalStore, entries: Entries) -> Needs:
    """What the entries need, read from the trees in the store."""
    needs = Needs()
    for _, entry in named(entries):
        needs.add(store, entry)
    return needs


def read_folder(store: LocalStore, folder: Entry | TreeEntry) -> tuple[dict[bytes, int], list[TreeEntry]]:
    """What a folder itself holds: contents by raw digest with their sizes, and the folders in it.

    Raises IntegrityError, ObjectMissing; of a tree that is wrong anywhere nothing counts.
    """
    algorithm, rows = read_rows(store, folder)
    contents: dict[bytes, int] = {}
    folders: list[TreeEntry] = []
    for name, mode, raw, size, files in rows:
        if mode == DIR:
            folders.append(TreeEntry(name, DIR, f"{algorithm}:{raw.hex()}", size, files))
        else:
            contents[raw] = size
    return contents, folders
