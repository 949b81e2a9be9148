"""Names of columns, wherever they come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


def repeated(names: Iterable[str]) -> list[str]:
    """The names that stand more than once, in order of appearance.

    A table may hold a column twice, and then its name does not say which is meant. Linear in the names, of which a
    request can bring a million.
    """
    return [name for name, count in Counter(names).items() if count > 1]
