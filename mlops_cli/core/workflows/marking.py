"""The marker of the work tree once a run ended, and the outputs of skipped stages that it names."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlops_cli.core.base.records import StageRecord
from mlops_cli.core.pipeline.marker import marker_after, read_marker, write_marker
from mlops_cli.core.workflows.plan import Pipeline
from mlops_cli.core.workflows.workspace import Workspace

DONE = ("ran", "restored", "cached")
MARKER = "worktree.json"


def mark_worktree(
    workspace: Workspace,
    pipeline: Pipeline,
    run: str,
    records: Sequence[StageRecord],
    given_up: Callable[[], bool],
) -> None:
    """Say which stages' outputs are not those of mlo.lock."""
    path = workspace.paths.private / MARKER
    with workspace.recording(given_up=given_up):
        after = marker_after(read_marker(path), run, pipeline.overrides, records, pipeline.lock.stages, DONE)
        write_marker(path, after)


def settle_skipped(workspace: Workspace, pipeline: Pipeline, records: Sequence[StageRecord], *, wait: bool) -> None:
    """Where a run without overrides skipped a stage whose outputs are those of another run, let what mlo.lock says of
    it stand there, or nothing; bytes that are in no cache stay, and are named."""
    path = workspace.paths.private / MARKER
    before = read_marker(path)
    if before is None or pipeline.overrides or workspace.home is not None:
        return
    skipped = [it.name for it in records if it.status == "skipped" and it.name in before.stages]
    if not skipped:
        return
    outs = [out for name in skipped for out in pipeline.graph.nodes[name].outs]
    with workspace.holding(outs, wait=wait):
        pipeline.tree.forget(outs)
        settled = {name for name in skipped if _settle(workspace, pipeline, name)}
    with workspace.recording(wait=wait):
        now = read_marker(path)
        if now is not None:
            write_marker(path, now.without(settled))


def _settle(workspace: Workspace, pipeline: Pipeline, name: str) -> bool:
    """Whether the outputs are now those of mlo.lock, or gone."""
    tree, locked = pipeline.tree, pipeline.lock.stages.get(name)
    kept = locked.outs if locked is not None else {}
    due = [out for out in pipeline.graph.nodes[name].outs if not tree.holds(out, kept.get(out))]
    unsaved = tree.unsaved(due)
    if unsaved:
        workspace.progress.note(
            f"{name}: skipped, but {', '.join(unsaved)} of another run stands there, and is in no cache; remove it"
        )
        return False
    for out in due:
        tree.secure(out)
        entry = kept.get(out)
        if entry is not None and tree.is_kept(entry):
            tree.bring_back(out, entry)
        else:
            tree.take_away(out)
    return True
