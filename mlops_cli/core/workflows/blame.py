"""The chain of custody of some data, forwards: every run, version, alias, deployment and check that it reached."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from mlops_cli.core.base.records import Entry, StageRecord
from mlops_cli.core.errors import MloError, NotFound, UsageError
from mlops_cli.core.events.protocol import Event
from mlops_cli.core.registry.records import Version
from mlops_cli.core.store.tree import walk
from mlops_cli.core.tracking.records import Run
from mlops_cli.core.workflows.custody import concerns
from mlops_cli.core.workflows.resolve import entry_of
from mlops_cli.core.workflows.workspace import Workspace

_DIGEST = re.compile(r"(?:(?:xxh128|blake3):)?[0-9a-f]{4,64}")


class RunTouch(msgspec.Struct, frozen=True):
    """A run that read or wrote the data. `how` holds one line a stage: `train read data/train.parquet`."""

    id: str
    name: str
    status: str
    start: str
    command: str
    how: list[str]


class AliasSpan(msgspec.Struct, frozen=True):
    """How long an alias pointed at a version; `until` is None while it does."""

    alias: str
    since: str
    until: str | None
    actor: str


class VersionTouch(msgspec.Struct, frozen=True):
    title: str
    run: str
    time: str
    actor: str
    how: list[str]
    aliases: list[AliasSpan]


class Blame(msgspec.Struct, frozen=True):
    """Where some bytes went. `windows` are the drift checks, each over a window of predictions that they shaped."""

    path: str
    digest: str
    kind: str | None
    size: int | None
    in_lock: bool
    runs: list[RunTouch]
    versions: list[VersionTouch]
    deployments: list[Event]
    windows: list[Event]
    retrainings: list[Event]

    @property
    def reached(self) -> bool:
        return bool(self.runs or self.versions)


def blame(workspace: Workspace, path: str, digest: str | None = None) -> Blame:
    """Who used what `path` held: at `digest` (a prefix will do), or as mlo.lock has it now.

    `path` is relative to the project, and may be a file inside an added or written folder. Raises NotFound if nothing
    is known of the path or of that digest there, UsageError if a prefix fits several.
    """
    return _Search(workspace).blame(path, digest)


def split_target(workspace: Workspace, text: str, folder: Path) -> tuple[str, str | None]:
    """`PATH`, or `PATH@DIGEST`, typed in `folder`: the path as mlo.lock writes it, and the digest."""
    path, at, tail = text.rpartition("@")
    if not at or not _DIGEST.fullmatch(tail):
        path, tail = text, ""
    absolute = Path(os.path.normpath(folder / path))
    try:
        return workspace.paths.relative(absolute), tail or None
    except ValueError:
        raise UsageError(
            f"{path} lies outside the project {workspace.root}", hint="name a path of this project"
        ) from None


class _Target(msgspec.Struct, frozen=True):
    path: str
    digest: str
    entry: Entry | None
    inner: dict[str, str]  # of a folder: path in it -> digest


class _Search:
    """One look through everything that names digests. Trees are read once each, and passed over where they are gone."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._runs = workspace.runs.list()
        registry = workspace.registry
        self._versions = [version for name in registry.names() for version in registry.versions(name)]
        self._history = registry.history()
        lock = workspace.read_lock()
        self._locked = lock.entries
        self._locked_deps = [pair for stage in lock.stages.values() for pair in stage.deps.items()]
        self._entries: dict[str, Entry | None] = {entry.digest: entry for entry in self._locked.values()}
        self._trees: dict[str, dict[str, Entry]] = {}

    def blame(self, path: str, prefix: str | None) -> Blame:
        target = self._target(path, prefix)
        runs = [touch for run in self._runs if (touch := self._run(run, target))]
        versions = [reached for version in self._versions if (reached := self._version(version, target))]
        titles = {version.title for version in versions} | {
            f"runs:{name}" for run in runs for name in (run.id, run.id[:8])
        }
        later = [event for event in self._history if concerns(event, titles)]
        return Blame(
            path=target.path,
            digest=target.digest,
            kind=target.entry.kind if target.entry else None,
            size=target.entry.size if target.entry else None,
            in_lock=(path, target.digest) in self._locked_deps
            or target.digest in {found for _, found, _ in self._at(path, self._locked_digests())},
            runs=runs,
            versions=versions,
            deployments=[event for event in later if event.kind == "deploy" and event.subject in titles],
            windows=[event for event in later if event.kind == "drift"],
            retrainings=[event for event in later if event.kind == "retrain"],
        )

    # -- which digest is meant -----------------------------------------------------------------------------

    def _target(self, path: str, prefix: str | None) -> _Target:
        places = self._locked_digests() if prefix is None else self._known_digests()
        found = {digest: entry for _, digest, entry in self._at(path, places)}
        if not found and prefix is None:  # a file that a stage reads and nobody added: code, say
            found = {digest: self._entry(digest) for dep, digest in self._locked_deps if dep == path}
        if prefix is not None:
            found = {digest: entry for digest, entry in found.items() if _begins(digest, prefix)}
        if len(found) > 1:
            named = f"{path}@{prefix}" if prefix else path
            raise UsageError(
                f"{named} could be {', '.join(sorted(found))}", hint=f"give the digest: mlo blame {path}@{min(found)}"
            )
        if not found:
            raise self._unknown(path, prefix)
        digest, entry = found.popitem()
        inner = self._tree(entry) if entry is not None and entry.kind == "dir" else {}
        return _Target(path, digest, entry, {name: held.digest for name, held in inner.items()})

    def _unknown(self, path: str, prefix: str | None) -> NotFound:
        known = sorted({digest for _, digest, _ in self._at(path, self._known_digests())})
        if prefix is None and known:
            return NotFound(
                f"{path} is not in mlo.lock now; runs and versions know it as {', '.join(known[:5])}",
                hint=f"mlo blame {path}@{known[0]}",
            )
        if known:
            return NotFound(
                f"{path} never held {prefix}; it held {', '.join(known[:5])}", hint=f"mlo blame {path}@{known[0]}"
            )
        return NotFound(
            f"no run, no version and no line of mlo.lock names {path}", hint="mlo data status, or mlo data add it first"
        )

    def _locked_digests(self) -> Iterator[tuple[str, str, Entry | None]]:
        for path, entry in self._locked.items():
            yield path, entry.digest, entry

    def _known_digests(self) -> Iterator[tuple[str, str, Entry | None]]:
        yield from self._locked_digests()
        yield from ((path, digest, None) for path, digest in self._locked_deps)
        sources: list[Run | Version] = [*self._runs, *self._versions]
        for source in sources:
            for stage in source.stages:
                for path, entry in stage.outs.items():
                    yield path, entry.digest, entry
                for path, digest in stage.deps.items():
                    yield path, digest, None
            for path, digest in source.inputs.items():
                yield path, digest, None
        for version in self._versions:
            for path, held in _named(version):
                yield path, held.digest, held

    def _at(
        self, path: str, places: Iterable[tuple[str, str, Entry | None]]
    ) -> Iterator[tuple[str, str, Entry | None]]:
        """The places that are `path`, and, inside those that are folders above it, what they held there."""
        for place, digest, entry in places:
            if place == path:
                yield place, digest, entry or self._entry(digest)
            elif path.startswith(f"{place}/"):
                held = self._tree(entry or self._entry(digest)).get(path.removeprefix(f"{place}/"))
                if held is not None:
                    yield path, held.digest, held

    def _entry(self, digest: str) -> Entry | None:
        """A digest known without its kind."""
        if digest not in self._entries:
            try:
                self._entries[digest] = entry_of(self._workspace, digest)
            except MloError:  # a damaged object; who asks for blame wants the rest of the answer
                self._entries[digest] = None
        return self._entries[digest]

    def _tree(self, entry: Entry | None) -> dict[str, Entry]:
        """Everything below a folder; nothing for a file, and for a folder whose objects are not here."""
        if entry is None or entry.kind != "dir":
            return {}
        if entry.digest not in self._trees:
            try:
                self._trees[entry.digest] = {name: found.entry for name, found in walk(self._workspace.store, entry)}
            except MloError:
                self._trees[entry.digest] = {}
        return self._trees[entry.digest]

    # -- who touched it ------------------------------------------------------------------------------------

    def _run(self, run: Run, target: _Target) -> RunTouch | None:
        outputs = {path: entry.digest for path, entry in {**run.outputs, **run.artifacts}.items()}
        how = self._how(run.stages, run.inputs, outputs, target)
        return RunTouch(run.id, run.name, run.status, run.start, run.command, how) if how else None

    def _version(self, version: Version, target: _Target) -> VersionTouch | None:
        how = self._how(version.stages, version.inputs, {}, target)
        how += [f"{what} on {path}" for what, path in self._named_touch(version, target)]
        if not how:
            return None
        return VersionTouch(version.title, version.run, version.time, version.actor, how, list(self._spans(version)))

    def _named_touch(self, version: Version, target: _Target) -> Iterator[tuple[str, str]]:
        evaluate = version.evaluate
        if evaluate is not None and list(self._touched({evaluate.path: evaluate.data.digest}, target)):
            yield "scored", evaluate.path

    def _spans(self, version: Version) -> Iterator[AliasSpan]:
        registry = self._workspace.registry
        for alias in registry.aliases(version.name):
            changes = registry.changes(version.name, alias)
            for change, following in zip(changes, [*changes[1:], None], strict=True):
                if change.version == version.version:
                    yield AliasSpan(alias, change.time, following.time if following else None, change.actor)

    def _how(
        self,
        stages: Iterable[StageRecord],
        inputs: Mapping[str, str],
        outputs: Mapping[str, str],
        target: _Target,
    ) -> list[str]:
        said = []
        in_stages = set()
        for stage in stages:
            outs = {path: entry.digest for path, entry in stage.outs.items()}
            for verb, paths in (("read", dict(stage.deps)), ("wrote", outs)):
                for path in self._touched(paths, target):
                    said.append(f"{stage.name} {verb} {path}")
                    in_stages.add(path)
        for verb, paths in (("read", dict(inputs)), ("wrote", dict(outputs))):
            said += [f"{verb} {path}" for path in self._touched(paths, target) if path not in in_stages]
        return said

    def _touched(self, paths: Mapping[str, str], target: _Target) -> Iterator[str]:
        """Those of `paths` that held the target, a folder with it inside, or a file of it."""
        for path, digest in paths.items():
            if digest == target.digest:
                yield path
            elif target.path.startswith(f"{path}/"):
                held = self._tree(self._entry(digest)).get(target.path.removeprefix(f"{path}/"))
                if held is not None and held.digest == target.digest:
                    yield path
            elif (
                path.startswith(f"{target.path}/") and target.inner.get(path.removeprefix(f"{target.path}/")) == digest
            ):
                yield path


def _named(version: Version) -> Iterator[tuple[str, Entry]]:
    if version.evaluate is not None:
        yield version.evaluate.path, version.evaluate.data


def _begins(digest: str, prefix: str) -> bool:
    return digest.startswith(prefix) or digest.partition(":")[2].startswith(prefix)
