"""Lists of names: which of them repeat, and how a message tells many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

_TOLD = 10


def repeated(names: Iterable[str]) -> list[str]:
    """The names that stand more than once, in order of appearance.

    A table may hold a column twice, and then its name does not say which is meant. Linear in the names, of which a
    request can bring a million.
    """
    return [name for name, count in Counter(names).items() if count > 1]


def name_some(names: Sequence[str]) -> str:
    """The first ten, and how many more."""
    rest = len(names) - _TOLD
    return ", ".join(names[:_TOLD]) + (f" and {rest} more" if rest > 0 else "")
