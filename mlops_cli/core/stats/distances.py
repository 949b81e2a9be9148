"""Distances between distributions that are reported beside the tests, and never decide."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Counts = NDArray[np.int64]

SHARE_FLOOR = 1e-4


def psi(reference: Array, current: Array) -> float:
    """Population stability index in nats; 0 means identical, and under no drift it averages (1/n + 1/m)(k - 1).

    reference, current (k,) counts over the same bins. Sum of (q - p) ln(q / p), p and q floored at 1e-4.
    Raises ValueError if either is empty. Source: Siddiqi, Credit Risk Scorecards (2006), ch. 9.
    """
    p, q = (np.maximum(share, SHARE_FLOOR) for share in _shares(reference, current))
    return float(np.sum((q - p) * np.log(q / p)))


def jensen_shannon(reference: Array, current: Array) -> float:
    """Jensen-Shannon distance in 0..1: the square root of the divergence to base 2.

    reference, current (k,) counts over the same bins. Raises ValueError if either is empty.
    Source: Lin, IEEE Transactions on Information Theory 37 (1991) 145.
    """
    p, q = _shares(reference, current)
    middle = (p + q) / 2
    divergence = sum(
        float(np.sum(share[share > 0] * np.log2(share[share > 0] / middle[share > 0]))) / 2 for share in (p, q)
    )
    return float(np.sqrt(min(1.0, max(0.0, divergence))))


def total_variation(reference: Array, current: Array) -> float:
    """Half the sum of the differences of shares, in 0..1. reference, current (k,) counts; ValueError if empty."""
    p, q = _shares(reference, current)
    return float(np.abs(p - q).sum() / 2)


def wasserstein(upto: Counts, n: int, current: Array, edges: Array) -> float:
    """Earth mover's distance, in the column's unit, between a stored reference and a window.

    edges (k,) increasing and finite; upto (k,) reference rows <= each edge, of n; current (m,) sorted and finite.
    The integral of |F - G| between the first and last edge, F and G as they are at the left edge of each step, plus
    what the window moves beyond either end. Exact where every value of both samples is an edge.
    Raises ValueError if n or m is 0. Source: Ramdas, Trillos, Cuturi, Entropy 19 (2017) 47.
    """
    m = len(current)
    if n == 0 or m == 0:
        raise ValueError(f"two samples are compared; these have {n} and {m} values")
    gap = np.abs(upto / n - np.searchsorted(current, edges, side="right") / m)
    inside = float(np.sum(gap[:-1] * np.diff(edges)))
    over = current[np.searchsorted(current, edges[-1], side="right") :]
    under = current[: np.searchsorted(current, edges[0], side="left")]
    return inside + float((over - edges[-1]).sum() / m) + float((edges[0] - under).sum() / m)


def _shares(reference: Array, current: Array) -> tuple[Array, Array]:
    n, m = float(np.sum(reference)), float(np.sum(current))
    if n <= 0 or m <= 0:
        raise ValueError(f"counts over bins are compared; these hold {n:g} and {m:g} rows")
    return np.asarray(reference) / n, np.asarray(current) / m
