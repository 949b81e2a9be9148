"""Registered models as plain records; what a `register` event holds is a Version."""

from __future__ import annotations

from typing import Any

import msgspec

from mlops_cli.core.base.records import Entry, Signature, StageRecord


class Evaluation(msgspec.Struct, frozen=True):
    """The labelled rows that a version is scored on: what `path` held when it was registered."""

    data: Entry
    target: str
    path: str = ""


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """A model version: never changed, never given twice. Everything it names by digest was stored before it.

    `files` maps each file of the model folder to its sha256. `metrics` are the run's; `scores` are mlo's own, of
    this model on its evaluation file. `profile` names the drift profile and `manifest` the run's manifest in the
    store; `inputs` maps each path that no stage made to its digest. A value of None stands for NaN or infinity.
    """

    name: str
    version: int
    run: str
    model: Entry
    files: dict[str, str]
    signature: Signature
    flavor: str = ""
    metrics: dict[str, float | None] = {}
    scores: dict[str, float | None] = {}
    params: dict[str, Any] = {}
    profile: str | None = None
    manifest: str | None = None
    evaluate: Evaluation | None = None
    reference: Entry | None = None
    inputs: dict[str, str] = {}
    stages: tuple[StageRecord, ...] = ()
    command: str = ""
    commit: str | None = None
    branch: str | None = None
    dirty: bool = False
    diff: str | None = None
    time: str = ""
    actor: str = ""

    @property
    def title(self) -> str:
        return f"{self.name}@{self.version}"


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change of an alias: where it pointed before, where it points since, who did it and on what grounds."""

    seq: int
    kind: str  # promote or rollback
    name: str
    alias: str
    before: int | None
    version: int
    time: str
    actor: str
    gates: list[dict[str, Any]] = []
