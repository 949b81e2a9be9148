"""Amounts of bytes as people write them in mlo.yaml."""

from __future__ import annotations

import re

from mlops_cli.core.errors import UsageError

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:([KMG])(i?))?B\s*")
_POWERS = {None: 0, "K": 1, "M": 2, "G": 3}


def parse_size(text: str) -> int:
    """`8MiB`, `500kB`... in bytes: KiB MiB GiB are powers of 1,024, KB MB GB of 1,000. Raises UsageError."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not a size", hint="write a number and one of B KB MB GB KiB MiB GiB, as in 8MiB")
    base = 1024 if match[3] else 1000
    return int(float(match[1]) * base ** _POWERS[match[2]])
