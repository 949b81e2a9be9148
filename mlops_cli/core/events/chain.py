"""The chain: each event names the one before it, so nothing can be changed, dropped or moved unseen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from mlops_cli.core.errors import UsageError
from mlops_cli.core.events.protocol import NO_EVENT, ChainBroken, Event, EventStore, Head, Stored, decode


class Broken(msgspec.Struct, frozen=True):
    """The first event that is not as it was written."""

    seq: int
    problem: str


class Verdict(msgspec.Struct, frozen=True):
    """What `verify` found. `events` counts those that hold, up to the first broken one."""

    place: str
    events: int
    head: str | None
    first: str | None
    last: str | None
    kinds: dict[str, int]
    broken: Broken | None

    @property
    def holds(self) -> bool:
        return self.broken is None


def check_next(event: Event, head: Head | None) -> None:
    """Refuse an event that does not say itself that it follows `head`: its maker erred."""
    seq, name = head or (0, NO_EVENT)
    if (event.seq, event.before) != (seq + 1, name):
        raise UsageError(
            f"event {event.seq} after {event.before[:8] or 'nothing'} does not follow event {seq}",
            hint="number an event one above the head, and name the head as the one before it",
        )


def follow(stored: Iterable[Stored], place: str, *, since: int = 0) -> Iterator[Event]:
    """Decode events that stand after `since`, checking each with its neighbour. Raises ChainBroken."""
    seq, name = since, NO_EVENT if since == 0 else None
    for item in stored:
        if item.seq != seq + 1:
            raise ChainBroken(seq + 1, f"it is missing; event {item.seq} comes next", place)
        event = decode(item, place)
        if name is not None and event.before != name:
            raise ChainBroken(item.seq, _wrong_before(event, name), place)
        seq, name = item.seq, item.name
        yield event


def verify(store: EventStore) -> Verdict:
    """Read the whole log past any local copy, and name the first event that was altered, removed or moved."""
    names: dict[str, int] = {}
    kinds: dict[str, int] = {}
    first = last = None
    broken: Broken | None = None
    try:
        for item in store.stored():
            event = _verified(item, names, store.place)
            names[item.name] = item.seq
            kinds[event.kind] = kinds.get(event.kind, 0) + 1
            first, last = first or event.time, event.time
    except ChainBroken as error:
        broken = Broken(error.seq, error.problem)
    reached = store.extent()
    if broken is None and reached > len(names):
        broken = Broken(len(names) + 1, f"it was removed; the log once reached event {reached}")
    head = next(reversed(names), None)
    return Verdict(store.place, len(names), head, first, last, kinds, broken)


def _verified(item: Stored, names: dict[str, int], place: str) -> Event:
    expected = len(names) + 1
    if item.name in names:
        raise ChainBroken(item.seq, f"it is a copy of event {names[item.name]}", place)
    if item.seq > expected:
        raise ChainBroken(expected, f"it was removed; event {item.seq} comes next", place)
    if item.seq < expected:
        raise ChainBroken(item.seq, f"it stands behind event {expected - 1}: the order was changed", place)
    event = decode(item, place)
    before = next(reversed(names), NO_EVENT)
    if event.before != before:
        if event.before in names:
            skipped = names[event.before]
            raise ChainBroken(item.seq, f"it follows event {skipped}, so others were put between or moved", place)
        raise ChainBroken(item.seq, _wrong_before(event, before), place)
    return event


def _wrong_before(event: Event, before: str) -> str:
    named, stands = event.before[:12] or "nothing", before[:12] or "nothing"
    return f"it names {named} as the event before it, but {stands} stands there"
