"""Estimates without labels: true under covariate shift, blind to concept drift."""

from __future__ import annotations

import numpy as np
import pytest

from mlops_cli.core.drift.performance.calibration import CalibrationMap, fit_map
from mlops_cli.core.drift.performance.estimates import (
    _linearised,
    _linearised_classes,
    estimate_classes,
    estimate_performance,
    fit_maps,
)
from mlops_cli.core.drift.performance.metrics import Outcomes, measure

METRICS = {"accuracy", "precision", "recall", "f1", "brier", "log_loss", "auc"}


def logistic(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def world(
    random: np.random.Generator, n: int, *, shift: float = 0.0, flipped: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of an overconfident model, and truths: P(y | x) = logistic(x), score = logistic(1.7 x).

    `shift` moves x alone (covariate shift); `flipped` gives that share of rows the other truth (concept drift).
    """
    x = random.normal(shift, 1.3, n)
    y = (random.random(n) < logistic(x)) ^ (random.random(n) < flipped)
    return logistic(1.7 * x), y


def known(seed: int = 0, n: int = 4000) -> CalibrationMap:
    scores, y = world(np.random.default_rng(seed), n)
    found = fit_map(y, scores)
    assert found is not None
    return found


def realised(scores: np.ndarray, y: np.ndarray) -> dict[str, float]:
    rows = Outcomes(truth=y.astype(int), answers=(scores > 0.5).astype(int), scores=scores, classes=("0", "1"))
    return {name: one.value for name, one in measure(rows).items()}


def test_a_map_rises_and_undoes_overconfidence() -> None:
    found = known(n=20_000)
    assert np.all(np.diff(found.shares) > 0)
    assert (found.rows, len(found.scores) <= 50, min(found.sizes) >= 40) == (20_000, True, True)
    x = np.linspace(-2, 2, 9)
    assert found.apply(logistic(1.7 * x)) == pytest.approx(logistic(x), abs=0.05)


def test_few_rows_or_one_class_make_no_map() -> None:
    scores, y = world(np.random.default_rng(1), 159)
    assert fit_map(y, scores) is None
    assert fit_map(np.ones(500, bool), np.linspace(0, 1, 500)) is None


@pytest.mark.parametrize("shift", [0.0, 0.8, -1.2])
def test_under_covariate_shift_the_estimates_hold_the_realised_metrics(shift: float) -> None:
    random = np.random.default_rng(7)
    inside = dict.fromkeys(METRICS, 0)
    for run in range(40):
        scores, y = world(random, 1500, shift=shift)
        found = estimate_performance(known(seed=100 + run), scores, scores > 0.5)
        for name, value in realised(scores, y).items():
            inside[name] += found[name].lower <= value <= found[name].upper
    assert all(count >= 34 for count in inside.values()), inside  # 38 of 40 expected; P(under 34) is 1%


def test_covariate_shift_moves_the_estimate_with_the_truth() -> None:
    random = np.random.default_rng(8)
    still, moved = (world(random, 4000, shift=shift) for shift in (0.0, 1.5))
    estimates = [estimate_performance(known(), scores, scores > 0.5)["accuracy"].value for scores, _ in (still, moved)]
    truths = [realised(*one)["accuracy"] for one in (still, moved)]
    assert truths[1] - truths[0] > 0.05
    assert estimates[1] - estimates[0] == pytest.approx(truths[1] - truths[0], abs=0.03)


def test_concept_drift_goes_unseen_which_is_what_the_caveat_says() -> None:
    scores, y = world(np.random.default_rng(9), 4000, flipped=0.25)
    found = estimate_performance(known(), scores, scores > 0.5)
    truth = realised(scores, y)
    assert truth["accuracy"] < found["accuracy"].lower - 0.05
    assert truth["auc"] < found["auc"].lower - 0.05


def test_estimates_are_the_means_of_simulated_labels_and_their_slopes_the_derivatives() -> None:
    random = np.random.default_rng(10)
    scores, p = np.round(random.random(60), 2), random.uniform(0.2, 0.8, 60)
    called = scores > 0.5
    base = _linearised(p, scores, called)
    assert set(base) == METRICS
    step = 1e-6
    for row in (0, 17, 59):
        more = p.copy()
        more[row] += step
        for name, (value, _) in _linearised(more, scores, called).items():
            assert (value - base[name][0]) / step == pytest.approx(base[name][1][row], abs=1e-5), name
    whole = (random.random(60) < p).astype(float)
    for name, value in realised(scores, whole == 1).items():
        assert _linearised(whole, scores, called)[name][0] == pytest.approx(value, abs=1e-9), name


def test_no_rows_have_no_estimate() -> None:
    assert estimate_performance(known(), np.empty(0), np.empty(0, bool)) == {}


# -- more than two classes ---------------------------------------------------------------------------------------


def three(random: np.random.Generator, n: int, *, shift: float = 0.0, flipped: float = 0.0) -> Outcomes:
    """Scores of an overconfident model of three classes, softmax(1.6 z), where P(y | z) = softmax(z)."""
    z = random.normal((0.0, 0.3, 0.6), 1.2, (n, 3)) + shift * np.array([1.0, 0.0, -1.0])
    p, scores = (np.exp(a * z) / np.exp(a * z).sum(axis=1, keepdims=True) for a in (1.0, 1.6))
    truth = (p.cumsum(axis=1) < random.random((n, 1))).sum(axis=1)
    truth = np.where(random.random(n) < flipped, (truth + 1) % 3, truth)
    return Outcomes(truth=truth, answers=scores.argmax(axis=1), scores=scores, classes=("a", "b", "c"))


@pytest.mark.parametrize("shift", [0.0, 0.8])
def test_estimates_of_more_classes_hold_the_realised_metrics_under_covariate_shift(shift: float) -> None:
    random = np.random.default_rng(11)
    inside = dict.fromkeys(METRICS, 0)
    for run in range(30):
        maps = fit_maps(three(np.random.default_rng(200 + run), 4000))
        rows = three(random, 1200, shift=shift)
        assert rows.scores is not None
        found = estimate_classes(maps, rows.scores, rows.answers)
        for name, (value, _) in _linearised_classes(np.eye(3)[rows.truth], rows.scores, rows.answers).items():
            inside[name] += found[name].lower <= value <= found[name].upper
    assert all(count >= 24 for count in inside.values()), inside  # 28.5 of 30 expected; P(under 25) is 1%


def test_concept_drift_of_more_classes_goes_unseen() -> None:
    maps = fit_maps(three(np.random.default_rng(1), 4000))
    rows = three(np.random.default_rng(2), 4000, flipped=0.3)
    assert rows.scores is not None
    found = estimate_classes(maps, rows.scores, rows.answers)
    truth = measure(rows)
    for name in ("accuracy", "auc", "f1"):
        assert truth[name].value < found[name].lower - 0.05


def test_estimates_of_more_classes_are_the_metrics_of_known_labels_and_their_slopes_the_derivatives() -> None:
    random = np.random.default_rng(12)
    rows = three(random, 80)
    assert rows.scores is not None
    known_labels = np.eye(3)[rows.truth]
    exact = _linearised_classes(known_labels, rows.scores, rows.answers)
    assert {name: value for name, (value, _) in exact.items()} == pytest.approx(
        {name: one.value for name, one in measure(rows).items()}, abs=1e-9
    )
    p = random.dirichlet((2.0, 2.0, 2.0), 80)
    base = _linearised_classes(p, rows.scores, rows.answers)
    step = 1e-6
    for row, place in ((0, 0), (17, 1), (79, 2)):
        more = p.copy()
        more[row, place] += step
        for name, (value, _) in _linearised_classes(more, rows.scores, rows.answers).items():
            assert (value - base[name][0]) / step == pytest.approx(base[name][1][row, place], abs=1e-5), name


def test_no_map_of_a_class_means_no_maps_and_no_rows_no_estimate() -> None:
    rows = three(np.random.default_rng(3), 4000)
    rare = Outcomes(truth=np.minimum(rows.truth, 1), answers=rows.answers, scores=rows.scores, classes=("a", "b", "c"))
    assert fit_maps(rare) == ()
    assert len(fit_maps(rows)) == 3
    assert estimate_classes(fit_maps(rows), np.empty((0, 3)), np.empty(0, int)) == {}
