"""How much a client may send, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`body_s` bounds the time from the headers to the last byte of the body; `headers_s` that of the headers."""

    body_bytes: int = 8 << 20
    rows: int = 100_000
    body_s: float = 10.0
    headers_s: float = 10.0
    header_bytes: int = 64 << 10
    drain_s: float = 30.0
