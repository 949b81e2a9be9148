"""uvicorn's HTTP/1.1 connection with a bound on the time and the size of the headers: a silent client is dropped."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mlops_cli.core.serving.limits import Limits


class BoundedProtocol(HttpToolsProtocol):
    """One connection. The deadline runs while a request's headers are awaited, not between requests: uvicorn's
    keep-alive timeout ends those."""

    limits = Limits()
    _deadline: asyncio.TimerHandle | None = None
    _unread_bytes = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._deadline is not None:
            self._unread_bytes += len(data)
            # One read may bring the whole of small headers and much of a body; only a second one can be too much.
            if self._unread_bytes > self.limits.header_bytes and self._unread_bytes > len(data):
                self._end(b"431 Request Header Fields Too Large")
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._deadline is None:
            self._arm()

    def on_headers_complete(self) -> None:
        self._disarm()
        super().on_headers_complete()

    def _arm(self) -> None:
        self._unread_bytes = 0
        self._deadline = self.loop.call_later(self.limits.headers_s, self._end, b"408 Request Timeout")

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def send_400_response(self, msg: str) -> None:
        self._end(b"400 Bad Request", msg.encode())

    def _end(self, status: bytes, message: bytes = b"") -> None:
        """Answer what never became a request, and close. There is no path yet that would say in which form."""
        if self.transport.is_closing():
            return
        body = b'{"error":"%s"}' % (message or status[4:])
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(b"HTTP/1.1 %s\r\n%s%s" % (status, head, body))
        self.transport.close()
