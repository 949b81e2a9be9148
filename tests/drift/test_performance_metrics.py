"""Metrics of labelled rows: their values are scikit-learn's, their intervals keep what they promise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn import metrics

from mlops_cli.core.drift.performance.calibration import calibrate
from mlops_cli.core.drift.performance.metrics import Outcomes, _interval, effective_rows, losses, measure


def binary(seed: int, n: int, *, ordered: bool = False) -> Outcomes:
    random = np.random.default_rng(seed)
    scores = random.beta(1, 3, n)
    truth = (random.random(n) < scores).astype(int)
    return Outcomes(
        truth=truth, answers=(scores > 0.4).astype(int), scores=scores, classes=("0", "1"), is_ordered=ordered
    )


def numbers(seed: int, n: int) -> Outcomes:
    random = np.random.default_rng(seed)
    truth = random.normal(10, 3, n)
    return Outcomes(truth=truth, answers=truth + random.standard_t(5, n))


def test_binary_metrics_are_scikit_learns() -> None:
    rows = binary(1, 700)
    truth, answers, scores = rows.truth, rows.answers, rows.scores
    theirs = {
        "auc": metrics.roc_auc_score(truth, scores),
        "accuracy": metrics.accuracy_score(truth, answers),
        "precision": metrics.precision_score(truth, answers),
        "recall": metrics.recall_score(truth, answers),
        "f1": metrics.f1_score(truth, answers),
        "log_loss": metrics.log_loss(truth, scores),
        "brier": metrics.brier_score_loss(truth, scores),
    }
    ours = measure(rows)
    assert {name: one.value for name, one in ours.items()} == pytest.approx(theirs, abs=1e-9)
    assert all(one.lower < one.value < one.upper for one in ours.values())


def test_metrics_of_more_classes_are_macro_means() -> None:
    random = np.random.default_rng(2)
    truth = random.integers(0, 3, 300)
    answers = np.where(random.random(300) < 0.7, truth, random.integers(0, 3, 300))
    ours = measure(Outcomes(truth=truth, answers=answers, classes=("a", "b", "c")))
    assert set(ours) == {"accuracy", "precision", "recall", "f1"}
    assert ours["f1"].value == pytest.approx(metrics.f1_score(truth, answers, average="macro"), abs=1e-9)
    assert ours["f1"].lower < ours["f1"].value < ours["f1"].upper


@pytest.mark.parametrize("n", [400, 25_000])
def test_regression_metrics_are_scikit_learns_on_few_rows_and_many(n: int) -> None:
    rows = numbers(3, n)
    ours = measure(rows)
    assert ours["rmse"].value == pytest.approx(metrics.root_mean_squared_error(rows.truth, rows.answers), abs=1e-9)
    assert ours["mae"].value == pytest.approx(metrics.mean_absolute_error(rows.truth, rows.answers), abs=1e-9)
    assert ours["r2"].value == pytest.approx(metrics.r2_score(rows.truth, rows.answers), abs=1e-9)


def test_the_delta_method_agrees_with_the_bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = numbers(4, 3000)
    resampled = measure(rows)
    monkeypatch.setattr("mlops_cli.core.drift.performance.metrics.BOOTSTRAP_ROWS", 10)
    for name, direct in measure(rows).items():
        width = direct.upper - direct.lower
        assert (direct.lower, direct.upper) == pytest.approx(
            (resampled[name].lower, resampled[name].upper), abs=0.12 * width
        )


def test_a_metric_without_a_value_is_left_out() -> None:
    ones = np.ones(50, int)
    found = measure(Outcomes(truth=ones, answers=ones * 0, scores=np.full(50, 0.2), classes=("0", "1")))
    assert set(found) == {"accuracy", "recall", "f1", "log_loss", "brier"}
    assert measure(Outcomes(truth=ones[:0], answers=ones[:0], classes=("0", "1"))) == {}
    assert set(measure(Outcomes(truth=ones, answers=ones + 0.5))) == {"rmse", "mae"}


def dependent(random: np.random.Generator, n: int) -> Outcomes:
    """Right or wrong in spells: a chain that keeps its state with 0.9, so that 19 rows are worth one."""
    change = random.random(n) < 0.1
    fresh = random.random(n) < 0.7
    right = fresh[np.maximum.accumulate(np.where(change, np.arange(n), 0))]
    return Outcomes(truth=np.ones(n, int), answers=right.astype(int), classes=("0", "1"), is_ordered=True)


def test_dependence_widens_the_interval_and_is_counted() -> None:
    rows = dependent(np.random.default_rng(5), 4000)
    alone = Outcomes(truth=rows.truth, answers=rows.answers, classes=rows.classes)
    wide, narrow = (measure(one)["accuracy"] for one in (rows, alone))
    assert (wide.upper - wide.lower) > 3 * (narrow.upper - narrow.lower)
    assert 100 < effective_rows(rows) < 500
    assert effective_rows(alone) == 4000


def scored(random: np.random.Generator) -> Outcomes:
    """Scores uniform, and P(y | score) = 0.2 + 0.6 score: accuracy at 0.5 is 0.65; log loss and brier by quadrature."""
    scores = random.random(400)
    truth = (random.random(400) < 0.2 + 0.6 * scores).astype(int)
    return Outcomes(truth=truth, answers=(scores > 0.5).astype(int), scores=scores, classes=("0", "1"))


def continuous_truth() -> dict[str, float]:
    s = (np.arange(200_000) + 0.5) / 200_000
    p = 0.2 + 0.6 * s
    negatives = np.cumsum(1 - p) - (1 - p) / 2
    return {
        "accuracy": float(np.where(s > 0.5, p, 1 - p).mean()),
        "precision": float(p[s > 0.5].mean()),
        "recall": float(p[s > 0.5].sum() / p.sum()),
        "f1": float(2 * p[s > 0.5].sum() / ((s > 0.5).sum() + p.sum())),
        "auc": float((p * negatives).sum() / (p.sum() * (1 - p).sum())),
        "brier": float((p * (1 - s) ** 2 + (1 - p) * s**2).mean()),
        "log_loss": float((-p * np.log(s) - (1 - p) * np.log(1 - s)).mean()),
    }


def covered(make: Callable[[np.random.Generator], Outcomes], truth: dict[str, float], runs: int) -> dict[str, float]:
    random = np.random.default_rng(6)
    hits = dict.fromkeys(truth, 0)
    for _ in range(runs):
        found = measure(make(random))
        for name, value in truth.items():
            hits[name] += found[name].lower <= value <= found[name].upper
    return {name: count / runs for name, count in hits.items()}


def test_intervals_of_a_classifier_cover_the_truth() -> None:
    shares = covered(scored, continuous_truth(), 400)
    assert all(0.915 <= share <= 0.985 for share in shares.values()), shares


def test_intervals_of_dependent_rows_cover_the_truth() -> None:
    share = covered(lambda random: dependent(random, 2000), {"accuracy": 0.7}, 300)["accuracy"]
    assert 0.90 <= share <= 0.985


def test_intervals_cover_the_truth_where_dependent_rows_are_worth_26() -> None:
    """500 rows in spells of which 19 are worth one: the time itself is hardly known. 94.6% of 1,500 hold it."""
    random, held = np.random.default_rng(5), 0
    for _ in range(600):
        found = _interval("accuracy", dependent(random, 500))
        assert found is not None
        held += found.lower <= 0.7 <= found.upper
    assert held / 600 >= 0.925  # 93% promised; P(under 92.5% | 94.6%) is 1.5%


@pytest.mark.slow
def test_intervals_of_a_regression_cover_the_truth() -> None:
    def make(random: np.random.Generator) -> Outcomes:
        truth = random.normal(0, 2, 300)
        return Outcomes(truth=truth, answers=truth + random.normal(0, 1, 300))

    shares = covered(make, {"rmse": 1.0, "mae": float(np.sqrt(2 / np.pi)), "r2": 0.75}, 150)
    assert all(0.89 <= share <= 0.99 for share in shares.values()), shares


def test_losses_are_wrong_answers_or_absolute_errors() -> None:
    assert losses(Outcomes(truth=np.array([0, 1]), answers=np.array([1, 1]), classes=("0", "1"))).tolist() == [1, 0]
    assert losses(Outcomes(truth=np.array([1.0, 2.0]), answers=np.array([3.0, 2.0]))).tolist() == [2, 0]


def test_calibration_bins_hold_all_rows_and_the_brier_terms_add_up() -> None:
    rows = binary(7, 1003)
    found = calibrate(rows.truth == 1, rows.scores)
    assert len(found.bins) == 10
    assert sum(one.n for one in found.bins) == 1003
    assert max(one.n for one in found.bins) - min(one.n for one in found.bins) <= 1
    terms = found.brier
    assert terms["brier"] == pytest.approx(
        terms["reliability"] - terms["resolution"] + terms["uncertainty"] + terms["within"], abs=1e-12
    )
    assert terms["brier"] == pytest.approx(metrics.brier_score_loss(rows.truth, rows.scores), abs=1e-12)
    by_hand = sum(one.n * abs(one.observed - one.predicted) for one in found.bins) / 1003
    assert found.error == pytest.approx(by_hand, abs=1e-12)
    assert sum(one.lower <= one.predicted <= one.upper for one in found.bins) >= 8


def test_rows_of_one_score_share_a_bin() -> None:
    scores = np.repeat([0.1, 0.5, 0.9], [500, 60, 55])
    found = calibrate(np.zeros(615, bool), scores)
    assert [(one.low, one.high, one.n) for one in found.bins] == [(0.1, 0.1, 500), (0.5, 0.5, 60), (0.9, 0.9, 55)]


def test_an_overconfident_model_has_a_large_calibration_error() -> None:
    rows: Any = binary(8, 2000)
    honest = calibrate(rows.truth == 1, rows.scores).error
    overconfident = calibrate(rows.truth == 1, np.clip(2 * rows.scores - 0.2, 0, 1)).error
    assert honest < 0.05 < overconfident


# -- more than two classes ---------------------------------------------------------------------------------------


def of_three(seed: int, n: int, *, ordered: bool = False) -> Outcomes:
    """A model of three classes whose probabilities are true."""
    random = np.random.default_rng(seed)
    scores = random.dirichlet((1.0, 2.0, 3.0), n)
    truth = (scores.cumsum(axis=1) < random.random((n, 1))).sum(axis=1)
    return Outcomes(
        truth=truth, answers=scores.argmax(axis=1), scores=scores, classes=("a", "b", "c"), is_ordered=ordered
    )


def test_metrics_of_the_scores_of_more_classes_are_those_that_registering_records() -> None:
    rows = of_three(5, 600)
    assert rows.scores is not None
    there = np.eye(3)[rows.truth]
    theirs = {
        "auc": metrics.roc_auc_score(rows.truth, rows.scores, multi_class="ovr", average="macro"),
        "log_loss": metrics.log_loss(rows.truth, rows.scores),
        "brier": float(((rows.scores - there) ** 2).sum(axis=1).mean()),
        "accuracy": metrics.accuracy_score(rows.truth, rows.answers),
        "recall": metrics.recall_score(rows.truth, rows.answers, average="macro"),
    }
    ours = measure(rows)
    assert {name: ours[name].value for name in theirs} == pytest.approx(theirs, abs=1e-9)
    assert all(one.lower < one.value < one.upper for one in ours.values())


@pytest.mark.parametrize("name", ["auc", "log_loss", "brier"])
def test_intervals_of_more_classes_cover_the_truth(name: str) -> None:
    whole = _interval(name, of_three(6, 300_000))
    assert whole is not None
    held = 0
    for seed in range(300):
        found = _interval(name, of_three(1000 + seed, 400))
        assert found is not None
        held += found.lower <= whole.value <= found.upper
    assert 0.90 <= held / 300 <= 0.985


def test_a_class_that_hardly_occurs_has_no_area() -> None:
    rows = of_three(7, 300)
    kept = rows.at(np.flatnonzero(rows.truth > 0))
    assert "auc" not in measure(kept)
    assert "log_loss" in measure(kept)


def test_calibration_of_more_classes_asks_whether_the_answer_was_right() -> None:
    rows = of_three(8, 5000)
    happened, probability = rows.confidence()
    assert happened.mean() == pytest.approx(probability.mean(), abs=0.02)
    found = calibrate(happened, probability)
    assert found.error < 0.03
    assert sum(one.n for one in found.bins) == 5000
