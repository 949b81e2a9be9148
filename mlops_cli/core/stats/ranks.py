"""Rows beyond the reference's extreme order statistics. Ranks are exchangeable, so the law is exact."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.stats.discrete import upper_tail

Array = NDArray[np.float64]


def beyond_p_value(beyond: int, m: int, k: float, n: float) -> float:
    """P(at least `beyond` of m new rows lie outside all but k of the reference's n rows).

    With k / 2 reference rows at or beyond each of two bounds, the mass outside both is Beta(k, n - k + 1) for every
    continuous distribution, so the number of new rows there is beta-binomial (for whole k and n: the tail
    of a hypergeometric, by ranks in the pooled sample). Ties make rows strictly beyond rarer, so p is then too
    large, never too small. k and n may be effective sizes. Raises ValueError unless 0 < k <= n and beyond <= m.
    Source: Wilks, Annals of Mathematical Statistics 13 (1942) 400.
    """
    from scipy import special

    if not (0 < k <= n and 0 <= beyond <= m):
        raise ValueError(f"{beyond} of {m} rows beyond {k} of {n} is no tail")
    a, b = k, n - k + 1
    constant = special.betaln(a, b)

    def log_mass(j: Array) -> Array:
        choose = -math.log1p(m) - special.betaln(m - j + 1, j + 1)
        return np.asarray(choose + special.betaln(j + a, m - j + b) - constant)

    # Below a = 1 the mass falls from 0 on; the mean is no less than the mode either way.
    return upper_tail(log_mass, beyond, m, m * a / (a + b))
