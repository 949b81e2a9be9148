"""Champion and challenger on the same labelled rows, and one model on newer rows than it was judged by before.

Gains and changes are in units of the metric and positive for better, also for metrics of which less is better.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from mlops_cli.core.errors import TooLittleData, UsageError
from mlops_cli.core.models.predictions import Predictions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlops_cli.core.stats.comparisons import Comparison

LESS_IS_BETTER = frozenset({"log_loss", "brier", "rmse", "mae"})
FROM_LABELS = frozenset({"accuracy", "precision", "recall", "f1"})
FROM_SCORES = frozenset({"auc", "log_loss", "brier"})
REGRESSION = frozenset({"rmse", "mae", "r2"})
RESAMPLES = 2000

Metric = Callable[[Any], float]  # row indices (k,) -> the metric of these rows, more being better


class Gain(msgspec.Struct, frozen=True, kw_only=True):
    """The challenger against the champion. `lower` is the one-sided 97.5% bound that must lie above 0."""

    metric: str
    champion: float
    challenger: float
    gain: float
    lower: float
    upper: float
    p_value: float
    rows: int
    method: str

    @property
    def is_better(self) -> bool:
        return self.lower > 0


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One model then and now: `change` is now minus then, `upper` its one-sided 97.5% upper bound."""

    metric: str
    then: float
    now: float
    change: float
    upper: float
    rows: int


@dataclass(frozen=True, slots=True)
class Judged:
    """A model's answers to rows whose truth is known.

    truth (n,): places in `classes` for a classifier (empty for a regression), else numbers; times (n,) of the
    rows' own clock, or None.
    """

    truth: NDArray[Any]
    predictions: Predictions
    classes: tuple[Any, ...]
    times: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.truth)


def compare(metric: str, champion: Judged, challenger: Judged) -> Gain:
    """Is the challenger better? DeLong for a binary auc, McNemar for accuracy, else a paired block bootstrap.

    Both must have been asked the same rows and know the same classes in the same order. Raises UsageError for a
    metric that these models cannot have, TooLittleData where the rows do not allow the test.
    """
    from mlops_cli.core.stats.comparisons import delong, mcnemar, paired_bootstrap

    _check(metric, champion)
    _check(metric, challenger)
    first, second = metric_of(metric, champion), metric_of(metric, challenger)
    try:
        if metric == "auc" and len(champion.classes) == 2:
            scores = [_positive(judged) for judged in (champion, challenger)]
            found = delong(champion.truth == 1, *scores)
        elif metric == "accuracy":
            found = mcnemar(*(_labels(judged) == judged.truth for judged in (champion, challenger)))
        else:
            found = paired_bootstrap(
                lambda rows: (first(rows), second(rows)),
                len(champion),
                name=metric,
                resamples=RESAMPLES,
                times=champion.times,
            )
    except ValueError as error:
        raise TooLittleData(
            f"{metric} cannot be compared on these rows: {error}", hint="give more labelled rows"
        ) from None
    rows = _all_rows(champion)
    sign = -1 if metric in LESS_IS_BETTER else 1
    return Gain(
        metric=metric,
        champion=sign * first(rows),
        challenger=sign * second(rows),
        gain=found.estimate,
        lower=found.lower,
        upper=found.upper,
        p_value=found.p_value,
        rows=len(champion),
        method=found.method,
    )


def check_value(metric: str, judged: Judged) -> None:
    """Raises TooLittleData if the metric has no value on these rows, whoever answers them; UsageError as `compare`."""
    _check(metric, judged)
    if not math.isfinite(metric_of(metric, judged)(_all_rows(judged))):
        raise TooLittleData(
            f"{metric} has no value on these {len(judged):,} rows: their labels are all alike, or of one class",
            hint="give more labelled rows",
        )


def change_of(metric: str, then: Judged, now: Judged) -> Change:
    """Has one model become worse? Two independent bootstraps, joined by MOVER.

    upper = (now - then) + sqrt((upper_now - now)^2 + (then - lower_then)^2). Raises as `compare` does.
    Source: Zou, Donner, Statistics in Medicine 27 (2008) 1693.
    """
    _check(metric, then)
    _check(metric, now)
    old, new = (_interval(metric, judged) for judged in (then, now))
    change = new.estimate - old.estimate
    upper = change + math.hypot(new.upper - new.estimate, old.estimate - old.lower)
    sign = -1 if metric in LESS_IS_BETTER else 1
    return Change(
        metric=metric, then=sign * old.estimate, now=sign * new.estimate, change=change, upper=upper, rows=len(now)
    )


