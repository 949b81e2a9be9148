"""What needs the objects of a cache: mlo.lock everywhere git keeps one, registered models, runs and their results."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from mlops_cli.core.base.database import Database
from mlops_cli.core.base.records import Entry, Logged
from mlops_cli.core.base.revisions import Revisions
from mlops_cli.core.errors import MloError, ProjectError
from mlops_cli.core.events.open import LOCAL
from mlops_cli.core.pipeline.journal import open_pages
from mlops_cli.core.pipeline.results import Result, ResultCache, decode_result
from mlops_cli.core.project.clone import known_clone
from mlops_cli.core.project.lock import Lock, parse_lock, read_lock
from mlops_cli.core.project.paths import ProjectPaths
from mlops_cli.core.registry.records import Version
from mlops_cli.core.registry.registry import Registry
from mlops_cli.core.store.mark import Root
from mlops_cli.core.store.projects import Member, members
from mlops_cli.core.store.sweep import links_into_cache
from mlops_cli.core.tracking.records import Run
from mlops_cli.core.tracking.store import RunStore
from mlops_cli.core.workflows.workspace import Workspace

_DIGEST = re.compile(r"(xxh128:[0-9a-f]{32}|blake3:[0-9a-f]{64})")


class Needed(msgspec.Struct):
    """Everything that needs objects. `spent` are results that go, because the runs that made them were let go.

    `linked` are digests of objects that links in a work tree point at. `projects` are those of a shared cache,
    `others` those of them that were asked beside this one.
    """

    roots: list[Root]
    spent: list[Path]
    linked: set[str]
    others: list[str]
    runs_let_go: int = 0


def what_is_needed(workspace: Workspace, *, keep_runs: int | None = None, history: bool = False) -> Needed:
    """What this project, and every other one of its cache, needs. `keep_runs` newest runs of each; None for all.

    Raises ProjectError, IntegrityError, RemoteError if any of it cannot be told: then nothing may be deleted.
    """
    needs = Needed([], [], set(), [])
    kept: set[str] = set()
    known: set[str] = set()
    for project in (workspace, *_others(workspace, needs)):
        title = "" if project is workspace else f" of {project.project.name}"
        _gather(project, needs, title, keep_runs, history, kept, known)
    keys = {key for root in needs.roots for key in root.stages}
    for result, path in _results(workspace.paths.cache):
        if result.key in keys or result.run in kept or (keep_runs is None and result.run not in known):
            needs.roots.append(Root("result", f"the result of stage {result.stage}", _result_entries(result)))
        elif result.run in known or keep_runs is not None:
            needs.spent.append(path)
    return needs


def own_roots(workspace: Workspace) -> list[Root]:
    """What this project alone needs, without results."""
    needs = Needed([], [], set(), [])
    _gather(workspace, needs, "", None, history=False, kept=set(), known=set())
    return [root for root in needs.roots if root.kind not in ("link", "stage")]


def _gather(
    project: Workspace,
    needs: Needed,
    title: str,
    keep_runs: int | None,
    history: bool,
    kept: set[str],
    known: set[str],
) -> None:
    needs.roots += _locks(project, title, history=history)
    needs.roots += _under_way(project.paths, title)
    needs.roots += _registered(project, title)
    runs = _runs(project.paths)
    chosen = _chosen(runs, keep_runs)
    needs.runs_let_go += len(runs) - len(chosen)
    known.update(run.id for run in runs)
    kept.update(run.id for run in chosen)
    needs.roots += [run_root(run, title) for run in chosen]
    links = set(links_into_cache(project.root))
    needs.linked |= links
    if links:
        needs.roots.append(Root("link", f"links in the work tree{title}", digests=tuple(sorted(links))))


# -- mlo.lock ----------------------------------------------------------------------------------------------------


def _locks(project: Workspace, title: str, *, history: bool) -> Iterator[Root]:
    path = project.paths.lock
    yield _lock_root("lock", f"mlo.lock{title}", project.read_lock())
    revisions = Revisions(project.root, project.environ)
    for folder in revisions.linked_folders():
        yield _lock_root("worktree", f"mlo.lock in {folder}", _tell(read_lock, folder / path.name, str(folder)))
    for version in revisions.versions_of(path.name, history=history):
        first = version.places[0]
        where = f"{first.kind} {first.name}{title}" if first.kind != "worktree" else f"{first.name}{title}"
        if len(version.places) > 1:
            where += f" and {len(version.places) - 1} more"
        yield _lock_root(first.kind, where, _parse(version.data, path, where))


# -- stages under way --------------------------------------------------------------------------------------------


def _under_way(paths: ProjectPaths, title: str) -> Iterator[Root]:
    """What stood where stages write right now: the cache alone has it, until they end or the next run mends it."""
    for running in _running_folders(paths):
        for page in open_pages(running):
            entries = tuple(entry for entry in page.previous.values() if entry is not None)
            yield Root("stage", f"what stage {page.stage} of run {page.run[:8]} replaces{title}", entries)


def _running_folders(paths: ProjectPaths) -> Iterator[Path]:
    """Of the project, and of its working copies."""
    yield paths.running
    for home in sorted(paths.copies.glob("*/home")):
        try:
            prefix = msgspec.json.decode(home.read_bytes(), type=dict[str, Any]).get("prefix", "")
        except (FileNotFoundError, msgspec.DecodeError):
            continue  # it is gone, or died before anything ran there
        yield ProjectPaths(home.parent / "tree" / str(prefix)).running


def _parse(data: bytes, path: Path, where: str) -> Lock:
    try:
        return parse_lock(data.decode("utf-8"), path)
    except (MloError, UnicodeDecodeError) as error:
        raise _unreadable(where, error) from None


def _tell(read: Any, path: Path, where: str) -> Lock:
    try:
        lock: Lock = read(path)
    except MloError as error:
        raise _unreadable(where, error) from None
    return lock


def _unreadable(where: str, error: Exception) -> ProjectError:
    why = error.message if isinstance(error, MloError) else str(error)
    return ProjectError(
        f"mlo.lock of {where} does not read, so what it needs cannot be told: {why}",
        hint="mend or delete that branch, tag or stash; nothing was deleted",
    )


def _lock_root(kind: Any, name: str, lock: Lock) -> Root:
    return Root(kind, name, tuple(lock.entries.values()), stages=tuple(stage.key for stage in lock.stages.values()))


# -- models and runs ---------------------------------------------------------------------------------------------


def _registered(project: Workspace, title: str) -> Iterator[Root]:
    """Every version ever registered, and what other events name."""
    if project.project.registry == LOCAL and not project.paths.database.exists():
        return
    yield from registry_roots(project.registry, title)


def registry_roots(registry: Registry, title: str) -> Iterator[Root]:
    """Every version, and what the other events name."""
    for name in registry.names():
        for version in registry.versions(name):
            yield version_root(version, title)
    named = {digest for event in registry.history() if event.kind != "register" for digest in _digests(event.data)}
    if named:
        yield Root("model", f"events of the registry{title}", digests=tuple(sorted(named)))


def version_root(version: Version, title: str = "") -> Root:
    """What a registered version names, and what it was made from."""
    entries = [version.model]
    if version.reference is not None:
        entries.append(version.reference)
    if version.evaluate is not None:
        entries.append(version.evaluate.data)
    singles = [digest for digest in (version.profile, version.manifest, version.diff) if digest]
    inputs = [digest for digest in version.inputs.values() if _DIGEST.fullmatch(digest)]
    return Root("model", f"model {version.title}{title}", tuple(entries), tuple(singles + inputs))


def run_entries(run: Run) -> tuple[Entry, ...]:
    """What a run made: artifacts, its model, outputs."""
    entries = [*run.artifacts.values(), *run.outputs.values()]
    entries += [*run.code.values(), *(entry for stage in run.stages for entry in stage.outs.values())]
    if run.model is not None and run.model.entry is not None:
        entries.append(run.model.entry)
    return tuple(dict.fromkeys(entries))


def run_root(run: Run, title: str) -> Root:
    return Root("run", f"run {run.short}{title}", run_entries(run), (run.diff,) if run.diff else ())


def _runs(paths: ProjectPaths) -> list[Run]:
    """Newest first. What scripts spooled is not in the cache before it is ingested, so that is not done here."""
    if not paths.database.exists():
        return []
    database = Database(paths.database)
    try:
        return RunStore(database).list()
    finally:
        database.close()


def _chosen(runs: list[Run], keep: int | None) -> list[Run]:
    """The newest that are over, and all that still run."""
    if keep is None:
        return runs
    over = [run for run in runs if run.is_over][:keep]
    return [*over, *(run for run in runs if not run.is_over)]


def _results(cache: Path) -> Iterator[tuple[Result, Path]]:
    for path in sorted((cache / "results").glob("??/*")):
        try:
            result = decode_result(path.read_bytes(), path.name)
        except (FileNotFoundError, IsADirectoryError):
            continue
        if result is not None and path == ResultCache(cache).path_of(result.key):
            yield result, path


def _result_entries(result: Result) -> tuple[Entry, ...]:
    logged: Logged = result.logged
    model = (logged.model.entry,) if logged.model is not None and logged.model.entry is not None else ()
    return (*result.outs.values(), *logged.artifacts.values(), *model)


def _digests(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if _DIGEST.fullmatch(value):
            yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _digests(item)


# -- the other projects of a shared cache --------------------------------------------------------------------------


def _others(workspace: Workspace, needs: Needed) -> Iterator[Workspace]:
    """Every other project that ever wrote to this cache. Raises for one that cannot be asked."""
    here = known_clone(workspace.paths.private)
    for member in members(workspace.paths.cache):
        if member.id == here:
            continue
        needs.others.append(member.title)
        yield _opened(workspace, member)


def _opened(workspace: Workspace, member: Member) -> Workspace:
    gone = f"mlo data gc --forget-project {member.root}"
    root = Path(member.root)
    if not (root / "mlo.yaml").is_file():
        raise ProjectError(
            f"{member.title} keeps data in this cache too, and cannot be read: there is no mlo.yaml",
            hint=f"mount it, or run this where it is; if it is gone for good: {gone}",
        )
    if known_clone(root / ".mlo") != member.id:
        raise ProjectError(
            f"{member.title} keeps data in this cache too; the project in {root} here is another one",
            hint=f"run this on {member.host}; if that project is gone for good: {gone}",
        )
    log = root / ".mlo" / "mlo.db-wal"
    if log.exists() and log.stat().st_size and not os.access(log.parent, os.W_OK):
        # Without a right to write, SQLite cannot be asked for what stands in that log alone.
        raise ProjectError(
            f"{member.title} keeps data in this cache too, and its database is being written by another user",
            hint="run this as a user who may write there, or when nothing runs in that project",
        )
    environ = {name: value for name, value in workspace.environ.items() if not name.startswith("MLO_")}
    try:
        other = Workspace.find(root, environ, command_line=workspace.command_line)
        other.read_lock()
    except MloError as error:
        raise ProjectError(
            f"{member.title} keeps data in this cache too, and cannot be read: {error.message}",
            hint=f"mend it; if it is gone for good: {gone}",
        ) from None
    return other
