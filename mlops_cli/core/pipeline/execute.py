"""Working through the stages: each as soon as all that it reads is there, several at once, and said to a recorder.

One thread, the caller's, decides and records; it alone touches the database and mlo.lock. A stage that runs or is
brought back does so in a thread of its own, which holds the desk (`Surroundings.desk`) while it touches the work tree
or the store, and not while its process runs.
"""

from __future__ import annotations

import heapq
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec

from mlops_cli.core.base.files import machine_error
from mlops_cli.core.base.records import Logged, StageRecord
from mlops_cli.core.errors import MachineError, MloError
from mlops_cli.core.pipeline.admission import Admission, Slot
from mlops_cli.core.pipeline.graph import Node
from mlops_cli.core.pipeline.plan import Planner, Verdict
from mlops_cli.core.pipeline.results import Result
from mlops_cli.core.pipeline.stage import Surroundings, file_metrics
from mlops_cli.core.pipeline.turn import Outcome, Turn, first_look
from mlops_cli.core.pipeline.watching import State
from mlops_cli.core.project.lock import StageLock

_TICK_S = 0.2


class Recorder(Protocol):
    """Hears of each stage as it ends. `accepted` is what mlo.lock may say of it; None where it says nothing new."""

    def ended(self, record: StageRecord, logged: Logged, accepted: StageLock | None) -> None: ...


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
        self._turn = Turn(around, admission.machine, self._decide, planner.forget)
        self._working: dict[str, threading.Thread] = {}
        self._ended: dict[str, Outcome] = {}  # turns that ended, until they are settled
        self._wakes: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._results: dict[str, Result] = {}
        self._skipped: dict[str, Verdict] = {}
        self._failures: list[MloError] = []
        self._lost: set[str] = set()  # what cannot run because of a failure

    def run(self) -> None:
        """Raises the first stage's error once everything that was started has ended, and says how many others failed;
        KeyboardInterrupt once all processes are gone."""
        around = self._around
        self._tell(around.watcher.planned, list(self._nodes), self._admission.jobs)
        try:
            try:
                self._work_through()
            finally:
                around.stop.end()
        finally:  # of its own, for an interrupt may come just before the line above
            try:
                self._abandon()
            finally:
                with suppress(OSError):
                    around.watcher.over()
        if self._failures:
            raise self._failure()

    def _work_through(self) -> None:
        while True:
            self._start_all()
            if not self._working:
                return
            self._settle(self._next())

    # -- starting ------------------------------------------------------------------------------------------

    def _start_all(self) -> None:
        """Deal with everything whose turn it is; what finds no room stays for the next time."""
        without_room = []
        while self._ready and not self._admission.is_full and (self._keep_going or not self._failures):
            place = heapq.heappop(self._ready)
            if not self._start(self._by_place[place]):
                without_room.append(place)
        for place in without_room:
            heapq.heappush(self._ready, place)

    def _start(self, node: Node) -> bool:
        with self._around.desk:
            verdict = first_look(self._decide, node)
            outcome = self._turn.at_once(node, verdict)
        if outcome is not None or verdict.decision.action == "skipped":
            self._settle(outcome or Outcome(node, verdict))
            return True
        with self._around.stop.shielded():
            slot = self._admission.admit(node)
            if slot is None:
                return False
            thread = threading.Thread(target=self._work, args=(node, slot), daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the system has no thread left for us
                raise MachineError(f"cannot start stage {node.name}: {error}", hint="lower -j") from None
            self._working[node.name] = thread
        return True

    def _work(self, node: Node, slot: Slot) -> None:
        self._ended[node.name] = self._turn.take(node, slot)
        self._wakes.put(None)

    def _decide(self, node: Node) -> Verdict:
        metrics = {}
        if node.stage.when is not None:
            metrics = self._planner.metrics_for(node, self._nodes, self._results)
        return self._planner.decide(node, metrics, self._skipped)

    # -- ending --------------------------------------------------------------------------------------------

    def _next(self) -> Outcome:
        """The next turn that ends. Raises KeyboardInterrupt if it was asked to stop, by whomever."""
        stop = self._around.stop
        while True:
            # It stays there until it is settled: an interrupt on the way would lose it, and be waited for for ever.
            if ended := list(self._ended.values()):
                return ended[0]
            try:
                # In short waits: a signal just before the thread sleeps is only noticed when it wakes.
                self._wakes.get(timeout=_TICK_S)
            except queue.Empty:
                if stop.is_asked and not stop.is_ending:
                    raise KeyboardInterrupt from None

    def _settle(self, outcome: Outcome) -> None:
        """Record what became of a stage, and let those that waited for it have their turn."""
        with self._around.stop.shielded():
            name = outcome.node.name
            self._ended.pop(name, None)
            thread = self._working.pop(name, None)
            if thread is not None:
                thread.join()
            self._admission.leave(name)
            if outcome.error is not None:
                self._failed(outcome)
            elif outcome.result is None:
                self._skip(outcome)
            else:
                self._accept(outcome, outcome.result)

    def _skip(self, outcome: Outcome) -> None:
        name, verdict = outcome.node.name, outcome.verdict
        self._skipped[name] = verdict
        self._recorder.ended(StageRecord(name, "", "skipped", ""), Logged(), None)
        self._tell(self._around.watcher.turned, name, "skipped", verdict.decision.text)
        self._release(name)

    def _accept(self, outcome: Outcome, found: Result) -> None:
        node, name = outcome.node, outcome.node.name
        try:
            with self._around.desk:
                result = found if outcome.verdict.runs else self._completed(node, outcome.verdict, found)
                self._results[name] = result
        except MloError as error:  # as a metrics file that does not read any more
            outcome.error = error
            self._failed(outcome)
            return
        accepted = outcome.verdict.inputs.locked(result.outs, result.key)
        ran = outcome.verdict.runs
        status: State = "ran" if ran else "restored" if outcome.verdict.decision.action == "restored" else "cached"
        seconds = round(result.seconds, 3) if ran else 0.0
        self._recorder.ended(self._record(outcome, result, status, seconds), result.logged, accepted)
        self._tell(self._around.watcher.turned, name, status, outcome.verdict.decision.text)
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
        is_new = result != verdict.result and (result.run or around.results.get(result.key) is None)
        if is_accepted or is_new:
            around.results.put(result)
        return result

    def _record(self, outcome: Outcome, result: Result, status: str, seconds: float) -> StageRecord:
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

    def _failed(self, outcome: Outcome) -> None:
        name, inputs = outcome.node.name, outcome.verdict.inputs
        key, reused = outcome.verdict.decision.key or "", outcome.verdict.result
        run, outs = (self._around.run, {}) if reused is None else (reused.run, reused.outs)
        record = StageRecord(name, key, "failed", run, inputs.deps, inputs.params, outs, seconds=outcome.seconds)
        self._recorder.ended(record, outcome.logged, None)
        self._tell(self._around.watcher.turned, name, "failed", "")
        if isinstance(outcome.error, MloError):
            self._failures.append(outcome.error)
        elif isinstance(outcome.error, OSError):
            self._failures.append(machine_error(outcome.error, f"stage {name}"))
        elif outcome.error is not None:
            raise outcome.error
        self._lose(name)

    def _lose(self, name: str) -> None:
        pending = [name]
        while pending:  # not by recursion: a chain may be longer than Python's stack
            above = pending.pop()
            for below in self._below[above]:
                if below not in self._lost:
                    self._lost.add(below)
                    pending.append(below)
                    if self._keep_going:
                        self._tell(self._around.watcher.turned, below, "stopped", f"{name} failed")

    def _release(self, name: str) -> None:
        for below in self._below[name]:
            self._waits_for[below].discard(name)
            if not self._waits_for[below] and below not in self._lost:
                heapq.heappush(self._ready, self._order[below])

    def _abandon(self) -> None:
        """End everything that runs, and record it, whatever is in the way of that; at once if nothing runs."""
        stop = self._around.stop
        if self._working and not stop.is_asked:
            stop.ask()
        while self._working:
            outcome = self._next()
            try:
                self._settle(outcome)
            except BaseException:
                if stop.leaves_at_once:
                    raise
                # What ended the run is raised, not what that made of its stages, nor that it cannot be recorded.

    def _tell(self, said: Callable[..., None], *what: object) -> None:
        """To the watcher, one thread at a time. A terminal that is gone must not end a run."""
        with self._around.desk, suppress(OSError):
            said(*what)

    def _failure(self) -> MloError:
        """The first failure; with several, its message also names the others."""
        first, *others = self._failures
        if others:
            said = "\n".join(f"{error.message.splitlines()[0]}" for error in others)
            first.message = f"{first.message}\n{len(others)} more failed:\n{said}"
        return first
