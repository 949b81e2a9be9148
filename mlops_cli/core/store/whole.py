"""Packs of a remote that are taken as they are, because all that they hold is wanted. See FORMAT.md, "Remote"."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from mlops_cli.core.store.holdings import Held
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.pack import HEADER_BYTES, data_end, in_order
from mlops_cli.core.store.reading import Span
from mlops_cli.core.store.stable import SMALL_BYTES

WHOLE_BYTES = 8 << 20  # smaller packs join others here, or a cache would get one for each push
_MOST_KNOWN = 0.1  # of a pack that is here already, trees as a rule, in bytes


def order_if_whole(store: LocalStore, held: Held, asked: set[bytes]) -> array[int] | None:
    """The rows of a pack in the order in which they lie there, if it can become a pack of the cache as it is.

    That is one of which every object is asked for, or is here and weighs little, so that nothing comes that was not
    asked for; and which holds objects and nothing else, so that no byte of it is kept that no digest vouches for.
    """
    index = held.pack
    if held.size < WHOLE_BYTES or index.name in store.packs.indexes or index.name in store.packs.damaged:
        return None
    if max(index.lengths) > SMALL_BYTES:
        return None
    order = array("I", in_order(index))
    ends = accumulate((index.lengths[row] for row in order), initial=HEADER_BYTES)
    starts = (*(index.offsets[row] for row in order), data_end(index, held.size))
    if not all(end == start for end, start in zip(ends, starts, strict=True)):
        return None
    if len(held.rows) < len(index):
        others = set(order).difference(held.rows)
        if sum(index.lengths[row] for row in others) > _MOST_KNOWN * held.size:
            return None
        here = (index.digest_at(row) for row in others)
        if store.missing(f"{index.algorithm}:{raw.hex()}" for raw in here if raw not in asked):
            return None
    return order


def spans_of_all(held: Held, order: array[int], *, most: int) -> Iterator[Span]:
    """Pieces of at most `most` bytes, or of one object, that together are all objects of such a pack."""
    index = held.pack
    starts = array("Q", (index.offsets[row] for row in order))
    starts.append(data_end(index, held.size))
    at = 0
    while at < len(order):
        until = max(bisect_left(starts, starts[at] + most + 1, lo=at + 1) - 1, at + 1)
        yield Span(index, starts[at], starts[until] - starts[at], order[at:until].tolist(), whole=True)
        at = until
