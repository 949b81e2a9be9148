"""The few things of ASGI that the server needs: a request's head, its body within limits, and a reply."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from mlops_cli.core.serving.limits import Limits
from mlops_cli.core.serving.problems import Problem, TooLarge, UnsupportedType
from mlops_cli.core.serving.protocols.exchange import JSON

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]

_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_HEADERS = 100
_LINGER_BYTES = 64 << 20
_LINGER_S = 5.0


def is_request_id(text: str) -> bool:
    """May a client's id go into headers and logs as it is?"""
    return _ID.fullmatch(text) is not None


class ClientGone(Exception):
    """The client closed the connection before it had sent the body; there is nobody to answer."""


class Request:
    """The head of one request. `id` is the client's X-Request-Id, or 32 hex digits of the server's."""

    __slots__ = ("headers", "id", "method", "path", "receive", "scope")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.receive = receive
        self.method: str = scope["method"]
        path: str = scope["path"]
        self.path = path.rstrip("/") or "/"
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        given = self.headers.get(b"x-request-id", b"").decode("latin-1")
        self.id = given if is_request_id(given) else secrets.token_hex(16)

    @property
    def names_itself(self) -> bool:
        """Did the client give the id?"""
        return self.headers.get(b"x-request-id") == self.id.encode()

    def check_head(self) -> None:
        """Raises Problem 431 for more headers than any honest client has."""
        if len(self.scope["headers"]) > _HEADERS:
            raise Problem(f"the request has more than {_HEADERS} headers", status=431, close=True)

    def media(self, accepted: tuple[str, ...]) -> str:
        """The content type, without parameters. Raises UnsupportedType for one that the path does not read."""
        kind, _, parameters = self.headers.get(b"content-type", b"").decode("latin-1").partition(";")
        kind = kind.strip().lower()
        charset = parameters.lower().replace('"', "").replace(" ", "").partition("charset=")[2].partition(";")[0]
        encoding = self.headers.get(b"content-encoding", b"identity").decode("latin-1").lower()
        if kind not in accepted or charset not in ("", "utf-8", "utf8", "us-ascii"):
            shown = f"{kind or 'no content type'}{f' in {charset}' if charset else ''}"[:100]
            raise UnsupportedType(f"this path takes {' or '.join(filter(None, accepted))} in UTF-8, not {shown}")
        if encoding != "identity":
            raise UnsupportedType(f"compressed bodies ({encoding[:40]}) are not taken; send the body as it is")
        return kind

    async def body(self, limits: Limits) -> bytes:
        """The whole body. Raises TooLarge before reading what Content-Length says is too much, and while reading a
        chunked body; Problem 408 if it does not arrive in time; ClientGone."""
        self._refuse_length(limits)
        message = await self._next(limits)
        body: bytes = message.get("body", b"")
        if message.get("more_body", False):
            body = await self._rest(body, limits)
        if len(body) > limits.body_bytes:
            raise _too_large(limits)
        return body

    def _refuse_length(self, limits: Limits) -> None:
        length = self.headers.get(b"content-length")
        if length is not None and (not length.isdigit() or int(length[:19]) > limits.body_bytes):
            raise _too_large(limits)

    async def _rest(self, start: bytes, limits: Limits) -> bytes:
        parts = [start]
        size = len(start)
        try:
            async with asyncio.timeout(limits.body_s):
                while size <= limits.body_bytes:
                    message = await self._message()
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            raise _too_slow(limits) from None
        return b"".join(parts)

    async def _next(self, limits: Limits) -> Message:
        # The body is nearly always here already: no timer for it, only for one that is on its way.
        try:
            async with asyncio.timeout(limits.body_s):
                return await self._message()
        except TimeoutError:
            raise _too_slow(limits) from None

    async def _message(self) -> Message:
        message = await self.receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        return message

    async def linger(self) -> None:
        """Read and forget what a refused client still sends, within bounds.

        Closing with unread bytes resets the connection, and the client would see that instead of the answer.
        """
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
    """Send a whole response. `more` leaves the exchange open, so that the caller may linger and then `finish` it."""
    head = [(b"content-type", media), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def finish(send: Send) -> None:
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def json_bytes(document: Any) -> bytes:
    return msgspec.json.encode(document)
