"""mlo.lock: what the data and the stages' results are, by digest. Sorted, without times, one block an entry,
so that two branches conflict only where they differ. Its format stands in LOCK.md beside this file."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from mlops_cli.core.base.digest import Digest
from mlops_cli.core.base.files import safe_join, write_atomic
from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import IntegrityError, ProjectError
from mlops_cli.core.project import yaml12
from mlops_cli.core.project.paths import is_reserved

VERSION = 2  # written where there are sources, which version 1 does not know; else 1
_KEY = re.compile(r"[0-9a-f]{64}")
_CONFLICT = re.compile(r"^(<<<<<<<|>>>>>>>) ", re.MULTILINE)
_HEADER = "# Written by mlo. Edit mlo.yaml instead; keep this file in git.\n"


class StageLock(msgspec.Struct, frozen=True, omit_defaults=True):
    """A stage's last accepted result: what it read, and what it wrote. `key` names it in the run cache.

    `facts` are what else the result hangs on, where the stage says so: cwd, env, notebook, launch, persist.
    """

    key: str
    cmd: str
    deps: dict[str, str] = {}
    params: dict[str, Any] = {}
    outs: dict[str, Entry] = {}
    facts: dict[str, Any] = {}


class SourceLock(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Where `mlo data get` brought an entry from, and what it found there. `mlo data update` follows it."""

    url: str  # without passwords and signatures
    digest: str  # of the entry as it came, so that a change made here can be told
    size: int
    path: str | None = None  # in the other project; None where the URL names the data itself
    rev: str | None = None  # as asked for
    commit: str | None = None
    digest_there: str | None = None  # where the other project names it by another algorithm
    etag: str | None = None
    modified: str | None = None  # as the source says it


class Lock(msgspec.Struct, frozen=True):
    """The whole of mlo.lock. Change it with msgspec.structs.replace and `write_lock`."""

    data: dict[str, Entry] = {}
    stages: dict[str, StageLock] = {}
    sources: dict[str, SourceLock] = {}

    def entry(self, path: str) -> Entry | None:
        """What the lock says of a path: added data, or a stage's output."""
        if path in self.data:
            return self.data[path]
        return next((stage.outs[path] for stage in self.stages.values() if path in stage.outs), None)

    @property
    def entries(self) -> dict[str, Entry]:
        """Every path with an entry: data and outputs."""
        outs = {path: entry for stage in self.stages.values() for path, entry in stage.outs.items()}
        return {**outs, **self.data}


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    data: dict[str, Entry] = {}
    stages: dict[str, StageLock] = {}
    sources: dict[str, SourceLock] = {}


def read_lock(path: Path) -> Lock:
    """The lock; an empty one if there is no file. Raises ProjectError or IntegrityError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Lock()
    except UnicodeDecodeError as error:
        raise IntegrityError(f"{path.name} is not UTF-8: {error}", hint=_back(path)) from None
    return parse_lock(text, path)


def parse_lock(text: str, path: Path) -> Lock:
    """`path` is where the text stands or stood; every name in it must lie inside that folder."""
    marker = _CONFLICT.search(text)
    if marker is not None:
        raise ProjectError(
            f"{path.name}:{text.count(chr(10), 0, marker.start()) + 1}: here two branches' entries stand side by side",
            hint="mlo merge: it mends a merge conflict in mlo.lock",
        )
    try:
        document, _ = yaml12.read(text, path.name)
    except ProjectError as error:
        raise IntegrityError(error.message, hint=_back(path)) from None
    if isinstance(document, dict) and isinstance(document.get("version"), int) and document["version"] > VERSION:
        raise ProjectError(
            f"{path.name} has version {document['version']}; this mlo reads up to {VERSION}",
            hint="upgrade mlo: pip install --upgrade mlops-cli",
        )
    try:
        file = msgspec.convert(document or {"version": VERSION}, _File)
    except msgspec.ValidationError as error:
        raise IntegrityError(f"{path.name} is damaged: {error}", hint=_back(path)) from None
    sources = {name: source for name, source in file.sources.items() if name in file.data}
    lock = Lock(file.data, file.stages, sources)
    for name, entry in lock.entries.items():
        if is_reserved(name) or PurePosixPath(name).as_posix() != name:
            raise IntegrityError(f"{path.name} names {name!r}, where mlo writes no data", hint=_back(path))
        try:
            safe_join(path.parent, name)
            Digest.parse(entry.digest)
            _refuse_less_than_nothing(entry)
            if name in sources:
                Digest.parse(sources[name].digest)
        except IntegrityError as error:
            raise IntegrityError(f"{path.name}: {name}: {error.message}", hint=_back(path)) from None
    for name, stage in lock.stages.items():
        if not _KEY.fullmatch(stage.key):  # it becomes the name of a file
            raise IntegrityError(f"{path.name}: {stage.key!r} is no key of stage {name}", hint=_back(path))
    return lock


def _refuse_less_than_nothing(entry: Entry) -> None:
    if entry.size < 0 or entry.files < 0:
        raise IntegrityError(f"{entry.files} files of {entry.size} bytes cannot be")


def _back(path: Path) -> str:
    return f"git checkout -- {path.name} brings back the last one that you committed"


def lock_bytes(lock: Lock) -> bytes:
    sources = {name: source for name, source in lock.sources.items() if name in lock.data}
    whole = msgspec.to_builtins(msgspec.structs.replace(lock, sources=sources))
    document = {"version": VERSION if sources else 1, **whole}
    return (_HEADER + yaml12.dump({key: value for key, value in document.items() if value})).encode()


def write_lock(path: Path, lock: Lock) -> None:
    """Replace the lock, atomically; leave the file alone if it would not change."""
    data = lock_bytes(lock)
    try:
        if path.read_bytes() == data:
            return
    except FileNotFoundError:
        pass
    write_atomic(path, data)
