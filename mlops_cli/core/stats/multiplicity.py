"""Many tests at once: p-values adjusted so that one false alarm anywhere stays rare."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Holm's adjusted p-values: reject those <= alpha, and P(any false rejection) <= alpha, however dependent.

    p_values (k,) in 0..1, in any order -> (k,), in the same order: the running maximum of (k - i) p over the sorted
    ones, at most 1. Raises ValueError outside 0..1. Source: Holm, Scandinavian Journal of Statistics 6 (1979) 65.
    """
    p = np.asarray(p_values, dtype=float)
    if p.size and not ((p >= 0) & (p <= 1)).all():
        raise ValueError("a p-value lies outside 0..1")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))))
    return adjusted
