"""`mlo dag`: the pipeline as a picture's data, and what a run would do to each stage. Nothing changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

import msgspec

from mlops_cli.core.errors import MloError
from mlops_cli.core.pipeline.graph import build_graph
from mlops_cli.core.project.expand import group_of
from mlops_cli.core.workflows.plan import RunRequest, assemble
from mlops_cli.core.workflows.workspace import Workspace

MANY = 12  # of one foreach or matrix; more are drawn as one


class DagStage(msgspec.Struct, frozen=True):
    """One stage, or with `members` the many that a foreach or matrix made. `states` counts what would happen to them:
    run, restored, cached, skipped; empty where that was not asked, or cannot be known."""

    name: str
    upstream: tuple[str, ...]
    deps: tuple[str, ...]
    outs: tuple[str, ...]
    members: tuple[str, ...] = ()
    states: dict[str, int] = {}


class Dag(msgspec.Struct, frozen=True):
    """The stages, upstream first. `unknown` says why nobody can tell what would happen to them."""

    stages: tuple[DagStage, ...]
    project: str = ""
    unknown: str = ""


def describe_dag(workspace: Workspace, stages: Sequence[str] = (), *, full: bool = True, states: bool = False) -> Dag:
    """The stages and what stands between them; not `full`: many of one group as one. Raises ProjectError, NotFound."""
    lock = workspace.read_lock()
    nodes = build_graph(workspace.project.stages, root=workspace.root, data=lock.data).select(stages)
    actions: dict[str, str] = {}
    unknown = ""
    if states and nodes:
        try:
            pipeline = assemble(workspace, RunRequest(stages=tuple(stages)))
            actions = {it.stage: it.action for it in pipeline.planner.foresee(pipeline.nodes)}
        except MloError as error:  # an input is missing, say: the picture can be drawn all the same
            unknown = error.message
    found = tuple(
        DagStage(
            node.name,
            node.upstream,
            node.deps,
            node.outs,
            states={actions[node.name]: 1} if node.name in actions else {},
        )
        for node in nodes
    )
    return Dag(found if full else _collapsed(found), workspace.project.name, unknown)


def _collapsed(stages: Sequence[DagStage]) -> tuple[DagStage, ...]:
    """The stages with every group of MANY as one, unless the groups would then lead to each other in a circle."""
    counts = Counter(group_of(stage.name) for stage in stages if "@" in stage.name)
    name_of = {
        stage.name: group_of(stage.name) if counts[group_of(stage.name)] > MANY else stage.name for stage in stages
    }
    if not any(count > MANY for count in counts.values()):
        return tuple(stages)
    joined: dict[str, list[DagStage]] = {}
    for stage in stages:
        joined.setdefault(name_of[stage.name], []).append(stage)
    found = {name: _as_one(name, parts, name_of) for name, parts in joined.items()}
    try:
        return tuple(
            found[name] for name in TopologicalSorter({it.name: it.upstream for it in found.values()}).static_order()
        )
    except CycleError:
        return tuple(stages)


def _as_one(name: str, parts: Sequence[DagStage], name_of: Mapping[str, str]) -> DagStage:
    if len(parts) == 1 and parts[0].name == name:
        stage = parts[0]
        upstream = dict.fromkeys(name_of.get(other, other) for other in stage.upstream)
        return msgspec.structs.replace(stage, upstream=tuple(upstream))
    upstream = dict.fromkeys(name_of.get(other, other) for stage in parts for other in stage.upstream)
    states: Counter[str] = Counter()
    for stage in parts:
        states.update(stage.states)
    return DagStage(
        name,
        tuple(other for other in upstream if other != name),
        tuple(dict.fromkeys(dep for stage in parts for dep in stage.deps)),
        tuple(dict.fromkeys(out for stage in parts for out in stage.outs)),
        tuple(stage.name for stage in parts),
        dict(states),
    )
