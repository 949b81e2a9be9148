"""A run: what was done, with which parameters, on which bytes, by whom, and what came of it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from mlops_cli.core.base.records import Entry, LoggedModel, StageRecord

Status = Literal["running", "finished", "failed", "killed"]


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run. `start` and `end` are times as `clock.format_time` writes them; `metrics` holds the latest values.

    `params` are those declared and those logged. `inputs` maps each path that no stage makes to its digest,
    `outputs` each path a stage made to what it holds. `diff` is the digest, in the store, of the patch against
    `commit`; `code` are the files that the stages read and git does not track. `parent` is the run that this one is a
    part of, as each point of a sweep is. `pid`, `host` and `born` (when that process started, so that a reused pid is
    not mistaken for it) tell whether a running run still lives; `born` is filled in by RunStore.start.
    """

    id: str
    name: str = ""
    status: Status = "running"
    start: str = ""
    end: str | None = None
    command: str = ""
    actor: str = ""
    params: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    tags: dict[str, str] = {}
    artifacts: dict[str, Entry] = {}
    model: LoggedModel | None = None
    inputs: dict[str, str] = {}
    outputs: dict[str, Entry] = {}
    stages: tuple[StageRecord, ...] = ()
    overrides: dict[str, Any] = {}
    commit: str | None = None
    branch: str | None = None
    dirty: bool = False
    diff: str | None = None
    code: dict[str, Entry] = {}
    environment: dict[str, Any] = {}
    parent: str | None = None
    pid: int = 0
    host: str = ""
    born: str = ""

    @property
    def short(self) -> str:
        """For people: the first eight digits of the id."""
        return self.id[:8]

    @property
    def is_over(self) -> bool:
        return self.status != "running"
