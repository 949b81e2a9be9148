"""The event log on a remote: one object an event, created only if absent. A bucket alone is a shared registry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import msgspec

from mlops_cli.core.base.digest import sha256_bytes
from mlops_cli.core.base.files import write_atomic
from mlops_cli.core.errors import Conflict, NotFound, RemoteError
from mlops_cli.core.events.chain import check_next, follow
from mlops_cli.core.events.protocol import NO_EVENT, ChainBroken, Event, Head, Stored, decode

PREFIX = "events/"
_READERS = 8


class Objects(Protocol):
    """What the log needs of a remote. `put_if_absent` must be atomic: of two writers exactly one gets True."""

    @property
    def name(self) -> str: ...
    @property
    def url(self) -> str: ...
    def put_if_absent(self, key: str, data: bytes) -> bool: ...
    def get(self, key: str) -> bytes: ...
    def list(self, prefix: str) -> Iterator[str]: ...


class _File(msgspec.Struct, frozen=True):
    """`events/<seq>.json`: the event, and the name it was given when it was written."""

    name: str
    event: msgspec.Raw


class RemoteEvents:
    """Events as `events/<seq:012d>.json`. What was read once is kept below `cache` and not fetched again.

    The first read lists the remote, so that a lost event shows as a gap; later reads ask for the next event only.
    """

    def __init__(self, remote: Objects, cache: Path) -> None:
        self._remote = remote
        # One folder a remote: a project that moves to another registry must not meet the old one's events.
        self._cache = cache / sha256_bytes(remote.url.encode())[:16]
        self._listed = False

    @property
    def place(self) -> str:
        name, url = self._remote.name, self._remote.url
        return url if name == url else f"remote {name} ({url})"

    def append(self, event: Event, *, after: str) -> None:
        head = self.head()
        if (head.name if head else NO_EVENT) != after:
            raise Conflict(
                f"event {event.seq} was to follow {after[:8] or 'nothing'}, but the log on {self.place} has moved on",
                hint="run the command again",
            )
        check_next(event, head)
        key, data = _key(event.seq), _encode(event)
        try:
            created = self._remote.put_if_absent(key, data)
        except RemoteError:
            # The answer may have been lost on the way back; only the remote knows whether the event is there.
            created = self._present(key) == data
            if not created:
                raise
        if not created:
            raise Conflict(f"another writer put event {event.seq} on {self.place} first", hint="run the command again")
        self._keep(event.seq, data)

    def read(self, *, since: int = 0) -> Iterator[Event]:
        self._fetch()
        return follow(self._cached(since), self.place, since=since)

    def head(self) -> Head | None:
        self._fetch()
        seqs = self._cached_seqs()
        if not seqs:
            return None
        stored = _decode(seqs[-1], (self._cache / _file(seqs[-1])).read_bytes(), self.place)
        decode(stored, self.place)
        return Head(stored.seq, stored.name)

    def stored(self) -> Iterator[Stored]:
        seqs = self._remote_seqs()
        with ThreadPoolExecutor(_READERS) as readers:
            bodies = readers.map(self._remote.get, map(_key, seqs))
            for seq, data in zip(seqs, bodies, strict=True):
                kept = self._cache / _file(seq)
                stored = _decode(seq, data, self.place)
                if kept.is_file() and kept.read_bytes() != data:
                    raise ChainBroken(seq, "it is not the event that was read here before", self.place)
                yield stored

    def extent(self) -> int:
        return max(self._cached_seqs(), default=0)

    # -- the local copy ------------------------------------------------------------------------------------

    def _fetch(self) -> None:
        """Bring every event that the remote has and the cache has not."""
        kept = self._cached_seqs()
        if not self._listed:
            there = self._remote_seqs()
            lost = sorted(set(kept) - set(there))
            if lost and not there:
                raise RemoteError(
                    f"{self.place} shows no event, but {len(kept)} were read here before",
                    hint="check that it is the right place and can be reached; an unmounted disk looks like this",
                )
            if lost:
                raise ChainBroken(lost[0], "it was read here before and is gone from there", self.place)
            self._bring(sorted(set(there) - set(kept)))
            self._listed = True
            kept = there
        seq = max(kept, default=0) + 1
        while (data := self._present(_key(seq))) is not None:
            self._keep(seq, data)
            seq += 1

    def _bring(self, seqs: list[int]) -> None:
        with ThreadPoolExecutor(_READERS) as readers:
            for seq, data in zip(seqs, readers.map(self._remote.get, map(_key, seqs)), strict=True):
                self._keep(seq, data)

    def _present(self, key: str) -> bytes | None:
        try:
            return self._remote.get(key)
        except NotFound:
            return None

    def _keep(self, seq: int, data: bytes) -> None:
        decode(_decode(seq, data, self.place), self.place)  # nothing that is broken is ever kept
        write_atomic(self._cache / _file(seq), data, mode=0o444, durable=False)

    def _remote_seqs(self) -> list[int]:
        return _seqs(key.removeprefix(PREFIX) for key in self._remote.list(PREFIX))

    def _cached_seqs(self) -> list[int]:
        return _seqs(path.name for path in self._cache.iterdir()) if self._cache.is_dir() else []

    def _cached(self, since: int) -> Iterator[Stored]:
        for seq in self._cached_seqs():
            if seq > since:
                yield _decode(seq, (self._cache / _file(seq)).read_bytes(), self.place)


def _file(seq: int) -> str:
    return f"{seq:012d}.json"


def _key(seq: int) -> str:
    return PREFIX + _file(seq)


def _seqs(names: Iterable[str]) -> list[int]:
    """The events among the names of files; a temporary file beside them is none."""
    stems = (name.removesuffix(".json") for name in names if name.endswith(".json"))
    return sorted(int(stem) for stem in stems if len(stem) == 12 and stem.isdigit())


def _encode(event: Event) -> bytes:
    return msgspec.json.encode(_File(event.name, msgspec.Raw(event.body)))


def _decode(seq: int, data: bytes, place: str) -> Stored:
    try:
        file = msgspec.json.decode(data, type=_File)
    except msgspec.MsgspecError as error:
        raise ChainBroken(seq, f"it does not read: {error}", place) from None
    return Stored(seq, file.name, bytes(file.event))
