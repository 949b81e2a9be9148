"""Metrics agree with scikit-learn; comparisons find what is better and only that."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from mlops_cli.core.errors import TooLittleData, UsageError
from mlops_cli.core.models.predictions import Predictions
from mlops_cli.core.retraining.comparison import LESS_IS_BETTER, Judged, change_of, compare, metric_of


def classifier(
    n: int, skill: float, *, seed: int = 0, noise: int = 1, classes: tuple[object, ...] = (0, 1), times: bool = False
) -> Judged:
    """Answers that lean towards the truth by `skill`; `seed` draws the truth, `noise` the model."""
    truth = np.random.default_rng(seed).integers(0, len(classes), n)
    raw = np.random.default_rng(noise).normal(size=(n, len(classes))) + skill * np.eye(len(classes))[truth]
    scores = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    labels = np.asarray(classes)[scores.argmax(axis=1)]
    return Judged(truth, Predictions(labels, scores), classes, np.arange(n) if times else None)


def regression(n: int, noise: float, *, seed: int = 0, draw: int = 1) -> Judged:
    truth = np.random.default_rng(seed).normal(size=n)
    return Judged(truth, Predictions(truth + noise * np.random.default_rng(draw).normal(size=n)), ())


@pytest.mark.parametrize("classes", [(0, 1), ("a", "b", "c")])
def test_metrics_of_classifiers_agree_with_scikit_learn(classes: tuple[object, ...]) -> None:
    judged = classifier(300, 0.8, classes=classes)
    truth, labels, scores = judged.truth, judged.predictions.scores.argmax(axis=1), judged.predictions.scores
    kind = {"average": "binary" if len(classes) == 2 else "macro"}
    expected = {
        "accuracy": sk.accuracy_score(truth, labels),
        "precision": sk.precision_score(truth, labels, **kind),
        "recall": sk.recall_score(truth, labels, **kind),
        "f1": sk.f1_score(truth, labels, **kind),
        "log_loss": -sk.log_loss(truth, scores),
        "auc": sk.roc_auc_score(truth, scores[:, 1] if len(classes) == 2 else scores, multi_class="ovr"),
        "brier": -np.mean(np.sum((scores - np.eye(len(classes))[truth]) ** 2, axis=1))
        / (2 if len(classes) == 2 else 1),
    }
    rows = np.arange(300)
    assert {name: metric_of(name, judged)(rows) for name in expected} == pytest.approx(expected)


def test_metrics_of_regressions_agree_with_scikit_learn() -> None:
    judged = regression(200, 0.5)
    truth, answers = judged.truth, judged.predictions.labels
    expected = {
        "mae": -sk.mean_absolute_error(truth, answers),
        "rmse": -sk.root_mean_squared_error(truth, answers),
        "r2": sk.r2_score(truth, answers),
    }
    assert {name: metric_of(name, judged)(np.arange(200)) for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("metric", "method"),
    [("auc", "DeLong"), ("accuracy", "McNemar"), ("log_loss", "paired bootstrap"), ("f1", "paired bootstrap")],
)
def test_a_better_challenger_is_found_and_a_worse_one_is_not(metric: str, method: str) -> None:
    worse, better = classifier(2000, 0.3), classifier(2000, 1.0, noise=2)
    won = compare(metric, worse, better)
    assert won.is_better
    assert won.method == method
    assert won.gain > 0
    assert (won.challenger < won.champion) is (metric in LESS_IS_BETTER)
    assert not compare(metric, better, worse).is_better


@pytest.mark.parametrize("metric", ["rmse", "mae", "r2"])
def test_regressions_are_compared_too(metric: str) -> None:
    assert compare(metric, regression(500, 1.0), regression(500, 0.5, draw=2)).is_better


def test_rows_with_times_are_resampled_in_blocks() -> None:
    gain = compare("brier", classifier(400, 0.2, times=True), classifier(400, 1.5, noise=2, times=True))
    assert gain.method == "paired block bootstrap"
    assert gain.is_better


def test_a_model_is_not_better_than_itself() -> None:
    judged = classifier(500, 0.5)
    for metric in ("auc", "accuracy", "log_loss"):
        gain = compare(metric, judged, judged)
        assert (gain.gain, gain.is_better) == (0, False)


def test_equal_models_are_seldom_called_better() -> None:
    wins = [
        compare(
            "auc",
            classifier(400, 0.5, seed=seed, noise=2 * seed + 1),
            classifier(400, 0.5, seed=seed, noise=2 * seed + 2),
        )
        for seed in range(400)
    ]
    # 2.5% of 400 are 10; 20 or more has a chance below 0.4%. The seeds are fixed, so this never flickers.
    assert sum(gain.is_better for gain in wins) < 20


def test_a_drop_is_found_and_noise_is_not() -> None:
    then = classifier(2000, 1.0)
    dropped = change_of("auc", then, classifier(2000, 0.5, seed=5, noise=6))
    assert dropped.upper < 0
    assert dropped.change == pytest.approx(dropped.now - dropped.then)
    assert change_of("auc", then, classifier(2000, 1.0, seed=5, noise=6)).upper > 0
    assert change_of("log_loss", then, classifier(2000, 0.2, seed=5, noise=6)).upper < 0


def test_a_metric_the_model_cannot_have_is_refused() -> None:
    with pytest.raises(UsageError, match="rmse is no metric of a classifier"):
        compare("rmse", classifier(10, 1), classifier(10, 1))
    with pytest.raises(UsageError, match="auc is no metric of a regression"):
        compare("auc", regression(10, 1), regression(10, 1))
    judged = classifier(10, 1)
    silent = Judged(judged.truth, Predictions(judged.predictions.labels), judged.classes)
    with pytest.raises(UsageError, match="needs probabilities"):
        compare("auc", silent, silent)


def test_one_class_only_is_too_little() -> None:
    judged = classifier(50, 1)
    only = Judged(np.zeros(50, dtype=np.intp), judged.predictions, judged.classes)
    with pytest.raises(TooLittleData):
        compare("auc", only, only)
