"""The models of one server: which version answers for each reference, and the one before it, kept warm."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mlops_cli.core.serving.admission import Lane, LaneLimits
from mlops_cli.core.serving.loader import Served
from mlops_cli.core.serving.problems import Problem, Unavailable, UnknownPath
from mlops_cli.core.serving.worker import Worker


@dataclass(frozen=True, slots=True)
class Source:
    """Where the versions of one reference come from; all are called in one thread of their own, one after another.

    `resolve` says which version the reference means now, as something that compares equal while it is the same;
    `load` makes that ready and checks it. Both raise. `deployed` is told of each version that begins to answer, and
    `failed` of each that could not be loaded, with the reason.
    """

    resolve: Callable[[], object]
    load: Callable[[Any], Served]
    deployed: Callable[[Served], None] = lambda _: None
    failed: Callable[[Any, str], None] = lambda key, reason: None


class Library(Protocol):
    """Models that are not on the shelf yet. Called in the thread of the sources."""

    def find(self, name: str) -> Slot:
        """An empty slot for a model of this name. Raises NotFound, MloError."""
        ...

    def classes(self, name: str) -> tuple[str | int | float | bool, ...]:
        """The classes of all versions of a model. Raises MloError."""
        ...


class Slot:
    """One reference. `served` is None until it is loaded (a lazy model) and after it was unloaded.

    Whatever goes wrong with a newer version, the one that answers goes on; `registry_error` and `reload_error` say so.
    """

    def __init__(
        self,
        ref: str,
        name: str,
        *,
        limits: LaneLimits | None = None,
        served: Served | None = None,
        source: Source | None = None,
        follows: bool = False,
        is_eager: bool = True,
    ) -> None:
        self.ref = ref
        self.name = name
        self.lane = Lane(name, limits)
        self.served = served
        self.previous: Served | None = None
        self.source = source
        self.follows = follows
        self.is_eager = is_eager  # the server is not ready before it is loaded
        self.is_wanted = True  # False once it was unloaded: then no request loads it
        self.registry_error: str | None = None
        self.reload_error: str | None = None
        self._loading: asyncio.Future[Served] | None = None

    @property
    def state(self) -> str:
        """As the Open Inference Protocol's repository names states."""
        if self.served is not None:
            return "READY"
        return "LOADING" if self._loading is not None else "UNAVAILABLE"

    @property
    def versions(self) -> list[Served]:
        """What can answer, the version that the reference means first."""
        return [served for served in (self.served, self.previous) if served is not None]

    def swap(self, served: Served) -> Served | None:
        """Let `served` answer from the next request on; what answered before stays loaded, and is returned."""
        before, self.served = self.served, served
        if before is not None and before.key != served.key:
            self.previous = before
        self.is_wanted = True
        self.reload_error = None
        return before

    def unload(self) -> None:
        """Let go of the model; requests that hold it are still answered."""
        self.served = self.previous = None
        self.is_wanted = False

    async def load(self, worker: Worker) -> Served:
        """The version that the reference means, loaded once however many wait for it. Raises what loading raises."""
        if self._loading is None:
            self._loading = asyncio.ensure_future(self._load(worker))
        return await asyncio.shield(self._loading)

    async def _load(self, worker: Worker) -> Served:
        source = self.source
        assert source is not None  # noqa: S101 - without one a slot is made with its model
        held = self.served
        try:
            key = await worker.call(source.resolve)
            if held is not None and held.key == key:
                return held
            served = await worker.call(lambda: source.load(key))
            self.swap(served)
            return served
        except Exception as error:
            self.reload_error = f"{type(error).__name__}: {error}"
            raise
        finally:
            self._loading = None


class Shelf:
    """All slots of a server, the first one its default. Slots are only ever added."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self._slots = list(slots)
        self._by_name: dict[str, list[Slot]] = {}
        for slot in slots:
            self._by_name.setdefault(slot.name, []).append(slot)

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._slots)

    @property
    def default(self) -> Slot:
        return self._slots[0]

    @property
    def names(self) -> list[str]:
        return list(self._by_name)

    def add(self, slot: Slot) -> None:
        self._slots.append(slot)
        self._by_name.setdefault(slot.name, []).append(slot)

    def named(self, name: str) -> list[Slot]:
        """Raises UnknownPath."""
        slots = self._by_name.get(name)
        if slots is None:
            raise UnknownPath(f"there is no model {name[:128]} here; this server holds {', '.join(self._by_name)}")
        return slots

    def held(self, name: str) -> list[str]:
        """The versions of a model that are in memory, as protocols name them. Raises UnknownPath."""
        return list(dict.fromkeys(served.version_text for slot in self.named(name) for served in slot.versions))

    def find(self, name: str, version: str | None = None) -> tuple[Slot, Served | None]:
        """The slot that answers for a model, or for one version of it, and that version.

        Without a version it may be None: a lazy model. Raises UnknownPath, Unavailable for a model that was unloaded.
        """
        slots = self.named(name)
        if version is None:
            slot = slots[0]
            if slot.served is None and not slot.is_wanted:
                raise Unloaded(f"{name} was unloaded; POST /v2/repository/models/{name}/load brings it back")
            return slot, slot.served
        for slot in slots:
            for served in slot.versions:
                if served.version_text == version:
                    return slot, served
        held = ", ".join(self.held(name)) or "none"
        raise UnknownPath(f"there is no version {version[:64]} of {name} here; this server holds {held}")


class Unloaded(Problem):
    """The model is on the shelf, and was unloaded on purpose."""

    status = 503


def unavailable(slot: Slot, reason: str) -> Unavailable:
    return Unavailable(f"{slot.ref} cannot be loaded: {reason}", retry_s=5)
