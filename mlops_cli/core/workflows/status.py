"""Where things stand: data, pipeline, work tree, runs, models and drift, each in a line or two. Nothing changes."""

from __future__ import annotations

import msgspec

from mlops_cli.core.data.compare import FileState
from mlops_cli.core.errors import MloError
from mlops_cli.core.pipeline.marker import Marker
from mlops_cli.core.pipeline.reasons import Decision
from mlops_cli.core.tracking.records import Run
from mlops_cli.core.workflows.data_status import data_status
from mlops_cli.core.workflows.models import VersionRow, list_models
from mlops_cli.core.workflows.plan import assemble, worktree_holds
from mlops_cli.core.workflows.workspace import Workspace


class Trouble(msgspec.Struct, frozen=True):
    """A part that could not be looked at, and why; the other parts are still told."""

    part: str
    message: str
    hint: str | None = None


class LastRun(msgspec.Struct, frozen=True):
    id: str
    status: str
    start: str
    metrics: dict[str, float]


class DriftCheck(msgspec.Struct, frozen=True):
    """The last recorded check of the predictions of a version that an alias points at; `columns` are its alarms."""

    model: str
    time: str
    verdict: str
    columns: list[str]


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Everything `mlo status` tells. `stages` are the decisions a plain `mlo run` would take, upstream first.

    `worktree` says which `mlo run -P` the work tree holds instead of what mlo.lock records.
    """

    project: str
    root: str
    entries: int
    files: int
    size: int  # bytes
    changes: list[FileState]
    stages: tuple[Decision, ...]
    worktree: str | None
    run: LastRun | None
    registry: str
    models: list[VersionRow]
    drift: list[DriftCheck]
    troubles: list[Trouble]

    @property
    def clean(self) -> bool:
        """Nothing to add, nothing to run, nothing unreadable."""
        return not self.changes and not self.troubles and all(it.action in ("cached", "skipped") for it in self.stages)


def project_status(workspace: Workspace) -> Status:
    """Look at every part; one that cannot be read becomes a trouble. Raises ProjectError for a damaged mlo.lock."""
    troubles: list[Trouble] = []
    data = data_status(workspace)
    stages: tuple[Decision, ...] = ()
    models: list[VersionRow] = []
    drift: list[DriftCheck] = []
    run: Run | None = None
    if workspace.project.stages:
        try:
            pipeline = assemble(workspace)
            stages = tuple(pipeline.planner.foresee(pipeline.nodes))
        except MloError as error:
            troubles.append(Trouble("pipeline", error.message, error.hint))
    try:
        run = next(iter(workspace.runs.list(limit=1)), None)
    except MloError as error:
        troubles.append(Trouble("runs", error.message, error.hint))
    try:
        models = list_models(workspace).versions
        drift = _last_checks(workspace)
    except MloError as error:
        troubles.append(Trouble("registry", error.message, error.hint))
    holds = _still_held(workspace, data.changes)
    return Status(
        project=workspace.project.name,
        root=str(workspace.root),
        entries=data.entries,
        files=data.files,
        size=data.size,
        changes=data.changes,
        stages=stages,
        worktree=holds.text if holds else None,
        run=LastRun(run.id, run.status, run.start, run.metrics) if run else None,
        registry=workspace.project.registry,
        models=models,
        drift=drift,
        troubles=troubles,
    )


def _still_held(workspace: Workspace, changes: list[FileState]) -> Marker | None:
    """What a `mlo run -P` left, unless a checkout has put back all that it made since."""
    marker = worktree_holds(workspace)
    if marker is None:
        return None
    locked = workspace.read_lock().stages
    differing = {change.entry for change in changes if change.state != "not_cached"}
    held = any(name not in locked or differing & locked[name].outs.keys() for name in marker.stages)
    return marker if held else None


def _last_checks(workspace: Workspace) -> list[DriftCheck]:
    """The newest recorded check of each version that an alias points at now; what served before is history."""
    registry = workspace.registry
    pointed = {f"{name}@{number}" for name in registry.names() for number in registry.aliases(name).values()}
    newest: dict[str, DriftCheck] = {}
    for event in registry.history():
        if event.kind == "drift" and event.subject in pointed:
            columns = [str(column) for column in event.data.get("alarms", ())]
            newest[event.subject] = DriftCheck(event.subject, event.time, event.data.get("verdict", ""), columns)
    return list(newest.values())
