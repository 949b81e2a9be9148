"""`mlo runs apply RUN`: the outputs of a run that is over, in the work tree."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from mlops_cli.core.base.git import head
from mlops_cli.core.base.records import Entry, StageRecord
from mlops_cli.core.errors import MloError, NotFound, ProjectError, UsageError, WouldOverwrite
from mlops_cli.core.pipeline.marker import marker_after, read_marker, write_marker
from mlops_cli.core.pipeline.params import lookup
from mlops_cli.core.pipeline.worktree import WorkTree
from mlops_cli.core.project.lock import Lock
from mlops_cli.core.tracking.records import Run
from mlops_cli.core.workflows.marking import DONE
from mlops_cli.core.workflows.plan import RunRequest, graph_of
from mlops_cli.core.workflows.run import plan_run
from mlops_cli.core.workflows.workspace import Workspace


class Edit(msgspec.Struct, frozen=True):
    """A parameter of mlo.yaml that the run had another value of. `now` is what mlo.yaml says, null if nothing."""

    name: str
    value: Any
    now: Any


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What was done: `restored` are the outputs that changed, `standing` those that were so already, `left` those that
    no stage makes any more. `edits` make it last, unless there are `others`: stages that mlo run makes anew all the
    same, as they read other code or data now, or go on from what persists."""

    run: str
    name: str
    restored: tuple[str, ...]
    standing: tuple[str, ...]
    left: tuple[str, ...] = ()
    edits: tuple[Edit, ...] = ()
    others: tuple[str, ...] = ()
    metrics: dict[str, float] = {}
    commit: str | None = None
    other_commit: bool = False


def apply_run(workspace: Workspace, text: str, *, force: bool = False) -> Applied:
    """Bring back what the stages of a run wrote. mlo.yaml and mlo.lock stay as they are; the marker names the run.

    Raises RunNotFound, UsageError for a sweep, ProjectError for a run that did not finish, WouldOverwrite for uncached
    bytes without `force`, NotFound for outputs that the cache has not; nothing has changed by then.
    """
    run = workspace.runs.get(text)
    _refuse(workspace, run)
    lock = workspace.read_lock()
    graph = graph_of(workspace, workspace.project.params, lock)
    known = [out for node in graph.nodes.values() for out in node.outs]
    records = [record for record in run.stages if record.status in DONE and record.name in graph.nodes]
    outs = {path: entry for record in records for path, entry in record.outs.items() if path in known}
    with workspace.holding(list(outs)):
        changed = _bring_back(workspace, _tree(workspace, lock, known), outs, force=force)
    with workspace.recording():
        _mark(workspace, run, records)
    present = head(workspace.root) if run.commit else None
    return Applied(
        run=run.id,
        name=run.name,
        restored=tuple(changed),
        standing=tuple(path for path in outs if path not in changed),
        left=tuple(path for path in run.outputs if path not in outs),
        edits=_edits(workspace, run),
        others=_others(workspace, run, records),
        metrics=run.metrics,
        commit=run.commit,
        other_commit=present is not None and present.sha != run.commit,
    )


def _refuse(workspace: Workspace, run: Run) -> None:
    points = workspace.runs.list(parent=run.id)
    if points:
        raise UsageError(
            f"run {run.short} is a sweep of {len(points)} points; name one of them",
            hint=f"mlo runs list --parent {run.short}",
        )
    if run.status != "finished":
        raise ProjectError(f"run {run.short} is {run.status}, so it has no whole result", hint="mlo runs list")
    if not run.outputs:
        raise ProjectError(f"run {run.short} has no outputs of stages", hint="mlo runs list")


def _tree(workspace: Workspace, lock: Lock, outs: list[str]) -> WorkTree:
    return WorkTree(
        workspace.root,
        workspace.store,
        workspace.index,
        link=workspace.project.cache.link,
        made=[*lock.data, *outs],
        locked=lock.entries,
        progress=workspace.progress,
    )


def _bring_back(workspace: Workspace, tree: WorkTree, outs: dict[str, Entry], *, force: bool) -> list[str]:
    due = [path for path, entry in outs.items() if not tree.holds(path, entry)]
    lost = [path for path in due if not tree.is_kept(outs[path])]
    if lost:
        raise NotFound(f"the cache does not have {', '.join(lost)} of that run", hint=workspace.refill)
    unsaved = tree.unsaved(due)
    if unsaved and not force:
        raise WouldOverwrite(
            f"the bytes of {', '.join(unsaved)} are in no cache and would be lost",
            hint="move them away, or let them go with --force",
        )
    for path in due:
        if path not in unsaved:
            tree.secure(path)
        tree.bring_back(path, outs[path])
    tree.index.save()
    return due


def _mark(workspace: Workspace, run: Run, records: list[StageRecord]) -> None:
    """Note whose outputs these are, where they are not those of mlo.lock; also of a run without -P."""
    path, locked = workspace.paths.private / "worktree.json", workspace.read_lock().stages
    after = marker_after(read_marker(path), run.id, {"": run.id}, records, locked, DONE)
    if after is not None and after.run == run.id:
        after = msgspec.structs.replace(after, overrides=run.overrides)
    write_marker(path, after)


def _edits(workspace: Workspace, run: Run) -> tuple[Edit, ...]:
    """Of all that the run's stages declared: a value may have stood in another mlo.yaml."""
    edits = []
    for name, value in (run.overrides | _declared(run)).items():
        try:
            now = lookup(workspace.project.params, name)
        except KeyError:
            now = None
        if now != value or type(now) is not type(value):
            edits.append(Edit(name, value, now))
    return tuple(edits)


def _declared(run: Run) -> dict[str, Any]:
    return {name: value for record in run.stages for name, value in record.params.items() if ":" not in name}


def _others(workspace: Workspace, run: Run, records: list[StageRecord]) -> tuple[str, ...]:
    """The stages whose results `mlo run` would replace, with the parameters of the run in mlo.yaml."""
    edits = {edit.name: edit.value for edit in _edits(workspace, run) if not isinstance(edit.value, dict)}
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in edits.items()}
    stages = tuple(record.name for record in records)
    try:
        plan = plan_run(workspace, RunRequest(stages=stages, overrides=texts)).plan
    except MloError:  # a parameter or a dep that is not here any more
        return stages
    keys = {record.name: record.key for record in records}
    return tuple(it.stage for it in plan if it.stage in keys and (it.action == "run" or it.key != keys[it.stage]))
