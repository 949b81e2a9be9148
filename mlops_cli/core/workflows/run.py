"""`mlo run`: bring the stages up to date, and keep what happened as a run."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mlops_cli.core.base.clock import format_time
from mlops_cli.core.base.git import begin_head
from mlops_cli.core.base.records import Entry, Logged, Metric, StageRecord
from mlops_cli.core.data.ignore import edit_ignored
from mlops_cli.core.pipeline.execute import execute, recover
from mlops_cli.core.pipeline.journal import Marker, read_marker, write_marker
from mlops_cli.core.pipeline.params import flat, lookup
from mlops_cli.core.pipeline.plan import Decision
from mlops_cli.core.pipeline.process import Echo, interruptible
from mlops_cli.core.pipeline.results import Result
from mlops_cli.core.pipeline.stage import Surroundings
from mlops_cli.core.project.lock import StageLock
from mlops_cli.core.tracking.environment import describe_environment
from mlops_cli.core.tracking.names import run_name
from mlops_cli.core.tracking.records import Run, Status
from mlops_cli.core.tracking.spool import read_spool
from mlops_cli.core.workflows.plan import Pipeline, assemble
from mlops_cli.core.workflows.recall import recall
from mlops_cli.core.workflows.workspace import Workspace

LOCK_SHARE = 0.05  # of the time of a run may go into writing mlo.lock


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did, or with `dry` would do (`status` is then `planned`, and `run` is empty).

    `stages` are the stages in the order they were dealt with; `plan` the decisions, with reasons. `worktree` is set
    if the outputs of `overrides` stand in the work tree, so that mlo.lock does not describe it.
    """

    run: str
    name: str
    status: str
    stages: tuple[StageRecord, ...] = ()
    plan: tuple[Decision, ...] = ()
    params: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    overrides: dict[str, Any] = {}
    seconds: float = 0.0
    worktree: bool = False


def run_pipeline(
    workspace: Workspace,
    stages: Sequence[str] = (),
    *,
    overrides: Mapping[str, str] | None = None,
    force: bool = False,
    dry: bool = False,
    wait: bool = True,
    echo: Echo | None = None,
) -> RunResult:
    """Run the stages (all if none is named) and what they depend on; what is up to date is left or restored.

    `overrides` are the texts of `-P name=value`; with any, mlo.lock stays as it is. `echo` hears what the stages
    print. Raises StageFailed or Refused (a check) after the failed run is recorded and the previous outputs are back;
    Locked if another mlo holds the project and not `wait`; ProjectError, NotFound, UsageError before anything runs.
    """
    if dry:
        pipeline = assemble(workspace, stages, overrides=overrides, force=force)
        decisions = tuple(pipeline.planner.foresee(pipeline.nodes))
        return RunResult(run="", name="", status="planned", plan=decisions, overrides=pipeline.overrides)
    with workspace.exclusive(wait=wait), interruptible():
        pipeline = assemble(workspace, stages, overrides=overrides, force=force)
        return _Runner(workspace, pipeline, force=force, echo=echo).run()


