"""One stage's turn, in a thread of its own: hold its paths, look again, then run it or bring its result back.

Locks are taken in this order, and none is waited for by who holds a later one: the stage's paths (all at once, by
name), the recovery of dead runs, the key among all who share the cache, and for moments the cache's own. The desk,
which is this process's own, is taken under any of them, and let go while a process runs and a path or a key is waited
for. mlo.lock (`recording`) is the caller's thread's alone, which holds none of these then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from mlops_cli.core.base.records import Logged
from mlops_cli.core.errors import MloError
from mlops_cli.core.pipeline.admission import Machine, Slot
from mlops_cli.core.pipeline.errors import would_overwrite
from mlops_cli.core.pipeline.graph import Node
from mlops_cli.core.pipeline.plan import Verdict
from mlops_cli.core.pipeline.reasons import Decision, Inputs
from mlops_cli.core.pipeline.recovery import recover
from mlops_cli.core.pipeline.requirements import refuse_unmet
from mlops_cli.core.pipeline.results import Result
from mlops_cli.core.pipeline.stage import StageRun, Surroundings
from mlops_cli.core.pipeline.worktree import checks_digests


@dataclass(slots=True)
class Outcome:
    """How one stage's turn ended: with a result, with an error, or with neither if it is to be skipped."""

    node: Node
    verdict: Verdict
    result: Result | None = None
    logged: Logged = field(default_factory=Logged)
    seconds: float = 0.0
    error: BaseException | None = None


class Turn:
    """Takes the turns of one run's stages. `decide` and `forget`, which makes it read parameters again, are asked with
    the desk held."""

    def __init__(
        self,
        around: Surroundings,
        machine: Machine,
        decide: Callable[[Node], Verdict],
        forget: Callable[[], None],
    ) -> None:
        self._around = around
        self._machine = machine
        self._decide = decide
        self._forget = forget

    def at_once(self, node: Node, verdict: Verdict) -> Outcome | None:
        """The outcome of a stage that is up to date, if there is nothing to do for it: not even bytes to keep that the
        cache lost, nor checks that changed. To be asked with the desk held."""
        result, tree = verdict.result, self._around.tree
        if verdict.decision.action != "cached" or result is None:
            return None
        digests = checks_digests(tree, node.stage.checks_after)
        if (digests and digests != result.checks) or not all(tree.is_kept(result.outs[path]) for path in node.outs):
            return None
        return Outcome(node, verdict, msgspec.structs.replace(result, checks=digests), result.logged)

    def take(self, node: Node, slot: Slot) -> Outcome:
        """The whole turn. Raises nothing: what went wrong is the outcome's."""
        outcome = Outcome(node, undecided(node))
        try:
            with self._around.hold(node):
                self._held(outcome, slot)
        except BaseException as error:  # noqa: BLE001 - the caller's thread raises it
            outcome.error = error
        return outcome

    def _held(self, outcome: Outcome, slot: Slot) -> None:
        """With the stage's paths held, look again: another mlo may have dealt with it, or died over it."""
        around, node = self._around, outcome.node
        with around.desk:
            recover(around)
            around.tree.forget((*node.outs, *node.deps))
            self._forget()
            outcome.verdict = self._decide(node)
        if not outcome.verdict.runs:
            self._reuse(outcome)
            return
        refuse_unmet(node, self._machine, around.environ)
        with around.alone(outcome.verdict.inputs.key) as may_be_done:
            if may_be_done:  # by somebody who computed this very result, in another copy of the project
                with around.desk:
                    outcome.verdict = self._decide(node)
            if not outcome.verdict.runs:
                self._reuse(outcome)
                return
            with around.desk:
                around.watcher.turned(node.name, "running", outcome.verdict.decision.text)
            self._run(outcome, slot)

    def _run(self, outcome: Outcome, slot: Slot) -> None:
        node, inputs = outcome.node, outcome.verdict.inputs
        before = self._around.results.get(inputs.key)
        stage_run = StageRun(node, inputs, self._around, slot)
        try:
            outcome.result = stage_run.run()
        finally:
            outcome.logged, outcome.seconds = stage_run.logged, stage_run.seconds
            with self._around.desk:
                self._forget()
        if before is not None and node.stage.deterministic:
            differing = [path for path, entry in outcome.result.outs.items() if before.outs.get(path) != entry]
            if differing:
                self._around.progress.note(
                    f"{node.name}: {', '.join(differing)} came out differently from the same inputs; "
                    f"if that is meant, say deterministic: false (mlo run --check {node.name} compares)"
                )

    def _reuse(self, outcome: Outcome) -> None:
        node, result, around = outcome.node, outcome.verdict.result, self._around
        if result is None:
            return
        outcome.logged = result.logged
        with around.desk:
            if outcome.verdict.decision.action == "restored":
                self._bring_back(node, result)
            else:
                for path in node.outs:  # what stands here may be all that is left of it
                    if not around.tree.is_kept(result.outs[path]):
                        around.tree.keep(path)
            digests = checks_digests(around.tree, node.stage.checks_after)
        if digests and digests != result.checks:
            around.check(node.stage.checks_after)
        outcome.result = msgspec.structs.replace(result, checks=digests)

    def _bring_back(self, node: Node, result: Result) -> None:
        tree = self._around.tree
        unsaved = tree.unsaved(path for path in node.outs if not tree.holds(path, result.outs[path]))
        if unsaved and not self._around.force:
            raise would_overwrite(node.name, unsaved)
        for path in node.outs:
            tree.secure(path)
            tree.bring_back(path, result.outs[path])


def undecided(node: Node) -> Verdict:
    """Of a stage that nothing could be said about."""
    return Verdict(Decision(node.name, "run", ()), Inputs(node.command, {}, {}, node.outs, {}))


def first_look(decide: Callable[[Node], Verdict], node: Node) -> Verdict:
    """The decision as far as one can see without holding the stage's paths: another mlo may be writing them, so what
    cannot be read now is decided once they are held."""
    try:
        return decide(node)
    except (MloError, OSError):
        return undecided(node)
