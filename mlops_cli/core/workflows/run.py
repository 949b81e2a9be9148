"""`mlo run`: bring the stages up to date, and keep what happened as a run."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import msgspec

from mlops_cli.core.base.clock import format_time
from mlops_cli.core.base.files import FileLock
from mlops_cli.core.base.git import Commit, begin_head
from mlops_cli.core.base.records import Entry, Logged, Metric, StageRecord
from mlops_cli.core.data.ignore import edit_ignored
from mlops_cli.core.pipeline.admission import Admission, Machine
from mlops_cli.core.pipeline.command import Opened
from mlops_cli.core.pipeline.execute import Executor
from mlops_cli.core.pipeline.graph import Node, overlap
from mlops_cli.core.pipeline.journal import Marker, read_marker, write_marker
from mlops_cli.core.pipeline.params import flat
from mlops_cli.core.pipeline.process import interruptible
from mlops_cli.core.pipeline.reasons import Decision
from mlops_cli.core.pipeline.recovery import begin
from mlops_cli.core.pipeline.results import Result
from mlops_cli.core.pipeline.stage import Surroundings
from mlops_cli.core.pipeline.watching import Noting, Watcher
from mlops_cli.core.project.lock import StageLock
from mlops_cli.core.project.stages import Environment
from mlops_cli.core.tracking.environment import describe_environment
from mlops_cli.core.tracking.names import run_name
from mlops_cli.core.tracking.records import Run, Status
from mlops_cli.core.tracking.spool import read_spool
from mlops_cli.core.workflows.code import begin_untracked
from mlops_cli.core.workflows.lock_keeper import LockKeeper
from mlops_cli.core.workflows.plan import Pipeline, RunRequest, assemble
from mlops_cli.core.workflows.recall import recall
from mlops_cli.core.workflows.workspace import Workspace

DONE = ("ran", "restored", "cached")


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
    workspace: Workspace, request: RunRequest | None = None, *, watcher: Watcher | None = None
) -> RunResult:
    """Run the stages that are asked for (all if none is named) and what they depend on; what is up to date is left or
    restored.

    With overrides mlo.lock stays as it is. Raises StageFailed or Refused (a check) after the failed run is recorded and
    the previous outputs are back; Locked if another mlo holds what a stage needs and it shall not wait; ProjectError,
    NotFound, UsageError before anything runs.
    """
    request = request or RunRequest()
    with interruptible():
        elsewhere = None
        if request.pull:
            from mlops_cli.core.workflows.elsewhere import RemoteResults, bring_inputs  # it knows every remote

            elsewhere = RemoteResults(workspace)
            bring_inputs(workspace, request)
        pipeline = assemble(workspace, request, elsewhere=elsewhere)
        return _Runner(workspace, pipeline, request, watcher or Noting(workspace.progress)).run()


def plan_run(workspace: Workspace, request: RunRequest | None = None) -> RunResult:
    """What `run_pipeline` would do, and why; nothing changes. Raises as it does before anything runs."""
    pipeline = assemble(workspace, request)
    decisions = tuple(pipeline.planner.foresee(pipeline.nodes))
    return RunResult(run="", name="", status="planned", plan=decisions, overrides=pipeline.overrides)


class _Runner:
    """One run from its start to its record. Also the pipeline's Recorder."""

    def __init__(self, workspace: Workspace, pipeline: Pipeline, request: RunRequest, watcher: Watcher) -> None:
        self._workspace = workspace
        self._pipeline = pipeline
        self._request = request
        self._id = secrets.token_hex(16)
        self._records: list[StageRecord] = []
        self._unsaved: list[Logged] = []
        self._lock = LockKeeper(workspace, pipeline)
        self._marker_path = workspace.paths.private / "worktree.json"
        self._admission = Admission(Machine.here(workspace.environ), request.jobs)
        self._admission.check(pipeline.nodes)
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
            hold=self._hold,
            alone=self._alone,
            open_environment=self._open_environment,
            model_path=workspace.project.model.path if workspace.project.model else None,
            env=workspace.project.env,
            watcher=watcher,
            force=request.force,
        )

    def run(self) -> RunResult:
        begin(self._around)
        try:
            self._ignore_outputs()
            return self._recorded()
        finally:
            self._around.journal.close()

    def _recorded(self) -> RunResult:
        workspace, pipeline = self._workspace, self._pipeline
        begun = time.monotonic()
        commit_of, code_of = begin_head(workspace.root), self._begin_code()
        run = workspace.runs.start(self._opened())
        run = self._with_code(run, commit_of(), code_of())
        status: Status = "failed"
        try:
            self._keep_data()
            Executor(
                pipeline.nodes,
                pipeline.planner,
                self._around,
                self,
                admission=self._admission,
                recall=self._recall,
                keep_going=self._request.keep_going,
            ).run()
            status = "finished"
        except KeyboardInterrupt:
            status = "killed"
            raise
        finally:
            self._lock.close()
            pipeline.tree.index.save()
            with workspace.recording():
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

    # -- what the stages stand on ----------------------------------------------------------------------------

    def _hold(self, node: Node) -> AbstractContextManager[None]:
        """The outputs alone; among others what it reads of other stages and of added data, which mlo may write."""
        nodes, data = self._pipeline.graph.nodes, self._pipeline.lock.data
        made = {out for name in node.upstream for out in nodes[name].outs if any(overlap(out, it) for it in node.deps)}
        added = {path for path in data if any(overlap(path, it) for it in node.deps)}
        return self._workspace.holding_for_stage(
            node.outs, [*made, *added], wait=self._request.wait, given_up=lambda: self._around.stop.is_asked
        )

    @contextmanager
    def _alone(self, key: str) -> Iterator[bool]:
        """Be the only one, of all who share the cache, that computes this key."""
        path = self._workspace.paths.cache / "running" / key
        lock = FileLock(path, command=self._workspace.command_line)
        waited = lock.acquire(
            waiting=lambda holder: self._workspace.progress.note(f"the same result is being made by {holder}; waiting"),
            given_up=lambda: self._around.stop.is_asked,
        )
        try:
            yield waited
        finally:
            # Who waits for the file that goes here computes once more beside the next one; nothing is lost by that.
            path.unlink(missing_ok=True)
            lock.release()

    def _open_environment(self, env: Environment) -> Opened:
        from mlops_cli.core.pipeline.environments import open_environment

        return open_environment(
            env,
            root=self._workspace.root,
            cache=self._workspace.paths.cache,
            environ=self._workspace.environ,
            progress=self._workspace.progress,
        )

    # -- the record ----------------------------------------------------------------------------------------

    def _opened(self) -> Run:
        workspace = self._workspace
        values: dict[str, Any] = {}
        for node in self._pipeline.nodes:
            if not any(name.partition(":")[0] in node.feeds for name in node.stage.params):
                values |= self._pipeline.planner.params_of(node)
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
            parent=self._request.parent,
        )

    def _begin_code(self) -> Callable[[], dict[str, Entry]]:
        graph = self._pipeline.graph
        made = [*self._pipeline.lock.data, *(path for node in graph.nodes.values() for path in node.outs)]
        read = {path for node in self._pipeline.nodes for path in node.files}
        return begin_untracked(self._pipeline.tree, self._workspace.root, read, made)

    def _with_code(self, run: Run, commit: Commit | None, code: dict[str, Entry]) -> Run:
        """The run with the code that it runs: commit, patch, and the files that it reads and git does not know."""
        run = msgspec.structs.replace(run, code=code)
        if commit is None:
            return run
        diff = str(self._workspace.store.put_bytes(commit.diff)) if commit.dirty else None
        return msgspec.structs.replace(run, commit=commit.sha, branch=commit.branch, dirty=commit.dirty, diff=diff)

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
        if self._pipeline.overrides or self._workspace.home is not None:
            return
        outs = {path for node in self._pipeline.graph.nodes.values() for path in node.outs}
        private = self._workspace.paths.private.name
        with self._workspace.recording(wait=self._request.wait):
            edit_ignored(self._workspace.root, add=sorted(outs), keep=[*self._pipeline.lock.data, private])

    def _mark_worktree(self) -> None:
        """Say which stages' outputs are not those of mlo.lock."""
        before = read_marker(self._marker_path)
        touched = {record.name for record in self._records if record.status in DONE}
        others = [name for name in before.stages if name not in touched] if before is not None else []
        if not self._pipeline.overrides:
            after = msgspec.structs.replace(before, stages=tuple(others)) if before is not None else None
            write_marker(self._marker_path, after)
            return
        locked = self._pipeline.lock.stages
        deviating = [
            record.name
            for record in self._records
            if record.status in DONE and (record.name not in locked or locked[record.name].outs != record.outs)
        ]
        if deviating:
            write_marker(self._marker_path, Marker(self._id, self._pipeline.overrides, (*deviating, *others)))
        elif before is not None:
            write_marker(self._marker_path, msgspec.structs.replace(before, stages=tuple(others)))


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
