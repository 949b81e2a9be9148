"""Which objects are needed: everything that roots name, and everything that the trees below them name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, Protocol

import msgspec

from mlops_cli.core.base.digest import Digest
from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import IntegrityError
from mlops_cli.core.store.protocol import ObjectMissing
from mlops_cli.core.store.tree import DIR, decode, is_tree

RootKind = Literal[
    "lock", "branch", "tag", "stash", "worktree", "commit", "model", "run", "stage", "result", "link", "clone"
]
KINDS: tuple[RootKind, ...] = RootKind.__args__  # type: ignore[attr-defined]


class Root(msgspec.Struct, frozen=True):
    """Something that needs objects. `digests` are those of which nobody wrote down whether they are trees.

    `stages` are the keys of results that it names. `pushed` are digests that were on the remote when it was published.
    """

    kind: RootKind
    name: str
    entries: tuple[Entry, ...] = ()
    digests: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    pushed: frozenset[str] = frozenset()


class Unread(msgspec.Struct, frozen=True):
    """A tree that a root needs and that is nowhere: what lies below it cannot be told. `root` is for people."""

    root: str
    digest: str
    pushed: bool = True  # False: nobody says that it ever was where it was looked for


class Source(Protocol):
    """Where trees are read from: a store, or a store with a remote behind it."""

    def read(self, digest: Digest) -> bytes:
        """Verified. Raises ObjectMissing, ObjectCorrupt."""
        ...

    def begins(self, digest: str, length: int) -> bytes:
        """The first bytes of an object, not verified; none if it is nowhere."""
        ...


class Marks:
    """What is needed: `live[algorithm]` maps raw digests to the number of the kind in KINDS that named them first."""

    def __init__(self) -> None:
        self.live: dict[str, dict[bytes, int]] = {}
        self.roots: dict[RootKind, int] = {}
        self.unread: list[Unread] = []

    def __contains__(self, digest: str) -> bool:
        algorithm, _, hexadecimal = digest.partition(":")
        return bytes.fromhex(hexadecimal) in self.live.get(algorithm, ())

    def of(self, algorithm: str) -> dict[bytes, int]:
        return self.live.setdefault(algorithm, {})

    def count(self) -> int:
        return sum(len(found) for found in self.live.values())


def mark(source: Source, roots: Iterable[Root], *, seen: Callable[[int], None] | None = None) -> Marks:
    """Follow every root to its last object. Each tree is read once, however many roots have it.

    A tree that is nowhere is in `unread`. Raises IntegrityError for one that is damaged or no tree: what it needs is
    not known, and must not be taken for nothing.
    """
    marks = Marks()
    opened: set[str] = set()
    lost: set[str] = set()
    for root in roots:
        marks.roots[root.kind] = marks.roots.get(root.kind, 0) + 1
        number = KINDS.index(root.kind)
        stack: list[str] = []
        for entry in root.entries:
            _enter(marks, entry.digest, number)
            if entry.kind == "dir":
                stack.append(entry.digest)
        for digest in root.digests:
            _enter(marks, digest, number)
            # A file that happens to hold a tree's bytes keeps more than it must, which does no harm.
            if digest not in opened and is_tree(source.begins(digest, 7)):
                stack.append(digest)
        top = frozenset(stack)
        while stack:
            digest = stack.pop()
            if digest in opened and digest not in lost:
                continue
            opened.add(digest)
            before = marks.count() if seen is not None else 0
            folders = _open(source, marks, digest, number, root.name) if digest not in lost else None
            if folders is None:
                lost.add(digest)
                marks.unread.append(Unread(root.name, digest, digest not in top or digest in root.pushed))
                continue
            stack += folders
            if seen is not None:
                seen(marks.count() - before)
    return marks


def _open(source: Source, marks: Marks, digest: str, number: int, root: str) -> Sequence[str] | None:
    """Enter what a tree names; the folders among it, None if it is nowhere."""
    try:
        entries = decode(source.read(Digest.parse(digest)))
    except ObjectMissing:
        return None
    except IntegrityError as error:
        raise IntegrityError(
            f"a folder that {root} needs cannot be read, so what it needs cannot be told: {error.message}",
            hint="run `mlo data fsck --repair`, then this again; nothing was deleted",
        ) from None
    algorithm = digest.partition(":")[0]
    live, start = marks.of(algorithm), len(algorithm) + 1
    folders = []
    for entry in entries:
        live.setdefault(bytes.fromhex(entry.digest[start:]), number)
        if entry.mode == DIR:
            folders.append(entry.digest)
    return folders


def _enter(marks: Marks, digest: str, number: int) -> None:
    algorithm, _, hexadecimal = digest.partition(":")
    marks.of(algorithm).setdefault(bytes.fromhex(hexadecimal), number)
