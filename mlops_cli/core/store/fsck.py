"""Reading everything in a store through, and saying what is bad and which data it belongs to."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import msgspec

from mlops_cli.core.base.progress import Progress, Silent
from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import IntegrityError, MloError, ProjectError
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.pack import read_index
from mlops_cli.core.store.placing import hash_file
from mlops_cli.core.store.protocol import ObjectCorrupt, ObjectMissing
from mlops_cli.core.store.repack import pieces
from mlops_cli.core.store.tree import walk_bytes


class Bad(msgspec.Struct, frozen=True):
    """An object that is not as it should be. `paths` are what needs it.

    After a repair, `aside` is where damaged bytes went, and `mended` where good ones came from; None if from nowhere.
    """

    digest: str
    problem: str  # damaged, missing, or bad tree
    paths: list[str] = []
    aside: str | None = None
    mended: str | None = None


class BadPack(msgspec.Struct, frozen=True):
    """A pack that is not as it should be. After a repair, `saved` objects live on, and the file is in `aside`."""

    name: str
    problem: str
    saved: int = 0
    aside: str | None = None
    mended: bool = False


class FsckReport(msgspec.Struct, frozen=True):
    """`objects` and `bytes` were read and are good; what is `bad` was acted upon only if this was a `repair`."""

    objects: int
    bytes: int
    leftovers: int  # temp files of killed commands, removed
    bad: list[Bad]
    packs: int = 0
    bad_packs: list[BadPack] = []
    repair: bool = False
    notes: list[str] = []

    @property
    def still_bad(self) -> list[Bad]:
        """What is wrong now: after a repair, what is needed and did not come back."""
        return [bad for bad in self.bad if bad.mended is None and (bad.paths or not self.repair)]

    @property
    def ok(self) -> bool:
        return not self.still_bad and all(pack.mended for pack in self.bad_packs)


class Scan(msgspec.Struct):
    """What a store holds. `good` are the raw digests, by algorithm; `loose` and `packed` (by pack) the damaged."""

    good: dict[str, set[bytes]] = {}
    bytes: int = 0
    packs: int = 0
    loose: list[str] = []
    packed: dict[str, list[str]] = {}
    bad_packs: dict[str, str] = {}  # name -> what is wrong with it

    def is_good(self, digest: str) -> bool:
        algorithm, _, hexadecimal = digest.partition(":")
        return bytes.fromhex(hexadecimal) in self.good.get(algorithm, ())

    @property
    def damaged(self) -> list[str]:
        return sorted({*self.loose, *(digest for digests in self.packed.values() for digest in digests)})

    def objects(self) -> int:
        return sum(len(digests) for digests in self.good.values())


def fsck(store: LocalStore, entries: Mapping[str, Entry], *, progress: Progress | None = None) -> FsckReport:
    """Verify every object and pack, and that everything `entries` (path -> entry) need is here.

    Changes nothing, but temp files older than an hour are removed.
    """
    return report(store, entries, scan(store, progress=progress))


def scan(store: LocalStore, *, progress: Progress | None = None) -> Scan:
    """Read every byte of a store. Packs from end to end, with a few megabytes in memory."""
    progress = progress or Silent()
    found = Scan(good={}, loose=[], packed={}, bad_packs={})
    progress.begin("verifying", None, "bytes")
    try:
        store.packs.rescan()
        for name in sorted({*store.packs.indexes, *store.packs.damaged}):
            _scan_pack(store, name, found, progress)
        for digest in store.loose:
            try:
                hexadecimal, size = hash_file(store.loose.path(str(digest)), digest.algorithm, seen=progress.advance)
            except (FileNotFoundError, IsADirectoryError):  # another mlo moved it meanwhile
                continue
            if hexadecimal == digest.hex:
                _enter(found, digest.algorithm, bytes.fromhex(digest.hex), size)
            else:
                found.loose.append(str(digest))
    finally:
        progress.end()
    return found


def report(store: LocalStore, entries: Mapping[str, Entry], found: Scan) -> FsckReport:
    """What a scan means for `entries`."""
    damaged = set(found.damaged)
    paths, lying = needed(store, entries, lambda digest: found.is_good(digest) and digest not in damaged)
    bad = [Bad(digest, "damaged", paths.pop(digest, [])) for digest in found.damaged]
    bad += [Bad(digest, "missing", paths[digest]) for digest in sorted(paths)]
    known = {item.digest for item in bad}
    bad += [item for item in lying if item.digest not in known]
    bad_packs = [BadPack(name, problem) for name, problem in sorted(found.bad_packs.items())]
    return FsckReport(
        found.objects(), found.bytes, store.folder.clean_leftovers(), bad, packs=found.packs, bad_packs=bad_packs
    )


def needed(
    store: LocalStore, entries: Mapping[str, Entry], is_fine: Callable[[str], bool]
) -> tuple[dict[str, list[str]], list[Bad]]:
    """What the entries need and is not fine, with the paths that need it; and the trees that are no trees or lie."""
    wanted: dict[str, list[str]] = {}
    lying: list[Bad] = []
    for name, entry in entries.items():
        if not is_fine(entry.digest):
            wanted.setdefault(entry.digest, []).append(name)
        lost: dict[bytes, MloError] = {}
        below: dict[bytes, str] = {}
        try:
            for path, found in walk_bytes(store, entry, lost):
                if found.is_dir:
                    below[path] = found.digest
                if not is_fine(found.digest):
                    wanted.setdefault(found.digest, []).append(f"{name}/{os.fsdecode(path)}")
        except (ObjectMissing, ObjectCorrupt):
            continue  # the object itself is found missing or damaged
        except IntegrityError as error:
            lying.append(Bad(entry.digest, f"bad tree: {error.message}", [name]))
        for path, problem in lost.items():
            if not isinstance(problem, ObjectMissing | ObjectCorrupt):
                lying.append(Bad(below[path], f"bad tree: {problem.message}", [f"{name}/{os.fsdecode(path)}"]))
    return wanted, lying


def _scan_pack(store: LocalStore, name: str, found: Scan, progress: Progress) -> None:
    path = store.packs.path(name)
    try:
        index = read_index(path, name, strict=True)
        for piece in pieces(path, index):
            progress.advance(len(piece.data))
            if piece.good:
                _enter(found, index.algorithm, piece.raw, len(piece.data))
            else:
                found.packed.setdefault(name, []).append(f"{index.algorithm}:{piece.raw.hex()}")
    except FileNotFoundError:
        return
    except (IntegrityError, ProjectError) as error:
        found.bad_packs[name] = error.message
    if name in found.packed:
        count = len(found.packed[name])
        found.bad_packs[name] = f"{count:,} of its objects {'is' if count == 1 else 'are'} damaged"
    found.packs += 1


def _enter(found: Scan, algorithm: str, raw: bytes, size: int) -> None:
    good = found.good.setdefault(algorithm, set())
    if raw not in good:
        good.add(raw)
        found.bytes += size
