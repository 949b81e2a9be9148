"""The few things of ASGI that the server needs: a request's head, its body within limits, and a reply."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from mlops_cli.core.serving.cycle import cycle_of
from mlops_cli.core.serving.inflate import inflate, read_encoding
from mlops_cli.core.serving.limits import Limits
from mlops_cli.core.serving.problems import Problem, TooLarge, UnsupportedType
from mlops_cli.core.serving.protocols.exchange import CSV, JSON
from mlops_cli.core.serving.request_ids import new_request_id

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]

_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_HEADERS = 100
# What decides who asks for what; our parser has seen to the lengths.
_ONCE = (b"host", b"authorization", b"content-type", b"content-encoding", b"content-length", b"x-request-id")
_PLAIN = {b"": "", JSON.encode(): JSON, CSV.encode(): CSV}
_THREADED_BYTES = 16 << 10  # a larger compressed body is decompressed beside the event loop
_LINGER_BYTES = 64 << 20
_LINGER_S = 5.0


def is_request_id(text: str) -> bool:
    """May a client's id go into headers and logs as it is?"""
    return _ID.fullmatch(text) is not None


class ClientGone(Exception):
    """The client closed the connection before it had sent the body; there is nobody to answer."""


class Request:
    """The head of one request. `id` is the client's X-Request-Id, or 32 hex digits of the server's."""

    __slots__ = ("_cycle", "headers", "id", "method", "names_itself", "path", "receive", "scope")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.receive = receive
        self._cycle = cycle_of(receive)
        self.method: str = scope["method"]
        path: str = scope["path"]
        self.path = path.rstrip("/") or "/"
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.names_itself = False  # did the client give the id?
        given = self.headers.get(b"x-request-id")
        if given is not None and is_request_id(text := given.decode("latin-1")):
            self.id = text
            self.names_itself = True
        else:
            self.id = new_request_id()

    @property
    def is_gone(self) -> bool:
        """Has the client closed the connection, so that nobody reads the answer? False where it cannot be known."""
        return self._cycle is not None and self._cycle.is_gone

    def check_head(self) -> None:
        """Raises Problem 431 for more headers than any honest client has, 400 for two of what may stand there once:
        a proxy in front may have gone by the other one."""
        headers = self.scope["headers"]
        if len(headers) == len(self.headers):
            return
        if len(headers) > _HEADERS:
            raise Problem(f"the request has more than {_HEADERS} headers", status=431, close=True)
        names = [name for name, _ in headers]
        for name in _ONCE:
            if names.count(name) > 1:
                raise Problem(f"the header {name.decode()} stands there more than once", close=True)

    def media(self, accepted: tuple[str, ...]) -> str:
        """The content type, without parameters. Raises UnsupportedType for one that the path does not read."""
        given = self.headers.get(b"content-type", b"")
        kind = _PLAIN.get(given)
        if kind is None:
            kind, charset = _media_of(given.decode("latin-1"))
        else:
            charset = ""
        if kind not in accepted or charset not in ("", "utf-8", "utf8", "us-ascii"):
            shown = f"{kind or 'no content type'}{f' in {charset}' if charset else ''}"[:100]
            raise UnsupportedType(f"this path takes {' or '.join(filter(None, accepted))} in UTF-8, not {shown}")
        return kind

    async def body(self, limits: Limits) -> bytes:
        """The whole body, decompressed. Raises TooLarge before reading what Content-Length says is too much, while
        reading a chunked body and while decompressing; Problem 408 if it does not arrive in time, 503 if all bodies
        together are too much; UnsupportedType for an encoding that is not spoken; ClientGone."""
        coded = self.headers.get(b"content-encoding")
        encoding = read_encoding(coded) if coded is not None else "identity"
        body = self._cycle.whole_body() if self._cycle is not None else None
        if body is None:
            self._refuse_length(limits)
            body = await self._read(limits)
        if len(body) > limits.body_bytes:
            raise _too_large(limits)
        if encoding == "identity":
            return body
        if len(body) > _THREADED_BYTES:
            return await asyncio.to_thread(inflate, body, encoding, limits)
        return inflate(body, encoding, limits)

    def _refuse_length(self, limits: Limits) -> None:
        length = self.headers.get(b"content-length")
        if length is not None and (not length.isdigit() or int(length[:19]) > limits.body_bytes):
            raise _too_large(limits)

    async def _read(self, limits: Limits) -> bytes:
        body = bytearray()
        try:
            async with asyncio.timeout(limits.body_s):
                while len(body) <= limits.body_bytes:
                    message = await self._message()
                    part = message.get("body", b"")
                    if self._cycle is not None and not self._cycle.hold(len(part)):
                        raise Problem(
                            "the server holds as many bytes of bodies as it may; try again",
                            status=503,
                            headers=((b"retry-after", b"1"),),
                            close=True,
                        )
                    body += part
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            raise _too_slow(limits) from None
        return bytes(body)

    async def _message(self) -> Message:
        message = await self.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        return message

    async def linger(self) -> None:
        """Read and forget what a refused client still sends, within bounds.

        Closing with unread bytes resets the connection, and the client would see that instead of the answer. Our own
        connection does so by itself.
        """
        if self._cycle is not None:
            return
        seen = 0
        try:
            async with asyncio.timeout(_LINGER_S):
                while seen < _LINGER_BYTES:
                    message = await self._message()
                    seen += len(message.get("body", b""))
                    if not message.get("more_body", False):
                        return
        except (TimeoutError, ClientGone):
            return


def _media_of(text: str) -> tuple[str, str]:
    """The content type in lower case, and its charset."""
    kind, _, parameters = text.partition(";")
    charset = parameters.lower().replace('"', "").replace(" ", "").partition("charset=")[2].partition(";")[0]
    return kind.strip().lower(), charset


def _too_large(limits: Limits) -> TooLarge:
    return TooLarge(f"the body is larger than {limits.body_bytes:,} bytes (serve.max_body)", close=True)


def _too_slow(limits: Limits) -> Problem:
    return Problem(f"the body did not arrive within {limits.body_s:g} s", status=408, close=True)


async def reply(
    send: Send,
    body: bytes,
    *,
    status: int = 200,
    media: bytes = JSON.encode(),
    headers: Headers = (),
    more: bool = False,
) -> None:
    """Send a whole response. `more` leaves the exchange open, so that the caller may linger and then `finish` it; our
    own connection ends it at once, and lingers by itself."""
    cycle = cycle_of(send)
    if cycle is not None:
        cycle.respond(status, media, body, headers)
        return
    head = [(b"content-type", media), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def finish(send: Send) -> None:
    if cycle_of(send) is None:
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def json_bytes(document: Any) -> bytes:
    return msgspec.json.encode(document)
