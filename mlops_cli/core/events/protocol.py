"""What an event is, and what every store of events promises."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import msgspec

from mlops_cli.core.base.digest import canonical_json, sha256_bytes
from mlops_cli.core.errors import IntegrityError, ProjectError

VERSION = 1
NO_EVENT = ""  # what the first event names as the one before it


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened, in the order it happened. `FORMAT.md` says what `data` holds for each kind.

    `time` is text of `clock.format_time`; `before` the name of the event before, empty for the first.
    """

    seq: int  # from 1, without gaps
    kind: str
    time: str
    actor: str
    subject: str
    data: dict[str, Any]
    before: str
    version: int = VERSION

    @property
    def body(self) -> bytes:
        """The event as it is stored: canonical JSON. Raises ValueError for NaN and infinities in `data`."""
        return canonical_json(self)

    @property
    def name(self) -> str:
        """sha256 of the body: 64 hex digits."""
        return sha256_bytes(self.body)


class Head(NamedTuple):
    """The last event."""

    seq: int
    name: str


class Stored(NamedTuple):
    """An event as it lies in a store, unread: where it stands, the name it was given, its bytes."""

    seq: int
    name: str
    body: bytes


class ChainBroken(IntegrityError):
    """The log is not as it was written. `seq` is the place of the first event that is wrong."""

    code = "chain_broken"

    def __init__(self, seq: int, problem: str, place: str) -> None:
        super().__init__(
            f"event {seq} of {place} is broken: {problem}",
            hint="`mlo audit` verifies the whole chain; restore the log from a backup or another clone's copy",
        )
        self.seq = seq
        self.problem = problem


class EventStore(Protocol):
    """Ordered events that are only ever added to.

    `append` raises Conflict if `after` is not the name of the last event; it never reorders, drops or doubles.
    A store that cannot be read raises RemoteError: silence is never an empty log.
    """

    @property
    def place(self) -> str:
        """Where the log lies, for messages."""
        ...

    def append(self, event: Event, *, after: str) -> None: ...

    def read(self, *, since: int = 0) -> Iterator[Event]:
        """The events with seq > since, in order, each checked against its name and its neighbour."""
        ...

    def head(self) -> Head | None: ...

    def stored(self) -> Iterator[Stored]:
        """Every event as it lies there now, past any local copy, by place."""
        ...

    def extent(self) -> int:
        """The highest seq this log is known to have reached, also where its last events were removed since."""
        ...


def sayable(value: Any) -> Any:
    """Plain values as an event can hold them: NaN and infinities, for which JSON has no word, as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): sayable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [sayable(item) for item in value]
    return value


def decode(stored: Stored, place: str) -> Event:
    """Raises ChainBroken if the bytes are not the event they are named after."""
    if sha256_bytes(stored.body) != stored.name:
        raise ChainBroken(stored.seq, "its bytes were altered; they do not match its name", place)
    try:
        event = msgspec.json.decode(stored.body, type=Event)
    except msgspec.MsgspecError as error:
        raise ChainBroken(stored.seq, f"it does not read: {error}", place) from None
    if event.version > VERSION:
        raise ProjectError(
            f"event {stored.seq} of {place} has version {event.version}; this mlo reads up to {VERSION}",
            hint="upgrade mlo: pip install --upgrade mlops-cli",
        )
    if event.body != stored.body:
        raise ChainBroken(stored.seq, "it is not written in its canonical form", place)
    if event.seq != stored.seq:
        raise ChainBroken(stored.seq, f"in its place stands event {event.seq}", place)
    return event
