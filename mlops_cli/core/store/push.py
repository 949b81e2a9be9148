"""Sending what entries need and a remote lacks. See FORMAT.md, "Remote".

What names comes after what it names: contents first, then trees, lower ones before higher ones. Within a pack the order
does not matter, since nothing of it is there before its `.idx` is.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from mlops_cli.core.base.digest import Digest
from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.base.progress import Progress
from mlops_cli.core.errors import NotFound
from mlops_cli.core.store.exchange import (
    LOOSE_ONLY,
    THREADS,
    Entries,
    idx_key,
    object_key,
    raw_of,
    write_format,
)
from mlops_cli.core.store.holdings import Holdings
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.needs import Contents, Needs, Tree, needs_of
from mlops_cli.core.store.placing import hash_file
from mlops_cli.core.store.protocol import ObjectCorrupt
from mlops_cli.core.store.reading import absent_here, read_in_order
from mlops_cli.core.store.stable import SMALL_BYTES
from mlops_cli.core.store.tree import rows as tree_rows
from mlops_cli.core.store.uploads import PackSender, Sealed, Uploads

_FEWEST = 3  # a pack is two requests


@dataclass(slots=True)
class Plan:
    """What a push would do: `contents` and `trees` that the remote lacks; so many as `present` says it has.

    `contents` are those of `needs`, from which the others were taken out: two tables of millions are one too many.
    """

    needs: Needs
    contents: Contents
    trees: dict[str, Tree]  # lower ones first
    present: int
    failed: dict[str, str]  # digest -> "missing" or "corrupt"

    @property
    def sending(self) -> int:
        return sum(len(wanted) for wanted in self.contents.values()) + len(self.trees)

    @property
    def bytes(self) -> int:
        sizes = (sum(wanted.values()) for wanted in self.contents.values())
        return sum(sizes) + sum(tree.size for tree in self.trees.values())


def plan_push(store: LocalStore, holdings: Holdings, entries: Entries) -> Plan:
    """Find out what is to be sent, by listing. `holdings` has looked. Raises RemoteError."""
    needs = needs_of(store, entries)
    count, tree_sizes, lost_sizes = needs.count, needs.tree_sizes(), needs.lost_sizes()
    holdings.subtract_from(needs.contents, tree_sizes, lost_sizes)
    ordered = sorted(needs.trees.items(), key=lambda item: item[1].height)
    trees = {digest: tree for digest, tree in ordered if _is_in(tree_sizes, digest)}
    # A clone that never pulled: the remote may well have the whole folder, since trees arrive last.
    failed = {
        digest: "missing" if isinstance(found.error, NotFound) else "corrupt"
        for digest, found in needs.lost.items()
        if _is_in(lost_sizes, digest) or not isinstance(found.error, NotFound)
    }
    plan = Plan(needs, needs.contents, trees, 0, failed)
    plan.present = count - plan.sending
    return plan


def dry_push(store: LocalStore, plan: Plan) -> tuple[int, int]:
    """How many objects and bytes a push would send; what it could not is in the plan's `failed`."""
    for algorithm, wanted in plan.contents.items():
        for raw in absent_here(store, algorithm, wanted):
            plan.failed[f"{algorithm}:{raw.hex()}"] = "missing"
            del wanted[raw]
    for digest in _held_back(store, plan):
        del plan.trees[digest]
    return plan.sending, plan.bytes


