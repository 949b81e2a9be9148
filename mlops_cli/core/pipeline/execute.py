"""Working through the stages: decide each at its turn, leave, bring back or run it, and say so to a recorder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from mlops_cli.core.base.records import Logged, StageRecord
from mlops_cli.core.pipeline.errors import would_overwrite
from mlops_cli.core.pipeline.graph import Node
from mlops_cli.core.pipeline.journal import pages
from mlops_cli.core.pipeline.plan import Planner, Verdict, lock_entry
from mlops_cli.core.pipeline.process import end_marked
from mlops_cli.core.pipeline.results import Result
from mlops_cli.core.pipeline.stage import StageRun, Surroundings, checks_digests, file_metrics, put_back
from mlops_cli.core.project.lock import StageLock


class Recorder(Protocol):
    """Hears of each stage as it ends. `accepted` is what mlo.lock may say of it; None after a failure."""

    def ended(self, record: StageRecord, logged: Logged, accepted: StageLock | None) -> None: ...


def execute(
    nodes: Sequence[Node],
    planner: Planner,
    around: Surroundings,
    recorder: Recorder,
    *,
    recall: Callable[[Result], Result] = lambda result: result,
) -> None:
    """Bring every stage up to date, upstream first; stop at the first that fails.

    `recall` completes a result that is known from mlo.lock alone (its `run` is empty), once its outputs stand there.
    """
    for node in nodes:
        verdict = planner.decide(node)
        if verdict.result is None:
            _run(node, verdict, around, recorder)
        else:
            _reuse(node, verdict, verdict.result, around, recorder, recall)


def _run(node: Node, verdict: Verdict, around: Surroundings, recorder: Recorder) -> None:
    inputs = verdict.inputs
    why = "; ".join(reason.text for reason in verdict.decision.reasons)
    around.progress.note(f"{node.name}: running ({why})")
    stage_run = StageRun(node, inputs, around)
    try:
        result = stage_run.run()
    except BaseException:
        failed = StageRecord(
            node.name, inputs.key, "failed", around.run, inputs.deps, inputs.params, seconds=stage_run.seconds
        )
        recorder.ended(failed, stage_run.logged, None)
        raise
    record = StageRecord(
        node.name, result.key, "ran", around.run, inputs.deps, inputs.params, result.outs, round(result.seconds, 3)
    )
    recorder.ended(record, result.logged, lock_entry(inputs, result.outs, result.key))


def _reuse(
    node: Node,
    verdict: Verdict,
    result: Result,
    around: Surroundings,
    recorder: Recorder,
    recall: Callable[[Result], Result],
) -> None:
    action, inputs = verdict.decision.action, verdict.inputs
    if action == "restored":
        unsaved = around.tree.unsaved(path for path in node.outs if not around.tree.holds(path, result.outs[path]))
        if unsaved and not around.force:
            raise would_overwrite(node.name, unsaved)
        for path in node.outs:
            around.tree.secure(path)
            around.tree.bring_back(path, result.outs[path])
        around.progress.note(f"{node.name}: restored from the run cache")
    else:
        for path in node.outs:  # what stands here may be all that is left of it
            if not around.tree.is_kept(result.outs[path]):
                around.tree.keep(path)
        around.progress.note(f"{node.name}: up to date")
    result = recall(result)
    record = StageRecord(
        node.name,
        result.key,
        "restored" if action == "restored" else "cached",
        result.run,
        inputs.deps,
        inputs.params,
        result.outs,
    )
    if not verdict.result or not verdict.result.run:  # known from mlo.lock alone: at least the metrics lie here
        result = _with_file_metrics(result, node, around)
    try:
        digests = _hold_checks(node, result, around)
    except BaseException:
        recorder.ended(msgspec.structs.replace(record, status="failed"), result.logged, None)
        raise
    result = msgspec.structs.replace(result, checks=digests)
    # The cache may hold another result of this key: of a stage that does not repeat itself, where it ran last.
    if result != verdict.result and (result.run or around.results.get(result.key) is None):
        around.results.put(result)
    recorder.ended(record, result.logged, lock_entry(inputs, result.outs, result.key))


def _with_file_metrics(result: Result, node: Node, around: Surroundings) -> Result:
    known = {metric.key for metric in result.logged.metrics}
    time_ms = int(around.clock.now().timestamp() * 1000)
    found = (metric for metric in file_metrics(around.tree, node, time_ms) if metric.key not in known)
    logged = msgspec.structs.replace(result.logged, metrics=(*result.logged.metrics, *found))
    return msgspec.structs.replace(result, logged=logged)


def _hold_checks(node: Node, result: Result, around: Surroundings) -> dict[str, str]:
    """Run the checks of a stage that did not run, if they are not the ones that held when it did; their digests.

    Raises Refused.
    """
    digests = checks_digests(around.tree, node.stage.checks)
    if digests and digests != result.checks:
        around.check(node.stage.checks)
    return digests


def recover(around: Surroundings) -> list[str]:
    """Mend what killed runs left: end their processes, put half-written outputs aside, bring the previous ones back.

    To be called by who holds the project. Returns the ids of the runs.
    """
    for name in os.listdir(around.paths.root):
        # What `write_atomic` leaves of mlo.lock and .gitignore when it is killed half-way.
        if name.startswith((".mlo.lock.", "..gitignore.")) and name.endswith(".tmp"):
            (around.paths.root / name).unlink(missing_ok=True)
    running = around.paths.private / "running"
    if not running.is_dir():
        return []
    mended = []
    for path, page in pages(running):
        if page is not None:
            end_marked({"MLO_RUN_ID": page.run}, around.grace_s)
            result = around.results.get(page.key)
            if result is None or result.run != page.run:
                problems = put_back(around.tree, page.previous, around.paths.failed / page.run)
                back = "; ".join(problems) or "the outputs of before are back"
                around.progress.note(
                    f"run {page.run[:8]} was killed while stage {page.stage} ran; what it left is in "
                    f"{around.paths.relative(around.paths.failed / page.run)}, {back}"
                )
            mended.append(page.run)
        path.unlink(missing_ok=True)
    for folder in running.iterdir():
        if not folder.is_dir():
            folder.unlink()
            continue
        log = next(folder.glob("*.log"), None)
        if log is not None:
            around.paths.failed.mkdir(parents=True, exist_ok=True)
            shutil.move(log, around.paths.failed / f"{folder.name}.log")
        shutil.rmtree(folder, ignore_errors=True)
    return mended
