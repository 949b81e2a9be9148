"""`mlo run`: bring the stages up to date, and keep what happened as a run."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec

from mlops_cli.core.base.clock import format_time
from mlops_cli.core.base.files import FileLock
from mlops_cli.core.base.git import Commit, begin_head
from mlops_cli.core.base.records import Entry, Logged, StageRecord, joined
from mlops_cli.core.errors import MloError
from mlops_cli.core.pipeline.admission import Admission, Machine
from mlops_cli.core.pipeline.execute import Executor
from mlops_cli.core.pipeline.graph import Node, Paths
from mlops_cli.core.pipeline.interrupts import Stop, interruptible
from mlops_cli.core.pipeline.marker import read_marker
from mlops_cli.core.pipeline.params import flat
from mlops_cli.core.pipeline.reasons import Decision
from mlops_cli.core.pipeline.recovery import begin
from mlops_cli.core.pipeline.requirements import refuse_unmet_plan
from mlops_cli.core.pipeline.results import Result
from mlops_cli.core.pipeline.stage import Surroundings
from mlops_cli.core.pipeline.watching import Noting, Watcher
from mlops_cli.core.project.lock import StageLock
from mlops_cli.core.tracking.environment import describe_environment
from mlops_cli.core.tracking.names import run_name
from mlops_cli.core.tracking.records import Run, Status
from mlops_cli.core.tracking.spool import read_spool
from mlops_cli.core.workflows.code import begin_untracked
from mlops_cli.core.workflows.defined import ignore_outputs
from mlops_cli.core.workflows.environments import Environments, check_environments
from mlops_cli.core.workflows.explain import explain
from mlops_cli.core.workflows.lock_keeper import LockKeeper
from mlops_cli.core.workflows.marking import MARKER, mark_worktree, settle_skipped
from mlops_cli.core.workflows.plan import Pipeline, RunRequest, assemble, members
from mlops_cli.core.workflows.recall import recall
from mlops_cli.core.workflows.workspace import Workspace


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did, or with `dry` would do (`status` is then `planned`, and `run` is empty).

    `stages` are the stages in the order they were dealt with; `plan` the decisions, with reasons. `worktree` is set
    if the outputs of `overrides` stand in the work tree, so that mlo.lock does not describe it. `accepted` are those
    of the stages whose outputs were taken as they stood; `not_run` are those that a failure left no turn.
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
    accepted: tuple[str, ...] = ()
    not_run: tuple[str, ...] = ()


class RunInterrupted(KeyboardInterrupt):
    """A run was told to end. `outcome` is what it did until then."""

    def __init__(self, outcome: RunResult) -> None:
        super().__init__()
        self.outcome = outcome


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where the code of a working copy comes from. `untracked` are its files that no commit holds, `tags`
    what the run is to say of it."""

    commit: Callable[[], Commit | None]
    untracked: Mapping[str, Sequence[str]] = {}
    tags: dict[str, str] = {}


def run_pipeline(
    workspace: Workspace,
    request: RunRequest | None = None,
    *,
    watcher: Watcher | None = None,
    origin: Origin | None = None,
    stop: Stop | None = None,
) -> RunResult:
    """Run the stages that are asked for (all if none is named) and what they depend on; what is up to date is left or
    restored.

    With overrides mlo.lock stays as it is. Raises StageFailed or Refused (a check) after the failed run is recorded and
    the previous outputs are back; Locked if another mlo holds what a stage needs and it shall not wait; ProjectError,
    NotFound, UsageError before anything runs. `origin` is what a working copy has instead of git; `stop` ends the run
    from another thread, as a signal does in the main one.
    """
    request, stop = request or RunRequest(), stop or Stop()
    with interruptible(stop):
        elsewhere = None
        if request.pull:
            from mlops_cli.core.workflows.elsewhere import RemoteResults, bring_inputs  # it knows every remote

            elsewhere = RemoteResults(workspace)
            bring_inputs(workspace, request)
        pipeline = assemble(workspace, request, elsewhere=elsewhere)
        return _Runner(workspace, pipeline, request, watcher or Noting(workspace.progress), stop, origin).run()


def plan_run(workspace: Workspace, request: RunRequest | None = None) -> RunResult:
    """What `run_pipeline` would do, and why; nothing changes. Raises as it does before anything runs."""
    pipeline = assemble(workspace, request)
    _refuse_unmet(workspace, pipeline, Machine.here(workspace.environ))
    decisions = explain(workspace, pipeline, pipeline.planner.foresee(pipeline.nodes))
    return RunResult(run="", name="", status="planned", plan=decisions, overrides=pipeline.overrides)


def _refuse_unmet(workspace: Workspace, pipeline: Pipeline, machine: Machine) -> None:
    check_environments(workspace, pipeline.nodes)
    refuse_unmet_plan(pipeline.planner, pipeline.nodes, machine, workspace.environ, workspace.project.env)