class _Runner:
    """One run from its start to its record. Also the pipeline's Recorder."""

    def __init__(self, workspace: Workspace, pipeline: Pipeline, *, force: bool, echo: Echo | None) -> None:
        self._workspace = workspace
        self._pipeline = pipeline
        self._id = secrets.token_hex(16)
        self._records: list[StageRecord] = []
        self._unsaved: list[Logged] = []
        self._lock = LockKeeper(workspace, pipeline)
        self._marker_path = workspace.paths.private / "worktree.json"
        self._around = Surroundings(
            run=self._id,
            paths=workspace.paths,
            tree=pipeline.tree,
            results=pipeline.results,
            clock=workspace.clock,
            progress=workspace.progress,
            environ=workspace.environ,
            params=pipeline.params,
            read_spool=lambda folder: read_spool(folder, workspace.store),
            check=self._check,
            model_path=workspace.project.model.path if workspace.project.model else None,
            echo=echo,
            force=force,
        )

    def run(self) -> RunResult:
        workspace, pipeline = self._workspace, self._pipeline
        recover(self._around)
        begun = time.monotonic()
        commit_of = begin_head(workspace.root)
        self._ignore_outputs()
        run = workspace.runs.start(self._opened())
        commit = commit_of()
        if commit is not None:
            diff = str(workspace.store.put_bytes(commit.diff)) if commit.dirty else None
            facts = {"commit": commit.sha, "branch": commit.branch, "dirty": commit.dirty, "diff": diff}
            run = msgspec.structs.replace(run, **facts)
        status: Status = "failed"
        try:
            self._keep_data()
            execute(pipeline.nodes, pipeline.planner, self._around, self, recall=self._recall)
            status = "finished"
        except KeyboardInterrupt:
            status = "killed"
            raise
        finally:
            self._lock.close()
            pipeline.tree.index.save()
            self._mark_worktree()
            run = self._finish(run, status)
        return RunResult(
            run=run.id,
            name=run.name,
            status=status,
            stages=run.stages,
            params=run.params,
            metrics=run.metrics,
            overrides=run.overrides,
            seconds=round(time.monotonic() - begun, 3),
            worktree=read_marker(self._marker_path) is not None,
        )

    # -- the record ----------------------------------------------------------------------------------------

    def _opened(self) -> Run:
        workspace = self._workspace
        declared = (name for node in self._pipeline.nodes for name in node.stage.params)
        values = {name: lookup(self._pipeline.params, name) for name in declared}
        return Run(
            id=self._id,
            name=run_name(self._id),
            start=format_time(workspace.clock.now()),
            command=workspace.command_line,
            actor=workspace.actor,
            params=dict(flat(values)),
            overrides=self._pipeline.overrides,
            pid=os.getpid(),
            environment=describe_environment(),
        )

    def _finish(self, run: Run, status: Status) -> Run:
        workspace = self._workspace
        self._save_logged()
        run = workspace.runs.finish(
            msgspec.structs.replace(
                run,
                status=status,
                end=format_time(workspace.clock.now()),
                inputs=self._inputs(),
                outputs={path: entry for record in self._records for path, entry in record.outs.items()},
                stages=tuple(self._records),
            )
        )
        shutil.rmtree(workspace.paths.spool / run.id, ignore_errors=True)
        for path, digest in run.inputs.items():
            if path in self._pipeline.lock.data and self._pipeline.lock.data[path].digest != digest:
                workspace.progress.note(
                    f"{path} is not what mlo.lock says; mlo data add {shlex.quote(path)} keeps what this run read"
                )
        return run

    def _inputs(self) -> dict[str, str]:
        """What came from outside the pipeline: path -> digest of every dep that no stage makes."""
        nodes = self._pipeline.graph.nodes
        return {
            path: digest
            for record in self._records
            for path, digest in record.deps.items()
            if path not in nodes[record.name].feeds
        }

    def ended(self, record: StageRecord, logged: Logged, accepted: StageLock | None) -> None:
        """The pipeline says that a stage ended."""
        self._records.append(record)
        self._unsaved.append(logged)
        if accepted is not None:
            self._lock.accept(record, accepted)
        if record.status in ("ran", "failed"):
            self._save_logged()

    def _save_logged(self) -> None:
        """Put what the stages logged into the database; many stages that did not run cost one transaction."""
        if self._unsaved:
            self._workspace.runs.log(self._id, joined(self._unsaved))
            self._unsaved.clear()

    def _recall(self, result: Result) -> Result:
        return recall(self._workspace, result, self._pipeline.lock.stages)

    # -- around it -----------------------------------------------------------------------------------------

    def _keep_data(self) -> None:
        """Put added data that stands as mlo.lock says back into a cache that lost it, so that it can be pushed."""
        tree = self._pipeline.tree
        for path, entry in self._pipeline.lock.data.items():
            if not tree.store.has(entry.name) and tree.holds(path, entry):
                tree.keep(path)

    def _check(self, files: Sequence[str]) -> object:
        from mlops_cli.core.workflows.check import check_stage  # it reads tables: pandas and pyarrow

        return check_stage(self._workspace.root, files)

    def _ignore_outputs(self) -> None:
        """Keep outputs out of git: the cache has their bytes, and mlo.lock names them. Whatever is neither an output
        nor added data any more is let go."""
        if self._pipeline.overrides:
            return
        outs = {path for node in self._pipeline.graph.nodes.values() for path in node.outs}
        private = self._workspace.paths.private.name
        edit_ignored(self._workspace.root, add=sorted(outs), keep=[*self._pipeline.lock.data, private])

    def _mark_worktree(self) -> None:
        """Say which stages' outputs are not those of mlo.lock."""
        before = read_marker(self._marker_path)
        touched = {record.name for record in self._records if record.status != "failed"}
        others = [name for name in before.stages if name not in touched] if before is not None else []
        if not self._pipeline.overrides:
            after = msgspec.structs.replace(before, stages=tuple(others)) if before is not None else None
            write_marker(self._marker_path, after)
            return
        locked = self._pipeline.lock.stages
        deviating = [
            record.name
            for record in self._records
            if record.status != "failed" and (record.name not in locked or locked[record.name].outs != record.outs)
        ]
        if deviating:
            write_marker(self._marker_path, Marker(self._id, self._pipeline.overrides, (*deviating, *others)))
        elif before is not None:
            write_marker(self._marker_path, msgspec.structs.replace(before, stages=tuple(others)))


class LockKeeper:
    """mlo.lock while a run goes on: written after each stage, unless stages end faster than it can be written.

    What a killed run did not write yet is in the run cache, so the next run finds those stages done all the same.
    With overrides nothing is ever written.
    """

    def __init__(self, workspace: Workspace, pipeline: Pipeline) -> None:
        self._workspace = workspace
        self._writes = not pipeline.overrides
        known = {name: stage for name, stage in pipeline.lock.stages.items() if name in pipeline.graph.nodes}
        self._lock = pipeline.lock
        self._stages = known
        self._changed = known != pipeline.lock.stages
        self._next_s = 0.0  # by the monotonic clock

    def accept(self, record: StageRecord, accepted: StageLock) -> None:
        if self._stages.get(record.name) == accepted:
            return
        self._stages[record.name] = accepted
        self._changed = True
        if record.status == "ran" and time.monotonic() >= self._next_s:
            self._write()

    def close(self) -> None:
        self._write()

    def _write(self) -> None:
        if not self._writes or not self._changed:
            return
        begun = time.monotonic()
        self._workspace.write_lock(msgspec.structs.replace(self._lock, stages=dict(self._stages)))
        self._changed = False
        ended = time.monotonic()
        self._next_s = ended + (ended - begun) / LOCK_SHARE


def joined(parts: Sequence[Logged]) -> Logged:
    """What several stages logged, as one; later ones win."""
    params: dict[str, Any] = {}
    metrics: list[Metric] = []
    tags: dict[str, str] = {}
    artifacts: dict[str, Entry] = {}
    model = None
    for part in parts:
        params.update(part.params)
        metrics.extend(part.metrics)
        tags.update(part.tags)
        artifacts.update(part.artifacts)
        model = part.model or model
    return Logged(params, tuple(metrics), tags, artifacts, model)
