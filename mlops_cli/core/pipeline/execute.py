"""Working through the stages: each as soon as all that it reads is there, several at once, and said to a recorder.

One thread, the caller's, decides and records. A stage that runs or is brought back does so in a thread of its own,
which holds the desk (`Surroundings.desk`) while it touches the work tree or the store, and not while its process runs.
"""

from __future__ import annotations

import heapq
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from mlops_cli.core.base.records import Logged, StageRecord
from mlops_cli.core.errors import MloError
from mlops_cli.core.pipeline.admission import Admission, Slot
from mlops_cli.core.pipeline.errors import would_overwrite
from mlops_cli.core.pipeline.graph import Node
from mlops_cli.core.pipeline.plan import Planner, Verdict, joined_metrics
from mlops_cli.core.pipeline.recovery import recover
from mlops_cli.core.pipeline.results import Result
from mlops_cli.core.pipeline.stage import StageRun, Surroundings, checks_digests, file_metrics
from mlops_cli.core.pipeline.watching import State
from mlops_cli.core.project.lock import StageLock

_TICK_S = 0.2


class Recorder(Protocol):
    """Hears of each stage as it ends. `accepted` is what mlo.lock may say of it; None where it says nothing new."""

    def ended(self, record: StageRecord, logged: Logged, accepted: StageLock | None) -> None: ...


@dataclass(slots=True)
class _Outcome:
    """How one stage's turn ended: with a result, or with an error."""

    node: Node
    verdict: Verdict
    result: Result | None = None
    logged: Logged = field(default_factory=Logged)
    seconds: float = 0.0
    error: BaseException | None = None


