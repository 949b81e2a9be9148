"""Ids for requests that bring none: 128 random bits each, asked of the system for many at a time."""

from __future__ import annotations

import os

_BYTES = 16
_AT_ONCE = 256

_pool: list[str] = []


def new_request_id() -> str:
    """32 hex digits that nobody can guess. Called from any thread."""
    while True:
        try:
            return _pool.pop()
        except IndexError:
            drawn = os.urandom(_BYTES * _AT_ONCE).hex()
            _pool.extend(drawn[start : start + 2 * _BYTES] for start in range(0, len(drawn), 2 * _BYTES))


# A forked worker would draw the same ones as its siblings.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.clear)