class _Runner:
    """One run from its start to its record. Also the pipeline's Recorder."""

    def __init__(
        self,
        workspace: Workspace,
        pipeline: Pipeline,
        request: RunRequest,
        watcher: Watcher,
        stop: Stop,
        origin: Origin | None = None,
    ) -> None:
        self._workspace = workspace
        self._pipeline = pipeline
        self._request = request
        self._origin = origin
        self._id = secrets.token_hex(16)
        self._records: list[StageRecord] = []
        self._unsaved: list[Logged] = []
        self._lock = LockKeeper(workspace, pipeline, stop)
        self._environments = Environments(workspace)
        self._admission = Admission(Machine.here(workspace.environ), request.jobs)
        _refuse_unmet(workspace, pipeline, self._admission.machine)
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
            open_environment=lambda env: self._environments.open(env, self._around.stop),
            model_path=workspace.project.model.path if workspace.project.model else None,
            env=workspace.project.env,
            watcher=watcher,
            force=request.force,
            stop=stop,
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
        commit_of = begin_head(workspace.root) if self._origin is None else self._origin.commit
        code_of = self._begin_code()
        run = workspace.runs.start(self._opened())
        run = self._with_code(run, commit_of(), code_of())
        status: Status = "failed"
        ended: MloError | KeyboardInterrupt | None = None
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
            settle_skipped(workspace, pipeline, self._records, wait=self._request.wait)
            status = "finished"
        except MloError as error:
            ended = error
        except KeyboardInterrupt as interrupt:
            status, ended = "killed", interrupt
        finally:
            self._around.stop.end()
            if not self._around.stop.leaves_at_once:  # then it is as after a kill, and the next mlo writes it down
                run = self._end(run, status)
        outcome = self._outcome(run, round(time.monotonic() - begun, 3))
        if isinstance(ended, MloError):
            ended.outcome = outcome
            raise ended
        if ended is not None:
            raise ended if self._around.stop.leaves_at_once else RunInterrupted(outcome)
        return outcome

    def _outcome(self, run: Run, seconds: float) -> RunResult:
        accepted, known = members(self._pipeline.graph, self._request.accept), {it.name for it in self._records}
        return RunResult(
            run=run.id,
            name=run.name,
            status=run.status,
            stages=run.stages,
            params=run.params,
            metrics=run.metrics,
            overrides=run.overrides,
            seconds=seconds,
            worktree=self._workspace.home is None and read_marker(self._workspace.paths.private / MARKER) is not None,
            accepted=tuple(name for name in accepted if name in known),
            not_run=tuple(node.name for node in self._pipeline.nodes if node.name not in known),
        )

    def _end(self, run: Run, status: Status) -> Run:
        """Write everything down; what cannot be written keeps nothing else from it."""
        try:
            with ExitStack() as ending:  # the last is done first
                ending.callback(self._mark_worktree)
                ending.callback(self._pipeline.tree.index.save)
                ending.callback(self._lock.close)
        finally:
            run = self._finish(run, status)
        return run

    # -- what the stages stand on ----------------------------------------------------------------------------

    @contextmanager
    def _hold(self, node: Node) -> Iterator[None]:
        """The outputs alone; among others what it reads of other stages and of added data, which mlo may write, and the
        environment that it runs in."""
        nodes, data = self._pipeline.graph.nodes, self._pipeline.lock.data
        read = Paths(node.deps)
        made = {out for name in node.upstream for out in nodes[name].outs if read.meet(out)}
        added = {path for path in data if read.meet(path)}
        paths = self._workspace.holding_for_stage(
            node.outs,
            [*made, *added],
            mutexes=node.stage.mutexes,
            wait=self._request.wait,
            given_up=lambda: self._around.stop.is_asked,
        )
        with paths, self._environments.turn():
            yield

    @contextmanager
    def _alone(self, key: str) -> Iterator[bool]:
        """Be the only one, of all who share the cache, that computes this key; whether another may have done it."""
        path = self._workspace.paths.cache / "running" / key
        lock = FileLock(path, command=self._workspace.command_line)
        waited = lock.acquire(
            waiting=lambda holder: self._workspace.progress.note(f"the same result is being made by {holder}; waiting"),
            given_up=lambda: self._around.stop.is_asked,
        )
        try:
            yield waited or self._pipeline.results.get(key) is not None
        finally:
            path.unlink(missing_ok=True)
            lock.release()

    # -- the record ----------------------------------------------------------------------------------------

    def _opened(self) -> Run:
        workspace = self._workspace
        values: dict[str, Any] = {}
        for node in self._pipeline.nodes:
            if not node.awaits_params and not self._pipeline.planner.rests(node):
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
            tags=self._origin.tags if self._origin is not None else {},
        )

    def _begin_code(self) -> Callable[[], dict[str, Entry]]:
        graph = self._pipeline.graph
        made = [*self._pipeline.lock.data, *(path for node in graph.nodes.values() for path in node.outs)]
        read = {path for node in self._pipeline.nodes for path in node.files}
        # The repository around a working copy knows nothing of it.
        brought = self._origin.untracked if self._origin is not None else None
        return begin_untracked(self._pipeline.tree, self._workspace.root, read, made, brought)

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
                environment=run.environment | self._environments.described(self._records),
            )
        )
        shutil.rmtree(workspace.paths.spool / run.id, ignore_errors=True)
        for path, digest in run.inputs.items():
            if path in self._pipeline.lock.data and self._pipeline.lock.data[path].digest != digest:
                workspace.progress.note(
                    f"{path} is not what mlo.lock says: mlo data add {shlex.quote(path)} records what this run read, "
                    f"mlo data checkout {shlex.quote(path)} brings what was recorded last"
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
        record = self._environments.named(record, self._pipeline.graph.nodes[record.name])
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
        if not self._pipeline.overrides and self._workspace.home is None:
            with self._workspace.recording(wait=self._request.wait):
                ignore_outputs(self._workspace, self._pipeline)

    def _mark_worktree(self) -> None:
        stop = self._around.stop
        mark_worktree(self._workspace, self._pipeline, self._id, self._records, lambda: stop.is_hurried)
