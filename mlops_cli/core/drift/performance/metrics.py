"""Metrics of labelled rows with their intervals. The formulas stand in PERFORMANCE.md beside this file."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.drift.performance.records import Estimate
from mlops_cli.core.stats.comparisons import paired_bootstrap
from mlops_cli.core.stats.dependence import autocorrelation_time, score_series
from mlops_cli.core.stats.intervals import Interval, auc_influence, auc_interval, mean_interval, wilson

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

FROM_LABELS = ("accuracy", "precision", "recall", "f1")
FROM_SCORES = ("auc", "log_loss", "brier")
REGRESSION = ("rmse", "mae", "r2")
METRICS = ("auc", "accuracy", "precision", "recall", "f1", "log_loss", "brier", *REGRESSION)
LESS_IS_BETTER = frozenset({"log_loss", "brier", "rmse", "mae"})

RESAMPLES = 1000
BOOTSTRAP_ROWS = 20_000  # beyond, resampling costs seconds and the delta method differs by less than a percent
TINY = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """Rows whose truth is known, n of them, in order of time where `is_ordered`.

    A classifier: `truth` and `answers` (n,) are places in `classes`; `scores` are P(classes[1]) (n,) of two classes,
    the probabilities of all k (n, k) of more, or None. A regression: `truth` and `answers` are numbers, and `classes`
    is empty.
    """

    truth: NDArray[Any]
    answers: NDArray[Any]
    scores: Array | None = None
    classes: tuple[str, ...] = ()
    is_ordered: bool = False

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def is_binary(self) -> bool:
        return len(self.classes) == 2

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names that these rows can have, the one that is judged by default first."""
        if not self.classes:
            return REGRESSION
        return tuple(name for name in METRICS if name in FROM_LABELS or (name in FROM_SCORES and self.has_scores))

    @property
    def has_scores(self) -> bool:
        return bool(self.classes) and self.scores is not None

    def confidence(self) -> tuple[Mask, Array]:
        """What calibration compares (n,): of two classes, was it classes[1], and how likely was it said to be; of more,
        was the answer right, and how likely was it said to be."""
        assert self.scores is not None  # noqa: S101 - asked where `has_scores`
        if self.is_binary:
            return self.truth == 1, self.scores
        return self.truth == self.answers, self.scores[np.arange(len(self)), self.answers]

    def at(self, rows: slice | NDArray[Any]) -> Outcomes:
        scores = None if self.scores is None else self.scores[rows]
        return Outcomes(
            truth=self.truth[rows],
            answers=self.answers[rows],
            scores=scores,
            classes=self.classes,
            is_ordered=self.is_ordered,
        )


def losses(rows: Outcomes) -> Array:
    """What the model paid for each row (n,): 1 for a wrong answer, the absolute error of a regression."""
    if rows.classes:
        return np.asarray(rows.truth != rows.answers, dtype=float)
    return np.asarray(np.abs(rows.truth - rows.answers), dtype=float)


def effective_rows(rows: Outcomes) -> float:
    """n divided by the autocorrelation time of the losses; n where no order is known."""
    return len(rows) / _time(losses(rows), rows) if len(rows) else 0.0


def measure(rows: Outcomes) -> dict[str, Estimate]:
    """Every metric that has a value on these rows, with its 95% interval; auc of one class has none."""
    found = {}
    for name in rows.metrics:
        interval = _interval(name, rows) if len(rows) else None
        if interval is not None and math.isfinite(interval.value):
            found[name] = estimate(interval)
    return found


def estimate(interval: Interval) -> Estimate:
    """An end that is not finite is unknown."""
    lower, upper = (end if math.isfinite(end) else None for end in (interval.lower, interval.upper))
    return Estimate(value=interval.value, lower=lower, upper=upper)


def _interval(name: str, rows: Outcomes) -> Interval | None:
    if name in REGRESSION:
        return _regression(name, rows)
    if name == "accuracy":
        return _share(rows.truth == rows.answers, rows)
    if name == "auc":
        return _auc(rows)
    if name in FROM_SCORES:
        found = _mean(score_losses(name, rows), rows)
        return Interval(found.value, max(0.0, found.lower), found.upper)
    return _binary(name, rows) if rows.is_binary else _macro(name, rows)


def _binary(name: str, rows: Outcomes) -> Interval | None:
    """precision, recall and f1 of classes[1]. f1 = 2 s / (1 + s), s the share of hits among rows called or there."""
    called, there = rows.answers == 1, rows.truth == 1
    asked = {"precision": called, "recall": there, "f1": called | there}[name]
    if not asked.any():
        return None
    share = _share((called & there)[asked], rows)
    if name != "f1":
        return share
    return Interval(*(2 * end / (1 + end) for end in (share.value, share.lower, share.upper)))


def _macro(name: str, rows: Outcomes) -> Interval:
    count = len(rows.classes)

    def value(places: NDArray[Any]) -> float:
        cells = np.bincount(rows.truth[places] * count + rows.answers[places], minlength=count * count)
        confusion = cells.reshape(count, count)
        hits, called, there = np.diag(confusion), confusion.sum(axis=0), confusion.sum(axis=1)
        divisors = {"precision": called, "recall": there, "f1": (called + there) / 2}[name]
        return float(np.divide(hits, divisors, out=np.zeros(count), where=divisors > 0).mean())

    return _bootstrap(name, value, rows)


