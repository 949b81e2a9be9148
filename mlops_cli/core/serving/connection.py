"""One client's connection, for uvicorn: HTTP/1.1 read by httptools, with a bound on what a client sends and holds.

uvicorn's own protocol has no such bounds, and spends more time on a request than the rest of the server does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.server import ServerState

from mlops_cli.core.serving.cycle import Cycle
from mlops_cli.core.serving.head import address_of, read_target, refusal, without_upgrade
from mlops_cli.core.serving.limits import Limits
from mlops_cli.core.serving.watch import NEVER, Watch

_BROKEN = (400, "this is no HTTP request")
_NOTED = frozenset({b"expect", b"upgrade", b"transfer-encoding"})


class _Refused(Exception):
    """The request is refused while it is parsed."""


class BoundedProtocol(asyncio.Protocol):
    """A connection. Requests are answered in the order they came; a refusal waits for the answers before it."""

    limits = Limits()
    watch = Watch(limits)

    def __init_subclass__(cls) -> None:
        cls.watch = Watch(cls.limits)  # one for each server: it makes a class with its limits

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.loop = _loop or asyncio.get_running_loop()
        self.app = config.loaded_app
        self.app_state = app_state
        self.root_path = config.root_path
        self.asgi = {"version": config.asgi_version, "spec_version": "2.3"}
        self.server_state = server_state
        self.transport: Any = None
        self.expires = NEVER
        self.waits_since = NEVER
        self.unsent_since = NEVER
        self._room: asyncio.Future[None] | None = None  # set while the client does not take what was written
        self._is_read = True
        self._is_open = True  # what arrives is still parsed
        self._is_ending = False  # the server ends
        self._lingered = -1  # bytes forgotten since the connection was to end; -1 before
        self._refusal: tuple[int, str] | None = None
        self._cycle: Cycle | None = None  # the one that is answered
        self._incoming: Cycle | None = None  # the one that is read
        self._waiting: deque[Cycle] = deque()
        self._last = False  # no request after this one
        self._in_head = False
        self._begun = 0
        self._partial_of = self._partial = 0  # the request of which only part of the head is here; how many bytes
        self._fed = 0
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._expects_100 = self._wants_upgrade = self._is_chunked = False
        self.parser = self._new_parser()

    def _new_parser(self) -> Any:
        parser = httptools.HttpRequestParser(self)
        # Else whatever follows the last request would spoil its answer; here it is forgotten.
        parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return parser

    # -- the life of a connection ----------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.server_state.connections.add(self)  # type: ignore[arg-type]
        self.server, self.client = address_of(transport, "sockname"), address_of(transport, "peername")
        self.scheme = "https" if transport.get_extra_info("sslcontext") is not None else "http"
        if not self.watch.admit(self, self.loop):
            self._is_open = False
            self._refusal = (503, "too many connections are open")
            self._write_refusal()
            transport.close()
            return
        now = self.loop.time()
        self.waits_since, self.expires = now, now + self.limits.headers_s
        self._partial_of = 1  # the deadline of the first request runs from here

    def connection_lost(self, exc: Exception | None) -> None:
        self.server_state.connections.discard(self)
        self.watch.forget(self)
        self._is_open = False
        for cycle in (self._cycle, self._incoming, *self._waiting):
            if cycle is not None:
                cycle.is_gone = not cycle.is_complete
                cycle.wake()
        self._waiting.clear()
        self._cycle = self._incoming = None
        self._set_room()
        self.parser = None

    def eof_received(self) -> None:
        """A client that stops sending is gone, as one that gave up is: the transport closes."""

    def expire(self) -> None:
        """The time is up for headers, for the next request, or for taking leave."""
        if self.transport.is_closing() or self._lingered >= 0:
            self.transport.abort()
        elif self._in_head or not self._begun:
            self._refuse(408, "Request Timeout")
        else:
            self._close()

    def evict(self) -> None:
        self.transport.abort()

    def shutdown(self) -> None:
        """uvicorn ends: what is in flight is finished. A client may have sent its next request before it could know, so
        that one is answered too, with `connection: close`."""
        self._is_ending = True
        if self._cycle is not None and not self._cycle.is_complete:
            self._cycle.keep_alive = False
        elif self.limits.last_s:
            self.loop.call_later(self.limits.last_s, self._close_idle)
        else:
            self._close()

    def _close_idle(self) -> None:
        if self._is_open and (self._cycle is None or self._cycle.is_complete):
            self._close()

    def _close(self) -> None:
        self._is_open = False
        self.expires = self.loop.time() + self.limits.write_s
        self.transport.close()

    # -- what the client sends -------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if len(data) <= self.limits.header_bytes:
            self._feed(data)
            return
        for start in range(0, len(data), self.limits.header_bytes):
            self._feed(data[start : start + self.limits.header_bytes])

    def _feed(self, data: bytes) -> None:
        if not self._is_open:
            self._forget(len(data))
            return
        self._fed = len(data)
        before = self._incoming
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self._refuse(*(self._refusal or _BROKEN))
            return
        if self._in_head:
            self._check_partial_head(len(data))
        elif self._incoming is before and before is not None and before.more_body:
            before.wire += len(data)
            # Chunks of a byte, endless trailers: far more on the wire than there is of a body.
            if before.wire > self.limits.header_bytes + 16 * before.size:
                self._refuse(400, "the body is nearly all framing")

    def _parse(self, data: bytes) -> None:
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                head = without_upgrade(
                    self.parser.get_method(), self._url, self.parser.get_http_version(), self._headers
                )
                data = head + data[upgrade.args[0] :]
                self._begun -= 1
                self.parser = self._new_parser()

    def _check_partial_head(self, size: int) -> None:
        if self._partial_of != self._begun:
            self._partial_of, self._partial = self._begun, 0
            self.expires = self.loop.time() + self.limits.headers_s
        self._partial += size
        if self._partial > self.limits.header_bytes + self.limits.url_bytes:
            self._refuse(431, "Request Header Fields Too Large")

    def _forget(self, size: int) -> None:
        """Read what a refused client still sends. To close on it would reset the connection, and lose the answer."""
        if self._lingered < 0:
            return
        self._lingered += size
        if self._lingered > self.limits.linger_bytes:
            self.transport.abort()
        elif self._is_read:  # the others have their turn between two reads
            self.pause_reading()
            self.loop.call_soon(self.resume_reading)

    def pause_reading(self) -> None:
        if self._is_read:
            self._is_read = False
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._is_read and not self.transport.is_closing():
            self._is_read = True
            self.transport.resume_reading()

    # -- called by the parser --------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._last:
            raise _Refused
        if len(self._waiting) >= self.limits.pipelined:
            self._stop(503, "too many requests were sent ahead of their answers")
        self._begun += 1
        self._in_head = True
        self._url, self._headers = b"", []
        self._expects_100 = self._wants_upgrade = self._is_chunked = False

    def on_url(self, url: bytes) -> None:
        self._url = self._url + url if self._url else url
        if len(self._url) > self.limits.url_bytes:
            self._stop(414, f"the address is longer than {self.limits.url_bytes:,} bytes")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer
        name = name.lower()
        self._headers.append((name, value))
        if name in _NOTED:
            self._note(name, value.strip().lower())
        if len(self._headers) > self.limits.headers:
            self._stop(431, f"the request has more than {self.limits.headers} headers")

    def _note(self, name: bytes, value: bytes) -> None:
        if name == b"expect":
            self._expects_100 = value == b"100-continue"
        elif name == b"upgrade":
            self._wants_upgrade = True
        elif value != b"chunked" or self._is_chunked:
            self._stop(501, "the only transfer encoding is chunked, once")
        else:
            self._is_chunked = True

    def on_headers_complete(self) -> None:
        self._in_head = False
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._stop(400, "this is no proxy")
        if self._wants_upgrade and self.parser.should_upgrade():
            return  # the parser stops here; see _parse
        version = self.parser.get_http_version()
        if version != "1.1" and (version != "1.0" or self._is_chunked):
            self._stop(505 if version != "1.0" else 400, f"this is no request of HTTP/{version}")
        if self._fed > self.limits.header_bytes or self._partial_of == self._begun:
            self._check_head_size()
        self.expires = self.waits_since = NEVER
        cycle = Cycle(
            self,
            self._scope(method.decode(), version),
            keep_alive=self.parser.should_keep_alive() and not self._is_ending,
            expects_100=self._expects_100,
        )
        self._incoming = cycle
        if (self._cycle is None or self._cycle.is_complete) and self._room is None:
            self._start(cycle)
        else:
            self._waiting.append(cycle)
            self.pause_reading()

    def _check_head_size(self) -> None:
        size = len(self._url) + sum(len(name) + len(value) + 4 for name, value in self._headers)
        if size > self.limits.header_bytes:
            self._stop(431, f"the headers are larger than {self.limits.header_bytes:,} bytes")

    def _scope(self, method: str, version: str) -> dict[str, Any]:
        path, raw, query = read_target(self._url)
        return {
            "type": "http",
            "asgi": self.asgi,
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "method": method,
            "root_path": self.root_path,
            "path": path,
            "raw_path": raw,
            "query_string": query,
            "headers": self._headers,
            "state": self.app_state.copy(),
        }

    def on_body(self, body: bytes) -> None:
        cycle = self._incoming
        if cycle is not None and not (cycle.is_complete or cycle.is_gone or cycle.feed(body)):
            self.pause_reading()

    def on_message_complete(self) -> None:
        cycle = self._incoming
        if cycle is not None and cycle.more_body:
            cycle.more_body = False
            cycle.wake()
            self._last = not cycle.keep_alive

    def _stop(self, status: int, message: str) -> None:
        self._refusal = (status, message)
        raise _Refused

    # -- what the client gets --------------------------------------------------------------------------------

    def _start(self, cycle: Cycle) -> None:
        self._cycle = cycle
        tasks: set[Any] = self.server_state.tasks
        cycle.task = self.loop.create_task(cycle.run(self.app, tasks))
        tasks.add(cycle.task)

    def completed(self, cycle: Cycle) -> None:
        """The whole answer is written, though perhaps not sent."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if not cycle.keep_alive:
            self._waiting.clear()
            self._take_leave() if cycle.more_body else self._close()
        elif self._room is None:
            self._next()

    def _next(self) -> None:
        if self._waiting:
            self._start(self._waiting.popleft())
            return
        now = self.loop.time()
        self.waits_since = now
        if self._refusal is not None:
            self._write_refusal()
            self._take_leave()
            return
        if not self._in_head:
            self.expires = now + self.limits.idle_s
        self.resume_reading()

    def _refuse(self, status: int, message: str) -> None:
        """Answer what never became a request, after what is in flight, and close."""
        if self._last or not self._is_open:
            self._is_open = False
            return
        self._is_open = False
        self._refusal = (status, message)
        self.expires = NEVER
        broken = self._incoming
        if broken is not None and broken.more_body:
            if broken.is_started and not broken.is_complete:
                self.transport.abort()
                return
            broken.is_gone = True
            broken.wake()
            if broken in self._waiting:
                self._waiting.remove(broken)
        if self._cycle is None or self._cycle.is_complete or self._cycle.is_gone:
            self._write_refusal()
            self._take_leave()

    def _write_refusal(self) -> None:
        status, message = self._refusal or _BROKEN
        self.watch.refused[status] += 1
        self.transport.write(refusal(status, message, self.watch.date(self.server_state)))

    def _take_leave(self) -> None:
        """Close once the client has read its answer and closed, or has had time enough to."""
        self._is_open = False
        self._lingered = 0
        self.waits_since = self.loop.time()
        self.expires = self.waits_since + self.limits.linger_s
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.resume_reading()

    def pause_writing(self) -> None:
        """The client does not take what was written: nothing more is read or begun for it."""
        self._room = self.loop.create_future()
        self.unsent_since = self.loop.time()
        self.pause_reading()
        self.watch.add_stuck(self)

    def resume_writing(self) -> None:
        self.watch.stuck.pop(self, None)
        self._set_room()
        if self._lingered >= 0:
            self.resume_reading()
        elif (self._is_open or self._refusal is not None) and (self._cycle is None or self._cycle.is_complete):
            self._next()

    def _set_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None

    async def drain(self) -> None:
        """Wait until the client takes what was written."""
        if self._room is not None:
            await asyncio.shield(self._room)
