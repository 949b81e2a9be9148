"""What a run would do and why, and the reasons of one stage. Nothing changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mlops_cli.core.base.names import name_some
from mlops_cli.core.errors import ProjectError, UsageError
from mlops_cli.core.pipeline.errors import DependencyMissing
from mlops_cli.core.pipeline.graph import Graph, Node, build_graph
from mlops_cli.core.pipeline.marker import Marker, read_marker
from mlops_cli.core.pipeline.params import lay_over
from mlops_cli.core.pipeline.plan import Elsewhere, Planner, Wishes
from mlops_cli.core.pipeline.reasons import Action, Decision, Reason
from mlops_cli.core.pipeline.requirements import refuse_absent_lock
from mlops_cli.core.pipeline.results import ResultCache
from mlops_cli.core.pipeline.worktree import WorkTree
from mlops_cli.core.project.expand import expand, group_of
from mlops_cli.core.project.lock import Lock
from mlops_cli.core.workflows.explain import explain
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


class RunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is asked for.

    `stages` are brought up to date with all that they depend on (all if none is named); `until` names more of them;
    `since` leaves out what does not stand below it; `alone` leaves out what they depend on. `overrides` are the texts
    of `-P name=value`. `force` runs the named stages, or all, even if they are up to date, and lets go of uncached
    outputs; `again` runs stages even if they are up to date, and lets go of nothing; `check` runs the named stages
    twice, and compares. `accept` takes what stands at the outputs of a stage as its result. Without `from_cache`
    nothing is restored; with `pull` missing inputs and results come from the remote. `jobs` stages run at once.
    Without `wait` it is an error that another mlo holds what a stage needs. `parent` is the run that this one belongs
    to.

    `isolated` runs in a clean working copy, with `revision` one of that commit; with `sweep` the overrides hold several
    values each (`0.1,0.2`), and every combination is a run of its own, `jobs` of them at once.
    """

    stages: tuple[str, ...] = ()
    since: tuple[str, ...] = ()
    until: tuple[str, ...] = ()
    alone: bool = False
    overrides: dict[str, str] = {}
    force: bool = False
    again: tuple[str, ...] = ()
    check: bool = False
    accept: tuple[str, ...] = ()
    from_cache: bool = True
    pull: bool = False
    jobs: int = 1
    keep_going: bool = False
    wait: bool = True
    parent: str | None = None
    isolated: bool = False
    revision: str | None = None
    sweep: bool = False


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


def graph_of(workspace: Workspace, params: Mapping[str, Any], lock: Lock) -> Graph:
    """The graph of all stages, written out with these parameters in force. Raises ProjectError."""
    if not workspace.templates:
        raise ProjectError("mlo.yaml has no stages", hint="add one: stages: {train: {cmd: python train.py}}")
    return build_graph(expand(workspace.templates, params), root=workspace.root, data=lock.data)


def selected(graph: Graph, request: RunRequest) -> list[Node]:
    return graph.select(
        request.stages,
        since=request.since,
        until=request.until,
        alone=request.alone,
        thawed=members(graph, request.stages) if request.force else (),
    )


def members(graph: Graph, names: Sequence[str]) -> list[str]:
    """The stages that names mean, written out. Raises NotFound."""
    return [member for name in names for member in graph.named(name)]


def assemble(
    workspace: Workspace, request: RunRequest | None = None, *, elsewhere: Elsewhere | None = None
) -> Pipeline:
    """Read mlo.yaml and mlo.lock as a pipeline, and refuse everything that is wrong before anything runs.

    `elsewhere` is where results and their bytes may be fetched from. Raises ProjectError, NotFound, UsageError.
    """
    request = request or RunRequest()
    project, lock = workspace.project, workspace.read_lock()
    params, typed = lay_over(project.params, request.overrides)
    graph = graph_of(workspace, params, lock)
    nodes = selected(graph, request)
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
    wishes = _wishes(request, graph, nodes, elsewhere)
    planner = Planner(
        tree, lock, results, graph, params=params, environ=workspace.environ, env=project.env, wishes=wishes
    )
    refuse_absent_lock(planner, nodes, workspace.root, project.env, lock.data)
    try:
        planner.check(nodes)
    except DependencyMissing as error:
        if error.hint == workspace.refill:
            error.hint = refill_of(workspace, request)
        raise
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


def refill_of(workspace: Workspace, request: RunRequest) -> str:
    """How bytes come here that a run reads and the cache lacks, as a hint."""
    if workspace.project.remotes and not request.pull:
        return "run `mlo run --pull`, or `mlo pull` first; if the remote lacks them too, `mlo push` where they are"
    return workspace.refill


def _wishes(request: RunRequest, graph: Graph, nodes: Sequence[Node], elsewhere: Elsewhere | None) -> Wishes:
    """Raises UsageError for a stage to be accepted that is not to be looked at, or that is to be run."""
    forced: list[str] = []
    if request.force:  # all, if none is named: of the frozen only those that are
        forced = members(graph, request.stages) or [node.name for node in nodes if not node.stage.frozen]
    forced += members(graph, request.again)
    accepted = members(graph, request.accept)
    for name in accepted:
        if name in forced:
            raise UsageError(
                f"--accept {name} takes what stands there, and --force runs it", hint="say one of the two for a stage"
            )
        if all(node.name != name for node in nodes):
            raise UsageError(
                f"--accept {name}: {name} is not among the stages asked for", hint=f"name it: mlo run {name}"
            )
    return Wishes(
        forced=frozenset(forced),
        accepted=frozenset(accepted),
        from_cache=request.from_cache,
        elsewhere=elsewhere,
    )


def why_stage(workspace: Workspace, stage: str) -> StageReasons:
    """Why `mlo run STAGE` would run a stage, bring it back or leave it. Raises NotFound for an unknown stage."""
    pipeline = assemble(workspace, RunRequest(stages=(stage,)))
    (name, *others) = pipeline.graph.named(stage)
    if others:
        raise UsageError(
            f"{stage} stands for {len(others) + 1} stages: {name_some([name, *others])}", hint=f"mlo why {name}"
        )
    decisions = explain(workspace, pipeline, pipeline.planner.foresee(pipeline.nodes))
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


def means_stage(workspace: Workspace, subject: str) -> bool:
    """Whether a name with an @ means a stage: one that is there, or one of a foreach or matrix, if no model is called
    so."""
    group = group_of(subject)
    if subject in workspace.project.stages:
        return True
    return group != subject and group in workspace.templates and group not in workspace.registry.names()


def worktree_holds(workspace: Workspace) -> Marker | None:
    """The `mlo run -P` whose outputs stand in the work tree instead of those of mlo.lock, if there is one."""
    return read_marker(workspace.paths.private / "worktree.json")
