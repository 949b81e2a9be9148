"""How much a client may send, and how long it may take."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mlops_cli.core.errors import UsageError

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:([KMG])(i?))?B\s*")
_POWERS = {None: 0, "K": 1, "M": 2, "G": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`body_s` bounds the time from the headers to the last byte of the body; `headers_s` that of the headers."""

    body_bytes: int = 8 << 20
    rows: int = 100_000
    body_s: float = 10.0
    headers_s: float = 10.0
    header_bytes: int = 64 << 10
    drain_s: float = 30.0


def parse_size(text: str) -> int:
    """`8MiB`, `500kB`... in bytes: KiB MiB GiB are powers of 1,024, KB MB GB of 1,000. Raises UsageError."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not a size", hint="write a number and one of B KB MB GB KiB MiB GiB, as in 8MiB")
    base = 1024 if match[3] else 1000
    return int(float(match[1]) * base ** _POWERS[match[2]])
