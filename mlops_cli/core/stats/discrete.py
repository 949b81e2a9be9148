"""Tails of discrete distributions with one mode, summed until the rest no longer counts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LogMass = Callable[[Array], Array]

_CHUNK = 4096
_NEGLIGIBLE = 1e-18


def upper_tail(log_mass: LogMass, at: int, last: int, mode: float) -> float:
    """P(X >= at) of a distribution on 0..last whose log mass falls on both sides of `mode`.

    The shorter side is summed, away from the mode, so that a small probability keeps its digits. log_mass maps
    (k,) whole numbers to (k,) logarithms.
    """
    if at <= 0:
        return 1.0
    if at > last:
        return 0.0
    if at > mode:
        return min(1.0, _sum_away(log_mass, at, last, 1))
    return max(0.0, 1.0 - _sum_away(log_mass, at - 1, 0, -1))


def lower_tail(log_mass: LogMass, at: int, last: int, mode: float) -> float:
    """P(X <= at); as `upper_tail`."""
    if at < 0:
        return 0.0
    if at >= last:
        return 1.0
    if at < mode:
        return min(1.0, _sum_away(log_mass, at, 0, -1))
    return max(0.0, 1.0 - _sum_away(log_mass, at + 1, last, 1))


def _sum_away(log_mass: LogMass, start: int, stop: int, step: int) -> float:
    total = 0.0
    while (stop - start) * step >= 0:
        count = min(_CHUNK, abs(stop - start) + 1)
        terms = np.exp(log_mass(start + step * np.arange(count, dtype=float)))
        total += float(terms.sum())
        # Away from the mode the terms fall at least geometrically once they are this small.
        if terms[-1] <= _NEGLIGIBLE * total:
            break
        start += step * count
    return total
