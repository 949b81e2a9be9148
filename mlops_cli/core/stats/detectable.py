"""The smallest change a test would find: what silence is worth."""

from __future__ import annotations

import math

from mlops_cli.core.stats.two_sample import ks_critical

POWER = 0.8


def detectable_distance(level: float, n: float, m: float, *, power: float = POWER) -> float:
    """The Kolmogorov-Smirnov distance that a test at `level` finds with probability >= `power`.

    The critical D, plus what the difference of both empirical functions at the farthest point may fall
    short: its variance is at most (1/n + 1/m) / 4. n, m effective rows. May exceed 1: then nothing can be found.
    """
    from scipy import special

    short = float(special.ndtri(power)) * math.sqrt((1 / n + 1 / m) / 4)
    return ks_critical(level, n, m) + short


def detectable_variation(level: float, n: float, m: float, cells: int, *, power: float = POWER) -> float:
    """The total variation distance that a chi-square test over `cells` categories finds with probability >= `power`.

    The noncentrality is n m / (n + m) x sum (p - q)^2 / mean share >= n m / (n + m) x 4 TV^2 (Cauchy-Schwarz), so the
    TV at which that bound reaches the noncentrality needed is enough. Below two cells nothing can be found: inf.
    """
    from scipy import special

    if cells < 2:
        return math.inf
    critical = float(special.chdtri(cells - 1, level))
    low, high = 0.0, 4.0 * (critical + 10.0)
    for _ in range(60):  # the power grows with the noncentrality; halving 60 times is exact enough
        middle = (low + high) / 2
        if 1 - float(special.chndtr(critical, cells - 1, middle)) < power:
            low = middle
        else:
            high = middle
    return math.sqrt(high * (n + m) / (4 * n * m))
