"""Secrets taken out of what a stage prints, however the pieces of its output fall."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

import msgspec

from mlops_cli.core.base.records import Logged

MASK = b"***"
_MIN_LINE = 4  # of a value of several lines a shorter line says nothing, and `}` would be masked everywhere


class Mask:
    """Replaces every one of some values by `***` in a stream of bytes: as it stands, as JSON and URLs write it, and
    every line of one that has several."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        words = {word.encode(errors="surrogateescape") for value in values for word in _forms(value)}
        # The longest first: of two that begin alike, the whole one must go.
        self._words = sorted(filter(None, words), key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, self._words))) if self._words else None
        self._by_first: dict[int, list[bytes]] = {}
        for word in self._words:
            self._by_first.setdefault(word[0], []).append(word)
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

    def text(self, text: str) -> str:
        if self._pattern is None:
            return text
        return self.mask(text.encode(errors="surrogateescape")).decode(errors="surrogateescape")

    def value(self, value: Any) -> Any:
        """Plain data: every text and key of it; a number goes if it is a secret as a whole."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.value(key): self.value(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(inner) for inner in value]
        if isinstance(value, int | float) and not isinstance(value, bool) and self.text(str(value)) == MASK.decode():
            return MASK.decode()
        return value

    def _doubtful(self, text: bytes) -> int:
        """Where the longest end of the text starts that begins a secret without being one to its end."""
        longest = len(self._words[0])
        for start in range(max(0, len(text) - longest + 1), len(text)):
            left = len(text) - start
            for word in self._by_first.get(text[start], ()):
                if left < len(word) and text.endswith(word[:left]):
                    return self._after_secrets(text, start)
        return len(text)

    def _after_secrets(self, text: bytes, start: int) -> int:
        """`start`, or the end of a whole secret that begins before it and reaches over it."""
        spans = self._pattern.finditer(text) if self._pattern is not None else ()
        return next((match.end() for match in spans if match.start() < start < match.end()), start)


def masked(logged: Logged, mask: Mask) -> Logged:
    """What a script logged, with no secret in any name or text. The path of a model stays: the model is found by it."""
    return msgspec.structs.replace(
        logged,
        params={mask.text(name): mask.value(value) for name, value in logged.params.items()},
        metrics=tuple(msgspec.structs.replace(it, key=mask.text(it.key)) for it in logged.metrics),
        tags={mask.text(name): mask.text(value) for name, value in logged.tags.items()},
        artifacts={mask.text(name): entry for name, entry in logged.artifacts.items()},
    )


def _forms(value: str) -> Iterator[str]:
    lines = [line.strip() for line in value.splitlines()]
    for text in {value.strip(), *(line for line in lines if len(line) >= _MIN_LINE)}:
        yield text
        yield json.dumps(text)[1:-1]
        yield json.dumps(text, ensure_ascii=False)[1:-1]
        yield quote(text, safe="", errors="replace")
