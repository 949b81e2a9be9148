"""Cleaning the cache: what nothing needs goes, and only that. See store/FORMAT.md, "Collecting garbage"."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec

from mlops_cli.core.base.digest import Digest
from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.errors import ProjectError
from mlops_cli.core.store.batch import unlink_all
from mlops_cli.core.store.collect import collect
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.mark import Marks, mark
from mlops_cli.core.store.projects import Member, forget
from mlops_cli.core.store.sweep import Plan, plan_sweep
from mlops_cli.core.workflows.gc_environments import Swept, sweep_environments
from mlops_cli.core.workflows.roots import Needed, what_is_needed
from mlops_cli.core.workflows.workspace import Workspace

GRACE_S = 86_400.0


class Group(msgspec.Struct, frozen=True):
    """Objects of one kind; for what is kept, `kind` is why and `roots` how many things say so."""

    kind: str
    objects: int
    bytes: int
    roots: int = 0


class Unknown(msgspec.Struct, frozen=True):
    """A folder whose tree is not here: nothing below it is kept for its sake. `roots` need it."""

    digest: str
    roots: list[str]


class Garbage(msgspec.Struct, frozen=True):
    """What a collection found, and whether it was `deleted`. `freed` are the bytes the disk gets back.

    `garbage` and `kept` are by kind; `packs` counts those that go, `repacked` those whose needed objects move.
    `environments` of stages go that nobody used for 30 days; `environment_bytes` are theirs, and part of `freed`.
    Of a `remote`, the `clones` that were honoured, those that `expired`, `stray` halves of packs, and how many objects
    it knows no time of, which stay.
    """

    deleted: bool
    freed: int
    garbage: list[Group]
    kept: list[Group]
    packs: int = 0
    repacked: int = 0
    results: int = 0
    runs_let_go: int = 0
    unknown: list[Unknown] = []
    projects: list[str] = []
    damaged_packs: list[str] = []
    leftovers: int = 0
    environments: int = 0
    environment_bytes: int = 0
    remote: str | None = None
    clones: list[str] = []
    expired: list[str] = []
    stray: int = 0
    without_time: int = 0
    unlocked: bool = False

    @property
    def objects(self) -> int:
        return sum(group.objects for group in self.garbage)


class StoreSource:
    """Reads trees from a store."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store

    def read(self, digest: Digest) -> bytes:
        return self._store.read(digest)

    def begins(self, digest: str, length: int) -> bytes:
        if not self._store.has(Digest.parse(digest)):
            return b""
        with self._store.open(Digest.parse(digest)) as file:
            return file.read(length)


def collect_garbage(
    workspace: Workspace,
    *,
    delete: bool = False,
    keep_runs: int | None = None,
    history: bool = False,
    grace_s: float = GRACE_S,
) -> Garbage:
    """Find what nothing needs, and with `delete` remove it.

    Needed is what mlo.lock names here, on every branch, tag and stash and in every linked work tree (`history`: in
    every commit), what registered versions name, and what the newest `keep_runs` runs made, or all. What was put
    within the last `grace_s` seconds stays. Environments of stages go that nobody used for 30 days. Raises
    ProjectError, IntegrityError or RemoteError, having deleted nothing, if any of that cannot be told.
    """
    workspace.runs  # noqa: B018 reads what scripts spooled, which the lock below keeps from happening
    needs = what_is_needed(workspace, keep_runs=keep_runs, history=history)
    if not delete:
        marks = _marked(workspace, needs)
        before = time.time() - grace_s
        plan = plan_sweep(workspace.store, marks, older_than=before, linked=needs.linked)
        swept = sweep_environments(workspace.paths.cache, time.time(), delete=False)
        return _with(_report(plan, marks, needs, len(_spent(needs, before))), swept)
    with workspace.store.folder.alone():
        # Read again: what was added until nobody could write any more counts.
        needs = what_is_needed(workspace, keep_runs=keep_runs, history=history)
        marks = _marked(workspace, needs)
        before = _now(workspace.store) - grace_s
        plan = plan_sweep(workspace.store, marks, older_than=before, linked=needs.linked)
        spent = _spent(needs, before)
        done = collect(workspace.store, marks, plan, spent, progress=workspace.progress)
    report = _report(plan, marks, needs, len(spent))
    damaged = sorted([*report.damaged_packs, *done.aside])
    report = msgspec.structs.replace(
        report, deleted=True, freed=done.freed, leftovers=done.leftovers, damaged_packs=damaged
    )
    return _with(report, sweep_environments(workspace.paths.cache, _now(workspace.store), delete=True))


def forget_project(workspace: Workspace, folder: str) -> Member:
    """Take a project that is gone for good out of those of a shared cache. Raises NotFound, ProjectError."""
    if Path(folder).absolute() == workspace.root:
        raise ProjectError(f"{folder} is this project", hint="forget a project that is gone for good")
    return forget(workspace.paths.cache, folder)


def _marked(workspace: Workspace, needs: Needed) -> Marks:
    workspace.progress.begin("looking what is needed", None, "objects")
    try:
        return mark(StoreSource(workspace.store), needs.roots, seen=workspace.progress.advance)
    finally:
        workspace.progress.end()


def _with(report: Garbage, swept: Swept) -> Garbage:
    return msgspec.structs.replace(
        report,
        freed=report.freed + swept.bytes,
        environments=swept.environments,
        environment_bytes=swept.bytes,
    )


def _spent(needs: Needed, before: float) -> list[Path]:
    """Results to remove: those that nobody put lately."""
    return [path for path in needs.spent if path.exists() and path.stat().st_mtime < before]


def _now(store: LocalStore) -> float:
    """The time by the clock that stamps the cache's files: on a network share that is another machine's.

    Not the workspace's clock, which a replay sets: files have real times.
    """
    probe = store.folder.temporary()
    with machine_errors(f"cannot write to the cache {store.cache}"):
        try:
            with open(probe, "xb") as file:
                return os.fstat(file.fileno()).st_mtime
        finally:
            unlink_all([probe])


def groups_of(plan: Plan, marks: Marks) -> tuple[list[Group], list[Group]]:
    """What a plan deletes, and what it keeps and why."""
    loose = Group("loose objects", len(plan.garbage), sum(item.size for item in plan.garbage))
    packed = Group("packed objects", plan.packed_garbage.objects, plan.packed_garbage.bytes)
    counts: dict[str, int] = {str(kind): count for kind, count in marks.roots.items()}
    kept = [Group(kind, amount.objects, amount.bytes, counts.get(kind, 0)) for kind, amount in plan.kept.items()]
    for kind, amount in (("grace", plan.young), ("packed with what is needed", plan.stuck)):
        if amount.objects:
            kept.append(Group(kind, amount.objects, amount.bytes))
    return [group for group in (loose, packed) if group.objects], kept


def unknown_of(marks: Marks) -> list[Unknown]:
    """The folders that could not be read, each with the roots that need it."""
    roots: dict[str, dict[str, None]] = {}
    for item in marks.unread:
        roots.setdefault(item.digest, {})[item.root] = None
    return [Unknown(digest, list(names)) for digest, names in roots.items()]


def _report(plan: Plan, marks: Marks, needs: Needed, results: int) -> Garbage:
    garbage, kept = groups_of(plan, marks)
    return Garbage(
        deleted=False,
        freed=plan.freed,
        garbage=garbage,
        kept=kept,
        packs=len(plan.garbage_packs),
        repacked=len(plan.old_packs),
        results=results,
        runs_let_go=needs.runs_let_go,
        unknown=unknown_of(marks),
        projects=needs.others,
        damaged_packs=plan.damaged_packs,
    )
