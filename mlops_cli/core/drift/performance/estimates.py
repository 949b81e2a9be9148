"""How well a classifier does, from its probabilities alone: confidence-based performance estimation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.drift.performance.calibration import CalibrationMap, fit_map
from mlops_cli.core.drift.performance.metrics import TINY, Outcomes
from mlops_cli.core.drift.performance.records import Estimate

Array = NDArray[np.float64]

CAVEAT = (
    "estimated without labels: it holds if the inputs drift and their meaning does not; it is blind to concept drift, "
    "where the same inputs come to have other outcomes"
)
MOST_CLASSES = 20  # whose maps a profile keeps
_Z = 1.959963984540054


def estimate_performance(known: CalibrationMap, scores: Array, called: NDArray[np.bool_]) -> dict[str, Estimate]:
    """The expected metrics of a binary classifier on rows without labels (CBPE).

    scores (n,) are P(classes[1]), called (n,) true where classes[1] was answered. With p the calibrated probability,
    row i is expected to add p_i to the true (or false) positives: TP = sum p over called rows, FP = sum (1 - p) there,
    FN = sum p elsewhere. accuracy, precision, recall and f1 are those of this confusion matrix, brier and log_loss the
    mean of (score - y)^2 and of -ln P(y) over y ~ p, auc the share of pairs ranked right, a pair (i, j) weighing
    p_i (1 - p_j). The interval is that of the metric the labels would give: each metric is linearised in y, and the
    variance is that of independent y_i ~ p_i plus that of the map's own sample. {} without rows.
    Sources: NannyML's documentation, Confidence-based Performance Estimation; Garg et al., ICLR 2022, section 3 (no
    estimate holds without an assumption on the shift); delta method.
    """
    if len(scores) == 0:
        return {}
    p = known.apply(scores)
    found = {}
    for name, (value, slopes) in _linearised(p, scores, called).items():
        variance = float(np.sum(slopes**2 * p * (1 - p))) + known.error_of(scores, slopes)
        half = _Z * math.sqrt(variance)
        low, high = (0.0, math.inf if name == "log_loss" else 1.0)
        found[name] = Estimate(value=value, lower=max(low, value - half), upper=min(high, value + half))
    return found


def fit_maps(rows: Outcomes) -> tuple[CalibrationMap, ...]:
    """A map for the score of each of more than two classes, against all others; () where one of them has none."""
    if rows.is_binary or rows.scores is None or not 2 < len(rows.classes) <= MOST_CLASSES:
        return ()
    maps = [fit_map(rows.truth == place, rows.scores[:, place]) for place in range(len(rows.classes))]
    return tuple(found for found in maps if found is not None) if None not in maps else ()


def estimate_classes(known: Sequence[CalibrationMap], scores: Array, answers: NDArray[np.intp]) -> dict[str, Estimate]:
    """The expected metrics of a classifier of k > 2 classes on rows without labels (CBPE).

    scores (n, k) are the probabilities, answers (n,) places of classes. p (n, k) are the mapped scores over their sum
    in each row. Row i is expected to add p_ic to the cell (c, answer) of the confusion matrix; accuracy and the macro
    means of precision, recall and f1 are those of that matrix, log_loss and brier the means over y ~ p, auc the mean
    over the classes of each one's expected area against the rest. As for two classes, each metric is linearised in y;
    the variance is that of y_i ~ p_i and that of the maps' own samples. {} without rows. Sources: as
    `estimate_performance`.
    """
    if len(scores) == 0:
        return {}
    mapped = np.column_stack([one.apply(scores[:, place]) for place, one in enumerate(known)])
    total = mapped.sum(axis=1, keepdims=True)
    p = np.where(total > 0, mapped / np.where(total > 0, total, 1), scores)
    found = {}
    for name, (value, slopes) in _linearised_classes(p, scores, answers).items():
        spread = (p * slopes**2).sum(axis=1) - (p * slopes).sum(axis=1) ** 2
        own = sum(one.error_of(scores[:, place], slopes[:, place]) for place, one in enumerate(known))
        half = _Z * math.sqrt(max(0.0, float(spread.sum())) + own)
        high = {"log_loss": math.inf, "brier": 2.0}.get(name, 1.0)
        found[name] = Estimate(value=value, lower=max(0.0, value - half), upper=min(high, value + half))
    return found


def _linearised_classes(p: Array, scores: Array, answers: NDArray[np.intp]) -> dict[str, tuple[float, Array]]:
    """Each metric that has a value, and its derivative by the outcome of each row and class (n, k)."""
    n, k = p.shape
    called = np.zeros((n, k))
    called[np.arange(n), answers] = 1.0
    hits, calls, there = (called * p).sum(axis=0), called.sum(axis=0), p.sum(axis=0)

    def share(divisors: Array) -> tuple[Array, Array]:
        """hits / divisors of each class, 0 where nothing is there; and 1 / divisors."""
        inverse = np.divide(1.0, divisors, out=np.zeros(k), where=divisors > 0)
        return hits * inverse, inverse

    precision, of_calls = share(calls)
    recall, of_there = share(there)
    f1, of_both = share((calls + there) / 2)
    surprise = -np.log(np.clip(scores, TINY, 1.0))
    squares = (scores**2).sum(axis=1, keepdims=True) - 2 * scores + 1
    found = {
        "accuracy": (float(hits.sum()) / n, called / n),
        "precision": (float(precision.mean()), called * of_calls / k),
        "recall": (float(recall.mean()), (called - recall) * of_there / k),
        "f1": (float(f1.mean()), (called - f1 / 2) * of_both / k),
        "log_loss": (float((p * surprise).sum()) / n, surprise / n),
        "brier": (float((p * squares).sum()) / n, squares / n),
    }
    if n > 1 and (there > 0).all() and (there < n).all():
        areas = [_auc(p[:, c], scores[:, c], float(there[c]), float(n - there[c])) for c in range(k)]
        value = float(np.mean([area for area, _ in areas]))
        if math.isfinite(value):
            found["auc"] = (value, np.column_stack([slopes for _, slopes in areas]) / k)
    return found


def _linearised(p: Array, scores: Array, called: NDArray[np.bool_]) -> dict[str, tuple[float, Array]]:
    """Each metric that has a value, and its derivative by each row's outcome (n,)."""
    n, hit = len(p), called.astype(float)
    true_positives, calls, there = float(p @ hit), float(hit.sum()), float(p.sum())
    found = {"accuracy": (float(np.where(called, p, 1 - p).mean()), np.where(called, 1.0, -1.0) / n)}
    if calls:
        found["precision"] = (true_positives / calls, hit / calls)
    if there > 0:
        recall = true_positives / there
        found["recall"] = (recall, (hit - recall) / there)
    if calls + there > 0:
        f1 = 2 * true_positives / (calls + there)
        found["f1"] = (f1, (2 * hit - f1) / (calls + there))
    inside = np.clip(scores, TINY, 1 - TINY)
    found["brier"] = (float(np.mean(p * (1 - scores) ** 2 + (1 - p) * scores**2)), (1 - 2 * scores) / n)
    surprise = np.log(1 - inside) - np.log(inside)
    found["log_loss"] = (float(np.mean(p * surprise - np.log(1 - inside))), surprise / n)
    absent = n - there
    if there > 0 and absent > 0 and n > 1:
        found["auc"] = _auc(p, scores, there, absent)
    return found


def _auc(p: Array, scores: Array, there: float, absent: float) -> tuple[float, Array]:
    """sum_ij p_i (1 - p_j) [s_i > s_j, ties one half] / (P N), and its derivative by each outcome."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    first, last = np.searchsorted(ordered, scores, "left"), np.searchsorted(ordered, scores, "right")
    negatives = np.concatenate(([0.0], np.cumsum((1 - p)[order])))
    positives = np.concatenate(([0.0], np.cumsum(p[order])))
    below = (negatives[first] + negatives[last]) / 2  # the weight of negatives under each row
    above = there - (positives[first] + positives[last]) / 2
    # A row is no pair with itself, although its two expected halves would tie.
    itself = p * (1 - p) / 2
    pairs = there * absent - float(np.sum(p * (1 - p)))
    if pairs <= 0:
        return math.nan, np.zeros(len(p))
    area = float(np.sum(p * below - itself)) / pairs
    slopes = (below - (1 - p) / 2 - above + p / 2 - area * (absent - there - 1 + 2 * p)) / pairs
    return area, np.asarray(slopes)
