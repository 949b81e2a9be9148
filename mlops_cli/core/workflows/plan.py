"""What a run would do and why, the reasons of one stage, and the pipeline as a picture's data. Nothing changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mlops_cli.core.errors import ProjectError
from mlops_cli.core.pipeline.graph import Graph, Node, build_graph
from mlops_cli.core.pipeline.journal import Marker, read_marker
from mlops_cli.core.pipeline.params import lay_over
from mlops_cli.core.pipeline.plan import Action, Decision, Planner, Reason
from mlops_cli.core.pipeline.results import ResultCache
from mlops_cli.core.pipeline.worktree import WorkTree
from mlops_cli.core.project.lock import Lock
from mlops_cli.core.workflows.workspace import Workspace


class Pipeline(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that planning needs, put together once. `overrides` are typed; `nodes` the stages selected."""

    graph: Graph
    nodes: list[Node]
    lock: Lock
    tree: WorkTree
    results: ResultCache
    planner: Planner
    params: dict[str, Any]
    overrides: dict[str, Any]


class StageReasons(msgspec.Struct, frozen=True, kw_only=True):
    """Why a stage would run, or would not. `deps` and `params` are those of its last accepted result; `run` made it
    (empty if unknown); `upstream` are the stages before it that are not up to date."""

    stage: str
    command: str
    action: Action
    reasons: tuple[Reason, ...]
    would_overwrite: tuple[str, ...] = ()
    upstream: tuple[Decision, ...] = ()
    deps: dict[str, str] = {}
    params: dict[str, Any] = {}
    outs: tuple[str, ...] = ()
    run: str = ""


class DagStage(msgspec.Struct, frozen=True):
    name: str
    upstream: tuple[str, ...]
    deps: tuple[str, ...]
    outs: tuple[str, ...]


class Dag(msgspec.Struct, frozen=True):
    """The stages, upstream first."""

    stages: tuple[DagStage, ...]


def assemble(
    workspace: Workspace, stages: Sequence[str] = (), *, overrides: Mapping[str, str] | None = None, force: bool = False
) -> Pipeline:
    """Read mlo.yaml and mlo.lock as a pipeline, and refuse everything that is wrong before anything runs.

    `force` means the named stages, or all if none is named. Raises ProjectError, NotFound, UsageError.
    """
    project = workspace.project
    if not project.stages:
        raise ProjectError("mlo.yaml has no stages", hint="add one: stages: {train: {cmd: python train.py}}")
    lock = workspace.read_lock()
    graph = build_graph(project.stages, root=workspace.root, data=lock.data)
    nodes = graph.select(stages)
    params, typed = lay_over(project.params, overrides or {})
    made = [*lock.data, *(path for node in graph.nodes.values() for path in node.outs)]
    tree = WorkTree(
        workspace.root,
        workspace.store,
        workspace.index,
        link=project.cache.link,
        made=made,
        locked=lock.entries,
        progress=workspace.progress,
    )
    results = ResultCache(workspace.paths.cache)
    forced = (stages or graph.nodes) if force else ()
    planner = Planner(tree, lock, results, params=params, environ=workspace.environ, forced=forced)
    planner.check(nodes)
    return Pipeline(
        graph=graph,
        nodes=nodes,
        lock=lock,
        tree=tree,
        results=results,
        planner=planner,
        params=params,
        overrides=typed,
    )


def why_stage(workspace: Workspace, stage: str) -> StageReasons:
    """Why `mlo run STAGE` would run a stage, bring it back or leave it. Raises NotFound for an unknown stage."""
    pipeline = assemble(workspace, [stage])
    decisions = pipeline.planner.foresee(pipeline.nodes)
    mine = decisions[-1]
    node = pipeline.nodes[-1]
    locked = pipeline.lock.stages.get(stage)
    result = pipeline.results.get(locked.key) if locked is not None else None
    return StageReasons(
        stage=stage,
        command=node.command_text,
        action=mine.action,
        reasons=mine.reasons,
        would_overwrite=mine.would_overwrite,
        upstream=tuple(decision for decision in decisions[:-1] if decision.action != "cached"),
        deps=dict(locked.deps) if locked is not None else {},
        params=dict(locked.params) if locked is not None else {},
        outs=node.outs,
        run=result.run if result is not None else "",
    )


def describe_dag(workspace: Workspace, stages: Sequence[str] = ()) -> Dag:
    """The stages and what stands between them. Raises ProjectError, NotFound."""
    graph = build_graph(workspace.project.stages, root=workspace.root, data=workspace.read_lock().data)
    nodes = graph.select(stages)
    return Dag(tuple(DagStage(node.name, node.upstream, node.deps, node.outs) for node in nodes))


def worktree_holds(workspace: Workspace) -> Marker | None:
    """The `mlo run -P` whose outputs stand in the work tree instead of those of mlo.lock, if there is one."""
    return read_marker(workspace.paths.private / "worktree.json")
