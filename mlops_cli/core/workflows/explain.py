"""The reasons of a plan told in full: what changed of a stage that waits for others, which files inside a folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from mlops_cli.core.base.digest import Digest
from mlops_cli.core.base.records import Entry
from mlops_cli.core.data.compare import items_here
from mlops_cli.core.data.differ import Side, compare, recorded, standing
from mlops_cli.core.errors import IntegrityError, MloError, NotFound
from mlops_cli.core.pipeline.graph import Node
from mlops_cli.core.pipeline.reasons import Change, Decision, Inputs, Reason, differences
from mlops_cli.core.pipeline.worktree import LITTER
from mlops_cli.core.store.tree import decode, totals
from mlops_cli.core.workflows.workspace import Workspace

if TYPE_CHECKING:
    from mlops_cli.core.workflows.plan import Pipeline

_FOLDERS = ("dep", "output")  # reasons whose old and new are digests


def explain(workspace: Workspace, pipeline: Pipeline, decisions: Sequence[Decision]) -> tuple[Decision, ...]:
    """The same decisions with reasons that name all that is known. Changes nothing."""
    nodes = {node.name: node for node in pipeline.nodes}
    running = {it.stage for it in decisions if it.action == "run"}
    return tuple(
        msgspec.structs.replace(
            it,
            reasons=tuple(
                _looked_into(workspace, reason)
                for reason in (*_own_changes(pipeline, nodes[it.stage], it, running), *it.reasons)
            ),
        )
        for it in decisions
    )


def _own_changes(pipeline: Pipeline, node: Node, decision: Decision, running: set[str]) -> list[Reason]:
    """What changed of a stage that runs after others, apart from what these will give it."""
    locked = pipeline.lock.stages.get(node.name)
    if decision.key is not None or decision.action != "run" or locked is None:
        return []
    late = {path for path, makers in node.feeds.items() if not running.isdisjoint(makers)}
    deps = {path: digest for path, digest in locked.deps.items() if path in late}
    params = dict(locked.params)
    try:
        for path in node.deps:
            entry = pipeline.tree.entry(path) if path not in late else None
            if entry is not None:
                deps[path] = entry.digest
        if not any(name.partition(":")[0] in node.feeds for name in node.stage.params):
            params = pipeline.planner.params_of(node)
    except MloError:  # the run itself will say so, when it is this stage's turn
        return []
    inputs = Inputs(node.command, deps, params, node.outs, {}, dict(locked.facts))
    found = differences(node, locked, inputs, inputs.key)
    return [it for it in found if it.kind in ("command", "dep", "param", "outputs") and it.name not in late]


def _looked_into(workspace: Workspace, reason: Reason) -> Reason:
    """A reason about a folder, with the files in it that changed, where both states can be looked into."""
    if reason.kind not in _FOLDERS or not isinstance(reason.old, str) or not isinstance(reason.new, str):
        return reason
    path = workspace.root / reason.name
    left = _kept(workspace, reason.name, reason.old)
    right = _kept(workspace, reason.name, reason.new)
    if left is None or (right is None and not path.is_dir()):
        return reason
    found = compare(left, right or _standing(workspace, reason.name))
    inside = tuple(Change(it.path, it.change, it.old_path) for it in found.changes)
    return msgspec.structs.replace(reason, inside=inside)


def _kept(workspace: Workspace, name: str, digest: str) -> Side | None:
    """What a folder was, by its tree in the cache; None for a file, and where the tree is not there."""
    store = workspace.store
    try:
        entries = decode(store.read(Digest.parse(digest)))
    except (NotFound, IntegrityError):
        return None
    # Only the digest is known of it, so what it holds is taken from itself; the trees below are held to it.
    return recorded(store, {name: Entry(digest, "dir", *totals(entries))})


def _standing(workspace: Workspace, name: str) -> Side:
    items = items_here(workspace.index, workspace.root / name, workspace.store.algorithm)
    kept = {path: item for path, item in items.items() if LITTER.isdisjoint(path.split(b"/"))}
    return standing({name: kept})
