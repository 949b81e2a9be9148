"""Plain records that cross rooms: what a path holds, which model is meant, what a model takes and gives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from mlops_cli.core.base.digest import Digest
from mlops_cli.core.errors import UsageError

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
RUN_ID = re.compile(r"[0-9a-f]{4,32}")


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a path held: a file's digest, or the digest of a folder's tree object."""

    digest: str
    kind: Literal["file", "dir"]
    size: int  # bytes of content; for a folder, of all files below it
    files: int = 1
    executable: bool = False

    @property
    def name(self) -> Digest:
        return Digest.parse(self.digest)


class ModelRef(msgspec.Struct, frozen=True):
    """A reference to a model: `name@3`, `name@production`, `name@latest`, `runs:<id>` or `runs:latest`.

    Exactly one of `version`, `alias` and `run` is set; `name` is empty for a run.
    MLflow's `models:/name/3`, `models:/name@production` and `runs:/<id>/model` are read too.
    """

    name: str = ""
    version: int | None = None
    alias: str | None = None
    run: str | None = None

    @classmethod
    def parse(cls, text: str) -> ModelRef:
        """Raises UsageError if text is none of the forms."""
        body = text
        if text.startswith("models:/"):
            body = text.removeprefix("models:/")
            name, slash, version = body.rpartition("/")
            if slash and "@" not in body:
                body = f"{name}@{version}"
        elif text.startswith("runs:"):
            run = text.removeprefix("runs:").removeprefix("/").partition("/")[0]
            if run == "latest" or RUN_ID.fullmatch(run):
                return cls(run=run)
        name, at, tail = body.partition("@")
        if at and MODEL_NAME.fullmatch(name) and MODEL_NAME.fullmatch(tail):
            return cls(name, version=int(tail)) if tail.isascii() and tail.isdigit() else cls(name, alias=tail)
        raise UsageError(
            f"{text!r} is not a reference to a model",
            hint="write name@3, name@production, name@latest or runs:<id>",
        )

    def __str__(self) -> str:
        if self.run is not None:
            return f"runs:{self.run}"
        return f"{self.name}@{self.version if self.version is not None else self.alias}"


class Column(msgspec.Struct, frozen=True):
    """One input of a model. `kind` says which values it takes; `categories` is never a restriction."""

    name: str
    kind: Literal["float", "integer", "boolean", "string", "datetime"]
    nullable: bool = False


class Signature(msgspec.Struct, frozen=True):
    """What a model takes and gives. `classes` are a classifier's labels, in the order of its probabilities."""

    inputs: tuple[Column, ...]
    task: Literal["classification", "regression"]
    classes: tuple[str | int | float | bool, ...] = ()


class Metric(msgspec.Struct, frozen=True):
    """One point of a metric. `time_ms` is Unix time; NaN and infinities are kept."""

    key: str
    value: float
    step: int = 0
    time_ms: int = 0


class LoggedModel(msgspec.Struct, frozen=True):
    """A model that a run saved: the folder it lies in, relative to the project, and the sha256 of each file in it."""

    path: str
    flavor: str
    files: dict[str, str]
    signature: Signature
    entry: Entry | None = None


class Logged(msgspec.Struct, frozen=True):
    """Everything a script logged: what a spool holds, and what a cached stage gives back."""

    params: dict[str, Any] = {}
    metrics: tuple[Metric, ...] = ()
    tags: dict[str, str] = {}
    artifacts: dict[str, Entry] = {}
    model: LoggedModel | None = None


class StageRecord(msgspec.Struct, frozen=True):
    """What one run did with one stage. `run` made the outputs: this run, or the one whose result was restored; empty
    where nobody knows, and where the stage was skipped.

    `deps` maps each path read to the digest it had; `params` the parameters the stage declares. `env` names the
    environment it ran in now, one of those of the run's `environment`; empty for mlo's own.
    """

    name: str
    key: str
    status: Literal["ran", "restored", "cached", "failed", "skipped"]
    run: str
    deps: dict[str, str] = {}
    params: dict[str, Any] = {}
    outs: dict[str, Entry] = {}
    seconds: float = 0.0
    env: str = ""


class ResolvedModel(msgspec.Struct, frozen=True):
    """A reference made definite: which model folder, under which name, with which registered sha256s.

    `files` maps the path of each file inside the model folder to its registered sha256; empty for a run's
    model that was never registered. `profile` is the digest of its drift profile.
    """

    name: str
    version: int | None
    run: str
    model: Entry
    files: dict[str, str] = {}
    profile: str | None = None
    lineage: dict[str, Any] = {}

    @property
    def title(self) -> str:
        return f"{self.name}@{self.version}" if self.version is not None else f"runs:{self.run[:8]}"


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
