"""The kernel two-sample test on random features: two samples of vectors, of which one is known by its moments only.

A Gaussian kernel is replaced by its random Fourier features, cos and sin of w x at frequencies w drawn once; their
mean and covariance over the reference are all that the test needs of it. Features are whole numbers of a small unit, so
that these moments add up without rounding.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SEED = 0x6D6C6F  # of the frequencies; another one would be another test, so it never changes
CHUNK = 1 << 14  # rows whose features are held at once
PIECE_BITS, TURN_BITS, TABLE_BITS = 20, 19, 14  # of half a value, of a frequency in turns, of a phase
WIDEST = 4096  # dimensions whose products are summed at once
ONE = 1 << 10  # the code of a feature of cos 1
_HALF_PLACE = 1 << (PIECE_BITS + TURN_BITS - TABLE_BITS - 1)
_NEAR = 1e-3  # |r| under which Lugannani and Rice's formula is a difference of two large numbers


def frequencies(dimension: int, count: int, seed: int = SEED) -> Array:
    """Standard normal frequencies (dimension, count), the same on every machine and with every NumPy.

    Raw words of PCG64, whose stream NumPy promises to keep (that of its normals it does not), made normal by Box and
    Muller (1958) and rounded to float32, so that the last digit of a machine's cosine does not matter.
    """
    words = np.random.PCG64(seed).random_raw(2 * dimension * count)
    uniform = ((words >> np.uint64(11)) + 0.5) * 2.0**-53
    radius, angle = np.sqrt(-2 * np.log(uniform[0::2])), 2 * np.pi * uniform[1::2]
    return np.asarray((radius * np.cos(angle)).astype(np.float32).astype(np.float64).reshape(dimension, count))


def features(values: Array, drawn: Array, bandwidth: float) -> Array:
    """Random Fourier features (n, 2 f) of vectors (n, d) at frequencies `drawn` (d, f); each row has about length 1.

    Products of rows approximate exp(-|x - y|^2 / (2 bandwidth^2)), and are themselves a kernel bounded by 1.
    Source: Rahimi, Recht, NIPS 20 (2007).
    """
    return feature_codes(values, drawn, bandwidth).astype(np.float64) * feature_step(drawn.shape[1])


def feature_step(count: int, one: int = ONE) -> float:
    """The size of a feature of code 1, of `count` frequencies; `one` is the code of a cosine of 1."""
    return 1 / (one * math.sqrt(count))


def feature_codes(values: Array, drawn: Array, bandwidth: float, one: int = ONE) -> NDArray[np.int16]:
    """The features as integers from -one to one (n, 2 f), in units of `feature_step`.

    They depend on a row alone, to the last bit: the phases are sums of integers, taken modulo a turn, which no order
    of summation, no batch and no machine changes; cos and sin come from a table.
    """
    scale = power_of_two(bandwidth)
    turns = np.rint(drawn * (scale / bandwidth / (2 * math.pi) * 2.0**TURN_BITS))
    high, low = exact_products(values, turns, scale)
    places = ((high << PIECE_BITS) + low + _HALF_PLACE) >> (PIECE_BITS + TURN_BITS - TABLE_BITS)
    cosines = _cosines(one)
    size = len(cosines)
    cos, sin = cosines[places & (size - 1)], cosines[(places - size // 4) & (size - 1)]
    return np.concatenate((cos, sin), axis=1)


def exact_products(values: Array, factors: Array, scale: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """values / scale @ factors, exactly: (n, d) and integers (d, k) under 2^20 -> high, low (n, k).

    The values are first rounded to 2^-20 `scale` (a power of two) and held within 2^19 `scale`. The product is
    (high 2^20 + low) 2^-20: both pieces are sums of integers of up to 40 bits, 4,096 at a time, which doubles hold
    without rounding, so that a row's product does not depend on the rows beside it.
    """
    limit = 2.0 ** (2 * PIECE_BITS - 1)
    n, k = len(values), factors.shape[1]
    high, low = np.zeros((n, k), np.int64), np.zeros((n, k), np.int64)
    for at in range(0, len(factors), WIDEST):
        whole = np.rint(np.clip(values[:, at : at + WIDEST] * (2.0**PIECE_BITS / scale), -limit, limit))
        upper = np.rint(whole * 2.0**-PIECE_BITS)
        part = factors[at : at + WIDEST]
        high += (upper @ part).astype(np.int64)
        low += ((whole - upper * 2.0**PIECE_BITS) @ part).astype(np.int64)
    return high, low


def power_of_two(value: float) -> float:
    """The largest power of two that is at most a positive value."""
    return 2.0 ** (math.frexp(value)[1] - 1)


@functools.cache
def _cosines(one: int) -> NDArray[np.int16]:
    """cos over one turn, in units of 1 / one."""
    turns = np.arange(1 << TABLE_BITS) / (1 << TABLE_BITS)
    return np.asarray(np.rint(one * np.cos(2 * np.pi * turns)), dtype=np.int16)


def median_bandwidth(values: Array) -> float:
    """The median distance between two different rows of (n, d); where most are equal, the mean of the others; else 1.

    Source: Gretton and others, Journal of Machine Learning Research 13 (2012) 723, section 8.
    """
    squares = np.einsum("ij,ij->i", values, values)
    distances = np.maximum(0.0, squares[:, None] + squares[None, :] - 2 * values @ values.T)
    found = np.sqrt(distances[np.triu_indices(len(values), 1)])
    # Squares of distances are differences of squares of lengths: what is lost there is no distance.
    found[found <= 1e-7 * math.sqrt(float(squares.max(initial=0.0)))] = 0.0
    if not len(found) or not found.any():
        return 1.0
    middle = float(np.median(found))
    return middle if middle > 0 else float(found[found > 0].mean())


def weighted_chi_square_tail(at: float, weights: Array) -> float:
    """P(sum of weights[i] X_i >= at), X_i independent chi-squares with one degree of freedom.

    weights (k,) >= 0. The saddlepoint approximation of Lugannani and Rice, whose relative error stays within a few
    percent down to any probability, where inverting the characteristic function is lost in rounding. Raises ValueError
    if no weight is positive. Sources: Kuonen, Biometrika 86 (1999) 929; Lugannani, Rice, Advances in Applied
    Probability 12 (1980) 475.
    """
    from scipy import special

    weights = np.asarray(weights, dtype=float)
    if not (weights > 0).any():
        raise ValueError("a sum of chi-squares needs a positive weight")
    largest = float(weights.max())
    lam = weights[weights > 1e-12 * largest] / largest
    x = at / largest
    if x <= 1e-9:
        return 1.0
    if len(lam) == 1 or np.all(lam == 1.0):
        return float(special.chdtrc(len(lam), x))
    root = _saddlepoint(x, lam)
    r, u = _signed_root(root, x, lam)
    if abs(r) < _NEAR:
        # Both terms grow without bound and cancel at the mean: between two points at its sides the tail is straight.
        spread = math.sqrt(2 * float(np.sum(lam * lam)))
        sides = [weighted_chi_square_tail((x + sign * 5e-3 * spread) * largest, weights) for sign in (-1, 1)]
        return (sides[0] + sides[1]) / 2
    tail = float(special.ndtr(-r)) + math.exp(-r * r / 2) / math.sqrt(2 * math.pi) * (1 / u - 1 / r)
    return min(1.0, max(0.0, tail))


def _saddlepoint(x: float, lam: Array) -> float:
    """The s < 1/2 at which the cumulant generating function -1/2 sum log(1 - 2 s lam) has slope x."""
    count = len(lam)
    low, high = min(0.0, (1 - count / x) / 2) - 1.0, 0.5
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if float(np.sum(lam / (1 - 2 * middle * lam))) < x:
            low = middle
        else:
            high = middle
    return low


def _signed_root(s: float, x: float, lam: Array) -> tuple[float, float]:
    generating = -0.5 * float(np.sum(np.log1p(-2 * s * lam)))
    curvature = 2 * float(np.sum((lam / (1 - 2 * s * lam)) ** 2))
    return math.copysign(math.sqrt(max(0.0, 2 * (s * x - generating))), s), s * math.sqrt(curvature)


def kernel_p_value(gap: Array, covariance: Array, n: float, m: float) -> tuple[float, float]:
    """The statistic n m / (n + m) |gap|^2 of the gap (k,) between two mean feature vectors, and its p-value.

    covariance (k, k) of the features under the null; n, m effective rows. The statistic then tends to a sum of
    chi-squares weighted by the eigenvalues of the covariance. A covariance of 0 (a constant) gives p 1.
    Source: Gretton and others, A fast, consistent kernel two-sample test, NIPS 22 (2009).
    """
    statistic = n * m / (n + m) * float(gap @ gap)
    weights = np.maximum(0.0, np.linalg.eigvalsh(covariance))
    if float(weights.sum()) <= 1e-12:
        return statistic, 1.0
    return statistic, weighted_chi_square_tail(statistic, weights)


def witness_bound(mean: Array, covariance: Array, first: Array, second: Array) -> float:
    """A lower bound of the total variation distance between a reference and a window, from their features.

    mean (k,), covariance (k, k) of the reference; first (a, k), second (b, k) the features of two parts of the window.
    A direction that tells the reference from one part (Fisher's discriminant with a ridge) is judged on the other, so
    it cannot profit from the noise it was chosen by; both ways round, averaged. For any function whose means lie `gap`
    apart, with variances s and t, Cauchy-Schwarz on (p - q) = (p - q) / sqrt(p + q) sqrt(p + q) gives
    TV >= gap^2 / (gap^2 + 2 (s + t)). A mean shift of d standard deviations along it: d^2 / (d^2 + 4).
    """
    if min(len(first), len(second)) < 2:
        return 0.0
    ridge = 0.1 * max(float(np.trace(covariance)) / len(mean), 1e-12)
    inverse = covariance + ridge * np.eye(len(mean))
    bounds = []
    for fitted, judged in ((first, second), (second, first)):
        direction = np.linalg.solve(inverse, fitted.mean(axis=0) - mean)
        scores = judged @ direction
        gap = float(scores.mean() - mean @ direction)
        spread = float(direction @ covariance @ direction) + float(scores.var())
        bounds.append(gap * gap / (gap * gap + 2 * spread) if gap > 0 else 0.0)
    return sum(bounds) / 2
