"""All connections of one server: who is open, whose time is up, and what they hold together."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import islice
from typing import Any, Protocol

from uvicorn.server import ServerState

from mlops_cli.core.serving.limits import Limits

NEVER = float("inf")
_SPARE_FILES = 64  # for the model, the log, the registry and the standard streams
_EVICTED = 16  # one in so many, so that looking for the idle costs little for each connection that comes


class Watched(Protocol):
    """A connection. `expires` is the loop's time at which `expire` is called, NEVER while a request is answered;
    `waits_since` since when nothing is in flight on it, NEVER while something is."""

    transport: Any
    expires: float
    waits_since: float
    unsent_since: float

    def expire(self) -> None: ...
    def evict(self) -> None: ...


class Watch:
    """Deadlines without a timer a request: one look at all connections every so often. Belongs to the loop's thread."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.open: dict[Watched, None] = {}
        self.stuck: dict[Watched, None] = {}  # whose answers pile up, the longest first
        self.body_bytes = 0  # of bodies that arrived in more than one read
        self.refused: Counter[int] = Counter()  # what never became a request, by the status that it got
        self._cap = 0
        self._tick_s = min(1.0, max(0.02, min(limits.headers_s, limits.idle_s, limits.write_s, limits.linger_s) / 4))
        self._timer: asyncio.TimerHandle | None = None
        self._date_of: Any = None
        self._date = b""

    def admit(self, connection: Watched, loop: asyncio.AbstractEventLoop) -> bool:
        """Take a new connection; False if there is no room, even after the ones that wait longest had to go."""
        if not self._cap:
            self._cap = min(self.limits.connections, _files() - _SPARE_FILES)
        if len(self.open) >= self._cap and not self._make_room():
            return False
        self.open[connection] = None
        if self._timer is None:
            self._timer = loop.call_later(self._tick_s, self._sweep, loop)
        return True

    def forget(self, connection: Watched) -> None:
        self.open.pop(connection, None)
        self.stuck.pop(connection, None)

    def holds(self, size: int) -> bool:
        """May a connection hold so many more bytes of a body? It gives back what it took with a negative size."""
        if size > 0 and self.body_bytes + size > self.limits.bodies_bytes:
            return False
        self.body_bytes += size
        return True

    def add_stuck(self, connection: Watched) -> None:
        """`connection` has more to send than its client takes."""
        self.stuck[connection] = None
        unsent = sum(stuck.transport.get_write_buffer_size() for stuck in self.stuck)
        for stuck in list(self.stuck):
            if unsent <= self.limits.unsent_bytes:
                break
            unsent -= stuck.transport.get_write_buffer_size()
            del self.stuck[stuck]
            stuck.transport.abort()

    def date(self, state: ServerState) -> bytes:
        """The headers that every answer has: uvicorn makes the date anew each second."""
        headers = state.default_headers
        if headers is not self._date_of:
            self._date_of = headers
            self._date = b"".join(b"%b: %b\r\n" % header for header in headers)
        return self._date

    def _make_room(self) -> bool:
        waiting = sorted((c for c in self.open if c.waits_since < NEVER), key=lambda c: c.waits_since)
        for connection in islice(waiting, max(1, len(self.open) // _EVICTED)):
            self.open.pop(connection, None)  # now, however long its end takes
            connection.evict()
        return bool(waiting)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in [one for one in self.open if one.expires <= now]:
            connection.expire()
        limits = self.limits
        for connection in list(self.stuck):
            unsent = connection.transport.get_write_buffer_size()
            if now - connection.unsent_since > limits.write_s + unsent / limits.write_rate:
                connection.transport.abort()
        self._timer = loop.call_later(self._tick_s, self._sweep, loop) if self.open else None


def _files() -> int:
    """How many files this process may have open."""
    try:
        import resource
    except ImportError:  # not on Windows
        return 1 << 20
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 1 << 20 if soft == resource.RLIM_INFINITY else max(soft, _SPARE_FILES + 16)
