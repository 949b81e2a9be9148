"""Cleaning a remote: what no clone, no registered model and no run needs goes. See store/FORMAT.md."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import msgspec

from mlops_cli.core.base.digest import Digest
from mlops_cli.core.errors import Conflict, IntegrityError, MloError, NotFound
from mlops_cli.core.project.clone import clone_id
from mlops_cli.core.remotes.remote import Remote
from mlops_cli.core.store.clones import LOCK, Published, cleaning, key_of, read_published
from mlops_cli.core.store.exchange import in_threads, may_pass, object_key
from mlops_cli.core.store.holdings import facts_folder
from mlops_cli.core.store.mark import Marks, Root, mark
from mlops_cli.core.store.remote_sweep import (
    Listing,
    RemotePlan,
    Repacked,
    list_remote,
    plan_remote,
    repack_remote,
    sweep_remote,
)
from mlops_cli.core.store.transfer import pull_digests
from mlops_cli.core.tracking import manifest
from mlops_cli.core.workflows.gc import Garbage, StoreSource, groups_of, unknown_of
from mlops_cli.core.workflows.publish import is_expired
from mlops_cli.core.workflows.remote import opened
from mlops_cli.core.workflows.roots import own_roots, registry_roots, run_root
from mlops_cli.core.workflows.workspace import Workspace

RUNS, EVENTS = "runs/", "events/"


def collect_remote_garbage(
    workspace: Workspace,
    name: str | None = None,
    *,
    delete: bool = False,
    grace_s: float,
    expire_s: float,
    force: bool = False,
) -> Garbage:
    """Find what nothing needs of a remote, and with `delete` remove it.

    Needed is what this clone needs, what every other clone published within the last `expire_s` seconds, what events
    and runs there name. What was written within the last `grace_s` seconds by the remote's clock stays, and so does
    what it knows no time of. A folder that was pushed and is nowhere stops everything unless `force`: what lies below
    it cannot be told. Raises RemoteError, ProjectError, IntegrityError, Locked.
    """
    there = opened(workspace, name)
    if not delete:
        return _Cleaner(workspace, there, grace_s, expire_s).look(time.time())
    now = workspace.clock.now()
    with cleaning(there, who=workspace.actor, command=workspace.command_line, now=now):
        return _Cleaner(workspace, there, grace_s, expire_s).clean(force=force)


def unlock_remote(workspace: Workspace, name: str | None = None) -> Garbage:
    """Remove the lock of a cleaning that died."""
    there = opened(workspace, name)
    there.delete(LOCK)
    return Garbage(deleted=False, freed=0, garbage=[], kept=[], remote=there.name, unlocked=True)


class _Source(StoreSource):
    """Trees from the cache; what a digest of unknown kind is, from the remote too."""

    def __init__(self, workspace: Workspace, remote: Remote, listing: Listing) -> None:
        super().__init__(workspace.store)
        self._remote = remote
        self._listing = listing

    def begins(self, digest: str, length: int) -> bytes:
        found = super().begins(digest, length)
        size = self._listing.objects.get(digest, 0)
        if found or size < length:
            return found
        with contextlib.suppress(NotFound):
            return self._remote.get_range(object_key(digest), 0, length)
        return b""


class _Cleaner:
    """One cleaning of one remote."""

    def __init__(self, workspace: Workspace, remote: Remote, grace_s: float, expire_s: float) -> None:
        self._workspace = workspace
        self._remote = remote
        self._grace_s = grace_s
        self._expire_s = expire_s
        self._published: list[Published] = []
        self._expired: list[str] = []

    def look(self, now_s: float) -> Garbage:
        marks, listing, planned = self._plan(now_s)
        return self._report(marks, planned, listing)

    def clean(self, *, force: bool) -> Garbage:
        now_s = self._remote.modified(LOCK).get(LOCK, time.time())
        marks, listing, planned = self._plan(now_s)
        lost = [item for item in marks.unread if item.pushed]
        if lost and not force:
            names = ", ".join(dict.fromkeys(item.root for item in lost[:3]))
            raise IntegrityError(
                f"a folder of {names} ({lost[0].digest}) is neither here nor on remote {self._remote.name}, so what "
                "lies below it cannot be told",
                hint="push it from where it is; or say --force to give up what only it needs; nothing was deleted",
            )
        repacked = repack_remote(
            self._workspace.store, self._remote, listing, planned.plan, progress=self._workspace.progress
        )
        self._require_silence()
        freed = sweep_remote(self._remote, planned, listing, repacked, [key_of(clone) for clone in self._expired])
        report = self._report(marks, planned, listing, repacked)
        return msgspec.structs.replace(report, deleted=True, freed=freed)

    def _plan(self, now_s: float) -> tuple[Marks, Listing, RemotePlan]:
        # The roots first: what is pushed after they are listed is young, and what was there before is named by them.
        roots = list(self._roots())
        facts = facts_folder(self._workspace.paths.private, self._remote)
        listing = list_remote(self._remote, facts)
        marks = self._marked(roots, listing)
        return marks, listing, plan_remote(listing, marks, older_than=now_s - self._grace_s)

    def _roots(self) -> Iterator[Root]:
        workspace = self._workspace
        yield from own_roots(workspace)
        own = clone_id(workspace.paths.private)
        self._published = read_published(self._remote)
        for published in self._published:
            if published.clone == own:
                continue
            if is_expired(published, workspace, self._expire_s):
                self._expired.append(published.clone)
            else:
                yield published.root
        yield from self._events()
        yield from self._runs()

    def _events(self) -> Iterator[Root]:
        """A registry that lies there, be it this project's or not."""
        if next(iter(self._remote.list(EVENTS)), None) is None:
            return
        from mlops_cli.core.events.remote import RemoteEvents
        from mlops_cli.core.registry.registry import Registry

        events = RemoteEvents(self._remote, self._workspace.paths.private / "events")
        registry = Registry(events, clock=self._workspace.clock, actor=self._workspace.actor)
        yield from registry_roots(registry, f" on {self._remote.name}")

    def _runs(self) -> Iterator[Root]:
        """Runs that were pushed, and are not here."""
        known = {f"{RUNS}{run.id}.json" for run in self._workspace.runs.list()}
        keys = [key for key in self._remote.list(RUNS) if key.endswith(".json") and key not in known]
        for _, data in in_threads(self._remote.get, keys):
            if isinstance(data, NotFound):
                continue
            if isinstance(data, MloError):
                raise data
            yield run_root(manifest.from_bytes(data)[0], f" on {self._remote.name}")

    def _marked(self, roots: list[Root], listing: Listing) -> Marks:
        """Follow the roots; trees that are not here are brought from the remote first, level by level."""
        workspace, tried = self._workspace, set[str]()
        source = _Source(workspace, self._remote, listing)
        packed = {digest for root in roots for digest in _packed(root, listing)}
        tried |= self._bring([digest for digest in packed if not workspace.store.has(Digest.parse(digest))])
        while True:
            marks = mark(source, roots)
            wanted = {item.digest for item in marks.unread} - tried
            if not wanted:
                return marks
            tried |= self._bring(sorted(wanted))

    def _bring(self, digests: list[str]) -> set[str]:
        passing = [digest for digest in digests if may_pass(self._remote, digest)]
        if passing:
            pull_digests(self._workspace.store, self._remote, passing, progress=self._workspace.progress)
        return set(digests)

    def _require_silence(self) -> None:
        """Nobody may have said that he needs something since the roots were read: nothing was deleted yet."""
        before = {published.clone: published for published in self._published}
        for published in read_published(self._remote):
            if published.clone not in before or not published.says_as(before[published.clone]):
                raise Conflict(
                    f"{published.title} pushed to remote {self._remote.name} meanwhile",
                    hint="nothing was deleted; run the same command again",
                )

    def _report(self, marks: Marks, planned: RemotePlan, listing: Listing, repacked: Repacked | None = None) -> Garbage:
        plan = planned.plan
        garbage, kept = groups_of(plan, marks)
        return Garbage(
            deleted=False,
            freed=plan.freed,
            garbage=garbage,
            kept=kept,
            packs=len(plan.garbage_packs),
            repacked=len(plan.old_packs),
            unknown=unknown_of(marks),
            damaged_packs=sorted([*plan.damaged_packs, *(repacked.spoiled if repacked is not None else ())]),
            remote=self._remote.name,
            clones=[item.title for item in self._published if item.clone not in self._expired],
            expired=[item.title for item in self._published if item.clone in self._expired],
            stray=len(planned.stray),
            without_time=sum(object_key(digest) not in listing.times for digest in listing.objects),
        )


def _packed(root: Root, listing: Listing) -> Iterator[str]:
    """Digests of unknown kind that lie in packs, where their first bytes cannot be asked for."""
    for digest in root.digests:
        algorithm, _, hexadecimal = digest.partition(":")
        raw = bytes.fromhex(hexadecimal)
        if any(index.algorithm == algorithm and index.find(raw) is not None for index in listing.indexes.values()):
            yield digest
