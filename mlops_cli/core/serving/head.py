"""The heads of requests and refusals, as bytes and as ASGI has them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

import httptools

from mlops_cli.core.serving.cycle import STATUS_LINES, Header


def read_target(target: bytes) -> tuple[str, bytes, bytes]:
    """The path, the path as it was sent, and the query. Raises httptools' error or ValueError for what is neither."""
    raw, _, query = target.partition(b"?")
    if not raw.startswith(b"/") and raw != b"*":
        url = httptools.parse_url(target)  # with a host in front, as proxies are asked
        raw, query = url.path or b"/", url.query or b""
    path = raw.decode("ascii")
    return unquote(path) if "%" in path else path, raw, query


def without_upgrade(method: bytes, target: bytes, version: str, headers: Iterable[Header]) -> bytes:
    """The head of a request that asked for another protocol, without the wish.

    Java's client offers HTTP/2 with each request, and parsers take the body for the other protocol's.
    """
    lines = [b"%b %b HTTP/%b" % (method, target, version.encode())]
    for name, value in headers:
        if name == b"connection":
            lines.append(b"connection: " + (b"close" if b"close" in value.lower() else b"keep-alive"))
        elif name not in (b"upgrade", b"http2-settings"):
            lines.append(name + b": " + value)
    return b"\r\n".join((*lines, b"", b""))


def refusal(status: int, message: str, date: bytes) -> bytes:
    """The answer to what never became a request. There is no path that would say in which form."""
    body = b'{"error":"%b"}' % message.encode()
    head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
    return STATUS_LINES[status] + date + head + body


def address_of(transport: Any, name: str) -> tuple[str, int] | None:
    """The host and port at one end of a connection; None for a socket in the file system."""
    address = transport.get_extra_info(name)
    return (str(address[0]), int(address[1])) if isinstance(address, tuple) else None
