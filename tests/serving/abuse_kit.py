"""Raw sockets for clients that do what no honest client does."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
from serving_kit import ROW

from mlops_cli.core.serving.limits import Limits
from mlops_cli.core.serving.server import Server, bind, url_of

HEAD = b"POST /predict HTTP/1.1\r\nhost: localhost\r\n"
GOOD = b"GET /ping HTTP/1.1\r\nhost: localhost\r\n\r\n"


def connect(client: httpx.Client, **options: int) -> socket.socket:
    """A connection to the server that `client` reaches. `receive`: its buffer, so that little fits in."""
    family = socket.AF_INET6 if ":" in client.base_url.host else socket.AF_INET
    connection = socket.socket(family)
    if "receive" in options:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, options["receive"])
    connection.settimeout(20)
    try:
        connection.connect((client.base_url.host, client.base_url.port or 80))
    except OSError:
        connection.close()
        raise
    return connection


def read_all(connection: socket.socket) -> bytes:
    """What comes until the server closes, or cuts the connection."""
    parts = []
    try:
        while part := connection.recv(1 << 16):
            parts.append(part)
    except ConnectionError:
        pass
    return b"".join(parts)


def raw(client: httpx.Client, data: bytes) -> bytes:
    """Send bytes as they are, and read until the server closes."""
    with connect(client) as connection:
        with suppress(ConnectionError):  # it may be refused before the end
            connection.sendall(data)
        return read_all(connection)


def is_well(client: httpx.Client) -> bool:
    """Is a good request of a new client answered?"""
    with httpx.Client(base_url=client.base_url, trust_env=False, timeout=20) as other:
        return other.post("/predict", json=ROW).status_code == 200


def statuses(answer: bytes) -> list[int]:
    """Of all answers in a stream of bytes; bodies here never hold the text of a status line."""
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


def watch_of(client: httpx.Client) -> Any:
    """What the server knows of its open connections."""
    return client.server.watch  # type: ignore[attr-defined]


def wait_until(holds: Callable[[], bool]) -> None:
    """Look again and again until it holds, for 20 s at most."""
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.002)


@contextmanager
def running_app(app: Any, *, limits: Limits | None = None, **options: Any) -> Iterator[httpx.Client]:
    """A server in a thread around an ASGI application that knows nothing of a life span."""

    async def living(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})

    listener = bind("127.0.0.1", 0)
    url = url_of(listener)
    ready = threading.Event()
    server = Server(living, limits=limits or Limits(), ready=ready.set, **options)
    thread = threading.Thread(target=server.serve_on, args=(listener,))
    thread.start()
    try:
        assert ready.wait(30)
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            client.server = server  # type: ignore[attr-defined]
            yield client
    finally:
        server.should_exit = True
        thread.join(30)
    assert not thread.is_alive()
