"""Objects between the store and a remote: what the other rooms call. See FORMAT.md, "Remote".

A tree on a remote has all it needs, however a push ended; everything that comes back is verified before it is kept.
`facts` is a folder where what is known of the remote's packs is kept (`holdings.facts_folder`); `threads` is how many
requests are under way at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mlops_cli.core.base.progress import Progress, Silent
from mlops_cli.core.base.records import Entry
from mlops_cli.core.remotes.remote import Remote
from mlops_cli.core.store.absent import Absent, AbsentCounter
from mlops_cli.core.store.exchange import THREADS, Entries, Transfer, name_paths, named, refuse_forgeable
from mlops_cli.core.store.holdings import Holdings
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.pull import Pull, dry_pull
from mlops_cli.core.store.push import Push, dry_push, plan_push


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
    counter = AbsentCounter(store, plan)
    return [absent for name, entry in named(entries) if (absent := counter.of(name, entry)) is not None]
