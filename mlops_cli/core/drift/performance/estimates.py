"""How well a classifier does, from its probabilities alone: confidence-based performance estimation."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.drift.performance.calibration import CalibrationMap
from mlops_cli.core.drift.performance.metrics import TINY
from mlops_cli.core.drift.performance.records import Estimate

Array = NDArray[np.float64]

CAVEAT = (
    "estimated without labels: it holds if the inputs drift and their meaning does not; it is blind to concept drift, "
    "where the same inputs come to have other outcomes"
)
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
