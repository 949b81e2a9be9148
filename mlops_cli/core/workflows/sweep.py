"""`mlo run --sweep`: every combination of values as a run of its own, in a working copy of its own, under one parent.

Each point is a process: what happens to one cannot harm the others. Stages that several points share are computed
once, for who computes a result holds its key (see `_alone` of `run`).
"""

from __future__ import annotations

import json
import os
import queue
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import IO, Any

import msgspec

from mlops_cli.core.base.clock import format_time
from mlops_cli.core.base.git import Commit, head
from mlops_cli.core.base.sizes import parse_size
from mlops_cli.core.errors import Exit
from mlops_cli.core.pipeline.admission import THREAD_VARIABLES, Machine
from mlops_cli.core.pipeline.graph import Node
from mlops_cli.core.pipeline.interrupts import Stop, interruptible
from mlops_cli.core.pipeline.params import lay_over
from mlops_cli.core.pipeline.reasons import Decision
from mlops_cli.core.pipeline.watching import Noting, State, Watcher
from mlops_cli.core.tracking.environment import describe_environment
from mlops_cli.core.tracking.names import run_name
from mlops_cli.core.tracking.records import Run, Status
from mlops_cli.core.workflows.asking import arguments_of
from mlops_cli.core.workflows.copies import clear_leftovers, working_copy
from mlops_cli.core.workflows.grid import Axis, Point, axes_of, points_of
from mlops_cli.core.workflows.plan import RunRequest, graph_of, selected
from mlops_cli.core.workflows.run import plan_run
from mlops_cli.core.workflows.workspace import Workspace

_TICK_S = 0.1
_PATIENCE_S = 30.0  # for points that were asked to end
_SHOWN = 500  # characters of a point's error


class SweepPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One combination of values, and what became of it.

    `status` is that of its run, `planned` in a dry run; `run` is empty if it failed before it was one. `stages` says
    what became of each stage; `plan`, in a dry run, what would.
    """

    overrides: dict[str, Any]
    status: str
    run: str = ""
    name: str = ""
    seconds: float = 0.0
    metrics: dict[str, float] = {}
    stages: dict[str, str] = {}
    error: str | None = None
    plan: tuple[Decision, ...] = ()


class SweepResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a sweep did, or with `dry` would do. `run` is the parent of its points' runs; `grid` maps each parameter to
    its values; `points` stand in the order of the product, the last parameter changing fastest."""

    run: str
    name: str
    status: str
    grid: dict[str, list[Any]]
    points: tuple[SweepPoint, ...]
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        return int(Exit.DONE if self.status in ("finished", "planned") else Exit.STAGE)


def plan_sweep(workspace: Workspace, request: RunRequest) -> SweepResult:
    """What each point would run, and why; nothing changes. Raises as `run_sweep` does before anything runs."""
    points: list[SweepPoint] = []
    with working_copy(workspace, request.revision) as copy, copy.explained():
        axes = axes_of(copy.workspace.project.params, request.overrides)
        for point in points_of(axes):
            asked = _request(request, point)
            copy.supply(asked)
            plan = plan_run(copy.workspace, asked).plan
            points.append(SweepPoint(overrides=point.values, status="planned", plan=plan))
    return SweepResult(run="", name="", status="planned", grid=_grid(axes), points=tuple(points))


def run_sweep(workspace: Workspace, request: RunRequest, *, watcher: Watcher | None = None) -> SweepResult:
    """Run every point, `request.jobs` at once; one that fails leaves the others alone.

    Raises UsageError, ProjectError and NotFound before anything runs; KeyboardInterrupt once no point runs any more.
    """
    sweep, commit = secrets.token_hex(16), head(workspace.root)
    # The points run the code of now, whatever happens to the work tree and the branches while they do.
    with working_copy(workspace, request.revision, name=sweep) as copy:
        nodes, axes = _stages(copy.workspace, request)
        if request.revision is not None:
            commit = copy.commit()
        else:
            copy.keep((_request(request, point) for point in points_of(axes)), commit)
        with interruptible(stop := Stop()):
            watcher = watcher or Noting(workspace.progress)
            return _Sweep(workspace, request, sweep, axes, nodes, commit, watcher, stop).run()


def _stages(workspace: Workspace, request: RunRequest) -> tuple[list[Node], list[Axis]]:
    lock, axes = workspace.read_lock(), axes_of(workspace.project.params, request.overrides)
    nodes: dict[str, Node] = {}
    for point in points_of(axes):
        params, _ = lay_over(workspace.project.params, point.texts)
        nodes |= {node.name: node for node in selected(graph_of(workspace, params, lock), request)}
    return list(nodes.values()), axes


