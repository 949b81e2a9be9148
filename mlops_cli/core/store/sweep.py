"""What a cache holds that nothing needs, and what is worth packing anew: found first, then done. See FORMAT.md."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Container, Iterator
from pathlib import Path

import msgspec

from mlops_cli.core.store.links import object_behind
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.mark import KINDS, Marks
from mlops_cli.core.store.pack import PackIndex
from mlops_cli.core.store.stable import SMALL_BYTES

SMALL_PACK_BYTES = 8 << 20
MANY_PACKS = 32  # small packs from which on they become few
MANY_LOOSE = 1024  # small loose objects from which on they become packs


class Amount(msgspec.Struct):
    objects: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        self.objects += 1
        self.bytes += size


class LooseObject(msgspec.Struct, frozen=True, gc=False):
    digest: str
    size: int


class Plan(msgspec.Struct):
    """What goes and what stays. Packs by name; `live_of` holds how many of its objects are needed.

    `garbage_packs` hold nothing that is needed; `old_packs` are copied into new ones first, and so are `scattered`
    loose objects. `twice` are loose objects that are needed and lie in a pack too.
    """

    garbage: list[LooseObject] = []
    garbage_packs: list[str] = []
    old_packs: dict[str, set[bytes]] = {}  # with the needed objects that count as this pack's: they may lie twice
    scattered: list[LooseObject] = []
    twice: list[LooseObject] = []
    packed_garbage: Amount = msgspec.field(default_factory=Amount)  # what nothing needs of the packs that go
    freed: int = 0  # bytes that the disk gets back
    young: Amount = msgspec.field(default_factory=Amount)  # not needed, and kept because something put them lately
    stuck: Amount = msgspec.field(default_factory=Amount)  # not needed, in packs of which over half is
    kept: dict[str, Amount] = {}  # by kind of root
    damaged_packs: list[str] = []


class Pack(msgspec.Struct):
    """A pack as it lies there; `live_bytes` are for `plan_packs`."""

    index: PackIndex
    file_bytes: int
    is_young: bool
    live_bytes: int = 0

    @property
    def data_bytes(self) -> int:
        return sum(self.index.lengths)


def plan_sweep(store: LocalStore, marks: Marks, *, older_than: float, linked: Container[str] = ()) -> Plan:
    """Decide about everything in the cache. `older_than` is the Unix time before which what nothing needs may go.

    `linked` are digests of loose objects that files of a work tree are links to. Changes nothing.
    """
    plan = Plan(kept={kind: Amount() for kind in KINDS})
    store.packs.rescan()
    plan.damaged_packs = sorted(store.packs.damaged)
    homes = _plan_packs(store, marks, plan, older_than)
    _plan_loose(store, marks, plan, homes, older_than, linked)
    plan.kept = {kind: amount for kind, amount in plan.kept.items() if amount.objects}
    return plan


def _plan_packs(store: LocalStore, marks: Marks, plan: Plan, older_than: float) -> dict[str, set[bytes]]:
    """Decide about the packs; the needed objects that will lie in a pack afterwards, by algorithm."""
    packs = []
    for name, index in store.packs.indexes.items():
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(store.packs.path(name))
            packs.append(Pack(index, status.st_size, status.st_mtime >= older_than))
    return plan_packs(packs, marks, plan)


def plan_packs(packs: list[Pack], marks: Marks, plan: Plan) -> dict[str, set[bytes]]:
    """Enter into a plan what becomes of packs; the needed objects that will lie in one afterwards, by algorithm."""
    for pack in packs:
        live = marks.of(pack.index.algorithm)
        pack.live_bytes = sum(length for raw, _, length in pack.index.rows() if raw in live)
    fresh_in: dict[str, set[bytes]] = {}
    packs.sort(key=lambda pack: (not pack.is_young, -pack.live_bytes / max(pack.data_bytes, 1), -pack.file_bytes))
    homes: dict[str, set[bytes]] = {}
    staying: list[Pack] = []
    for pack in packs:
        live, home = marks.of(pack.index.algorithm), homes.setdefault(pack.index.algorithm, set())
        fresh = {raw: length for raw, _, length in pack.index.rows() if raw in live and raw not in home}
        for raw, length in fresh.items():
            plan.kept[KINDS[live[raw]]].add(length)
        home.update(fresh)
        fresh_in[pack.index.name] = set(fresh)
        pack.live_bytes = sum(fresh.values())
        if pack.is_young:
            _count(pack, live, plan.young)
        elif not any(raw in live for raw in pack.index.raw_digests()):
            plan.garbage_packs.append(pack.index.name)
            plan.freed += pack.file_bytes
            _count(pack, live, plan.packed_garbage)
        elif pack.live_bytes * 2 < pack.data_bytes:
            _renew(plan, pack, live, fresh_in)
        else:
            staying.append(pack)
    small = [pack for pack in staying if pack.file_bytes < SMALL_PACK_BYTES]
    for pack in staying:
        if len(small) >= MANY_PACKS and pack.file_bytes < SMALL_PACK_BYTES:
            _renew(plan, pack, marks.of(pack.index.algorithm), fresh_in)
        else:
            _count(pack, marks.of(pack.index.algorithm), plan.stuck)
    return homes


def _renew(plan: Plan, pack: Pack, live: Container[bytes], fresh_in: dict[str, set[bytes]]) -> None:
    plan.old_packs[pack.index.name] = fresh_in[pack.index.name]
    plan.freed += pack.data_bytes - pack.live_bytes
    _count(pack, live, plan.packed_garbage)


def _count(pack: Pack, live: Container[bytes], into: Amount) -> None:
    for raw, _, length in pack.index.rows():
        if raw not in live:
            into.add(length)


def _plan_loose(
    store: LocalStore,
    marks: Marks,
    plan: Plan,
    packed: dict[str, set[bytes]],
    older_than: float,
    linked: Container[str],
) -> None:
    scattered: list[LooseObject] = []
    for digest in store.loose:
        text, raw = str(digest), bytes.fromhex(digest.hex)
        try:
            status = os.lstat(store.loose.path(text))
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(status.st_mode):
            continue
        item, is_young = LooseObject(text, status.st_size), status.st_mtime >= older_than
        number = marks.of(digest.algorithm).get(raw)
        if number is None:
            if is_young:
                plan.young.add(item.size)
            else:
                plan.garbage.append(item)
                plan.freed += item.size
            continue
        if raw not in packed.get(digest.algorithm, ()):
            plan.kept[KINDS[number]].add(item.size)
            # A file that a work tree links to by either kind of link would cost its bytes twice, or its target.
            if item.size <= SMALL_BYTES and not is_young and status.st_nlink == 1 and text not in linked:
                scattered.append(item)
        elif not is_young and text not in linked:
            plan.twice.append(item)
            plan.freed += item.size if status.st_nlink == 1 else 0
    if len(scattered) >= MANY_LOOSE:
        plan.scattered = scattered


def links_into_cache(root: Path) -> Iterator[str]:
    """The digests of the objects that links below `root` point at: bytes of the user's that lie in a cache alone.

    Folders that may not be read are passed over: mlo, run by the same user, linked nothing there.
    """
    stack = [os.fsencode(root)]
    while stack:
        try:
            items = list(os.scandir(stack.pop()))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        for item in items:
            if item.is_symlink():
                found = object_behind(item.path)
                if found is not None:
                    yield found
            elif item.is_dir(follow_symlinks=False) and item.name not in (b".git", b".mlo"):
                stack.append(item.path)
