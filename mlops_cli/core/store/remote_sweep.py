"""What a remote holds that nothing needs: found by listing it, and removed so that readers and pushes stay right."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import msgspec

from mlops_cli.core.base.digest import HEX_DIGITS
from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.base.progress import Progress, Silent
from mlops_cli.core.errors import IntegrityError, MloError, NotFound
from mlops_cli.core.remotes.remote import Remote, ShortAnswer
from mlops_cli.core.store.batch import unlink_all
from mlops_cli.core.store.exchange import PACKS, idx_key, in_threads, object_key, pack_key
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.mark import KINDS, Marks
from mlops_cli.core.store.pack import PACK_BYTES, PackIndex, PackWriter
from mlops_cli.core.store.reading import cut, spans
from mlops_cli.core.store.sweep import Amount, LooseObject, Pack, Plan, plan_packs

_OBJECT = re.compile(r"objects/(xxh128|blake3)/([0-9a-f]{2})/([0-9a-f]+)")
_PACK = re.compile(rf"{PACKS}([0-9a-f]{{32}}|[0-9a-f]{{64}})\.(pack|idx)")
_PIECE_BYTES = 8 << 20


class Listing(msgspec.Struct):
    """A remote as it was listed: sizes, and times in Unix time where the remote knows them."""

    objects: dict[str, int] = {}  # digest -> bytes, of loose ones
    packs: dict[str, dict[str, int]] = {}  # name -> suffix -> bytes
    times: dict[str, float] = {}
    indexes: dict[str, PackIndex] = {}
    damaged: list[str] = []

    def is_young(self, key: str, older_than: float) -> bool:
        """A value of unknown age counts as young."""
        return self.times.get(key, older_than) >= older_than


class RemotePlan(msgspec.Struct):
    """`plan` is about objects and packs; `stray` are halves of packs that a killed push or cleaning left."""

    plan: Plan
    stray: list[str] = []


def list_remote(remote: Remote, facts: Path) -> Listing:
    """Everything that lies there. Raises RemoteError, ProjectError."""
    found = Listing(objects={}, packs={}, times={}, indexes={}, damaged=[])
    for key, size in remote.sizes("objects/"):
        match = _OBJECT.fullmatch(key)
        if match is not None and len(match[2] + match[3]) == HEX_DIGITS[match[1]]:
            found.objects[f"{match[1]}:{match[2]}{match[3]}"] = size
    for key, size in remote.sizes(PACKS):
        match = _PACK.fullmatch(key)
        if match is not None:
            found.packs.setdefault(match[1], {})[match[2]] = size
    found.times = {**remote.modified("objects/"), **remote.modified(PACKS)}
    whole = [name for name, parts in sorted(found.packs.items()) if len(parts) == 2]
    for name, index in in_threads(lambda name: _index(remote, facts, name), whole):
        if isinstance(index, NotFound):
            continue
        if isinstance(index, IntegrityError):
            found.damaged.append(name)
        elif isinstance(index, MloError):
            raise index
        elif index[1] != found.packs[name]["pack"]:
            found.damaged.append(name)
        else:
            found.indexes[name] = index[0]
    return found


def _index(remote: Remote, facts: Path, name: str) -> tuple[PackIndex, int]:
    try:
        return PackIndex.from_idx((facts / f"{name}.idx").read_bytes(), name)
    except (OSError, IntegrityError):
        return PackIndex.from_idx(remote.get(idx_key(name)), name)


def plan_remote(listing: Listing, marks: Marks, *, older_than: float) -> RemotePlan:
    """Decide about everything there. `older_than` is the Unix time before which what nothing needs may go."""
    plan = Plan(kept={kind: Amount() for kind in KINDS})
    plan.damaged_packs = sorted(listing.damaged)
    packs = [
        Pack(index, listing.packs[name]["pack"], listing.is_young(pack_key(name), older_than))
        for name, index in listing.indexes.items()
    ]
    plan_packs(packs, marks, plan)
    for digest, size in listing.objects.items():
        algorithm, _, hexadecimal = digest.partition(":")
        number = marks.of(algorithm).get(bytes.fromhex(hexadecimal))
        if number is not None:
            plan.kept[KINDS[number]].add(size)
        elif listing.is_young(object_key(digest), older_than):
            plan.young.add(size)
        else:
            plan.garbage.append(LooseObject(digest, size))
            plan.freed += size
    plan.kept = {kind: amount for kind, amount in plan.kept.items() if amount.objects}
    stray = []
    for name, parts in listing.packs.items():
        for suffix, size in parts.items() if len(parts) == 1 else ():
            if not listing.is_young(f"{PACKS}{name}.{suffix}", older_than):
                stray.append(f"{PACKS}{name}.{suffix}")
                plan.freed += size
    return RemotePlan(plan, sorted(stray))


class Repacked(msgspec.Struct):
    """What was written. `spoiled` are packs with damaged bytes that are needed: they stay."""

    packs: int = 0
    bytes: int = 0
    names: set[str] = set()
    spoiled: list[str] = []


def repack_remote(
    store: LocalStore, remote: Remote, listing: Listing, plan: Plan, *, progress: Progress | None = None
) -> Repacked:
    """Copy what is needed of the old packs into new ones there. Deletes nothing. Raises RemoteError, MachineError."""
    writer = _RemoteWriter(store, remote)
    progress = progress or Silent()
    progress.begin(f"packing anew on {remote.name}", None, "bytes")
    try:
        with machine_errors(f"cannot write to the cache {store.cache}"):
            for name, own in plan.old_packs.items():
                if not _copy(remote, listing.indexes[name], own, writer, progress.advance):
                    writer.done.spoiled.append(name)
            writer.finish()
    finally:
        progress.end()
        writer.abandon()
    return writer.done


def sweep_remote(remote: Remote, planned: RemotePlan, listing: Listing, repacked: Repacked, others: list[str]) -> int:
    """Delete what goes; the bytes that were freed. An `.idx` goes before its pack: a reader never sees one alone."""
    stay = {*repacked.spoiled, *repacked.names}
    packs = [name for name in (*planned.plan.garbage_packs, *planned.plan.old_packs) if name not in stay]
    sizes: dict[str, int] = {object_key(item.digest): item.size for item in planned.plan.garbage}
    for name in packs:
        sizes |= {idx_key(name): listing.packs[name]["idx"], pack_key(name): listing.packs[name]["pack"]}
    freed = 0
    for keys in (
        [idx_key(name) for name in packs],
        [pack_key(name) for name in packs],
        [
            *_still_stray(remote, planned.stray, listing, repacked),
            *(object_key(i.digest) for i in planned.plan.garbage),
        ],
        others,
    ):
        for key, error in in_threads(remote.delete, keys):
            if isinstance(error, MloError):
                raise error
            freed += sizes.get(key, 0)
        if keys:
            remote.settle()
    return freed - repacked.bytes


def _still_stray(remote: Remote, stray: list[str], listing: Listing, repacked: Repacked) -> list[str]:
    """Those halves that nobody made whole since: the same objects make a pack of the same name again."""
    if not stray:
        return []
    there, times = dict(remote.sizes(PACKS)), remote.modified(PACKS)
    found = []
    for key in stray:
        name, _, suffix = key.removeprefix(PACKS).rpartition(".")
        other = idx_key(name) if suffix == "pack" else pack_key(name)
        if name not in repacked.names and other not in there and times.get(key) == listing.times.get(key):
            found.append(key)
    return found


def _copy(
    remote: Remote, index: PackIndex, own: set[bytes], writer: _RemoteWriter, seen: Callable[[int], None]
) -> bool:
    rows = [row for row, raw in enumerate(index.raw_digests()) if raw in own]
    whole = True
    for span in spans(index, rows, most=_PIECE_BYTES):
        try:
            data = remote.get_range(pack_key(index.name), span.start, span.length)
        except ShortAnswer:
            return False
        seen(len(data))
        for row, good in cut(span, data):
            if good is None:
                whole = False
            else:
                writer.add(index.algorithm, index.digest_at(row), good)
    return whole


class _RemoteWriter:
    """Packs made here and sent: the pack first, then the `.idx` that announces it."""

    def __init__(self, store: LocalStore, remote: Remote) -> None:
        self._store = store
        self._remote = remote
        self._writers: dict[str, PackWriter] = {}
        self.done = Repacked(names=set(), spoiled=[])

    def add(self, algorithm: str, raw: bytes, data: bytes) -> None:
        writer = self._writers.get(algorithm)
        if writer is None:
            writer = self._writers[algorithm] = PackWriter(self._store.temporary(), algorithm)
        if raw not in writer.rows:
            writer.add(raw, data)
        if writer.size >= PACK_BYTES:
            self._send(algorithm)

    def finish(self) -> None:
        for algorithm in list(self._writers):
            self._send(algorithm)

    def abandon(self) -> None:
        for writer in self._writers.values():
            writer.abandon()

    def _send(self, algorithm: str) -> None:
        writer = self._writers[algorithm]
        index = writer.finish()
        size = os.stat(writer.path).st_size
        self._remote.put_file(pack_key(index.name), Path(writer.path))
        self._remote.settle()
        idx = index.to_idx(size)
        self._remote.put(idx_key(index.name), idx)
        self._remote.settle()
        unlink_all([writer.path])
        del self._writers[algorithm]
        self.done.packs += 1
        self.done.bytes += size + len(idx)
        self.done.names.add(index.name)
