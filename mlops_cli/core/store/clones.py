"""What the clones of a project need of a remote: `roots/<clone>.json`, one each, and the lock of who cleans there."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable, Iterator
from datetime import datetime

import msgspec

from mlops_cli.core.base.clock import format_time, parse_time
from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import IntegrityError, Locked, MloError, NotFound, ProjectError
from mlops_cli.core.remotes.remote import Remote, Unsupported
from mlops_cli.core.store.exchange import in_threads
from mlops_cli.core.store.mark import Root

VERSION = 1
PREFIX = "roots/"
LOCK = "gc.lock"


class Published(msgspec.Struct, frozen=True):
    """What one clone needs, and when it said so. `others` are digests of which nobody knows whether they are trees.

    `pushed` are those of `trees` that the clone has sent, or found there.
    """

    clone: str
    project: str
    host: str
    time: str
    files: list[str] = []
    trees: list[str] = []
    others: list[str] = []
    pushed: list[str] = []
    version: int = VERSION

    @property
    def title(self) -> str:
        return f"the clone of {self.project} on {self.host} ({self.clone[:8]})"

    def says_as(self, other: Published) -> bool:
        """Whether both need the same."""
        return msgspec.structs.replace(self, time="") == msgspec.structs.replace(other, time="")

    @property
    def root(self) -> Root:
        entries = [Entry(digest, "file", 0) for digest in self.files]
        entries += [Entry(digest, "dir", 0) for digest in self.trees]
        return Root("clone", self.title, tuple(entries), tuple(self.others), pushed=frozenset(self.pushed))


def publication(
    roots: Iterable[Root], *, clone: str, project: str, now: datetime, pushed: Iterable[str] = ()
) -> Published:
    """What a clone with these roots publishes."""
    kinds: dict[str, set[str]] = {"file": set(), "dir": set(), "other": set()}
    for root in roots:
        for entry in root.entries:
            kinds[entry.kind].add(entry.digest)
        kinds["other"].update(root.digests)
    return Published(
        clone,
        project,
        socket.gethostname(),
        format_time(now),
        sorted(kinds["file"]),
        sorted(kinds["dir"]),
        sorted(kinds["other"] - kinds["file"] - kinds["dir"]),
        sorted(kinds["dir"].intersection(pushed)),
    )


def key_of(clone: str) -> str:
    return f"{PREFIX}{clone}.json"


def encode(published: Published) -> bytes:
    return msgspec.json.encode(published) + b"\n"


def decode(data: bytes, key: str) -> Published:
    """Raises IntegrityError, ProjectError for a newer format."""
    try:
        found = msgspec.json.decode(data, type=Published)
        parse_time(found.time)
        known = {*found.files, *found.trees, *found.others, *found.pushed}
        for digest in known:
            Entry(digest, "file", 0).name  # noqa: B018 raises for what is no digest
    except (msgspec.MsgspecError, MloError) as error:
        raise IntegrityError(
            f"{key} says what a clone needs, but does not read: {error}",
            hint="nothing was deleted; a push from that clone writes it anew",
        ) from None
    if found.version > VERSION:
        raise ProjectError(
            f"{key} has version {found.version}; this mlo reads up to {VERSION}",
            hint="upgrade mlo: pip install --upgrade mlops-cli",
        )
    return found


def read_published(remote: Remote) -> list[Published]:
    """What every clone published. Raises IntegrityError, ProjectError, RemoteError: none may be passed over."""
    found = []
    keys = [key for key in remote.list(PREFIX) if key.endswith(".json")]
    for key, data in in_threads(remote.get, keys):
        if isinstance(data, NotFound):
            continue
        if isinstance(data, MloError):
            raise data
        found.append(decode(data, key))
    return found


# -- who cleans --------------------------------------------------------------------------------------------------


class _Note(msgspec.Struct, frozen=True):
    who: str
    command: str
    pid: int
    host: str
    time: str
    version: int = VERSION


@contextlib.contextmanager
def cleaning(remote: Remote, *, who: str, command: str, now: datetime) -> Iterator[None]:
    """Be the only one who cleans a remote. Raises Locked, naming who does, and since when."""
    note = msgspec.json.encode(_Note(who, command, os.getpid(), socket.gethostname(), format_time(now)))
    try:
        taken = remote.put_if_absent(LOCK, note)
    except Unsupported:  # two who begin in the same moment are not told apart there
        taken = not remote.exists(LOCK)
        if taken:
            remote.put(LOCK, note)
    if not taken:
        raise_if_cleaned(remote, now=now)
        raise Locked(f"remote {remote.name} was being cleaned until this moment", hint="run the same command again")
    try:
        yield
    finally:
        remote.delete(LOCK)


def raise_if_cleaned(remote: Remote, *, now: datetime) -> None:
    """Raises Locked while a remote is being cleaned: what a push finds there may go before it ends."""
    try:
        data = remote.get(LOCK)
    except NotFound:
        return
    try:
        note = msgspec.json.decode(data, type=_Note)
        since = now - parse_time(note.time)
        holder = (
            f"{note.who} (`{note.command}`, process {note.pid} on {note.host}), for {_words(since.total_seconds())}"
        )
    except (msgspec.MsgspecError, MloError):
        holder = "another mlo"
    raise Locked(
        f"remote {remote.name} ({remote.url}) is being cleaned by {holder}",
        hint=f"wait for it; if that command is dead: mlo data gc --remote {remote.name} --unlock",
    )


def _words(seconds: float) -> str:
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return "less than a minute"
