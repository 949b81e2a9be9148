"""A server that misbehaves: a real HTTP proxy in front of a real one, which spoils the requests it is told to.

    with bad_remote(s3_bucket.endpoint) as bad:
        bad.spoil("500", "objects/", times=2)            # the next two requests whose path has that in it
        bad.spoil("truncate", r"packs/.*\\.pack$", method="GET")
        remote = open_remote("origin", RemoteConfig(url=f"s3://{s3_bucket.name}/x", options=bad.options), root=Path())
        ...
        assert bad.count("PUT", "packs/") == 3

Nothing in it sleeps: `hang` holds the answer until the block is left, so give the remote a small `read_timeout`.
"""

from __future__ import annotations

import http.client
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

Kind = Literal[
    "500",  # InternalError
    "503",  # SlowDown, as a bucket says that is asked too often
    "403",  # AccessDenied
    "404",  # NoSuchKey
    "drop",  # the connection is closed instead of an answer; nothing was done
    "lose",  # the request is done, and the connection closed instead of the answer
    "hang",  # no answer
    "truncate",  # half of the body, then the connection is closed
    "short",  # half of the body, and the answer says that this is all
    "corrupt",  # one byte of the body is another
]
_SAID = {
    "500": (500, "InternalError", "We encountered an internal error. Please try again."),
    "503": (503, "SlowDown", "Please reduce your request rate."),
    "403": (403, "AccessDenied", "Access Denied"),
    "404": (404, "NoSuchKey", "The specified key does not exist."),
}
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect"}


@dataclass
class Fault:
    kind: Kind
    pattern: re.Pattern[str]
    method: str | None
    left: int | None  # requests to spoil yet; None: all


@dataclass
class BadRemote:
    """The proxy. `endpoint` is its URL, `options` those of a remote that goes through it without waits."""

    endpoint: str
    requests: list[tuple[str, str]] = field(default_factory=list)  # (method, decoded path), in order of arrival
    _faults: list[Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _released: threading.Event = field(default_factory=threading.Event)

    @property
    def options(self) -> dict[str, Any]:
        return {"endpoint_url": self.endpoint, "backoff": 0}

    def spoil(self, kind: Kind, pattern: str = "", *, method: str | None = None, times: int | None = None) -> None:
        """Spoil the next `times` requests, or all, whose decoded path and query have the pattern in them."""
        with self._lock:
            self._faults.append(Fault(kind, re.compile(pattern), method, times))

    def mend(self) -> None:
        """Spoil nothing any more."""
        with self._lock:
            self._faults.clear()

    def count(self, method: str | None = None, pattern: str = "") -> int:
        """How many requests came, the spoiled ones too."""
        with self._lock:
            return sum(
                method in (None, asked) and re.search(pattern, path) is not None for asked, path in self.requests
            )

    def _arrived(self, method: str, path: str) -> Kind | None:
        with self._lock:
            self.requests.append((method, path))
            for fault in self._faults:
                if fault.left != 0 and fault.method in (None, method) and fault.pattern.search(path):
                    fault.left = None if fault.left is None else fault.left - 1
                    return fault.kind
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bad: BadRemote
    upstream: str

    def handle_any(self) -> None:
        body = self._body()
        kind = self.bad._arrived(self.command, unquote(self.path))
        if kind in _SAID:
            self._refuse(*_SAID[kind])
        elif kind == "hang":
            self.bad._released.wait()
            self._hang_up()
        elif kind == "drop":
            self._hang_up()
        else:
            self._forward(body, kind)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self.handle_any
        raise AttributeError(name)

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        data = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return data

    def _refuse(self, status: int, code: str, message: str) -> None:
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def _forward(self, body: bytes, kind: Kind | None) -> None:
        parts = urlsplit(self.upstream)
        connection = http.client.HTTPConnection(parts.netloc)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
            connection.request(self.command, self.path, body=body, headers=headers)
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        if kind == "lose":
            self._hang_up()
            return
        length = len(data) if self.command != "HEAD" else answer.getheader("Content-Length")
        sent = data[: len(data) // 2] if kind in ("truncate", "short") else data
        if kind == "corrupt" and data:
            middle = len(data) // 2
            sent = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP_BY_HOP | {"date", "server"}:
                self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(len(sent) if kind == "short" else length))
        self.end_headers()
        self.wfile.write(sent)
        if kind == "truncate":
            self._hang_up()

    def _hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *args: object) -> None:
        """Tests read what commands print."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *args: object) -> None:
        """A client that hangs up is what some tests are about."""


@contextmanager
def bad_remote(upstream: str) -> Iterator[BadRemote]:
    """A proxy in front of the server at that URL."""
    handler = type("Handler", (_Handler,), {"upstream": upstream})
    server = _Server(("127.0.0.1", 0), handler)
    bad = BadRemote(f"http://127.0.0.1:{server.server_port}")
    handler.bad = bad  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield bad
    finally:
        bad._released.set()
        server.shutdown()
        server.server_close()
        thread.join()
