"""The plan: which stages stand as they should, which are brought back from the run cache, which run, and why."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from mlops_cli.core.base.expression import parse
from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import ProjectError
from mlops_cli.core.pipeline.environment import passed
from mlops_cli.core.pipeline.errors import DependencyMissing, missing_dependencies
from mlops_cli.core.pipeline.facts import facts_of
from mlops_cli.core.pipeline.graph import Graph, Node, inside
from mlops_cli.core.pipeline.param_files import ParamFiles
from mlops_cli.core.pipeline.params import declared, flat
from mlops_cli.core.pipeline.reasons import (
    ACCEPTED,
    ALWAYS,
    FORCED,
    FROZEN,
    LOST,
    NEVER,
    NO_CACHE,
    Decision,
    Inputs,
    Reason,
    differences,
)
from mlops_cli.core.pipeline.results import Result, ResultCache, joined_metrics
from mlops_cli.core.pipeline.worktree import WorkTree
from mlops_cli.core.project.lock import Lock, StageLock
from mlops_cli.core.project.stages import Environment

Metrics = Mapping[str, float]


class Verdict(msgspec.Struct, frozen=True):
    """A decision with what it rests on, and the result to use, if there is one."""

    decision: Decision
    inputs: Inputs
    result: Result | None = None

    @property
    def runs(self) -> bool:
        return self.decision.action == "run"


class Elsewhere(Protocol):
    """Where results lie that this machine has not computed: the remote, for `--pull`."""

    def result(self, key: str) -> Result | None: ...

    def bring(self, entries: Mapping[str, Entry]) -> None:
        """Fetch into the cache what of the entries is there; what is not is simply not there afterwards.

        Raises IntegrityError for bytes that are not what their digest says.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What was asked for beyond "bring it up to date": stages to run anyway, stages whose present outputs are taken as
    their results, whether the run cache may be used, and where else results may come from."""

    forced: frozenset[str] = frozenset()
    accepted: frozenset[str] = frozenset()
    from_cache: bool = True
    elsewhere: Elsewhere | None = None


class Planner:
    """Decides stage by stage. `params` are the values in force; `env` is for stages that name none of their own."""

    def __init__(
        self,
        tree: WorkTree,
        lock: Lock,
        results: ResultCache,
        graph: Graph,
        *,
        params: Mapping[str, Any],
        environ: Mapping[str, str],
        env: Environment | None = None,
        wishes: Wishes | None = None,
    ) -> None:
        self._tree = tree
        self._lock = lock
        self._results = results
        self._graph = graph
        self._params = params
        self._environ = environ
        self._env = env
        self._wishes = wishes or Wishes()
        self._files = ParamFiles(tree.root)
        self._declared: dict[str, dict[str, Any]] = {}

    def check(self, nodes: Sequence[Node]) -> None:
        """Everything that can be known to be wrong before anything runs; of a frozen stage nothing is asked.

        Raises ProjectError for an unknown parameter, DependencyMissing for all deps that nothing makes.
        """
        chosen = {node.name for node in nodes}
        coming = {path for node in nodes for path, makers in node.feeds.items() if not chosen.isdisjoint(makers)}
        active = [node for node in nodes if not self.rests(node)]
        for node in active:
            if not node.awaits_params:
                self.params_of(node)
        needed = [(node, path) for node in active for path in (*node.files, *node.stage.checks_files)]
        absent = [(node, path) for node, path in needed if path not in coming and not self._tree.path(path).exists()]
        for node, path in absent:
            if path in node.feeds:
                raise DependencyMissing(
                    f"stage {node.name} reads {path}, which does not exist; "
                    f"{' and '.join(node.feeds[path])} makes it, and is not asked for",
                    hint=f"mlo run {shlex.quote(node.name)} brings all that it reads up to date first",
                )
        if absent:
            raise self._missing([(node.name, path) for node, path in absent])

    def rests(self, node: Node) -> bool:
        """Whether the stage is left as it stands, whatever became of what it reads."""
        return node.stage.frozen and node.name not in self._wishes.forced

    def forget(self) -> None:
        """Read the files of parameters again: somebody may have edited them, or a stage written them."""
        self._files, self._declared = ParamFiles(self._tree.root), {}

    def params_of(self, node: Node) -> dict[str, Any]:
        """The values of the parameters that a stage declares. Raises ProjectError."""
        if node.name not in self._declared:
            self._declared[node.name] = declared(self._params, node.stage.params, node.name, self._files)
        return self._declared[node.name]

    def decide(
        self, node: Node, metrics: Metrics | None = None, skipped: Mapping[str, Verdict] | None = None
    ) -> Verdict:
        """Decide with the work tree as it stands; every stage upstream has been dealt with, and logged `metrics`."""
        return self._decide(node, self._tree.entry, metrics or {}, skipped or {})

    def metrics_for(self, node: Node, chosen: Collection[str], known: Mapping[str, Result]) -> dict[str, float]:
        """The metrics of all that a stage depends on, near or far: of those that are `chosen` for this run as far as
        their results are `known`, of others by their last results. What does not stand above it may still be running,
        so its metrics do not count."""
        above = self._graph.above(node.name)
        locked = {name: stage.key for name, stage in self._lock.stages.items() if name not in chosen}
        found = [
            known.get(name) if name in chosen else self._results.get(locked[name]) if name in locked else None
            for name in above
        ]
        return joined_metrics(found)

    def foresee(self, nodes: Sequence[Node]) -> list[Decision]:
        """The decisions of a whole run, changing nothing. Where an upstream stage will run, so will the stage:
        only the run itself can find that its inputs came out as before."""
        decisions: list[Decision] = []
        known: dict[str, Verdict] = {}  # the stages that will not run
        chosen = {node.name for node in nodes}
        for node in nodes:
            running = [name for name in node.upstream if name in chosen and name not in known]
            if running and not self.rests(node):
                decisions.append(self._after(node, running))
                continue
            late = self._late_params(node, known)
            if late is not None:
                decisions.append(self._warned(node, Decision(node.name, "run", (late,))))
                continue
            metrics = {}
            if node.stage.when is not None:
                results = {name: verdict.result for name, verdict in known.items() if verdict.result is not None}
                metrics = self.metrics_for(node, chosen, results)
            verdict = self._decide(node, self._foresight(node, known), metrics, known)
            if not verdict.runs:
                known[node.name] = verdict
            decisions.append(verdict.decision)
        return decisions

    def _late_params(self, node: Node, known: Mapping[str, Verdict]) -> Reason | None:
        """Why nobody can tell yet: the file that its parameters are in has yet to come back."""
        if not node.awaits_params or self.rests(node):
            return None
        files = {name.partition(":")[0] for name in node.stage.params}
        makers = [name for path, names in node.feeds.items() if path in files for name in names]
        late = [name for name in makers if name in known and known[name].decision.action == "restored"]
        text = f"its parameters are known when {' and '.join(late)} is restored"
        return Reason("upstream", text, name=late[0]) if late else None

    def _after(self, node: Node, running: Sequence[str]) -> Decision:
        upstream = [Reason("upstream", f"{' and '.join(running)} will run first", name=running[0])]
        if node.stage.when is not None:
            upstream.append(Reason("when", f"then it is known whether {node.stage.when}", name=node.stage.when))
        forced = [FORCED] if node.name in self._wishes.forced else []
        never = [NEVER] if node.name not in self._lock.stages else []
        return self._warned(node, Decision(node.name, "run", (*forced, *never, *upstream)))

    def _foresight(self, node: Node, foreseen: Mapping[str, Verdict]) -> Callable[[str], Entry | None]:
        """What a path will hold once the restored stages upstream are back."""
        return lambda path: self._foreseen_entry(path, node, foreseen)

    def _foreseen_entry(self, path: str, node: Node, foreseen: Mapping[str, Verdict]) -> Entry | None:
        back: dict[str, Entry] = {}  # all else stands in the work tree already, even where the cache has lost it
        for maker in node.feeds.get(path, ()):
            verdict = foreseen.get(maker)
            if verdict is not None and verdict.result is not None and verdict.decision.action == "restored":
                back |= verdict.result.outs
        for out, entry in back.items():
            if out == path:
                return entry
            if inside(path, out):
                return self._tree.below(entry, path.removeprefix(out + "/"))
        return self._tree.entry_with(path, {out: entry for out, entry in back.items() if inside(out, path)})

    # -- one stage -----------------------------------------------------------------------------------------

    def _decide(
        self,
        node: Node,
        entry_of: Callable[[str], Entry | None],
        metrics: Metrics,
        foreseen: Mapping[str, Verdict],
    ) -> Verdict:
        locked = self._lock.stages.get(node.name)
        if self.rests(node):
            return self._frozen(node, locked)
        passed_over = self._passed_over(node, metrics, foreseen)
        if passed_over is not None:
            nothing = Inputs(node.command, {}, {}, node.outs, {})
            return Verdict(Decision(node.name, "skipped", (passed_over,)), nothing)
        inputs = self._inputs(node, entry_of)
        key = inputs.key
        if node.name in self._wishes.accepted:
            return Verdict(Decision(node.name, "cached", (ACCEPTED,), key), inputs, self._accepted(node, key, locked))
        result = self._result(key, locked, node)
        standing = [path for path in node.outs if result is not None and self._tree.entry(path) == result.outs[path]]
        reasons = [*differences(node, locked, inputs, key), *self._damage(locked, key)]
        if node.name in self._wishes.forced:
            action, reasons = "run", [FORCED]
        elif node.compares_nothing:
            action, reasons = "run", [ALWAYS]
        elif result is None:
            action, reasons = "run", reasons or [LOST]
        elif len(standing) == len(node.outs):
            action, reasons = "cached", []
        elif not self._wishes.from_cache:
            action, reasons = "run", [*reasons, NO_CACHE]
        elif self._can_come_back({path: result.outs[path] for path in node.outs if path not in standing}):
            action = "restored"
        else:
            action, reasons = "run", [*reasons, LOST]
        decision = Decision(node.name, action, tuple(reasons), key)  # type: ignore[arg-type]
        if action == "run":
            decision, result = self._warned(node, decision), None
        return Verdict(decision, inputs, result)

    def _passed_over(self, node: Node, metrics: Metrics, foreseen: Mapping[str, Verdict]) -> Reason | None:
        """Why the stage is skipped, if it is."""
        for name in node.upstream:
            if name in foreseen and foreseen[name].decision.action == "skipped":
                return Reason("upstream", f"{name} is skipped", name=name)
        if node.stage.when is None:
            return None
        condition = parse(node.stage.when)
        values = {**dict(flat(self._params)), **metrics}
        if condition.evaluate(values):
            return None
        met = {name: values.get(name) for name in sorted(condition.names)}
        unknown = "not known here (metrics of what it depends on count)"
        said = ", ".join(f"{name} is {unknown if value is None else value}" for name, value in met.items())
        return Reason("when", f"not {condition.text}: {said}" if said else f"not {condition.text}", new=met)

    def _frozen(self, node: Node, locked: StageLock | None) -> Verdict:
        """A frozen stage is what stands at its outputs, or what mlo.lock says of them. Raises ProjectError."""
        standing = {path: self._tree.entry(path) for path in node.outs}
        kept = locked.outs if locked is not None else {}
        outs = {path: entry or kept.get(path) for path, entry in standing.items()}
        lost = [path for path, entry in outs.items() if entry is None]
        absent = {path: entry for path, entry in outs.items() if standing[path] is None and entry is not None}
        if lost or not self._can_come_back(absent):
            raise ProjectError(
                f"stage {node.name} is frozen, and {', '.join(lost or absent)} is not here",
                hint=f"mlo pull; or run it all the same: mlo run --force {node.name}",
            )
        inputs = Inputs(
            locked.cmd if locked is not None else node.command,
            dict(locked.deps) if locked is not None else {},
            dict(locked.params) if locked is not None else {},
            node.outs,
            {},
            dict(locked.facts) if locked is not None else {},
        )
        key = locked.key if locked is not None else inputs.key
        whole = {path: entry for path, entry in outs.items() if entry is not None}
        decision = Decision(node.name, "restored" if absent else "cached", (FROZEN,), key)
        return Verdict(decision, inputs, self._known(node, key, whole))

    def _accepted(self, node: Node, key: str, locked: StageLock | None) -> Result:
        outs = {path: self._tree.entry(path) for path in node.outs}
        missing = [path for path, entry in outs.items() if entry is None]
        if missing:
            raise ProjectError(
                f"stage {node.name} cannot be accepted: {', '.join(missing)} does not exist",
                hint=f"mlo run {node.name}",
            )
        whole = {path: entry for path, entry in outs.items() if entry is not None}
        before = self._results.get(locked.key) if locked is not None else None
        if before is not None and before.outs == whole:  # what it logged belongs to these very bytes
            return msgspec.structs.replace(before, stage=node.name, key=key)
        return Result(node.name, key, "", whole)

    def _known(self, node: Node, key: str, outs: dict[str, Entry]) -> Result:
        stored = self._results.get(key)
        return stored if stored is not None and stored.outs == outs else Result(node.name, key, "", outs)

    def _can_come_back(self, entries: Mapping[str, Entry]) -> bool:
        lacking = {path: entry for path, entry in entries.items() if not self._tree.is_kept(entry)}
        if lacking and self._wishes.elsewhere is not None:
            self._wishes.elsewhere.bring(lacking)
            return all(map(self._tree.is_kept, lacking.values()))
        return not lacking

    def _inputs(self, node: Node, entry_of: Callable[[str], Entry | None]) -> Inputs:
        env = node.stage.env or self._env
        read = (*node.deps, env.file) if env is not None and env.file is not None else node.deps
        digests = {path: entry.digest for path in read if (entry := entry_of(path)) is not None}
        missing = [(node.name, path) for path in read if path not in digests]
        if missing:
            raise self._missing(missing)
        return Inputs(
            node.command,
            {path: digests[path] for path in node.deps},
            self.params_of(node),
            node.outs,
            passed(self._environ, node.stage.pass_env),
            facts_of(node, env, digests, self._tree.root),
        )

    def _missing(self, missing: Sequence[tuple[str, str]]) -> DependencyMissing:
        added = {}
        for _, path in missing:
            entries = [it for name, it in self._lock.data.items() if inside(path, name) or inside(name, path)]
            if entries:
                added[path] = all(map(self._tree.is_kept, entries))
        return missing_dependencies(missing, added, self._tree.store.refill)

    def _result(self, key: str, locked: StageLock | None, node: Node) -> Result | None:
        """The lock's word on the outputs goes before the cache's: a stage that does not repeat itself may have
        given another result here than where the lock was written."""
        stored = self._results.get(key)
        if stored is None and self._wishes.elsewhere is not None and self._wishes.from_cache:
            stored = self._wishes.elsewhere.result(key)
        if locked is not None and locked.key == key and set(locked.outs) == set(node.outs):
            if stored is not None and stored.outs == locked.outs:
                return stored
            return Result(node.name, key, "", dict(locked.outs))
        if node.persist:  # such a result also hangs on what stood there before
            return None
        return stored if stored is not None and set(stored.outs) == set(node.outs) else None

    def _damage(self, locked: StageLock | None, key: str) -> list[Reason]:
        if locked is None or locked.key != key:
            return []
        reasons = []
        for path, entry in locked.outs.items():
            found = self._tree.entry(path)
            if found != entry:
                what = "is missing" if found is None else "is not what the stage wrote"
                old, new = entry.digest, found.digest if found is not None else None
                reasons.append(Reason("output", f"output {path} {what}", path, old, new))
        return reasons

    def _warned(self, node: Node, decision: Decision) -> Decision:
        return msgspec.structs.replace(decision, would_overwrite=tuple(self._tree.unsaved(node.outs)))
