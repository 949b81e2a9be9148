"""The two-sample Kolmogorov-Smirnov test, on samples or on counts at shared edges."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Counts = NDArray[np.int64]


def ks_statistic(reference: Array, current: Array) -> float:
    """D, the largest distance between the empirical distribution functions; ties are exact, infinities are values.

    reference (n,), current (m,), neither sorted, no NaN. Raises ValueError if n or m is 0.
    """
    if len(reference) == 0 or len(current) == 0:
        raise ValueError(f"two samples are compared; these have {len(reference)} and {len(current)} values")
    reference, current = np.sort(reference), np.sort(current)
    edges = np.concatenate((reference, current))
    below = np.searchsorted(reference, edges, side="right") / len(reference)
    return float(np.max(np.abs(below - np.searchsorted(current, edges, side="right") / len(current))))


def ks_on_edges(below: Counts, upto: Counts, n: int, current: Array, edges: Array) -> float:
    """D at the edges of a stored reference: its supremum over both one-sided limits at each edge.

    edges (k,) increasing; below, upto (k,) reference rows < and <= each edge, of n; current (m,) sorted. Never more
    than D on the samples, and equal to it where every distinct reference value is an edge: between two of them
    the reference's function is flat and the window's only rises, so the largest distance lies at an end. With
    equal-mass edges it is less by at most the largest reference mass strictly between two edges.
    Raises ValueError if n or m is 0.
    """
    m = len(current)
    if n == 0 or m == 0:
        raise ValueError(f"two samples are compared; these have {n} and {m} values")
    left = np.abs(below / n - np.searchsorted(current, edges, side="left") / m)
    right = np.abs(upto / n - np.searchsorted(current, edges, side="right") / m)
    return float(max(left.max(), right.max()))


def ks_p_value(statistic: float, n: float, m: float) -> float:
    """P(D >= statistic) if both samples come from one distribution, by Kolmogorov's limit at n m / (n + m).

    n, m: rows, or the effective rows that dependent ones are worth; need not be whole. The limit exceeds the
    exact probability at every size met here (and ties only lower it), so the test errs towards silence.
    Raises ValueError if n or m is not positive. Source: Smirnov, Annals of Mathematical Statistics 19 (1948) 279.
    """
    from scipy import special

    return float(special.kolmogorov(np.sqrt(_harmonic(n, m)) * statistic))


def ks_critical(p_value: float, n: float, m: float) -> float:
    """The D whose p-value is `p_value`; may exceed 1, where no D would do."""
    from scipy import special

    return float(special.kolmogi(p_value) / np.sqrt(_harmonic(n, m)))


def _harmonic(n: float, m: float) -> float:
    if not (n > 0 and m > 0):
        raise ValueError(f"effective sizes {n} and {m} must be positive")
    return n * m / (n + m)
