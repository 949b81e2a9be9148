"""The chain of custody of a model, backwards: from an alias to the data, the code and the people behind it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from mlops_cli.core.base.digest import Digest
from mlops_cli.core.base.git import Mention, committed, first_mention
from mlops_cli.core.base.records import Entry, ModelRef, StageRecord
from mlops_cli.core.errors import NotFound
from mlops_cli.core.events.protocol import Event
from mlops_cli.core.registry.records import Change, Version
from mlops_cli.core.tracking.records import Run
from mlops_cli.core.workflows.resolve import entry_of, model_of_run
from mlops_cli.core.workflows.rows import count_rows
from mlops_cli.core.workflows.workspace import Workspace

_LATER = ("deploy", "drift", "retrain", "refuse", "promote", "rollback")


class DataStep(msgspec.Struct, frozen=True):
    """Some bytes at a path. `made_by` is the stage that wrote them; `recorded` the commit that put them in mlo.lock.

    `in_commit` says that the run's commit has a file of that path, as it has code; a dirty run may have read another.
    `size` (bytes), `files` and `rows` are None where the bytes are not here to count.
    """

    path: str
    digest: str
    size: int | None = None
    files: int | None = None
    rows: int | None = None
    made_by: str | None = None
    recorded: Mention | None = None
    in_lock: bool = False
    in_cache: bool = False
    in_commit: bool = False


class StageStep(msgspec.Struct, frozen=True):
    """One stage of the run; `run` is the run that did the work, which an earlier one may have done."""

    name: str
    status: str
    run: str
    seconds: float
    params: dict[str, Any]
    reads: list[DataStep]
    wrote: list[DataStep]


class RunStep(msgspec.Struct, frozen=True, kw_only=True):
    """The run that made the model. `known` is False where this clone has only what the version says of it."""

    id: str
    name: str = ""
    status: str = ""
    start: str = ""
    end: str | None = None
    command: str = ""
    actor: str = ""
    params: dict[str, Any] = {}
    metrics: dict[str, float | None] = {}
    commit: str | None = None
    branch: str | None = None
    dirty: bool = False
    diff: str | None = None
    known: bool = True


class Chain(msgspec.Struct, frozen=True, kw_only=True):
    """Everything behind one model, newest link first, and what came of it since.

    `aliases` are the changes that made an alias point here; `made_by` the retraining that asked for it; `later` every
    deployment, drift check, retraining and change of an alias that named it.
    """

    ref: str
    title: str
    model: Entry
    aliases: list[Change]
    version: Version | None
    made_by: Event | None
    run: RunStep
    stages: list[StageStep]
    inputs: list[DataStep]
    later: list[Event]


def explain_model(workspace: Workspace, ref: str) -> Chain:
    """The chain of the model that `ref` means. Raises as `resolve_model` does; NotFound for a run without a model."""
    parsed = ModelRef.parse(ref)
    if parsed.run is not None:
        run = workspace.runs.get(parsed.run)
        model = model_of_run(workspace, run)
        versions = [it for it in workspace.registry.of_run(run.id) if it.model.digest == model.digest]
        return _chain(workspace, ref, versions[-1] if versions else None, run, model, f"runs:{run.short}")
    version = workspace.registry.resolve(parsed)
    try:
        known = workspace.runs.get(version.run)
    except NotFound:
        known = None
    return _chain(workspace, ref, version, known, version.model, version.title)


def _chain(workspace: Workspace, ref: str, version: Version | None, run: Run | None, model: Entry, title: str) -> Chain:
    source = version or run
    assert source is not None  # noqa: S101 - a chain begins at one of the two
    inputs = dict(source.inputs)
    facts = _Facts(workspace, committed(workspace.root, source.commit, sorted(inputs)) if source.commit else set())
    made = {path: stage.name for stage in source.stages for path in stage.outs}
    titles = {title, *([version.title] if version else [])}
    history = workspace.registry.history()
    aliases = _pointing_here(workspace, version, ModelRef.parse(ref).alias) if version else []
    shown = {change.seq for change in aliases}
    return Chain(
        ref=ref,
        title=title,
        model=model,
        aliases=aliases,
        version=version,
        made_by=next((it for it in history if it.kind == "retrain" and it.data.get("challenger") in titles), None),
        run=_run_step(run, version),
        stages=[_stage_step(stage, made, facts) for stage in reversed(source.stages)],
        inputs=[facts.data(path, digest) for path, digest in sorted(inputs.items())],
        later=[it for it in history if it.kind in _LATER and it.seq not in shown and concerns(it, titles)],
    )


def concerns(event: Event, titles: Iterable[str]) -> bool:
    """Is the event about one of these models: as its subject, as champion or as challenger?"""
    named = {event.subject, event.data.get("champion"), event.data.get("challenger"), event.data.get("previous")}
    return not named.isdisjoint(titles)


def _pointing_here(workspace: Workspace, version: Version, alias: str | None) -> list[Change]:
    """The last change of each alias that points at the version now; of the one asked for, if one was."""
    aliases = workspace.registry.aliases(version.name)
    return [
        workspace.registry.changes(version.name, name)[-1]
        for name, number in aliases.items()
        if number == version.version and (alias is None or alias not in aliases or name == alias)
    ]


def _run_step(run: Run | None, version: Version | None) -> RunStep:
    if run is not None:
        return RunStep(
            id=run.id,
            name=run.name,
            status=run.status,
            start=run.start,
            end=run.end,
            command=run.command,
            actor=run.actor,
            params=run.params,
            metrics=dict(run.metrics),
            commit=run.commit,
            branch=run.branch,
            dirty=run.dirty,
            diff=run.diff,
        )
    assert version is not None  # noqa: S101 - as above
    return RunStep(
        id=version.run,
        command=version.command,
        params=version.params,
        metrics=version.metrics,
        commit=version.commit,
        branch=version.branch,
        dirty=version.dirty,
        diff=version.diff,
        known=False,
    )


def _stage_step(stage: StageRecord, made: Mapping[str, str], facts: _Facts) -> StageStep:
    return StageStep(
        name=stage.name,
        status=stage.status,
        run=stage.run,
        seconds=stage.seconds,
        params=stage.params,
        reads=[facts.data(path, digest, made_by=made.get(path)) for path, digest in sorted(stage.deps.items())],
        wrote=[facts.data(path, entry.digest, entry=entry) for path, entry in sorted(stage.outs.items())],
    )


class _Facts:
    """What can be said of a digest from here: its size, its rows, and who recorded it. Each is looked up once."""

    def __init__(self, workspace: Workspace, in_commit: set[str]) -> None:
        self._workspace = workspace
        self._in_commit = in_commit
        self._entries = workspace.read_lock().entries
        self._recorded: dict[str, Mention | None] = {}
        self._rows: dict[str, int | None] = {}

    def data(self, path: str, digest: str, *, entry: Entry | None = None, made_by: str | None = None) -> DataStep:
        locked = self._entries.get(path)
        in_lock = locked is not None and locked.digest == digest
        entry = entry or (locked if in_lock else None) or entry_of(self._workspace, digest)
        return DataStep(
            path=path,
            digest=digest,
            size=entry.size if entry else None,
            files=entry.files if entry else None,
            rows=self._count(path, entry) if entry else None,
            made_by=made_by,
            recorded=None if made_by else self._mention(digest),
            in_lock=in_lock,
            in_cache=self._workspace.store.has(Digest.parse(digest)),
            in_commit=path in self._in_commit,
        )

    def _count(self, path: str, entry: Entry) -> int | None:
        if entry.digest not in self._rows:
            self._rows[entry.digest] = count_rows(self._workspace, entry, path)
        return self._rows[entry.digest]

    def _mention(self, digest: str) -> Mention | None:
        if digest not in self._recorded:
            lock = self._workspace.paths.lock.name
            self._recorded[digest] = first_mention(self._workspace.root, lock, digest)
        return self._recorded[digest]
