"""Are probabilities true? Reliability bins of labelled rows, and the map from scores to what they came to mean."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.drift.performance.records import CalibrationBin
from mlops_cli.core.stats.intervals import wilson

Array = NDArray[np.float64]

BINS = 10
MAP_ROWS, MAP_BINS = 40, 50  # rows a point of the map rests on at least, and the most points
FEWEST = 4 * MAP_ROWS  # rows under which no map is made


@dataclass(frozen=True, slots=True)
class Calibration:
    """`bins` by rising score; `error` the expected calibration error; `brier` the terms of Murphy's decomposition."""

    bins: tuple[CalibrationBin, ...]
    error: float
    brier: dict[str, float]


def calibrate(positive: NDArray[np.bool_], scores: Array, *, bins: int = BINS, time: float = 1.0) -> Calibration:
    """Reliability of scores (n,) against positive (n,), in bins of about equal mass; rows of one score share a bin.

    error = sum n_b / n |observed_b - predicted_b| (Naeini, Cooper, Hauskrecht, AAAI 2015), which is above 0 by chance
    alone: about sqrt(bins / n). Murphy, J. Applied Meteorology 12 (1973) 595: Brier = reliability - resolution +
    uncertainty, up to the spread of the scores within bins (`within`), so that the four terms add up exactly. Wilson
    intervals on n_b / time rows. Raises ValueError without rows.
    """
    n = len(scores)
    if n == 0:
        raise ValueError("no rows have no calibration")
    order = np.argsort(scores, kind="stable")
    ordered, truth = scores[order], positive[order].astype(float)
    found, weights, gaps, spread = [], [], [], 0.0
    base = float(truth.mean())
    for start, end in _equal_mass(ordered, bins):
        inside, hits = ordered[start:end], float(truth[start:end].sum())
        interval = wilson(hits, end - start, time=time)
        predicted = float(inside.mean())
        found.append(
            CalibrationBin(
                low=float(inside[0]),
                high=float(inside[-1]),
                n=end - start,
                predicted=predicted,
                observed=interval.value,
                lower=interval.lower,
                upper=interval.upper,
            )
        )
        weights.append((end - start) / n)
        gaps.append(interval.value - predicted)
        centred = inside - predicted
        spread += float(np.sum(centred**2) - 2 * np.sum(centred * truth[start:end])) / n
    shares, differences = np.asarray(weights), np.asarray(gaps)
    observed = np.asarray([one.observed for one in found])
    terms = {
        "brier": float(np.mean((ordered - truth) ** 2)),
        "reliability": float(shares @ differences**2),
        "resolution": float(shares @ (observed - base) ** 2),
        "uncertainty": base * (1 - base),
        "within": spread,
    }
    return Calibration(tuple(found), float(shares @ np.abs(differences)), terms)


def _equal_mass(ordered: Array, bins: int) -> list[tuple[int, int]]:
    """Up to `bins` runs of rising scores (n,), none of which splits a score."""
    n = len(ordered)
    wanted = np.round(np.linspace(0, n, min(bins, n) + 1)).astype(int)[1:-1]
    first, last = (np.searchsorted(ordered, ordered[wanted], side) for side in ("left", "right"))
    cuts = {0, n, *np.where(wanted - first <= last - wanted, first, last).tolist()}
    return list(pairwise(sorted(cuts)))


class CalibrationMap(msgspec.Struct, frozen=True, kw_only=True):
    """What a score meant on rows the model was not fitted on: through the points (scores, shares), straight between
    them and level outside. `sizes` are the rows each point rests on."""

    scores: tuple[float, ...]
    shares: tuple[float, ...]
    sizes: tuple[int, ...]

    @property
    def rows(self) -> int:
        return sum(self.sizes)

    def apply(self, scores: Array) -> Array:
        """Calibrated probabilities (n,)."""
        return np.asarray(np.interp(scores, self.scores, self.shares))

    def error_of(self, scores: Array, slopes: Array) -> float:
        """The variance that the map's own sample adds to sum_i slopes_i p(scores_i).

        The sum is linear in the points' shares: its variance is sum_b A_b^2 q_b (1 - q_b) / n_b, A_b being the weight
        of point b, q_b its share with one row of each class added, as a share of 0 of 40 rows is not certain.
        """
        known, sizes = np.asarray(self.scores), np.asarray(self.sizes, dtype=float)
        inside = np.clip(scores, known[0], known[-1])
        left = np.clip(np.searchsorted(known, inside, "right") - 1, 0, max(0, len(known) - 2))
        right = np.minimum(left + 1, len(known) - 1)
        width = known[right] - known[left]
        share = np.divide(inside - known[left], width, out=np.zeros(len(inside)), where=width > 0)
        weights = np.bincount(left, slopes * (1 - share), len(known)) + np.bincount(right, slopes * share, len(known))
        shares = (np.asarray(self.shares) * sizes + 1) / (sizes + 2)
        return float(np.sum(weights**2 * shares * (1 - shares) / sizes))


def fit_map(positive: NDArray[np.bool_], scores: Array) -> CalibrationMap | None:
    """The map of scores (n,) in up to 50 bins of equal mass, 40 rows each at least, made to rise by pooling neighbours
    that fall (Ayer et al., Annals of Mathematical Statistics 26 (1955) 641). None under 160 rows or of one class."""
    n = len(scores)
    if n < FEWEST or positive.all() or not positive.any() or not np.isfinite(scores).all():
        return None
    order = np.argsort(scores, kind="stable")
    ordered, truth = scores[order], positive[order]
    pools: list[list[float]] = []  # hits, rows, sum of scores
    for start, end in _equal_mass(ordered, min(MAP_BINS, n // MAP_ROWS)):
        pools.append([float(truth[start:end].sum()), end - start, float(ordered[start:end].sum())])
        while len(pools) > 1 and pools[-2][0] * pools[-1][1] >= pools[-1][0] * pools[-2][1]:
            last = pools.pop()
            pools[-1] = [mine + its for mine, its in zip(pools[-1], last, strict=True)]
    return CalibrationMap(
        scores=tuple(total / size for _, size, total in pools),
        shares=tuple(hits / size for hits, size, _ in pools),
        sizes=tuple(int(size) for _, size, _ in pools),
    )
