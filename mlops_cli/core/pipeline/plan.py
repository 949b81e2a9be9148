"""The plan: which stages stand as they should, which are brought back from the run cache, which run, and why."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from mlops_cli.core.base.records import Entry
from mlops_cli.core.pipeline.environment import passed
from mlops_cli.core.pipeline.errors import DependencyMissing, missing_dependencies
from mlops_cli.core.pipeline.graph import Node, inside
from mlops_cli.core.pipeline.params import declared
from mlops_cli.core.pipeline.results import Result, ResultCache, stage_key
from mlops_cli.core.pipeline.worktree import WorkTree
from mlops_cli.core.project.lock import Lock, StageLock

Action = Literal["cached", "restored", "run"]


class Reason(msgspec.Struct, frozen=True):
    """One cause. `text` says it to people; `old` and `new` are the values where there are two."""

    kind: Literal[
        "never_run",
        "forced",
        "command",
        "dep",
        "param",
        "outputs",
        "output",
        "environment",
        "upstream",
        "lost",
        "always",
    ]
    text: str
    name: str = ""
    old: Any = None
    new: Any = None


class Decision(msgspec.Struct, frozen=True):
    """What happens to a stage. `key` is None while an upstream stage has yet to run.

    `reasons` say how it differs from its last accepted result; `would_overwrite` are outputs that only --force touches.
    """

    stage: str
    action: Action
    reasons: tuple[Reason, ...] = ()
    key: str | None = None
    would_overwrite: tuple[str, ...] = ()


class Inputs(msgspec.Struct, frozen=True):
    """All that a stage's result depends on."""

    command: str | list[str]
    deps: dict[str, str]
    params: dict[str, Any]
    outs: tuple[str, ...]
    pass_env: dict[str, str | None]

    @property
    def key(self) -> str:
        return stage_key(self.command, deps=self.deps, params=self.params, outs=self.outs, pass_env=self.pass_env)

    @property
    def command_text(self) -> str:
        return self.command if isinstance(self.command, str) else shlex.join(self.command)


class Verdict(msgspec.Struct, frozen=True):
    """A decision with what it rests on, and the result to use, if there is one."""

    decision: Decision
    inputs: Inputs
    result: Result | None = None


