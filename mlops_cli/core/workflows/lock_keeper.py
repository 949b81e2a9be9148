"""mlo.lock while a run goes on: what each stage gave is written into the file as it is by then."""

from __future__ import annotations

import time

import msgspec

from mlops_cli.core.base.records import StageRecord
from mlops_cli.core.errors import Locked, MachineError
from mlops_cli.core.pipeline.interrupts import Stop
from mlops_cli.core.project.lock import StageLock
from mlops_cli.core.workflows.defined import without_gone
from mlops_cli.core.workflows.plan import Pipeline
from mlops_cli.core.workflows.workspace import Workspace

LOCK_SHARE = 0.05  # of the time of a run may go into writing mlo.lock


RETRY_S = 0.5  # after it could not be written


class LockKeeper:
    """Written after each stage, unless stages end faster than it can be written; other runs and data commands may
    write it meanwhile, and lose nothing.

    What a killed run did not write yet is in the run cache, so the next run finds those stages done all the same.
    Where another mlo holds it now, which may wait for one of our own stages, or the disk is full, it is written later.
    With overrides, and in a working copy, nothing is ever written.
    """

    def __init__(self, workspace: Workspace, pipeline: Pipeline, stop: Stop) -> None:
        self._workspace = workspace
        self._stop = stop
        self._writes = not pipeline.overrides and workspace.home is None
        self._pipeline = pipeline
        self._known = pipeline.lock.stages
        self._new: dict[str, StageLock] = {}
        self._stale = any(name not in pipeline.graph.nodes for name in self._known)
        self._next_s = 0.0  # by the monotonic clock

    def accept(self, record: StageRecord, accepted: StageLock) -> None:
        if self._known.get(record.name) == accepted and record.name not in self._new:
            return
        self._new[record.name] = accepted
        if record.status == "ran" and time.monotonic() >= self._next_s:
            try:
                self._write(wait=False)
            except (Locked, MachineError):
                self._next_s = time.monotonic() + RETRY_S

    def close(self) -> None:
        self._write(wait=True)

    def _write(self, *, wait: bool) -> None:
        if not self._writes or not (self._new or self._stale):
            return
        begun = time.monotonic()
        with self._workspace.recording(wait=wait, given_up=lambda: self._stop.is_hurried):
            before = self._workspace.read_lock()
            known = set(before.stages)
            lock = without_gone(self._workspace, self._pipeline, before) if self._stale else before
            stages = lock.stages | self._new
            if self._new or known != set(stages):  # what another environment defines stays, and asks for no writing
                self._workspace.write_lock(msgspec.structs.replace(lock, stages=stages))
        self._known, self._new, self._stale = stages, {}, False
        ended = time.monotonic()
        self._next_s = ended + (ended - begun) / LOCK_SHARE
