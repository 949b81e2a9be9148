"""How much a client may send, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one process. The rules that use them stand beside each; sizes are bytes, times seconds."""

    body_bytes: int = 8 << 20
    """One body, before and after it is decompressed."""
    bodies_bytes: int = 256 << 20
    """All bodies that arrive in more than one read and have no answer yet. Beyond it: 503."""
    inflation: int = 200
    """A compressed body may grow to 1 MiB, or to this many times its size."""
    rows: int = 100_000
    headers: int = 100
    header_bytes: int = 64 << 10
    url_bytes: int = 8 << 10
    pipelined: int = 100
    """Requests that one client may send ahead of their answers."""
    connections: int = 2048
    """Open at once; fewer where the system allows fewer open files."""

    headers_s: float = 10.0
    """From the connection, or the first byte of a later request, to the end of the headers; also the TLS handshake."""
    body_s: float = 10.0
    """From the headers to the last byte of the body."""
    idle_s: float = 75.0
    """Between an answer and the next request."""
    write_s: float = 30.0
    """For the client to take what was answered, and a second more for each `write_rate` bytes of it."""
    write_rate: int = 64 << 10
    unsent_bytes: int = 256 << 20
    """All answers that clients are slow to take. Beyond it the one that waits longest is cut off."""
    linger_s: float = 5.0
    """How long, and below how much, a refused client may go on sending before it is cut off."""
    linger_bytes: int = 128 << 20
    last_s: float = 0.5
    """For the last request of an idle client, when the server ends."""
    drain_s: float = 30.0
    """For what is in flight when the server ends."""
