"""Many tests at once: p-values adjusted so that one false alarm anywhere stays rare."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def holm(p_values: ArrayLike, weights: ArrayLike | None = None) -> NDArray[np.float64]:
    """Holm's adjusted p-values: reject those <= alpha, and P(any false rejection) <= alpha, however dependent.

    p_values (k,) in 0..1, in any order -> (k,), in the same order: the running maximum of (k - i) p over the sorted
    ones, at most 1. weights (k,) > 0 share alpha out unevenly: sorted by p / weight, each is multiplied by the weights
    from it on over its own; equal weights change nothing. They must not depend on the p-values. Raises ValueError
    outside 0..1 and for a weight that is not positive. Source: Holm, Scandinavian Journal of Statistics 6 (1979) 65,
    sections 2 and 4.
    """
    p = np.asarray(p_values, dtype=float)
    if p.size and not ((p >= 0) & (p <= 1)).all():
        raise ValueError("a p-value lies outside 0..1")
    if weights is None:
        order = np.argsort(p, kind="stable")
        factors: NDArray[np.float64] = (len(p) - np.arange(len(p))).astype(float)
    else:
        weight = np.asarray(weights, dtype=float)
        if weight.shape != p.shape or not (weight > 0).all():
            raise ValueError("each p-value needs a weight over 0")
        order = np.argsort(p / weight, kind="stable")
        factors = np.cumsum(weight[order][::-1])[::-1] / weight[order]
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return adjusted
