"""Doing what a plan says, so that whatever kills it, nothing needed is lost and the next collection finishes.

What is needed is copied, verified and durable, before the pack it was in goes. What could not be copied, because it
is damaged, stays in its pack, and the pack is set aside.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Container, Iterable
from pathlib import Path

import msgspec

from mlops_cli.core.base.digest import hex_function
from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.base.progress import Progress, Silent
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.mark import Marks
from mlops_cli.core.store.repack import Repacker, pieces
from mlops_cli.core.store.stable import read_all
from mlops_cli.core.store.sweep import LooseObject, Plan


class Collected(msgspec.Struct):
    """What was done. `aside` names packs with damaged objects that are needed: `fsck --repair` looks after those."""

    freed: int = 0
    new_packs: int = 0
    aside: list[str] = []
    leftovers: int = 0


def collect(
    store: LocalStore, marks: Marks, plan: Plan, results: Iterable[Path] = (), *, progress: Progress | None = None
) -> Collected:
    """Delete, and pack anew. The caller holds the cache alone, and made `plan` while it did.

    Raises MachineError; what was done until then stays done, and a further collection does the rest.
    """
    progress = progress or Silent()
    done = Collected(aside=[])
    with machine_errors(f"cannot clean the cache {store.cache}"):
        for path in results:  # first: they name objects that go
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        # What nothing needs goes before anything is written: the disk may be full.
        for item in plan.garbage:
            done.freed += _unlink(store.loose.path(item.digest))
        for name in plan.garbage_packs:
            done.freed += _size(store.packs.path(name))
        store.packs.drop(plan.garbage_packs)
        _pack_anew(store, marks, plan, done, progress)
        for item in plan.twice:
            if _stays_in_a_pack(store, item.digest):
                done.freed += _unlink(store.loose.path(item.digest))
        done.leftovers = store.folder.clean_leftovers()
    return done


def _pack_anew(store: LocalStore, marks: Marks, plan: Plan, done: Collected, progress: Progress) -> None:
    if not plan.old_packs and not plan.scattered:
        return
    writer = Repacker(store)
    packed: list[str] = []
    progress.begin("packing anew", None, "bytes")
    try:
        spoiled = _copy_packs(store, marks, plan, writer, progress)
        for item in plan.scattered:
            if _copy_loose(store, item, writer):
                packed.append(item.digest)
                progress.advance(item.size)
        writer.finish()
    except BaseException:
        writer.abandon()
        raise
    finally:
        progress.end()
    done.new_packs = len(writer.names)
    done.freed -= writer.bytes
    for name in plan.old_packs:
        if name in writer.names:
            continue
        done.freed += _size(store.packs.path(name))
        if name in spoiled:
            store.folder.set_aside(store.packs.path(name), f"{name}.pack")
            done.aside.append(name)
    store.packs.drop(name for name in plan.old_packs if name not in writer.names)
    for digest in packed:
        done.freed += _unlink(store.loose.path(digest))


def _copy_packs(store: LocalStore, marks: Marks, plan: Plan, writer: Repacker, progress: Progress) -> set[str]:
    """Bring what is needed of the old packs into new ones; those that hold the only, damaged, bytes of an object."""
    bad: list[tuple[str, str]] = []
    for name, own in plan.old_packs.items():
        index = store.packs.indexes[name]
        for piece in pieces(store.packs.path(name), index, own):
            progress.advance(len(piece.data))
            if piece.good:
                writer.add(index.algorithm, piece.raw, piece.data)
            else:
                bad.append((name, f"{index.algorithm}:{piece.raw.hex()}"))
    for name, own in plan.old_packs.items():
        index = store.packs.indexes[name]
        live = marks.of(index.algorithm)
        # These count as another pack's; that its copy is good is seen, not believed.
        others = {raw for raw in index.raw_digests() if raw in live and raw not in own}
        for piece in pieces(store.packs.path(name), index, others) if others else ():
            digest = f"{index.algorithm}:{piece.raw.hex()}"
            if writer.holds(index.algorithm, piece.raw) or _stays_in_a_pack(store, digest, plan.old_packs):
                continue
            if piece.good:
                writer.add(index.algorithm, piece.raw, piece.data)
            else:
                bad.append((name, digest))
    return {name for name, digest in bad if not _is_kept(store, digest, plan.old_packs, writer)}


def _is_kept(store: LocalStore, digest: str, going: Container[str], writer: Repacker) -> bool:
    algorithm, _, hexadecimal = digest.partition(":")
    if writer.holds(algorithm, bytes.fromhex(hexadecimal)) or _stays_in_a_pack(store, digest, going):
        return True
    return _loose_bytes(store, digest) is not None


def _stays_in_a_pack(store: LocalStore, digest: str, going: Container[str] = ()) -> bool:
    """Whether a pack that stays holds a good copy."""
    algorithm, _, wanted = digest.partition(":")
    hexadecimal = hex_function(algorithm)
    for place in store.packs.places(digest):
        if place.pack.name not in going:
            with contextlib.suppress(FileNotFoundError):
                if hexadecimal(store.packs.read(place)) == wanted:
                    return True
    return False


def _loose_bytes(store: LocalStore, digest: str) -> bytes | None:
    algorithm, _, hexadecimal = digest.partition(":")
    try:
        handle = os.open(store.loose.path(digest), os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        data = read_all(handle, os.fstat(handle).st_size)
    finally:
        os.close(handle)
    return data if hex_function(algorithm)(data) == hexadecimal else None


def _copy_loose(store: LocalStore, item: LooseObject, writer: Repacker) -> bool:
    """A damaged one stays where fsck finds it."""
    data = _loose_bytes(store, item.digest)
    if data is None:
        return False
    algorithm, _, hexadecimal = item.digest.partition(":")
    writer.add(algorithm, bytes.fromhex(hexadecimal), data)
    return True


def _unlink(path: str) -> int:
    """Remove a file; the bytes that the disk gets back."""
    try:
        status = os.stat(path)
        os.unlink(path)
    except FileNotFoundError:
        return 0
    return status.st_size if status.st_nlink == 1 else 0


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