def _interval(metric: str, judged: Judged) -> Comparison:
    """The metric itself with its interval: its gain over nothing."""
    from mlops_cli.core.stats.comparisons import paired_bootstrap

    value = metric_of(metric, judged)
    try:
        return paired_bootstrap(
            lambda rows: (0.0, value(rows)), len(judged), name=metric, resamples=RESAMPLES // 2, times=judged.times
        )
    except ValueError as error:
        raise TooLittleData(
            f"{metric} cannot be judged on these rows: {error}", hint="give more labelled rows"
        ) from None


def metric_of(metric: str, judged: Judged) -> Metric:
    """The metric as a function of row indices (k,), negated where less is better; NaN where it has no value."""
    import numpy as np

    truth = judged.truth
    if metric in REGRESSION:
        residual = truth - judged.predictions.labels
        if metric == "mae":
            return lambda rows: -float(np.mean(np.abs(residual[rows])))
        if metric == "rmse":
            return lambda rows: -float(np.sqrt(np.mean(residual[rows] ** 2)))
        return lambda rows: _r2(truth[rows], residual[rows])
    if metric in FROM_LABELS:
        labels = _labels(judged)
        return lambda rows: _from_confusion(metric, _confusion(truth[rows], labels[rows], len(judged.classes)))
    scores: Any = judged.predictions.scores
    if metric == "log_loss":
        of_truth = scores[np.arange(len(truth)), truth]
        losses = -np.log(np.clip(of_truth, np.finfo(np.float64).eps, 1.0))
    elif metric == "brier" and len(judged.classes) == 2:
        losses = (scores[:, 1] - truth) ** 2
    elif metric == "brier":
        losses = np.sum((scores - np.eye(len(judged.classes))[truth]) ** 2, axis=1)
    else:
        places = [1] if len(judged.classes) == 2 else range(len(judged.classes))
        return lambda rows: float(np.mean([_auc(truth[rows] == place, scores[rows, place]) for place in places]))
    return lambda rows: -float(np.mean(losses[rows]))


def _check(metric: str, judged: Judged) -> None:
    known = FROM_LABELS | FROM_SCORES if judged.classes else REGRESSION
    if metric not in known:
        kind = "classifier" if judged.classes else "regression"
        raise UsageError(
            f"retrain.metric: {metric} is no metric of a {kind}", hint=f"use one of {', '.join(sorted(known))}"
        )
    if metric in FROM_SCORES and judged.predictions.scores is None:
        raise UsageError(
            f"retrain.metric: {metric} needs probabilities, which the model does not give", hint="use accuracy"
        )


def _all_rows(judged: Judged) -> Any:
    import numpy as np

    return np.arange(len(judged))


def _positive(judged: Judged) -> Any:
    scores: Any = judged.predictions.scores
    return scores[:, 1]


def _labels(judged: Judged) -> Any:
    import numpy as np

    places = {value: place for place, value in enumerate(judged.classes)}
    return np.asarray([places[value] for value in judged.predictions.labels.tolist()], dtype=np.intp)


def _auc(positive: Any, scores: Any) -> float:
    """The share of pairs ranked right, ties one half; NaN without both classes."""
    from mlops_cli.core.stats.comparisons import midranks

    ones = int(positive.sum())
    zeros = len(positive) - ones
    if not ones or not zeros:
        return math.nan
    return float((midranks(scores)[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def _r2(truth: Any, residual: Any) -> float:
    spread = float(((truth - truth.mean()) ** 2).sum())
    return 1 - float((residual**2).sum()) / spread if spread else math.nan


def _confusion(truth: Any, labels: Any, classes: int) -> Any:
    import numpy as np

    return np.bincount(truth * classes + labels, minlength=classes * classes).reshape(classes, classes)


def _from_confusion(metric: str, confusion: Any) -> float:
    """confusion[i, j] counts rows of class i called j. Two classes: about class 1; more: the mean over classes."""
    import numpy as np

    hits = np.diag(confusion)
    if metric == "accuracy":
        return float(hits.sum() / confusion.sum())
    called, there = confusion.sum(axis=0), confusion.sum(axis=1)
    divisors = {"precision": called, "recall": there, "f1": (called + there) / 2}[metric]
    # Where nothing was called, or nothing is there, the score is 0, as scikit-learn's zero_division=0 has it.
    values = np.divide(hits, divisors, out=np.zeros(len(hits)), where=divisors > 0)
    return float(values[1] if len(hits) == 2 else values.mean())
