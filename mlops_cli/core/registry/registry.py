"""Versions and aliases: a view over the event log. Whatever the log does not say is not so."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from mlops_cli.core.base.clock import Clock, format_time
from mlops_cli.core.base.records import ModelRef
from mlops_cli.core.errors import Conflict, IntegrityError, NotFound, RemoteError, UsageError
from mlops_cli.core.events.protocol import NO_EVENT, Event, EventStore, Head
from mlops_cli.core.registry.records import Change, Version

LATEST = "latest"
_ATTEMPTS = 50


class Draft(NamedTuple):
    """An event before it has a place: `Registry.append` gives it one."""

    kind: str
    subject: str
    data: dict[str, Any]


class Registry:
    """Reads the log when it is first asked, and again at each `refresh` and before each append."""

    def __init__(self, events: EventStore, *, clock: Clock, actor: str, shareable: str | None = None) -> None:
        """`shareable` names a remote that could hold the registry of this machine, for the hints of errors."""
        self._shareable = shareable
        self._store = events
        self._clock = clock
        self._actor = actor
        self._events: list[Event] = []
        self._versions: dict[str, list[Version]] = {}
        self._aliases: dict[tuple[str, str], list[Change]] = {}
        self._head: Head | None = None
        self._read = False

    # -- reading -------------------------------------------------------------------------------------------

    @property
    def place(self) -> str:
        return self._store.place

    @property
    def first_step(self) -> str:
        """What to do where nothing is registered."""
        if self._shareable is None:
            return "mlo run, then mlo register"
        return (
            "mlo run, then mlo register; this registry is local to each machine, so if models were registered on "
            f"another one, set `registry: {self._shareable}` in mlo.yaml on both"
        )

    def refresh(self) -> Head | None:
        """Read what was appended since. Raises RemoteError if the log is out of reach, ChainBroken if it is broken."""
        for event in self._store.read(since=self._head.seq if self._head else 0):
            if event.before != (self._head.name if self._head else NO_EVENT):
                raise IntegrityError(
                    f"event {event.seq} of {self.place} does not follow the event before it",
                    hint="`mlo audit` names the first broken event",
                )
            try:
                self._apply(event)
            except (KeyError, ValueError) as error:  # well chained, but written by something else than this registry
                raise IntegrityError(
                    f"event {event.seq} of {self.place} is of the kind {event.kind}, but does not read: {error}",
                    hint="it was written by another version of mlo; upgrade: pip install --upgrade mlops-cli",
                ) from None
            self._events.append(event)
            self._head = Head(event.seq, event.name)
        self._read = True
        return self._head

    def _ready(self) -> None:
        if not self._read:
            self.refresh()

    def history(self, name: str | None = None) -> list[Event]:
        """Every event, oldest first; with a name, those about that model or one of its versions."""
        self._ready()
        return [event for event in self._events if name is None or event.subject.partition("@")[0] == name]

    def names(self) -> list[str]:
        self._ready()
        return sorted(self._versions)

    def versions(self, name: str) -> list[Version]:
        """Oldest first; an empty list for a name that was never registered."""
        self._ready()
        return list(self._versions.get(name, ()))

    def version(self, name: str, number: int) -> Version:
        """Raises NotFound, naming what there is."""
        versions = self._known(name)
        if 1 <= number <= len(versions):
            return versions[number - 1]
        raise NotFound(
            f"{name} has no version {number}; it has {_numbers(versions)}", hint=f"mlo models show {name}@latest"
        )

    def of_run(self, run: str) -> list[Version]:
        """The versions that were registered from a run, oldest first."""
        self._ready()
        return [version for versions in self._versions.values() for version in versions if version.run == run]

    def aliases(self, name: str) -> dict[str, int]:
        """Each alias of a model and the version it points at."""
        self._ready()
        return {alias: changes[-1].version for (of, alias), changes in sorted(self._aliases.items()) if of == name}

    def alias(self, name: str, alias: str) -> int | None:
        """The version an alias points at; None if it never pointed at any."""
        self._ready()
        changes = self._aliases.get((name, alias))
        return changes[-1].version if changes else None

    def changes(self, name: str, alias: str) -> list[Change]:
        """Each change of an alias, oldest first."""
        self._ready()
        return list(self._aliases.get((name, alias), ()))

    def previous(self, name: str, alias: str) -> int | None:
        """The version promoted before the present one; a rollback takes one promotion back, as undo does."""
        stack: list[int] = []
        for change in self.changes(name, alias):
            if change.kind == "rollback" and change.version in stack:
                while stack[-1] != change.version:
                    stack.pop()
            else:
                stack.append(change.version)
        return stack[-2] if len(stack) > 1 else None

    def resolve(self, ref: ModelRef) -> Version:
        """The version that a reference by name means. Raises NotFound, with what there is; UsageError for a run."""
        if ref.run is not None:
            raise UsageError(f"{ref} is a run, not a registered model", hint=f"mlo register {ref.run}")
        versions = self._known(ref.name)
        if ref.version is not None:
            return self.version(ref.name, ref.version)
        if ref.alias == LATEST:
            return versions[-1]
        number = self.alias(ref.name, str(ref.alias))
        if number is None:
            raise self._no_alias(ref.name, str(ref.alias))
        return self.version(ref.name, number)

    def _known(self, name: str) -> list[Version]:
        versions = self.versions(name)
        if not versions:
            if not self.names():
                raise NotFound(f"no model is registered in {self.place}", hint=self.first_step)
            raise _no_model(name, self.names())
        return versions

    def _no_alias(self, name: str, alias: str) -> NotFound:
        aliases = self.aliases(name)
        known = ", ".join(f"{name}@{known}" for known in aliases) or "none but latest"
        near = difflib.get_close_matches(alias, [*aliases, LATEST], n=1)
        hint = f"did you mean {name}@{near[0]}?" if near else f"mlo promote {name}@{len(self.versions(name))} {alias}"
        return NotFound(f"{name} has no alias {alias}; its aliases: {known}", hint=hint)

    # -- appending -----------------------------------------------------------------------------------------

    def record(self, kind: str, subject: str, data: dict[str, Any]) -> Event:
        """Append one event, whatever was appended meanwhile."""
        event = self.append(lambda: Draft(kind, subject, data))
        assert event is not None  # noqa: S101 - the draft above is never None
        return event

    def append(self, compose: Callable[[], Draft | None]) -> Event | None:
        """Append what `compose` makes of the log as it stands; it is asked again each time another writer was first.

        Returns None, and appends nothing, if it answers None. Raises what `compose` raises.
        """
        for _ in range(_ATTEMPTS):
            head = self.refresh()
            draft = compose()
            if draft is None:
                return None
            seq, before = head or (0, NO_EVENT)
            event = Event(
                seq=seq + 1,
                kind=draft.kind,
                time=format_time(self._clock.now()),
                actor=self._actor,
                subject=draft.subject,
                data=msgspec.to_builtins(draft.data),
                before=before,
            )
            try:
                self._store.append(event, after=before)
            except Conflict:
                continue
            self.refresh()
            return event
        raise RemoteError(
            f"{self.place} was always a step ahead: {_ATTEMPTS} attempts to append an event",
            hint="another writer appends without pause; run the command again when it is done",
        )

    def add_version(self, facts: Version) -> tuple[Version, bool]:
        """Register `facts` under the next number; the winning append gives it.

        `facts.version`, `time` and `actor` are ignored. Returns the version, and whether it is new: the same model
        of the same run is registered once.
        """

        def compose() -> Draft | None:
            if self._same(facts) is not None:
                return None
            number = len(self._versions.get(facts.name, ())) + 1
            data = msgspec.to_builtins(facts)
            for field in ("name", "version", "time", "actor"):
                data.pop(field)
            return Draft("register", f"{facts.name}@{number}", data)

        event = self.append(compose)
        version = self._same(facts)
        if version is None:  # the event was appended and read back
            raise IntegrityError(f"{facts.name} was registered but cannot be read back", hint="mlo audit")
        return version, event is not None

    def _same(self, facts: Version) -> Version | None:
        for version in self._versions.get(facts.name, ()):
            if (version.run, version.model.digest) == (facts.run, facts.model.digest):
                return version
        return None

    # -- the view ------------------------------------------------------------------------------------------

    def _apply(self, event: Event) -> None:
        if event.kind == "register":
            self._add(event)
        elif event.kind in ("promote", "rollback"):
            change = _change(event)
            self._aliases.setdefault((change.name, change.alias), []).append(change)

    def _add(self, event: Event) -> None:
        name, _, number = event.subject.partition("@")
        facts = {**event.data, "name": name, "version": int(number), "time": event.time, "actor": event.actor}
        version = msgspec.convert(facts, Version)
        versions = self._versions.setdefault(name, [])
        if version.version != len(versions) + 1:
            raise IntegrityError(
                f"event {event.seq} of {self.place} registers {event.subject}; {name}@{len(versions) + 1} comes next",
                hint="the log was not written by mlo's registry; restore it from a backup",
            )
        versions.append(version)


def _change(event: Event) -> Change:
    name, _, number = event.subject.partition("@")
    data = event.data
    return Change(
        seq=event.seq,
        kind=event.kind,
        name=name,
        alias=str(data["alias"]),
        before=data.get("before"),
        version=int(number),
        time=event.time,
        actor=event.actor,
        gates=list(data.get("gates", ())),
    )


def _numbers(versions: list[Version]) -> str:
    return "version 1 only" if len(versions) == 1 else f"versions 1 to {len(versions)}"


def _no_model(name: str, names: list[str]) -> NotFound:
    near = difflib.get_close_matches(name, names, n=1)
    known = ", ".join(names)
    return NotFound(
        f"there is no model {name}; registered: {known}",
        hint=f"did you mean {near[0]}?" if near else "mlo models list",
    )
