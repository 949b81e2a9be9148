"""One request and its answer on a connection: ASGI's `receive` and `send`, and the short way past them.

`Cycle.respond` writes a whole answer at once and `Cycle.whole_body` is the body if it is here already, both without a
turn of the event loop. An application finds them behind the `receive` and `send` that it was called with (`cycle_of`),
and must do without them under another server.
"""

from __future__ import annotations

import asyncio
import http
import logging
from collections.abc import Iterable
from typing import Any, Protocol

from mlops_cli.core.serving.watch import Watch

HIGH_WATER = 256 << 10  # of a body that nobody has taken yet: then the connection is not read on

Header = tuple[bytes, bytes]

_log = logging.getLogger(__name__)


def _status_line(status: int) -> bytes:
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return b"HTTP/1.1 %d %s\r\n" % (status, phrase.encode())


STATUS_LINES = {status: _status_line(status) for status in range(100, 600)}


class Line(Protocol):
    """What a cycle needs of its connection."""

    transport: Any
    watch: Watch
    server_state: Any
    loop: asyncio.AbstractEventLoop

    def completed(self, cycle: Cycle) -> None: ...
    def resume_reading(self) -> None: ...
    async def drain(self) -> None: ...


class Cycle:
    """`more_body` until the request's last byte is here; `is_complete` once all of the answer is written; `is_gone`
    when nobody is left to answer."""

    __slots__ = (
        "_chunked",
        "_head",
        "_held",
        "_is_taken",
        "_left",
        "_waiter",
        "body",
        "expects_100",
        "is_complete",
        "is_gone",
        "is_head",
        "is_old",
        "is_started",
        "keep_alive",
        "line",
        "more_body",
        "scope",
        "size",
        "task",
        "wire",
    )

    def __init__(self, line: Line, scope: dict[str, Any], *, keep_alive: bool, expects_100: bool) -> None:
        self.line = line
        self.scope = scope
        self.keep_alive = keep_alive
        self.expects_100 = expects_100
        self.is_head = scope["method"] == "HEAD"
        self.is_old = scope["http_version"] == "1.0"
        self.body: bytes | bytearray = b""
        self.size = 0
        self.wire = 0  # bytes that only held some of the body, with its framing
        self.more_body = True
        self.is_started = self.is_complete = self.is_gone = False
        self._is_taken = False
        self._held = 0
        self._head = b""
        self._chunked = False
        self._left = 0  # bytes of the answer that Content-Length still promises
        self.task: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def run(self, app: Any, tasks: set[Any]) -> None:
        try:
            await app(self.scope, self.receive, self.send)
            if not self.is_complete and not self.is_gone:
                _log.error("%s %s was left without an answer", self.scope["method"], self.scope["path"][:200])
                self._fail()
        except asyncio.CancelledError:
            self.line.transport.abort()
            raise
        except Exception:  # noqa: BLE001 - the connection ends well, whatever the application did
            _log.exception("%s %s failed", self.scope["method"], self.scope["path"][:200])
            self._fail()
        finally:
            tasks.discard(self.task)
            self.release()

    def _fail(self) -> None:
        self.keep_alive = False
        if self.is_started:
            self.line.transport.abort()  # half an answer must not look like a whole one
        else:
            self.respond(500, b"application/json", b'{"error":"something failed in the server"}')

    # -- the request ---------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> bool:
        """More of the body. False when the connection should not be read on until it is taken."""
        if not self.body:
            self.body = data
        else:
            if type(self.body) is bytes:
                self.body = bytearray(self.body)
            self.body += data
        self.size += len(data)
        self.wake()
        return len(self.body) <= HIGH_WATER

    def wake(self) -> None:
        if self._waiter is not None:
            if not self._waiter.done():
                self._waiter.set_result(None)
            self._waiter = None

    def whole_body(self) -> bytes | None:
        """The body, if all of it is here and nobody has taken any of it."""
        if self.more_body or self._is_taken:
            return None
        self._is_taken = True
        return bytes(self.body)

    def hold(self, size: int) -> bool:
        """Count bytes that are kept until the answer against what all may hold; False if it is too much."""
        if not self.line.watch.holds(size):
            return False
        self._held += size
        return True

    def release(self) -> None:
        if self._held:
            self.line.watch.holds(-self._held)
            self._held = 0
        self.body = b""

    async def receive(self) -> dict[str, Any]:
        if self.expects_100 and self.more_body and not (self.is_started or self.is_gone or self.size):
            self.line.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.expects_100 = False
        while not (self.is_gone or self.is_complete or self.body or (not self.more_body and not self._is_taken)):
            self.line.resume_reading()
            self._waiter = self.line.loop.create_future()
            await self._waiter
        if self.is_gone or self.is_complete:
            return {"type": "http.disconnect"}
        body, self.body = bytes(self.body), b""
        self._is_taken = self._is_taken or not self.more_body
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    # -- the answer ----------------------------------------------------------------------------------------

    def respond(self, status: int, media: bytes, body: bytes, headers: Iterable[Header] = ()) -> None:
        """Write a whole answer. Nothing happens when the client is gone."""
        if self.is_gone:
            return
        if self.is_started:
            raise RuntimeError("the answer was begun already")
        head = b"%b%bcontent-type: %b\r\ncontent-length: %d\r\n%b\r\n" % (
            STATUS_LINES[status],
            self.line.watch.date(self.line.server_state),
            media,
            len(body),
            self._lines(headers),
        )
        self.is_started = self.is_complete = True
        # One write is one packet; what is large is not copied for it.
        if self.is_head:
            self.line.transport.write(head)
        elif len(body) < 1 << 16:
            self.line.transport.write(head + body)
        else:
            self.line.transport.writelines((head, body))
        self.line.completed(self)

    def _lines(self, headers: Iterable[Header]) -> bytes:
        lines = []
        for name, value in headers:
            if name == b"connection":
                self.keep_alive = self.keep_alive and value.lower() != b"close"
                continue
            if b"\n" in value or b"\r" in value or b"\0" in value:
                raise ValueError(f"the header {name!r} of an answer has a line break in it")
            lines.append(b"%b: %b\r\n" % (name, value))
        if self.more_body or not self.keep_alive:
            # What the client has yet to send is not waited for: the connection ends with this answer.
            self.keep_alive = False
            lines.append(b"connection: close\r\n")
        elif self.is_old:
            lines.append(b"connection: keep-alive\r\n")
        return b"".join(lines)

    async def send(self, message: dict[str, Any]) -> None:
        await self.line.drain()
        if self.is_gone:
            return
        kind = message["type"]
        if kind == "http.response.start" and not self.is_started:
            self._start(message["status"], list(message.get("headers", ())))
        elif kind == "http.response.body" and self.is_started and not self.is_complete:
            self._go_on(message.get("body", b""), message.get("more_body", False))
        else:
            raise RuntimeError(f"{kind} does not come here in an answer")

    def _start(self, status: int, headers: list[Header]) -> None:
        self.is_started = True
        headers = [(name.lower(), value) for name, value in headers]
        length = next((value for name, value in headers if name == b"content-length"), None)
        has_body = not self.is_head and status not in (204, 304)
        self._left = int(length) if length is not None and has_body else 0
        if length is None and has_body:
            self._chunked = not self.is_old
            if self._chunked:
                headers.append((b"transfer-encoding", b"chunked"))
            else:
                self.keep_alive = False  # the end of the connection is the end of the body
                self._left = -1
        date = self.line.watch.date(self.line.server_state)
        # It leaves together with the first of the body.
        self._head = STATUS_LINES[status] + date + self._lines(headers) + b"\r\n"

    def _go_on(self, body: bytes, more: bool) -> None:
        head, self._head = self._head, b""
        if self._chunked:
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            self.line.transport.write(head + body + (b"" if more else b"0\r\n\r\n"))
        elif self._left < 0:
            self.line.transport.write(head + body)
        else:
            body = b"" if self.is_head else body
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError("the answer is not as long as its Content-Length says")
            self.line.transport.write(head + body)
        if not more:
            self.is_complete = True
            self.line.completed(self)


def cycle_of(method: Any) -> Cycle | None:
    """The cycle whose `receive` or `send` this is; None under another server."""
    owner = getattr(method, "__self__", None)
    return owner if type(owner) is Cycle else None