def score_losses(name: str, rows: Outcomes) -> Array:
    """Log losses in nats, or squared errors of the probability (n,); of more than two classes, summed over them."""
    scores = rows.scores
    if scores is None:
        raise ValueError(f"{name} needs scores")
    if scores.ndim == 2:
        of_truth = scores[np.arange(len(rows)), rows.truth]
        if name == "brier":
            return np.asarray((scores**2).sum(axis=1) - 2 * of_truth + 1)
        return np.asarray(-np.log(np.clip(of_truth, TINY, 1.0)))
    if name == "brier":
        return np.asarray((scores - rows.truth) ** 2)
    of_truth = np.where(rows.truth == 1, scores, 1 - scores)
    return np.asarray(-np.log(np.clip(of_truth, TINY, 1.0)))


def _auc(rows: Outcomes) -> Interval | None:
    assert rows.scores is not None  # noqa: S101 - `metrics` names auc only where there are scores
    if rows.scores.ndim == 2:
        return _mean_auc(rows, rows.scores)
    positive = rows.truth == 1
    if min(positive.sum(), (~positive).sum()) < 2:
        return None
    time = _time(auc_influence(positive, rows.scores)[1], rows)
    return auc_interval(positive, rows.scores, time=time)


def _mean_auc(rows: Outcomes, scores: Array) -> Interval | None:
    """The mean over the classes of each one's area against the rest. The rows' shares of the error add up, too."""
    influences = []
    for place in range(len(rows.classes)):
        positive = rows.truth == place
        if min(positive.sum(), (~positive).sum()) < 2:
            return None
        area, parts = auc_influence(positive, scores[:, place])
        influences.append(area + parts)
    found = _mean(np.mean(influences, axis=0), rows)
    return Interval(found.value, max(0.0, found.lower), min(1.0, found.upper))


def _regression(name: str, rows: Outcomes) -> Interval | None:
    truth, residual = rows.truth, rows.truth - rows.answers
    if name == "r2":
        if len(rows) < 2 or float(np.ptp(truth)) == 0:
            return None
        return _bootstrap(name, lambda places: _r2(truth[places], residual[places]), rows, _r2_influence(rows))
    errors = np.abs(residual) if name == "mae" else residual**2
    if name == "mae":
        return _bootstrap(name, lambda places: float(errors[places].mean()), rows, errors)
    root = math.sqrt(float(errors.mean()))
    influence = (errors - errors.mean()) / (2 * root) if root else errors
    return _bootstrap(name, lambda places: math.sqrt(float(errors[places].mean())), rows, root + influence)


def _r2(truth: Array, residual: Array) -> float:
    spread = float(((truth - truth.mean()) ** 2).sum())
    return 1 - float((residual**2).sum()) / spread if spread else math.nan


def _r2_influence(rows: Outcomes) -> Array:
    """Values (n,) whose mean is r2 and whose spread is that of its error: the delta method of a ratio of two means."""
    squares, spread = (rows.truth - rows.answers) ** 2, (rows.truth - rows.truth.mean()) ** 2
    ratio = float(squares.sum() / spread.sum())
    return np.asarray(1 - ratio - (squares - ratio * spread) / spread.mean())


def _bootstrap(
    name: str, value: Callable[[NDArray[Any]], float], rows: Outcomes, influence: Array | None = None
) -> Interval:
    """Resampled rows, or blocks of neighbours in time; the delta method beyond 20,000 rows, where it has terms."""
    n = len(rows)
    whole = value(np.arange(n))
    if n < 2:
        return Interval(whole, -math.inf, math.inf)
    if influence is not None and n > BOOTSTRAP_ROWS:
        return _mean(influence, rows)
    time = _time(losses(rows), rows)
    block = max(math.ceil(n ** (1 / 3)), math.ceil(3 * time))
    try:
        found = paired_bootstrap(
            lambda places: (0.0, value(places)),
            n,
            name=name,
            resamples=RESAMPLES,
            times=np.arange(n) if rows.is_ordered else None,
            block=min(n, block),
        )
    except ValueError:  # hardly any resample has a value
        return Interval(whole, -math.inf, math.inf)
    return Interval(whole, found.lower, found.upper)


def _share(hits: Mask, rows: Outcomes) -> Interval:
    return wilson(float(hits.sum()), len(hits), time=_time(hits.astype(float), rows))


def _mean(values: Array, rows: Outcomes) -> Interval:
    return mean_interval(values, time=_time(values, rows))


def _time(values: Array, rows: Outcomes) -> float:
    if not rows.is_ordered or len(values) == 0:
        return 1.0
    # A share of 3% wrong would be clipped to a constant by its own quantiles; it is bounded as it is.
    series = values if set(np.unique(values[:1000])) <= {0.0, 1.0} else score_series(values, np.sort(values))
    # One block: a trend inside the window is part of how uncertain its metric is, unlike in a test for drift.
    return autocorrelation_time(series, blocks=1)
