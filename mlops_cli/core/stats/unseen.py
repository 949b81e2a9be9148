"""Values never seen in the reference: are there more of them than a sample of that size must miss?"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.stats.discrete import upper_tail

Array = NDArray[np.float64]


def missing_mass(singletons: float, doubletons: float, n: float) -> tuple[float, float]:
    """Shape and rate of the Gamma law that describes the mass of all values a sample of n rows did not see.

    Good and Turing estimate the mass as singletons / n; Esty's variance of that estimate's error is
    (singletons + 2 doubletons) / n^2. One row is added to both moments: with no singleton at all the law is then
    Exponential(n), under which "nothing of mass p was seen" has the right odds (1 - p)^n ~ e^(-n p).
    n > 0 rows, or effective rows. Sources: Good, Biometrika 40 (1953) 237; Esty, Annals of Statistics 11 (1983) 905.
    """
    if n <= 0:
        raise ValueError(f"a sample of {n} rows says nothing about what it missed")
    mean, variance = (singletons + 1) / n, (singletons + 2 * doubletons + 1) / n**2
    return mean * mean / variance, mean / variance


def missing_mass_upper(singletons: float, doubletons: float, n: float, *, error: float = 0.01) -> float:
    """A bound, at most 1, that the unseen mass exceeds with probability `error` only."""
    from scipy import special

    shape, rate = missing_mass(singletons, doubletons, n)
    return min(1.0, float(special.gammaincinv(shape, 1 - error)) / rate)


def unseen_p_value(unseen: int, m: int, singletons: float, doubletons: float, n: float) -> float:
    """P(at least `unseen` of m new rows hold values the reference of n rows never did).

    The binomial tail, averaged over the missing mass (a beta-binomial with its mean and variance). Where the
    reference has no repeated value at all, the mass may be anything and p is 1.
    """
    from scipy import special

    if not 0 <= unseen <= m:
        raise ValueError(f"{unseen} of {m} rows cannot be unseen")
    shape, rate = missing_mass(singletons, doubletons, n)
    mean = shape / rate
    if mean >= 1 or unseen == 0:
        return 1.0
    # The beta law of the same mean and variance; it exists where variance < mean (1 - mean).
    concentration = mean * (1 - mean) * rate * rate / shape - 1
    if concentration <= 0:
        return 1.0
    a, b = mean * concentration, (1 - mean) * concentration
    constant = special.betaln(a, b)

    def log_mass(k: Array) -> Array:
        choose = -math.log1p(m) - special.betaln(m - k + 1, k + 1)
        return np.asarray(choose + special.betaln(k + a, m - k + b) - constant)

    return upper_tail(log_mass, unseen, m, m * mean)
