"""Texts that somebody else chose, as they may stand on a page: nothing in them acts, and none is endless."""

from __future__ import annotations

import unicodedata
from html import escape

# What would end a text, or turn the direction of what follows it, is spelled out. Tab and line feed are spaces in HTML.
_CONTROLS = (*range(9), *range(11, 32), *range(127, 160))
_DIRECTIONS = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_SPELLED = {code: f"\\x{code:02x}" for code in _CONTROLS} | {code: f"\\u{code:04x}" for code in _DIRECTIONS}


def escaped(text: str) -> str:
    """A text as HTML that shows it and does nothing else."""
    return escape(visible(text))


def visible(text: str) -> str:
    """Control characters and marks of direction as their numbers: `a\\u202eb`."""
    return text if text.isascii() and text.isprintable() else text.translate(_SPELLED)


def columns(text: str) -> int:
    """How many letters' room a text takes: two for each wide one, as of Chinese."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(letter: str) -> int:
    return 0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF")


def cut(text: str, room: int) -> str:
    """The beginning of a text that is longer than `room` letters, and `…`."""
    if columns(text) <= room:
        return text
    taken, kept = 1, []
    for letter in text:
        taken += _columns(letter)
        if taken > room:
            break
        kept.append(letter)
    return f"{''.join(kept).rstrip()}…"


def middle_cut(text: str, most: int) -> str:
    """A text of at most `most` characters: a longer one loses its middle, since names often differ at their ends."""
    if len(text) <= most:
        return text
    tail = most // 3
    return f"{text[: most - tail - 1]}…{text[-tail:]}"