class Push:
    """One push. `run` once."""

    def __init__(
        self, store: LocalStore, holdings: Holdings, plan: Plan, progress: Progress, *, threads: int = THREADS
    ) -> None:
        self._store = store
        self._remote = holdings.remote
        self._version = holdings.version
        self._plan = plan
        self._progress = progress
        self._threads = threads
        self._objects = self._bytes = 0  # in packs
        self._files: list[int] = []  # sizes of values of their own; threads append
        small = sum(1 for wanted in plan.contents.values() for size in wanted.values() if size <= SMALL_BYTES)
        small += sum(tree.size <= SMALL_BYTES for tree in plan.trees.values())
        self._packing = small >= _FEWEST

    def run(self) -> tuple[int, int]:
        """How many objects and bytes went; what could not is in the plan's `failed`. Raises RemoteError."""
        if not self._version or (self._packing and self._version == LOOSE_ONLY):
            write_format(self._remote)
        if not self._plan.sending:
            return 0, 0
        self._progress.begin(f"pushing to {self._remote.name}", self._plan.bytes, "bytes")
        doing = f"cannot build packs in the cache {self._store.cache}"
        sender: PackSender | None = None
        try:
            with machine_errors(doing), Uploads(self._threads, self._progress) as uploads:
                sender = PackSender(self._store, self._remote, uploads)
                self._contents(sender, uploads)
                self._trees(sender, uploads)
        finally:
            if sender is not None:
                sender.abandon()
            self._progress.end()
        return self._objects + len(self._files), self._bytes + sum(self._files)

    def _contents(self, sender: PackSender, uploads: Uploads) -> None:
        """Send all contents; small ones of a pack that is not full wait there for the trees."""
        failed = self._plan.failed
        for algorithm, wanted in self._plan.contents.items():
            for raw, size in wanted.items():
                if size > SMALL_BYTES:
                    self._send_file(uploads, f"{algorithm}:{raw.hex()}")
            small = (raw for raw, size in wanted.items() if size <= SMALL_BYTES)
            for raw, data in read_in_order(self._store, algorithm, small):
                if not isinstance(data, bytes):
                    failed[f"{algorithm}:{raw.hex()}"] = "corrupt" if isinstance(data, ObjectCorrupt) else "missing"
                elif self._packing:
                    self._pack(sender, algorithm, raw, data)
                    sender.announce_full(algorithm)
                else:
                    self._send_value(uploads, f"{algorithm}:{raw.hex()}", data)
        uploads.wait()

    def _trees(self, sender: PackSender, uploads: Uploads) -> None:
        """Send the trees that have all they name there, lower ones first; and what still waits in packs."""
        held = _held_back(self._store, self._plan)
        going = [(digest, tree) for digest, tree in self._plan.trees.items() if digest not in held]
        sealed: list[Sealed] = []
        for _, level in itertools.groupby(going, key=lambda item: item[1].height):
            trees = [(*raw_of(digest), tree.size) for digest, tree in level]
            alone = [tree for tree in trees if not self._packing or tree[2] > SMALL_BYTES]
            if alone:
                # They are seen at once, so what they name, which is lower, has to be there before.
                self._announce(sender, sealed)
            for algorithm, raw, _ in alone:
                self._send_value(uploads, f"{algorithm}:{raw.hex()}", self._store.read(Digest(algorithm, raw.hex())))
            for algorithm, raw, size in trees:
                if self._packing and size <= SMALL_BYTES:
                    self._pack(sender, algorithm, raw, self._store.read(Digest(algorithm, raw.hex())))
                    sender.send_full(algorithm, sealed)
        self._announce(sender, sealed)

    def _announce(self, sender: PackSender, sealed: list[Sealed]) -> None:
        """Make visible what was sent, packs in the order they were filled: a tree's pack comes after what it names."""
        sender.send_open(sealed)
        self._remote.settle()
        for index, size in sealed:
            self._remote.put(idx_key(index.name), index.to_idx(size))
            self._remote.settle()
        sealed.clear()

    def _pack(self, sender: PackSender, algorithm: str, raw: bytes, data: bytes) -> None:
        sender.add(algorithm, raw, data)
        self._objects += 1
        self._bytes += len(data)

    def _send_file(self, uploads: Uploads, digest: str) -> None:
        name = Digest.parse(digest)
        try:
            path = self._store.file_of(name)
        except (NotFound, ObjectCorrupt) as error:
            self._plan.failed[digest] = "missing" if isinstance(error, NotFound) else "corrupt"
            return

        def send() -> int:
            hexadecimal, size = hash_file(str(path), name.algorithm)
            if hexadecimal != name.hex:
                self._plan.failed[digest] = "corrupt"
                return 0
            self._remote.put_file(object_key(digest), path)
            self._files.append(size)
            return size

        uploads.start(send)

    def _send_value(self, uploads: Uploads, digest: str, data: bytes) -> None:
        def send() -> int:
            self._remote.put(object_key(digest), data)
            self._files.append(len(data))
            return len(data)

        uploads.start(send)


def _held_back(store: LocalStore, plan: Plan) -> set[str]:
    """The trees that must not go, because something that they name, however far below, is neither here nor there."""
    held = set(plan.failed)
    if held:
        for digest in plan.needs.trees:  # what is named before what names it
            algorithm, rows = tree_rows(store.read(Digest.parse(digest)))
            if any(f"{algorithm}:{row[2].hex()}" in held for row in rows):
                held.add(digest)
    return held & plan.trees.keys()


def _is_in(objects: Contents, digest: str) -> bool:
    algorithm, raw = raw_of(digest)
    return raw in objects.get(algorithm, ())