class Planner:
    """Decides stage by stage. `params` are the values in force; the `forced` run anyway."""

    def __init__(
        self,
        tree: WorkTree,
        lock: Lock,
        results: ResultCache,
        *,
        params: Mapping[str, Any],
        environ: Mapping[str, str],
        forced: Iterable[str] = (),
    ) -> None:
        self._tree = tree
        self._lock = lock
        self._results = results
        self._params = params
        self._environ = environ
        self._forced = frozenset(forced)
        self._declared: dict[str, dict[str, Any]] = {}

    def check(self, nodes: Sequence[Node]) -> None:
        """Everything that can be known to be wrong before anything runs.

        Raises ProjectError for an unknown parameter, DependencyMissing for all deps that nothing makes.
        """
        for node in nodes:
            self._declared[node.name] = declared(self._params, node.stage.params, node.name)
        needed = [(node.name, path) for node in nodes for path in (*node.deps, *node.stage.checks)]
        made = {path for node in nodes for path in node.feeds}
        missing = [(stage, path) for stage, path in needed if path not in made and not self._tree.path(path).exists()]
        if missing:
            raise self._missing(missing)

    def decide(self, node: Node) -> Verdict:
        """Decide with the work tree as it stands; every stage upstream has been dealt with."""
        return self._decide(node, self._tree.entry)

    def foresee(self, nodes: Sequence[Node]) -> list[Decision]:
        """The decisions of a whole run, changing nothing. Where an upstream stage will run, so will the stage:
        only the run itself can find that its inputs came out as before."""
        decisions: list[Decision] = []
        known: dict[str, Verdict] = {}  # the stages that will not run
        for node in nodes:
            running = [name for name in node.upstream if name not in known]
            if running:
                decisions.append(self._after(node, running))
                continue
            verdict = self._decide(node, self._foresight(node, known))
            if verdict.result is not None:
                known[node.name] = verdict
            decisions.append(verdict.decision)
        return decisions

    def _after(self, node: Node, running: Sequence[str]) -> Decision:
        upstream = Reason("upstream", f"{' and '.join(running)} will run first", name=running[0])
        forced = (_FORCED,) if node.name in self._forced else ()
        never = (_NEVER,) if node.name not in self._lock.stages else ()
        return self._warned(node, Decision(node.name, "run", (*forced, *never, upstream)))

    def _foresight(self, node: Node, foreseen: Mapping[str, Verdict]) -> Callable[[str], Entry | None]:
        """What a path will hold once the restored stages upstream are back."""
        return lambda path: self._foreseen_entry(path, node, foreseen)

    def _foreseen_entry(self, path: str, node: Node, foreseen: Mapping[str, Verdict]) -> Entry | None:
        for maker in node.feeds.get(path, ()):
            verdict = foreseen[maker]
            if verdict.result is None or verdict.decision.action == "cached":
                continue  # it stands in the work tree already, even where the cache has lost it
            outs = verdict.result.outs
            for out, entry in outs.items():
                if out == path:
                    return entry
                if inside(path, out):
                    return self._tree.below(entry, path.removeprefix(out + "/"))
        return self._tree.entry(path)

    def _decide(self, node: Node, entry_of: Callable[[str], Entry | None]) -> Verdict:
        inputs = self._inputs(node, entry_of)
        key = inputs.key
        locked = self._lock.stages.get(node.name)
        result = self._result(key, locked, node)
        standing = [path for path in node.outs if result is not None and self._tree.entry(path) == result.outs[path]]
        reasons = [*_differences(node, locked, inputs, key), *self._damage(node, locked, key)]
        if node.name in self._forced:
            action, reasons = "run", [_FORCED]
        elif node.compares_nothing:
            action, reasons = "run", [_ALWAYS]
        elif result is None:
            action, reasons = "run", reasons or [_LOST]
        elif len(standing) == len(node.outs):
            action, reasons = "cached", []
        elif all(self._tree.is_kept(result.outs[path]) for path in node.outs if path not in standing):
            action = "restored"
        else:
            action, reasons = "run", [*reasons, _LOST]
        decision = Decision(node.name, action, tuple(reasons), key)  # type: ignore[arg-type]
        if action == "run":
            decision, result = self._warned(node, decision), None
        return Verdict(decision, inputs, result)

    def _inputs(self, node: Node, entry_of: Callable[[str], Entry | None]) -> Inputs:
        entries = {path: entry_of(path) for path in node.deps}
        missing = [(node.name, path) for path, entry in entries.items() if entry is None]
        if missing:
            raise self._missing(missing)
        return Inputs(
            node.stage.cmd,
            {path: entry.digest for path, entry in entries.items() if entry is not None},
            self._declared[node.name],
            node.outs,
            passed(self._environ, node.stage.pass_env),
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
        if locked is not None and locked.key == key and set(locked.outs) == set(node.outs):
            if stored is not None and stored.outs == locked.outs:
                return stored
            return Result(node.name, key, "", dict(locked.outs))
        return stored if stored is not None and set(stored.outs) == set(node.outs) else None

    def _damage(self, node: Node, locked: StageLock | None, key: str) -> list[Reason]:
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


_NEVER = Reason("never_run", "it never ran")
_FORCED = Reason("forced", "forced")
_ALWAYS = Reason("always", "it names no deps, params or outputs that could be compared")
_LOST = Reason("lost", "its result is no longer in the cache")


def _differences(node: Node, locked: StageLock | None, inputs: Inputs, key: str) -> list[Reason]:
    """What changed since the last accepted result."""
    if locked is None:
        return [_NEVER]
    if locked.key == key:
        return []
    reasons = []
    if locked.cmd != inputs.command_text:
        reasons.append(Reason("command", "the command changed", node.name, locked.cmd, inputs.command_text))
    reasons += _changes("dep", locked.deps, inputs.deps, _dep_text)
    reasons += _changes("param", locked.params, inputs.params, _param_text)
    old_outs, new_outs = sorted(locked.outs), sorted(inputs.outs)
    if old_outs != new_outs:
        changed = sorted(set(old_outs) ^ set(new_outs))
        reasons.append(Reason("outputs", f"its outputs changed: {', '.join(changed)}", changed[0], old_outs, new_outs))
    if not reasons:
        names = ", ".join(inputs.pass_env) or "none"
        reasons.append(Reason("environment", f"a variable of pass_env changed ({names})"))
    return reasons


def _changes(
    kind: Literal["dep", "param"], old: Mapping[str, Any], new: Mapping[str, Any], text: Callable[[str, Any, Any], str]
) -> list[Reason]:
    names = [*new, *(name for name in old if name not in new)]
    return [
        Reason(kind, text(name, old.get(name), new.get(name)), name, old.get(name), new.get(name))
        for name in names
        if name not in old or name not in new or not _same(old[name], new[name])
    ]


def _same(old: Any, new: Any) -> bool:
    # 1 == True == 1.0 in Python, but not in a stage's key.
    return repr(old) == repr(new) if not isinstance(old, Mapping) else old == new


def _dep_text(name: str, old: Any, new: Any) -> str:
    return f"{name} is a new dep" if old is None else f"{name} is no longer a dep" if new is None else f"{name} changed"


def _param_text(name: str, old: Any, new: Any) -> str:
    if old is None or new is None:
        return f"param {name} is {'new' if old is None else 'no longer read'}"
    return f"param {name}: {old} -> {new}"


def lock_entry(inputs: Inputs, outs: Mapping[str, Entry], key: str) -> StageLock:
    return StageLock(key, inputs.command_text, dict(inputs.deps), dict(inputs.params), dict(outs))
