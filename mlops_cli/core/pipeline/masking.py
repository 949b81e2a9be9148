"""Secrets taken out of what a stage prints, however the pieces of its output fall."""

from __future__ import annotations

import re
from collections.abc import Iterable

MASK = b"***"


class Mask:
    """Replaces every one of some values, and every line of one that has several, by `***` in a stream of bytes."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        words = {line.strip().encode() for value in values for line in (value, *value.splitlines())}
        # The longest first: of two that begin alike, the whole one must go.
        self._words = sorted(filter(None, words), key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, self._words))) if self._words else None
        self._held = b""

    def feed(self, block: bytes) -> bytes:
        """What of the stream may be shown by now; its end waits where that could be the beginning of a secret."""
        if self._pattern is None:
            return block
        whole = self._held + block
        cut = self._doubtful(whole)
        self._held = whole[cut:]
        return self._pattern.sub(MASK, whole[:cut])

    def rest(self) -> bytes:
        """What was held back, at the end of the stream."""
        held, self._held = self._held, b""
        return self.mask(held)

    def mask(self, data: bytes) -> bytes:
        """A whole text."""
        return self._pattern.sub(MASK, data) if self._pattern is not None else data

    def _doubtful(self, text: bytes) -> int:
        """Where the longest end of the text starts that begins a secret without being one to its end."""
        longest = len(self._words[0])
        for start in range(max(0, len(text) - longest + 1), len(text)):
            end = text[start:]
            if any(len(end) < len(word) and word.startswith(end) for word in self._words):
                return self._after_secrets(text, start)
        return len(text)

    def _after_secrets(self, text: bytes, start: int) -> int:
        """`start`, or the end of a whole secret that begins before it and reaches over it."""
        spans = self._pattern.finditer(text) if self._pattern is not None else ()
        return next((match.end() for match in spans if match.start() < start < match.end()), start)
