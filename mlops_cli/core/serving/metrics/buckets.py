"""Histograms as a list of counts, and the edges of their buckets."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import isfinite
from typing import Any

import numpy as np

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
MODEL_SECONDS = (0.0001, 0.00025, *SECONDS)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 16384, 100_000)
SCORES = tuple(step / 20 for step in range(1, 21))

_DECADES = tuple(10.0**power for power in range(-3, 7))
ANY_VALUE = (*(-edge for edge in reversed(_DECADES)), 0.0, *_DECADES)
_QUANTILES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
_FEWEST = 5  # edges; fewer of an example that always answers the same would tell nothing


class Histogram:
    """Counts of values by bucket: `counts[i]` are those over `edges[i - 1]` and up to `edges[i]`, the last ones those
    over all edges. One thread writes; whoever reads beside it may see a value in the counts and not yet in the sum."""

    __slots__ = ("counts", "edges", "sum")

    def __init__(self, edges: Sequence[float]) -> None:
        self.edges = tuple(edges)
        self.counts = [0] * (len(self.edges) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value. What is no number counts as beyond all edges, and a value that is not finite in no sum."""
        if isfinite(value):
            self.counts[bisect_left(self.edges, value)] += 1
            self.sum += value
        else:
            self.counts[0 if value < 0 else -1] += 1

    def observe_many(self, values: Sequence[float]) -> None:
        """The same for each of many values, in one go."""
        array: np.ndarray[Any, Any] = np.asarray(values, dtype=np.float64)
        places = np.searchsorted(self.edges, array, side="left")  # NaN sorts last
        for place, count in enumerate(np.bincount(places, minlength=len(self.counts)).tolist()):
            self.counts[place] += count
        self.sum += float(array[np.isfinite(array)].sum())


def value_edges(expected: Sequence[float]) -> tuple[float, ...]:
    """Edges for a regression's predictions, from those it makes on its example.

    Quantiles of `expected`, its range and once its width on both sides, to three significant digits. Where they
    coincide, or nothing is known: powers of ten from -1e6 to 1e6, and 0.
    """
    known = [float(value) for value in expected if isfinite(value)]
    if not known:
        return ANY_VALUE
    within = np.quantile(known, _QUANTILES)
    width = within[-1] - within[0]
    edges = [within[0] - width, *within.tolist(), within[-1] + width]
    rounded = sorted({float(f"{edge:.3g}") for edge in edges})
    return tuple(rounded) if len(rounded) >= _FEWEST else ANY_VALUE


def add_histogram(edges: Sequence[float], counts: list[int], other: Sequence[float], more: Sequence[int]) -> list[int]:
    """The counts of two histograms as one of `edges`. Where edges differ, a bucket moves up to the next edge that
    covers it: no value is lost, and none seems smaller than it was."""
    summed = list(counts)
    if tuple(edges) == tuple(other):
        return [first + second for first, second in zip(summed, more, strict=True)]
    for edge, count in zip((*other, float("inf")), more, strict=True):
        summed[bisect_left(edges, edge)] += count
    return summed
