"""Two proportions, exactly: Fisher's test on counts, and on the counts that dependent rows are worth."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.stats.discrete import lower_tail, upper_tail

Array = NDArray[np.float64]

_SLACK = 1e-7  # relative; two outcomes whose masses differ by rounding only are equally likely


def fisher_exact(hits_a: int, n_a: int, hits_b: int, n_b: int) -> float:
    """Two-sided p of equal proportions hits / n in two samples.

    Sums the hypergeometric mass of every table with these margins that is no more likely than the one seen, as
    scipy.stats.fisher_exact does. Degenerate margins (no row, no hit, only hits) give 1. Raises ValueError if
    hits lie outside 0..n. Source: Fisher, Statistical Methods for Research Workers (1934), section 21.02.
    """
    if not (0 <= hits_a <= n_a and 0 <= hits_b <= n_b):
        raise ValueError(f"{hits_a} of {n_a} and {hits_b} of {n_b} are no proportions")
    hits = hits_a + hits_b
    first, last = max(0, hits - n_b), min(hits, n_a)
    if first == last:
        return 1.0
    log_mass = _Hypergeometric(n_a, n_b, hits)
    mode = log_mass.mode
    limit = float(log_mass(np.array([float(hits_a)]))[0]) + math.log1p(_SLACK)

    def shifted(steps: Array) -> Array:
        return log_mass(steps + first)

    span, peak = last - first, mode - first
    if hits_a > mode:
        other = _last_at_most(log_mass, limit, first, math.floor(mode))
        p = upper_tail(shifted, hits_a - first, span, peak) + lower_tail(shifted, other - first, span, peak)
    elif hits_a < mode:
        other = _first_at_most(log_mass, limit, math.floor(mode), last)
        p = lower_tail(shifted, hits_a - first, span, peak) + upper_tail(shifted, other - first, span, peak)
    else:
        return 1.0
    return min(1.0, p)


def effective_fisher(
    hits_a: int, n_a: int, hits_b: int, n_b: int, *, time_a: float = 1.0, time_b: float = 1.0
) -> float:
    """Fisher's p where `time` rows in a row (its autocorrelation time, >= 1) are worth one.

    The effective counts are rounded towards equal proportions, so rounding never makes a difference.
    """
    if n_a == 0 or n_b == 0:
        return 1.0
    size_a, size_b = max(1, math.floor(n_a / time_a)), max(1, math.floor(n_b / time_b))
    share_a, share_b = hits_a / n_a, hits_b / n_b
    up_a, up_b = share_a < share_b, share_b < share_a
    return fisher_exact(_whole(share_a * size_a, size_a, up_a), size_a, _whole(share_b * size_b, size_b, up_b), size_b)


def _whole(count: float, size: int, up: bool) -> int:
    exact = round(count, 9)  # 3.0000000000000004 hits are 3
    return min(size, math.ceil(exact) if up else math.floor(exact))


def hypergeometric_upper(hits_b: int, n_b: int, hits: int, n_a: int) -> float:
    """P(at least hits_b of `hits` marked rows fall in b), when n_a + n_b rows are dealt at random to a and b."""
    log_mass = _Hypergeometric(n_b, n_a, hits)
    first, last = max(0, hits - n_a), min(hits, n_b)
    return upper_tail(lambda steps: log_mass(steps + first), hits_b - first, last - first, log_mass.mode - first)


class _Hypergeometric:
    """Log mass of the hits in a sample of n_a, when `hits` of n_a + n_b rows are hits."""

    def __init__(self, n_a: int, n_b: int, hits: int) -> None:
        self.n_a, self.n_b, self.hits = n_a, n_b, hits
        self._all = _log_choose(np.array([float(n_a + n_b)]), float(hits))[0]

    @property
    def mode(self) -> float:
        return math.floor((self.hits + 1) * (self.n_a + 1) / (self.n_a + self.n_b + 2))

    def __call__(self, k: Array) -> Array:
        return np.asarray(_log_choose(self.n_a, k) + _log_choose(self.n_b, self.hits - k) - self._all)


def _log_choose(n: Array | float, k: Array | float) -> Array:
    from scipy import special

    return np.asarray(-np.log1p(n) - special.betaln(np.subtract(n, k) + 1, np.add(k, 1.0)))


def _last_at_most(log_mass: _Hypergeometric, limit: float, low: int, high: int) -> int:
    """The largest k in low..high (where the mass rises) with mass <= limit; low - 1 if there is none."""
    below = low - 1
    while below < high:
        middle = (below + high + 1) // 2
        if float(log_mass(np.array([float(middle)]))[0]) <= limit:
            below = middle
        else:
            high = middle - 1
    return below


def _first_at_most(log_mass: _Hypergeometric, limit: float, low: int, high: int) -> int:
    """The smallest k in low..high (where the mass falls) with mass <= limit; high + 1 if there is none."""
    above = high + 1
    while low < above:
        middle = (low + above) // 2
        if float(log_mass(np.array([float(middle)]))[0]) <= limit:
            above = middle
        else:
            low = middle + 1
    return above
