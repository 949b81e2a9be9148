"""Objects between the store and a remote: what the other rooms call. See FORMAT.md, "Remote".

A tree on a remote has all it needs, however a push ended; everything that comes back is verified before it is kept.
`facts` is a folder where what is known of the remote's packs is kept (`holdings.facts_folder`); `threads` is how many
requests are under way at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from mlops_cli.core.base.progress import Progress, Silent
from mlops_cli.core.base.records import Entry
from mlops_cli.core.remotes.remote import Remote
from mlops_cli.core.store.exchange import THREADS, Entries, Transfer, name_paths, named, raw_of, refuse_forgeable
from mlops_cli.core.store.holdings import Holdings
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.pull import Pull, dry_pull
from mlops_cli.core.store.push import Plan, Push, dry_push, plan_push
from mlops_cli.core.store.tree import DIR, TreeEntry, read_rows


class Absent(msgspec.Struct, frozen=True):
    """An entry of which a remote lacks so many files, of so many bytes. No files if it lacks only trees."""

    path: str
    files: int
    size: int


def push_objects(
    store: LocalStore,
    remote: Remote,
    entries: Entries,
    *,
    progress: Progress | None = None,
    facts: Path | None = None,
    threads: int = THREADS,
    dry_run: bool = False,
) -> Transfer:
    """Send everything the entries (path -> entry) need and the remote lacks. Raises RemoteError, Forgeable.

    What is neither here nor there, or is damaged here, is named in Transfer; the trees that name it stay behind.
    """
    refuse_forgeable(remote, entries)
    progress = progress or Silent()
    holdings = Holdings(remote, facts, threads=threads, note=progress.note)
    holdings.look()
    plan = plan_push(store, holdings, entries)
    objects, size = dry_push(store, plan) if dry_run else Push(store, holdings, plan, progress, threads=threads).run()
    names = name_paths(store, entries, plan.failed)
    damaged = [f"packs/{name}.idx" for name in holdings.damaged]
    return Transfer(objects, size, plan.present, names["missing"], names["corrupt"], damaged)


def push_digests(
    store: LocalStore,
    remote: Remote,
    digests: Iterable[str],
    *,
    progress: Progress | None = None,
    facts: Path | None = None,
) -> Transfer:
    """Send single objects, such as profiles and manifests."""
    return push_objects(store, remote, single_objects(digests), progress=progress, facts=facts)


def pull_objects(
    store: LocalStore,
    remote: Remote,
    entries: Entries,
    *,
    progress: Progress | None = None,
    facts: Path | None = None,
    threads: int = THREADS,
    dry_run: bool = False,
) -> Transfer:
    """Bring everything the entries (path -> entry) need and the store lacks. Raises RemoteError, Forgeable.

    What the remote lacks or holds damaged is named in Transfer; the rest comes all the same, and nothing that fails
    its digest is kept. A dry run brings nothing, so of a folder whose tree is not here it counts what its name says.
    """
    refuse_forgeable(remote, entries)
    progress = progress or Silent()
    holdings = Holdings(remote, facts, threads=threads, note=progress.note)
    if dry_run:
        return dry_pull(store, holdings, entries)
    return Pull(store, holdings, progress, threads=threads).run(entries)


def pull_digests(
    store: LocalStore,
    remote: Remote,
    digests: Iterable[str],
    *,
    progress: Progress | None = None,
    facts: Path | None = None,
) -> Transfer:
    """Bring single objects, such as profiles and manifests."""
    return pull_objects(store, remote, single_objects(digests), progress=progress, facts=facts)


def single_objects(digests: Iterable[str]) -> dict[str, Entry]:
    """Objects by their digests alone, in the form of entries."""
    return {digest: Entry(digest, "file", 0) for digest in digests}


def absent_on(
    store: LocalStore, remote: Remote, entries: Entries, *, facts: Path | None = None, threads: int = THREADS
) -> list[Absent]:
    """The entries that a remote has not all of, found out by listing alone. Raises RemoteError.

    Of a folder whose tree is not here nothing is known but whether the tree is there, which comes last.
    """
    holdings = Holdings(remote, facts, threads=threads)
    holdings.look()
    plan = plan_push(store, holdings, entries)
    if not plan.sending and not plan.failed:
        return []
    counter = _AbsentCounter(store, plan)
    return [absent for name, entry in named(entries) if (absent := counter.of(name, entry)) is not None]


class _AbsentCounter:
    """Counts what a plan would send, entry by entry; a folder that is met twice is read once."""

    def __init__(self, store: LocalStore, plan: Plan) -> None:
        self._store = store
        self._plan = plan
        self._known: dict[str, tuple[bool, int, int]] = {}

    def of(self, path: str, entry: Entry) -> Absent | None:
        """None if the remote has all of it."""
        if entry.kind == "dir":
            lacks, files, size = self._folder(entry)
            return Absent(path, files, size) if lacks else None
        algorithm, raw = raw_of(entry.digest)
        return Absent(path, 1, entry.size) if raw in self._plan.contents.get(algorithm, ()) else None

    def _folder(self, folder: Entry | TreeEntry) -> tuple[bool, int, int]:
        digest = folder.digest
        if digest in self._plan.needs.lost:
            # Not here either; if it is there all of it is, for trees come last.
            return (True, folder.files, folder.size) if digest in self._plan.failed else (False, 0, 0)
        if digest not in self._known:
            lacks, total, size = digest in self._plan.trees, 0, 0
            algorithm, rows = read_rows(self._store, folder)
            absent = self._plan.contents.get(algorithm, {})
            for name, mode, raw, its_size, files in rows:
                if mode == DIR:
                    below = self._folder(TreeEntry(name, DIR, f"{algorithm}:{raw.hex()}", its_size, files))
                    lacks, total, size = lacks or below[0], total + below[1], size + below[2]
                elif raw in absent:
                    lacks, total, size = True, total + 1, size + its_size
            self._known[digest] = lacks, total, size
        return self._known[digest]
