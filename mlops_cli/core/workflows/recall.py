"""What a stage logged, where only mlo.lock knows its result: from the runs that are here, or from its outputs."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from mlops_cli.core.base.records import Logged, LoggedModel
from mlops_cli.core.errors import MloError
from mlops_cli.core.pipeline.results import Result
from mlops_cli.core.project.lock import StageLock
from mlops_cli.core.tracking.records import Run
from mlops_cli.core.workflows.workspace import Workspace

RECALLED_RUNS = 200


def recall(workspace: Workspace, result: Result, locked: Mapping[str, StageLock]) -> Result:
    """Complete a result that only mlo.lock knows, as in a fresh clone: who made it, what it logged, its model.

    `locked` are the stages of mlo.lock. `run` stays empty if no run that is here can have made it.
    """
    if result.run:
        return result
    for run in workspace.runs.list(limit=RECALLED_RUNS):
        record = next((it for it in run.stages if it.key == result.key and it.outs == result.outs), None)
        if record is None or record.status == "failed" or not record.run:
            continue
        return msgspec.structs.replace(result, run=record.run, logged=_logged(workspace, run, result, locked))
    if result.logged.model is not None:
        return result
    logged = msgspec.structs.replace(result.logged, model=_model_here(workspace, result))
    return msgspec.structs.replace(result, logged=logged)


def _logged(workspace: Workspace, run: Run, result: Result, locked: Mapping[str, StageLock]) -> Logged:
    """A run keeps what its stages logged in one heap. All of it is given to the run's last stage, and only if every
    stage is still the one of mlo.lock: figures of an older model must not come along."""
    model = run.model if run.model is not None and run.model.path in result.outs else None
    whole = all(record.name in locked and locked[record.name].key == record.key for record in run.stages)
    if not whole or run.stages[-1].key != result.key:
        return Logged(model=model)
    history = workspace.runs.history(run.id)
    metrics = tuple(point for points in history.values() for point in points)
    return Logged(_own_params(run), metrics, run.tags, run.artifacts, model)


def _own_params(run: Run) -> dict[str, object]:
    """Those that a script logged: the declared ones are written down anyway."""
    declared = {name for record in run.stages for name in record.params}
    return {
        name: value
        for name, value in run.params.items()
        if not any(name == it or name.startswith(f"{it}.") for it in declared)
    }


def _model_here(workspace: Workspace, result: Result) -> LoggedModel | None:
    """The project's model as its folder says it, where mlo.lock vouches for the folder and nobody for the run."""
    model = workspace.project.model
    entry = result.outs.get(model.path) if model is not None else None
    if model is None or entry is None:
        return None
    from mlops_cli.core.models.manifest import hash_files, read_manifest

    folder = workspace.root / model.path
    try:
        manifest = read_manifest(folder)
    except MloError:  # no model of mlo's; register will say what is wrong with it
        return None
    return LoggedModel(model.path, manifest.flavor, hash_files(folder), manifest.signature, entry)
