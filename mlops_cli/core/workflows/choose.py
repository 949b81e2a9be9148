"""Which run a registration takes when none is named, and what people should know of the run it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_cli.core.base.digest import Digest
from mlops_cli.core.base.git import committed, head
from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import NotFound
from mlops_cli.core.workflows.workspace import Workspace

if TYPE_CHECKING:
    from mlops_cli.core.tracking.records import Run

SEARCHED = 1000  # runs, from the newest


def choose_run(workspace: Workspace, notes: list[str]) -> Run:
    """The run that made the model which mlo.lock records; of a trial or of another branch only if that is the same.

    A later run that only found the model up to date has it too; the one that really made it is preferred, if its
    evaluation and reference rows are the same. Where mlo.lock records no model the newest finished run is taken, and
    `notes` say so. Raises NotFound if no finished run has the recorded model.
    """
    newest = workspace.runs.latest()
    path = _model_path(workspace, newest)
    recorded = workspace.read_lock().entry(path) if path else None
    if recorded is None:
        notes.append(f"mlo.lock records no model{f' at {path}' if path else ''}: this is the latest finished run")
        return newest
    runs = workspace.runs.list(limit=SEARCHED, status="finished")
    having = [run for run in runs if _model_entry(run, path) == recorded]
    if not having:
        raise NotFound(
            f"no finished run here made the model that mlo.lock records at {path}, {recorded.name.short}",
            hint=f"mlo run; or register another run's model by its id, as the latest's: mlo register {newest.short}",
        )
    plain = [run for run in having if not run.overrides]
    chosen = (plain or having)[0]
    maker = next((stage.run for stage in chosen.stages if path in stage.outs), chosen.id)
    made = next((run for run in plain if run.id == maker), None)
    return made if made is not None and _same_rows(workspace, made, chosen) else chosen


def _model_path(workspace: Workspace, newest: Run) -> str:
    if workspace.project.model is not None:
        return workspace.project.model.path
    return newest.model.path if newest.model is not None else ""


def _model_entry(run: Run, path: str) -> Entry | None:
    if run.model is not None:
        return run.model.entry or run.outputs.get(run.model.path)
    return run.outputs.get(path)


def _same_rows(workspace: Workspace, first: Run, second: Run) -> bool:
    """Would both runs' models be scored and watched against the same rows?"""
    model = workspace.project.model
    if model is None:
        return True
    paths = {model.evaluate.data if model.evaluate else None, model.reference} - {None}
    return all(_held(first, path) == _held(second, path) for path in paths)


def _held(run: Run, path: str | None) -> str | None:
    if path is None:
        return None
    output = run.outputs.get(path)
    return output.digest if output is not None else run.inputs.get(path)


def describe_origin(workspace: Workspace, run: Run, notes: list[str]) -> None:
    """Say in `notes` what sets the run apart from a clean run of the present commit."""
    if run.overrides:
        notes.append("the run had parameters of its own (-P), which are not those of mlo.yaml")
    present = head(workspace.root) if run.commit else None
    if present is not None and present.sha != run.commit:
        on = f" of {run.branch}" if run.branch and run.branch != present.branch else ""
        notes.append(f"the run's commit {(run.commit or '')[:8]}{on} is not HEAD, which is {present.sha[:8]}")
    if run.dirty:
        kept = "mlo keeps them as a patch" if run.diff else "they were not kept"
        notes.append(f"the work tree had changes that were not committed; {kept}")
    lost = uncommitted_inputs(workspace, run)
    if lost:
        some = ", ".join(lost[:3]) + (f" and {len(lost) - 3} more" if len(lost) > 3 else "")
        verb, them = ("are", "them") if len(lost) > 1 else ("is", "it")
        notes.append(f"{some}, which the run read, {verb} in no commit: commit {them}, or the code may be lost")


def uncommitted_inputs(workspace: Workspace, run: Run) -> list[str]:
    """What the run read that neither its commit nor the cache holds: code that nobody committed."""
    known = committed(workspace.root, run.commit, sorted(run.inputs)) if run.commit else set()
    return [
        path
        for path, digest in sorted(run.inputs.items())
        if path not in known and not workspace.store.has(Digest.parse(digest))
    ]
