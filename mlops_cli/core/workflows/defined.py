"""Which stages mlo.yaml and the overlays beside it define by now, whatever a run that goes on was planned from."""

from __future__ import annotations

from mlops_cli.core.data.ignore import edit_ignored
from mlops_cli.core.errors import MloError
from mlops_cli.core.pipeline.graph import build_graph
from mlops_cli.core.project.lock import Lock
from mlops_cli.core.workflows.plan import Pipeline
from mlops_cli.core.workflows.workspace import Workspace


def defined_stages(workspace: Workspace) -> dict[str, set[str]] | None:
    """Stage -> its outputs in any environment; None if one of the files does not read, so that nobody can tell."""
    root = workspace.root
    overlays = [path.name[len("mlo.") : -len(".yaml")] for path in sorted(root.glob("mlo.*.yaml"))]
    stages: dict[str, set[str]] = {}
    try:
        for environment in (None, *overlays):
            stages_here = Workspace.find(root, workspace.environ, environment=environment).project.stages
            for node in build_graph(stages_here, root=root).nodes.values():
                stages.setdefault(node.name, set()).update(node.outs)
    except (MloError, OSError):
        return None
    return stages


def without_gone(workspace: Workspace, pipeline: Pipeline, lock: Lock) -> Lock:
    """mlo.lock as it is by now, without the stages that stood there when the run was planned and that are nowhere
    any more."""
    gone = {name for name in pipeline.lock.stages if name in lock.stages and name not in pipeline.graph.nodes}
    defined = defined_stages(workspace) if gone else None
    if defined is not None:
        for name in gone - defined.keys():
            del lock.stages[name]
    return lock


def ignore_outputs(workspace: Workspace, pipeline: Pipeline) -> None:
    """Keep outputs out of git: the cache has their bytes, and mlo.lock names them. Whatever is neither an output, in
    any environment, nor added data any more is let go."""
    outs = {path for node in pipeline.graph.nodes.values() for path in node.outs}
    lock, defined = workspace.read_lock(), defined_stages(workspace)  # as they are by now
    keep = None
    if defined is not None:
        others = {path for paths in defined.values() for path in paths}
        added = {path for name, it in lock.stages.items() if name not in pipeline.lock.stages for path in it.outs}
        keep = [*lock.data, *others, *added, workspace.paths.private.name]
    edit_ignored(workspace.root, add=sorted(outs), keep=keep)
