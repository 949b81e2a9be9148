"""Two-sided intervals of what is measured on the rows of a window, dependent rows counting less.

Each takes `time`, how many rows in a row are worth one (>= 1, `autocorrelation_time`): n rows count as n / time. The
time is an estimate, and of few windows of dependent rows a poor one: the quantiles are Student's then, see `_quantile`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.stats.comparisons import midranks
from mlops_cli.core.stats.dependence import SOKAL

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the two ends of its interval."""

    value: float
    lower: float
    upper: float


def wilson(hits: float, n: float, *, time: float = 1.0, confidence: float = 0.95) -> Interval:
    """The score interval of a share hits / n, on n / time rows.

    (p + z^2 / 2m -+ z sqrt(p (1 - p) / m + z^2 / 4m^2)) / (1 + z^2 / m), m = n / time. Raises ValueError unless
    0 <= hits <= n and n > 0. Sources: Wilson, JASA 22 (1927) 209; Brown, Cai, DasGupta, Stat. Science 16 (2001) 101.
    """
    if not (0 <= hits <= n and n > 0):
        raise ValueError(f"{hits} of {n} is no share")
    z, size, share = _quantile(confidence, n, time), n / time, hits / n
    shrunk = z * z / size
    middle = (share + shrunk / 2) / (1 + shrunk)
    half = z * math.sqrt(share * (1 - share) / size + shrunk / (4 * size)) / (1 + shrunk)
    # At the ends of the scale the interval touches them exactly, which rounding would spoil.
    return Interval(share, 0.0 if hits == 0 else middle - half, 1.0 if hits == n else middle + half)


def mean_interval(values: Array, *, time: float = 1.0, confidence: float = 0.95) -> Interval:
    """Student's interval of a mean: mean -+ t s / sqrt(m), m = n / time and s with n - 1 in the denominator.

    t has m - 1 degrees of freedom, or fewer where `_quantile` has fewer.

    values (n,) finite. Unbounded where m is under 2. Raises ValueError if n is 0.
    """
    n = len(values)
    if n == 0:
        raise ValueError("there is no mean of no rows")
    mean, size = float(np.mean(values)), n / time
    if size < 2:
        return Interval(mean, -math.inf, math.inf)
    half = _quantile(confidence, n, time, most=size - 1) * float(np.std(values, ddof=1)) / math.sqrt(size)
    return Interval(mean, mean - half, mean + half)


def auc_influence(y: NDArray[np.bool_], score: Array) -> tuple[float, Array]:
    """The area under the ROC curve, and what each row adds to its error: (n,), of mean 0.

    The structural components of DeLong, V10 of a positive (the share of negatives below it, ties one half) and V01 of a
    negative, less the area and over the share of their class. Their sum of squares over n^2 is DeLong's variance
    but for the n - 1 in its denominators. Raises ValueError under 2 rows of either class, or on NaN.
    Source: DeLong, DeLong, Clarke-Pearson, Biometrics 44 (1988) 837.
    """
    y, score = np.asarray(y, bool), np.asarray(score, float)
    ones, zeros = int(y.sum()), int((~y).sum())
    if min(ones, zeros) < 2:
        raise ValueError(f"AUC needs 2 rows of each class; there are {ones} positive and {zeros} negative")
    if not np.isfinite(score).all():
        raise ValueError("a score is not finite")
    joint = midranks(score)
    parts = np.empty(len(y))
    parts[y] = (joint[y] - midranks(score[y])) / zeros
    parts[~y] = 1 - (joint[~y] - midranks(score[~y])) / ones
    area = float(parts[y].mean())
    return area, (parts - area) * np.where(y, len(y) / ones, len(y) / zeros)


def auc_interval(y: NDArray[np.bool_], score: Array, *, time: float = 1.0, confidence: float = 0.95) -> Interval:
    """DeLong's interval of the area under the ROC curve, its variance times `time`, cut at 0 and 1.

    y (n,) true for the positive class; score (n,) finite. Where the variance vanishes (separated or constant scores)
    the standard error is held at 1 / min(positives, negatives), as in `delong`. Raises as `auc_influence`.
    """
    area, parts = auc_influence(y, score)
    ones = int(np.sum(y))
    zeros = len(parts) - ones
    within = parts[y] * ones / len(parts), parts[~y] * zeros / len(parts)
    variance = float(np.var(within[0], ddof=1) / ones + np.var(within[1], ddof=1) / zeros)
    error = math.sqrt(variance * time) if variance > 0 else 1 / min(ones, zeros)
    half = _quantile(confidence, len(parts), time) * error
    return Interval(area, max(0.0, area - half), min(1.0, area + half))


def _quantile(confidence: float, n: float, time: float, *, most: float = math.inf) -> float:
    """Student's quantile with n / (5 (time - 1)) - 1 degrees of freedom, at least 1 and at most `most`.

    The variance of a mean of dependent rows rests on autocovariances up to a lag of 5 times (Sokal's window), of which
    n rows hold so many; the normal quantile is the limit for independent rows. On why a window of lags wants wider
    intervals than the normal ones: Kiefer, Vogelsang, Econometric Theory 21 (2005) 1130.
    """
    from scipy import special

    freedom = min(most, max(1.0, n / (SOKAL * (time - 1)) - 1) if time > 1 else math.inf)
    if math.isinf(freedom):
        return float(special.ndtri(0.5 + confidence / 2))
    return float(special.stdtrit(freedom, 0.5 + confidence / 2))