class Executor:
    """Brings the stages of one run up to date.

    `recall` completes a result that is known from mlo.lock alone (its `run` is empty), once its outputs stand there.
    With `keep_going` a failed stage stops only those that read what it makes, and the rest goes on.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        planner: Planner,
        around: Surroundings,
        recorder: Recorder,
        *,
        admission: Admission,
        recall: Callable[[Result], Result] = lambda result: result,
        keep_going: bool = False,
    ) -> None:
        self._nodes = {node.name: node for node in nodes}
        self._by_place = list(nodes)
        self._order = {node.name: place for place, node in enumerate(nodes)}
        self._planner = planner
        self._around = around
        self._recorder = recorder
        self._admission = admission
        self._recall = recall
        self._keep_going = keep_going
        self._waits_for = {node.name: {name for name in node.upstream if name in self._nodes} for node in nodes}
        self._below: dict[str, list[str]] = {node.name: [] for node in nodes}
        for name, above in self._waits_for.items():
            for other in above:
                self._below[other].append(name)
        self._ready = [self._order[name] for name, above in self._waits_for.items() if not above]
        heapq.heapify(self._ready)
        self._working: set[str] = set()
        self._outcomes: queue.Queue[_Outcome] = queue.Queue()
        self._results: dict[str, Result] = {}
        self._skipped: dict[str, Verdict] = {}
        self._failures: list[MloError] = []
        self._lost: set[str] = set()  # what cannot run because of a failure

    def run(self) -> None:
        """Raises the first stage's error once everything that was started has ended, and says how many others failed;
        KeyboardInterrupt once all processes are gone."""
        around = self._around
        around.watcher.planned(list(self._nodes), self._admission.jobs)
        try:
            while True:
                self._start_all()
                if not self._working:
                    break
                self._settle(self._next())
        except BaseException:
            self._abandon()
            raise
        finally:
            around.watcher.over()
        if self._failures:
            raise self._failure()

    # -- starting ------------------------------------------------------------------------------------------

    def _start_all(self) -> None:
        """Deal with everything whose turn it is; what finds no room stays for the next time."""
        without_room = []
        while self._ready and (self._keep_going or not self._failures):
            place = heapq.heappop(self._ready)
            if not self._start(self._by_place[place]):
                without_room.append(place)
        for place in without_room:
            heapq.heappush(self._ready, place)

    def _start(self, node: Node) -> bool:
        if self._admission.is_full:
            return False
        with self._around.desk:
            verdict = self._decide(node)
        if verdict.decision.action == "skipped":
            self._skip(node, verdict)
            return True
        if verdict.decision.action == "cached" and verdict.result is not None:
            self._settle(self._reuse(node, verdict, verdict.result))
            return True
        slot = self._admission.admit(node)
        if slot is None:
            return False
        self._working.add(node.name)
        threading.Thread(target=self._work, args=(node, verdict, slot), daemon=True).start()
        return True

    def _decide(self, node: Node) -> Verdict:
        metrics = {}
        if node.stage.when is not None:
            metrics = self._planner.metrics_beside(self._nodes) | joined_metrics(self._results.values())
        return self._planner.decide(node, metrics, self._skipped)

    def _skip(self, node: Node, verdict: Verdict) -> None:
        self._skipped[node.name] = verdict
        record = StageRecord(node.name, "", "skipped", "")
        self._recorder.ended(record, Logged(), None)
        self._around.watcher.turned(node.name, "skipped", verdict.decision.text)
        self._release(node.name)

    # -- a thread's work -----------------------------------------------------------------------------------

    def _work(self, node: Node, verdict: Verdict, slot: Slot) -> None:
        outcome = _Outcome(node, verdict)
        try:
            with self._around.hold(node):
                outcome = self._held(node, slot)
        except BaseException as error:  # noqa: BLE001 - the caller's thread raises it
            outcome.error = error
        self._outcomes.put(outcome)

    def _held(self, node: Node, slot: Slot) -> _Outcome:
        """With the stage's paths held, look again: another mlo may have dealt with it, or died over it."""
        around = self._around
        with around.desk:
            recover(around)
            verdict = self._decide(node)
        if verdict.result is not None:
            return self._reuse(node, verdict, verdict.result)
        with around.alone(verdict.inputs.key) as waited:
            if waited:  # somebody computed this very result, in another copy of the project
                with around.desk:
                    verdict = self._decide(node)
                if verdict.result is not None:
                    return self._reuse(node, verdict, verdict.result)
            with around.desk:
                around.watcher.turned(node.name, "running", verdict.decision.text)
            return self._run(node, verdict, slot)

    def _run(self, node: Node, verdict: Verdict, slot: Slot) -> _Outcome:
        stage_run = StageRun(node, verdict.inputs, self._around, slot)
        outcome = _Outcome(node, verdict)
        before = self._around.results.get(verdict.inputs.key)
        try:
            outcome.result = stage_run.run()
        except BaseException as error:  # noqa: BLE001 - the caller's thread raises it
            outcome.error = error
        outcome.logged, outcome.seconds = stage_run.logged, stage_run.seconds
        if outcome.result is not None and before is not None and node.stage.deterministic:
            differing = [path for path, entry in outcome.result.outs.items() if before.outs.get(path) != entry]
            if differing:
                self._around.progress.note(
                    f"{node.name}: {', '.join(differing)} came out differently from the same inputs; "
                    f"if that is meant, say deterministic: false (mlo run --check {node.name} compares)"
                )
        return outcome

    def _reuse(self, node: Node, verdict: Verdict, result: Result) -> _Outcome:
        around = self._around
        outcome = _Outcome(node, verdict, logged=result.logged)
        try:
            with around.desk:
                if verdict.decision.action == "restored":
                    self._bring_back(node, result)
                else:
                    for path in node.outs:  # what stands here may be all that is left of it
                        if not around.tree.is_kept(result.outs[path]):
                            around.tree.keep(path)
                digests = checks_digests(around.tree, node.stage.checks_after)
            if digests and digests != result.checks:
                around.check(node.stage.checks_after)
            outcome.result = msgspec.structs.replace(result, checks=digests)
        except BaseException as error:  # noqa: BLE001 - the caller's thread raises it
            outcome.error = error
        return outcome

    def _bring_back(self, node: Node, result: Result) -> None:
        tree = self._around.tree
        unsaved = tree.unsaved(path for path in node.outs if not tree.holds(path, result.outs[path]))
        if unsaved and not self._around.force:
            raise would_overwrite(node.name, unsaved)
        for path in node.outs:
            tree.secure(path)
            tree.bring_back(path, result.outs[path])

    # -- ending --------------------------------------------------------------------------------------------

    def _next(self) -> _Outcome:
        while True:
            try:
                # In short waits: a signal just before the thread sleeps is only noticed when it wakes.
                return self._outcomes.get(timeout=_TICK_S)
            except queue.Empty:
                continue

    def _settle(self, outcome: _Outcome) -> None:
        """Record what became of a stage, and let those that waited for it have their turn."""
        node, name = outcome.node, outcome.node.name
        self._working.discard(name)
        self._admission.leave(name)
        if outcome.result is None:
            self._failed(outcome)
            return
        with self._around.desk:
            result = outcome.result if outcome.verdict.runs else self._completed(node, outcome.verdict, outcome.result)
        accepted = outcome.verdict.inputs.locked(result.outs, result.key)
        ran = outcome.verdict.runs
        status: State = "ran" if ran else "restored" if outcome.verdict.decision.action == "restored" else "cached"
        seconds = round(result.seconds, 3) if ran else 0.0
        self._recorder.ended(self._record(outcome, result, status, seconds), result.logged, accepted)
        self._results[name] = result
        self._around.watcher.turned(name, status, outcome.verdict.decision.text)
        self._release(name)

    def _completed(self, node: Node, verdict: Verdict, result: Result) -> Result:
        """A result that was not computed now, with all that is known of it; back into the run cache if that is new."""
        around = self._around
        result = self._recall(result)
        if verdict.result is None or not verdict.result.run:  # known from mlo.lock alone: at least the metrics lie here
            time_ms = int(around.clock.now().timestamp() * 1000)
            known = {metric.key for metric in result.logged.metrics}
            found = (metric for metric in file_metrics(around.tree, node, time_ms) if metric.key not in known)
            logged = msgspec.structs.replace(result.logged, metrics=(*result.logged.metrics, *found))
            result = msgspec.structs.replace(result, logged=logged)
        # The cache may hold another result of this key: of a stage that does not repeat itself, where it ran last.
        is_accepted = any(reason.kind == "accepted" for reason in verdict.decision.reasons)
        if result != verdict.result and (result.run or is_accepted or around.results.get(result.key) is None):
            around.results.put(result)
        return result

    def _record(self, outcome: _Outcome, result: Result, status: str, seconds: float) -> StageRecord:
        inputs = outcome.verdict.inputs
        return StageRecord(
            outcome.node.name,
            result.key,
            status,  # type: ignore[arg-type]
            result.run,
            inputs.deps,
            inputs.params,
            result.outs,
            seconds,
        )

    def _failed(self, outcome: _Outcome) -> None:
        name, inputs = outcome.node.name, outcome.verdict.inputs
        key, reused = outcome.verdict.decision.key or "", outcome.verdict.result
        run, outs = (self._around.run, {}) if reused is None else (reused.run, reused.outs)
        record = StageRecord(name, key, "failed", run, inputs.deps, inputs.params, outs, seconds=outcome.seconds)
        self._recorder.ended(record, outcome.logged, None)
        self._around.watcher.turned(name, "failed", "")
        if isinstance(outcome.error, MloError):
            self._failures.append(outcome.error)
        elif outcome.error is not None:
            raise outcome.error
        self._lose(name)

    def _lose(self, name: str) -> None:
        for below in self._below[name]:
            if below not in self._lost:
                self._lost.add(below)
                if self._keep_going:
                    self._around.watcher.turned(below, "stopped", f"{name} failed")
                self._lose(below)

    def _release(self, name: str) -> None:
        for below in self._below[name]:
            self._waits_for[below].discard(name)
            if not self._waits_for[below] and below not in self._lost:
                heapq.heappush(self._ready, self._order[below])

    def _abandon(self) -> None:
        """End everything that runs, and record it. A second interrupt leaves nobody any time."""
        self._around.stop.ask()
        while self._working:
            try:
                self._settle_abandoned(self._next())
            except KeyboardInterrupt:
                self._around.stop.ask()

    def _settle_abandoned(self, outcome: _Outcome) -> None:
        try:
            self._settle(outcome)
        except BaseException as error:
            if error is not outcome.error:  # what ended the run is raised, not what that made of its stages
                raise

    def _failure(self) -> MloError:
        """The first failure; with several, its message also names the others."""
        first, *others = self._failures
        if others:
            said = "\n".join(f"{error.message.splitlines()[0]}" for error in others)
            first.message = f"{first.message}\n{len(others)} more failed:\n{said}"
        return first
