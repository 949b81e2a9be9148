"""Reading everything in a store through, and saying what is bad and which data it belongs to."""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec

from mlops_cli.core.base.progress import Progress, Silent
from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import IntegrityError, MloError
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.protocol import ObjectCorrupt, ObjectMissing
from mlops_cli.core.store.tree import walk_bytes


class Bad(msgspec.Struct, frozen=True):
    """An object that is not as it should be. `paths` are what needs it; `aside` is where a damaged one was moved."""

    digest: str
    problem: str  # damaged, missing, or bad tree
    paths: list[str] = []
    aside: str | None = None


class FsckReport(msgspec.Struct, frozen=True):
    objects: int
    bytes: int
    leftovers: int  # temp files of killed commands, removed
    bad: list[Bad]

    @property
    def ok(self) -> bool:
        return not self.bad


def fsck(store: LocalStore, entries: Mapping[str, Entry], *, progress: Progress | None = None) -> FsckReport:
    """Verify every object, and that everything `entries` (path -> entry) need is here.

    Damaged objects are moved to the cache's `quarantine/`, never deleted, so that a pull or an add can put good ones
    in their place. Temp files older than an hour are removed.
    """
    progress = progress or Silent()
    needed, lying = _needed(store, entries)
    bad: list[Bad] = []
    objects = size = 0
    progress.begin("verifying", None, "bytes")
    try:
        for digest in store:
            try:
                size += store.verify(digest, seen=progress.advance)
                objects += 1
            except ObjectCorrupt:
                aside = store.quarantine(digest)
                bad.append(Bad(str(digest), "damaged", needed.pop(str(digest), []), str(aside) if aside else None))
            except ObjectMissing:  # another mlo set it aside meanwhile
                continue
    finally:
        progress.end()
    bad.extend(Bad(digest, "missing", needed[digest]) for digest in sorted(store.missing(needed)))
    known = {found.digest for found in bad}
    bad.extend(found for found in lying if found.digest not in known)
    return FsckReport(objects, size, store.folder.clean_leftovers(), bad)


def _needed(store: LocalStore, entries: Mapping[str, Entry]) -> tuple[dict[str, list[str]], list[Bad]]:
    """Every digest the entries need with the paths that need it, and the trees that are no trees or lie."""
    needed: dict[str, list[str]] = {}
    lying: list[Bad] = []
    for name, entry in entries.items():
        needed.setdefault(entry.digest, []).append(name)
        lost: dict[bytes, MloError] = {}
        below: dict[bytes, str] = {}
        try:
            for path, found in walk_bytes(store, entry, lost):
                below[path] = found.digest
                needed.setdefault(found.digest, []).append(f"{name}/{os.fsdecode(path)}")
        except (ObjectMissing, ObjectCorrupt):
            continue  # the object itself will be found missing or damaged
        except IntegrityError as error:
            lying.append(Bad(entry.digest, f"bad tree: {error.message}", [name]))
        for path, problem in lost.items():
            if not isinstance(problem, ObjectMissing | ObjectCorrupt):
                lying.append(Bad(below[path], f"bad tree: {problem.message}", [f"{name}/{os.fsdecode(path)}"]))
    return needed, lying
