"""Is model b better than model a on the same rows? Gains with intervals: DeLong, paired bootstrap, McNemar.

Everywhere a is the champion, b the challenger, the estimate is b minus a in units of the metric, and a metric
is one of which more is better. The interval is two-sided; its lower end at confidence 0.95 is the one-sided
97.5% bound that promotion asks to be above 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

EXACT_BELOW = 25  # discordant pairs under which McNemar's test is exact


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How much better b is than a. `lower` and `upper` bound the gain; `p_value` is of no difference, two-sided."""

    metric: str
    estimate: float
    lower: float
    upper: float
    p_value: float
    n: int  # rows compared
    method: str

    @property
    def is_superior(self) -> bool:
        """The whole interval lies above 0."""
        return self.lower > 0


def midranks(values: Array) -> Array:
    """Ranks from 1, ties sharing their mean rank. values (n,) without NaN -> (n,)."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    ends = np.append(starts[1:], len(values))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat((starts + ends + 1) / 2, ends - starts)
    return ranks


def delong(y: NDArray[np.bool_], score_a: Array, score_b: Array, *, confidence: float = 0.95) -> Comparison:
    """The gain in area under the ROC curve, on the same rows, by DeLong's covariance.

    y (n,) true for the positive class; score_a, score_b (n,) finite, higher meaning more positive; ties count
    one half. O(n log n) by midranks. Where the variance vanishes (separated or constant scores) the standard
    error is held at 1 / min(positives, negatives), so that no interval is finer than one row.
    Raises ValueError on shapes that differ, on scores that are not finite, or under 2 rows of either class.
    Sources: DeLong, DeLong, Clarke-Pearson, Biometrics 44 (1988) 837; Sun, Xu, IEEE Signal Processing Letters 21
    (2014) 1389.
    """
    from scipy import special

    y = np.asarray(y).astype(bool)
    scores = _paired(y, score_a, score_b)
    positives, negatives = int(y.sum()), int((~y).sum())
    if min(positives, negatives) < 2:
        raise ValueError(f"AUC needs 2 rows of each class; there are {positives} positive and {negatives} negative")
    areas, of_positives, of_negatives = np.empty(2), np.empty((2, positives)), np.empty((2, negatives))
    for row, score in enumerate(scores):
        joint = midranks(score)
        of_positives[row] = (joint[y] - midranks(score[y])) / negatives
        of_negatives[row] = 1 - (joint[~y] - midranks(score[~y])) / positives
        areas[row] = of_positives[row].mean()
    # The variance of the difference is that of the differences of the structural components.
    variance = np.var(of_positives[1] - of_positives[0], ddof=1) / positives
    variance += np.var(of_negatives[1] - of_negatives[0], ddof=1) / negatives
    gain = float(areas[1] - areas[0])
    same = variance == 0 and gain == 0
    error = 0.0 if same else max(float(np.sqrt(variance)), _finest(variance, positives, negatives))
    z = float(special.ndtri(0.5 + confidence / 2))
    return Comparison(
        metric="auc",
        estimate=gain,
        lower=max(-1.0, gain - z * error),
        upper=min(1.0, gain + z * error),
        p_value=1.0 if same else float(2 * special.ndtr(-abs(gain) / error)),
        n=len(y),
        method="DeLong",
    )


def _finest(variance: float, positives: int, negatives: int) -> float:
    return 0.0 if variance > 0 else 1 / min(positives, negatives)


def paired_bootstrap(
    metric: Callable[[NDArray[np.intp]], tuple[float, float]],
    n: int,
    *,
    name: str,
    seed: int = 0,
    resamples: int = 2000,
    confidence: float = 0.95,
    times: NDArray[np.generic] | None = None,
    block: int | None = None,
) -> Comparison:
    """The gain in any metric, resampling rows and scoring both models on the same rows each time.

    metric maps row indices (n,) to (metric of a, metric of b), more being better; a resample in which either is
    not finite (one class only) is left out; where more than 5% are, the interval is infinite. With `times`
    (n,), rows are resampled in circular blocks of `block` neighbours in time (default: ceil(n ** (1 / 3))), which
    keeps their dependence; without, row by row. The interval is the expanded percentile one, with levels
    widened to Phi(-t sqrt(n / (n - 1))), t of n - 1 degrees of freedom, since the plain one is too narrow on few rows.
    p = 2 (1 + resamples at or beyond 0) / (resamples + 1). The same seed gives the same answer.
    Raises ValueError if n < 2, `times` has another length, or over half of the resamples cannot be scored.
    Sources: Efron, Tibshirani, An Introduction to the Bootstrap (1993), ch. 13; Hesterberg, The American Statistician
    69 (2015) 371; Politis, Romano (1992) for circular blocks.
    """
    if n < 2:
        raise ValueError(f"a bootstrap needs 2 rows; there are {n}")
    if times is not None and len(times) != n:
        raise ValueError(f"there are {n} rows and {len(times)} times")
    a, b = metric(np.arange(n))
    draw = _row_draws(n, times, block)
    generator = np.random.default_rng(seed)
    drawn = np.array([metric(draw(generator)) for _ in range(resamples)], dtype=float)
    gains = np.sort((drawn[:, 1] - drawn[:, 0])[np.isfinite(drawn).all(axis=1)])
    if len(gains) < resamples / 2:
        raise ValueError(f"{name} could be computed on {len(gains)} of {resamples} resamples only")
    lower, upper = _expanded_percentile(gains, n, confidence)
    if len(gains) < 0.95 * resamples:
        lower, upper = -np.inf, np.inf
    beyond = min(np.count_nonzero(gains <= 0), np.count_nonzero(gains >= 0))
    return Comparison(
        metric=name,
        estimate=float(b - a),
        lower=float(lower),
        upper=float(upper),
        p_value=float(min(1.0, 2 * (1 + beyond) / (len(gains) + 1))),
        n=n,
        method="paired bootstrap" if times is None else "paired block bootstrap",
    )


def _row_draws(
    n: int, times: NDArray[np.generic] | None, block: int | None
) -> Callable[[np.random.Generator], NDArray[np.intp]]:
    if times is None:
        return lambda generator: generator.integers(0, n, n)
    order = np.argsort(times, kind="stable")
    length = min(n, block or int(np.ceil(n ** (1 / 3))))
    steps = np.arange(length)

    def blocks(generator: np.random.Generator) -> NDArray[np.intp]:
        starts = generator.integers(0, n, -(-n // length))
        return np.asarray(order[((starts[:, None] + steps).ravel() % n)[:n]])

    return blocks


def _expanded_percentile(gains: Array, n: int, confidence: float) -> tuple[float, float]:
    from scipy import special

    t = special.stdtrit(n - 1, 0.5 + confidence / 2)
    level = float(special.ndtr(-t * np.sqrt(n / (n - 1))))
    return float(np.quantile(gains, level)), float(np.quantile(gains, 1 - level))


def mcnemar(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_], *, confidence: float = 0.95) -> Comparison:
    """The gain in accuracy, from the rows on which exactly one of two models is right.

    correct_a, correct_b (n,). Given the d discordant rows, those that b wins are Binomial(d, 1/2) under no
    difference: exact two-sided test and Clopper-Pearson interval below 25 of them, score test and Wilson interval
    from there on; the interval of b's share s becomes that of the gain, (2 s - 1) d / n. So test and interval agree.
    Raises ValueError if n is 0 or the shapes differ. Sources: McNemar, Psychometrika 12 (1947) 153; Fagerland,
    Lydersen, Laake, BMC Medical Research Methodology 13 (2013) 91.
    """
    a, b = np.asarray(correct_a).astype(bool), np.asarray(correct_b).astype(bool)
    if a.shape != b.shape or a.ndim != 1 or len(a) == 0:
        raise ValueError(f"two vectors of one length are compared, not {a.shape} and {b.shape}")
    wins, losses = int(np.sum(b & ~a)), int(np.sum(a & ~b))
    discordant = wins + losses
    exact = discordant < EXACT_BELOW
    low, high, p_value = (_exact_share if exact else _score_share)(wins, discordant, 1 - confidence)
    scale = discordant / len(a)
    return Comparison(
        metric="accuracy",
        estimate=(wins - losses) / len(a),
        lower=(2 * low - 1) * scale,
        upper=(2 * high - 1) * scale,
        p_value=p_value,
        n=len(a),
        method="McNemar, exact" if exact else "McNemar",
    )


def _exact_share(wins: int, trials: int, error: float) -> tuple[float, float, float]:
    from scipy import special

    if trials == 0:
        return 0.5, 0.5, 1.0
    low = 0.0 if wins == 0 else float(special.betaincinv(wins, trials - wins + 1, error / 2))
    high = 1.0 if wins == trials else float(special.betaincinv(wins + 1, trials - wins, 1 - error / 2))
    return low, high, min(1.0, 2 * float(special.bdtr(min(wins, trials - wins), trials, 0.5)))


def _score_share(wins: int, trials: int, error: float) -> tuple[float, float, float]:
    from scipy import special

    z = float(special.ndtri(1 - error / 2))
    share, shrunk = wins / trials, z * z / trials
    middle = (share + shrunk / 2) / (1 + shrunk)
    half = z * float(np.sqrt(share * (1 - share) / trials + shrunk / (4 * trials))) / (1 + shrunk)
    return middle - half, middle + half, float(special.chdtrc(1, (2 * wins - trials) ** 2 / trials))


def _paired(y: NDArray[np.bool_], score_a: Array, score_b: Array) -> tuple[Array, Array]:
    a, b = np.asarray(score_a, dtype=float), np.asarray(score_b, dtype=float)
    if not (y.shape == a.shape == b.shape and y.ndim == 1):
        raise ValueError(f"labels {y.shape} and scores {a.shape}, {b.shape} must be vectors of one length")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("a score is not finite")
    return a, b
