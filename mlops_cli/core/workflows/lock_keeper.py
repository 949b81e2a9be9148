"""mlo.lock while a run goes on: what each stage gave is written into the file as it is by then."""

from __future__ import annotations

import time

import msgspec

from mlops_cli.core.base.records import StageRecord
from mlops_cli.core.project.lock import StageLock
from mlops_cli.core.workflows.plan import Pipeline
from mlops_cli.core.workflows.workspace import Workspace

LOCK_SHARE = 0.05  # of the time of a run may go into writing mlo.lock


class LockKeeper:
    """Written after each stage, unless stages end faster than it can be written; other runs and data commands may
    write it meanwhile, and lose nothing.

    What a killed run did not write yet is in the run cache, so the next run finds those stages done all the same.
    With overrides, and in a working copy, nothing is ever written.
    """

    def __init__(self, workspace: Workspace, pipeline: Pipeline) -> None:
        self._workspace = workspace
        self._writes = not pipeline.overrides and workspace.home is None
        self._graph = pipeline.graph
        self._known = pipeline.lock.stages
        self._new: dict[str, StageLock] = {}
        self._stale = any(name not in pipeline.graph.nodes for name in self._known)
        self._next_s = 0.0  # by the monotonic clock

    def accept(self, record: StageRecord, accepted: StageLock) -> None:
        if self._known.get(record.name) == accepted and record.name not in self._new:
            return
        self._new[record.name] = accepted
        if record.status == "ran" and time.monotonic() >= self._next_s:
            self._write()

    def close(self) -> None:
        self._write()

    def _write(self) -> None:
        if not self._writes or not (self._new or self._stale):
            return
        begun = time.monotonic()
        with self._workspace.recording():
            lock = self._workspace.read_lock()
            stages = {name: stage for name, stage in lock.stages.items() if name in self._graph.nodes} | self._new
            self._workspace.write_lock(msgspec.structs.replace(lock, stages=stages))
        self._known, self._new, self._stale = stages, {}, False
        ended = time.monotonic()
        self._next_s = ended + (ended - begun) / LOCK_SHARE