def _request(request: RunRequest, point: Point) -> RunRequest:
    return msgspec.structs.replace(request, overrides=point.texts, sweep=False, isolated=True, jobs=1)


def _grid(axes: Sequence[Axis]) -> dict[str, list[Any]]:
    return {axis.name: list(axis.values) for axis in axes}


class _Child:
    """One point's process. What it says goes to a file: nobody need read, and it never waits for a reader."""

    def __init__(self, point: Point, place: int, process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
        self.point = point
        self.place = place
        self.process = process
        self.said = said
        self.begun = time.monotonic()

    def error(self) -> str:
        """What it said went wrong: its error's message, else its last words."""
        self.said.seek(0)
        text = self.said.read().decode("utf-8", "replace").strip()
        try:
            return str(json.loads(text[text.index("{") :])["message"])
        except (ValueError, KeyError, TypeError):
            code = self.process.returncode
            ended = f"it was killed by signal {-code}" if code < 0 else f"it ended with exit code {code}"
            return f"{ended}: {text[-_SHOWN:]}" if text else ended


class _Sweep:
    """The points of one sweep, from its parent's record to its end."""

    def __init__(
        self,
        workspace: Workspace,
        request: RunRequest,
        sweep: str,
        axes: list[Axis],
        nodes: Sequence[Node],
        commit: Commit | None,
        watcher: Watcher,
        stop: Stop,
    ) -> None:
        self._workspace = workspace
        self._request = request
        self._id = sweep
        self._axes = axes
        self._points = points_of(axes)
        self._commit = commit
        self._watcher = watcher
        self._stop = stop
        self._machine = Machine.here(workspace.environ)
        self._gpus = max((node.stage.resources.gpus for node in nodes), default=0)
        self._width = self._fitting(nodes)
        self._free = list(range(self._width))  # the places on this machine, each with GPUs of its own
        self._living: list[_Child] = []
        self._ended: queue.Queue[_Child] = queue.Queue()
        self._done: dict[str, SweepPoint] = {}

    def _fitting(self, nodes: Sequence[Node]) -> int:
        """How many points this machine takes at once, if each runs its largest stage."""
        machine, wanted = self._machine, [node.stage.resources for node in nodes]
        memory = max((parse_size(it.memory) for it in wanted if it.memory), default=0)
        cpus = max((it.cpus or 0 for it in wanted), default=0)
        shares = [self._request.jobs, len(self._points)]
        shares += [len(machine.gpus) // self._gpus] if self._gpus else []
        shares += [machine.memory // memory] if memory else []
        shares += [machine.cpus // cpus] if cpus else []
        return max(1, min(shares))

    def run(self) -> SweepResult:
        begun = time.monotonic()
        clear_leftovers(self._workspace)
        parent = self._workspace.runs.start(self._opened())
        status: Status = "failed"
        try:
            # Several at once, as far as lines are concerned: each must say of which point it is.
            self._watcher.planned([point.label for point in self._points], max(2, self._width))
            self._work()
            if all(point.status == "finished" for point in self._done.values()):
                status = "finished"
        except KeyboardInterrupt:
            status = "killed"
            raise
        finally:
            self._stop.end()
            self._end_all()
            self._watcher.over()
            end = format_time(self._workspace.clock.now())
            self._workspace.runs.finish(msgspec.structs.replace(parent, status=status, end=end))
        return SweepResult(
            run=parent.id,
            name=parent.name,
            status=status,
            grid=_grid(self._axes),
            points=tuple(self._done[point.label] for point in self._points),
            seconds=round(time.monotonic() - begun, 3),
        )

    def _opened(self) -> Run:
        workspace, commit = self._workspace, self._commit
        diff = str(workspace.store.put_bytes(commit.diff)) if commit is not None and commit.dirty else None
        tags = {"mlo.sweep": str(len(self._points))}
        if self._request.revision is not None:
            tags["mlo.revision"] = self._request.revision
        return Run(
            id=self._id,
            name=run_name(self._id),
            start=format_time(workspace.clock.now()),
            command=workspace.command_line,
            actor=workspace.actor,
            overrides=_grid(self._axes),
            tags=tags,
            commit=commit.sha if commit is not None else None,
            branch=commit.branch if commit is not None else None,
            dirty=commit is not None and commit.dirty,
            diff=diff,
            environment=describe_environment(),
            pid=os.getpid(),
            parent=self._request.parent,
        )

    # -- points --------------------------------------------------------------------------------------------

    def _work(self) -> None:
        waiting = deque(self._points)
        while waiting or self._living:
            while waiting and self._free:
                with self._stop.shielded():  # a process that was started must be known
                    self._start(waiting.popleft())
            try:
                # In short waits: a signal just before the thread sleeps is only noticed when it wakes.
                child = self._ended.get(timeout=_TICK_S)
            except queue.Empty:
                continue
            self._settle(child)

    def _start(self, point: Point) -> None:
        place, said = self._free.pop(0), tempfile.TemporaryFile()  # noqa: SIM115 - closed when the point is settled
        revision = self._commit.sha if self._request.revision is not None and self._commit is not None else None
        request = msgspec.structs.replace(_request(self._request, point), parent=self._id, revision=revision)
        overlay = ["--env", self._workspace.environment] if self._workspace.environment else []
        # -P: the folder of the project must not stand among the places where Python looks for modules.
        command = [sys.executable, "-P", "-m", "mlops_cli", *arguments_of(request), *overlay, "--json", "--quiet"]
        process = subprocess.Popen(
            command,
            cwd=self._workspace.root,
            env=self._environ(place),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,  # Ctrl-C reaches the sweep alone, which then ends its points
        )
        child = _Child(point, place, process, said)
        self._living.append(child)
        threading.Thread(target=self._wait, args=(child,), daemon=True).start()
        self._watcher.turned(
            point.label, "running", f"point {len(self._done) + len(self._living)} of {len(self._points)}"
        )

    def _wait(self, child: _Child) -> None:
        child.process.wait()
        self._ended.put(child)

    def _environ(self, place: int) -> dict[str, str]:
        """A point's share of this machine: threads of numeric libraries, and GPUs."""
        environ = dict(self._workspace.environ)
        if self._width > 1:
            share = str(max(1, self._machine.cpus // self._width))
            environ = dict.fromkeys(THREAD_VARIABLES, share) | environ
        if self._gpus:
            first = place * self._gpus
            environ["CUDA_VISIBLE_DEVICES"] = ",".join(self._machine.gpus[first : first + self._gpus])
        return environ

    def _settle(self, child: _Child) -> None:
        self._living.remove(child)
        self._free.append(child.place)
        if child.process.returncode < 0:  # killed: what it had under way must not go on
            clear_leftovers(self._workspace)
        point = self._told(child)
        child.said.close()
        self._done[child.point.label] = point
        restored = bool(point.stages) and "ran" not in point.stages.values()
        state: State = "failed" if point.status != "finished" else "restored" if restored else "ran"
        if state != "restored":
            said = point.error.splitlines()[0] if point.error else f"finished in {point.seconds:.1f} s"
            self._watcher.printed(child.point.label, f"{said}\n".encode())
        self._watcher.turned(child.point.label, state, point.status)

    def _told(self, child: _Child) -> SweepPoint:
        """What the point's run says, whatever its process could still say itself."""
        workspace, code = self._workspace, child.process.returncode
        workspace.runs.ingest(workspace.paths.spool, workspace.store, note=workspace.progress.note)
        runs = workspace.runs.list(parent=self._id)
        run = next((run for run in runs if run.overrides == child.point.values), None)
        error = child.error() if code != 0 else None
        seconds = round(time.monotonic() - child.begun, 3)
        if run is None:
            return SweepPoint(overrides=child.point.values, status="failed", seconds=seconds, error=error)
        return SweepPoint(
            overrides=child.point.values,
            status=run.status,
            run=run.id,
            name=run.name,
            seconds=seconds,
            metrics=run.metrics,
            stages={record.name: record.status for record in run.stages},
            error=error,
        )

    def _end_all(self) -> None:
        """End every point that still runs, and wait for it; a second Ctrl-C hurries them, too."""
        for child in self._living:
            _tell(child, signal.SIGINT)
        hurried, deadline = False, time.monotonic() + _PATIENCE_S
        while any(child.process.poll() is None for child in self._living):
            if self._stop.is_hurried and not hurried:
                hurried = True
                for child in self._living:
                    _tell(child, signal.SIGINT)
            if time.monotonic() > deadline:
                for child in self._living:
                    _tell(child, signal.SIGKILL)
            time.sleep(_TICK_S / 2)
        if any((child.process.returncode or 0) < 0 for child in self._living):
            clear_leftovers(self._workspace)
        for child in self._living:
            child.said.close()
        self._living.clear()


def _tell(child: _Child, number: signal.Signals) -> None:
    if child.process.poll() is None:
        child.process.send_signal(number)
