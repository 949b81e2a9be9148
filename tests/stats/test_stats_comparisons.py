"""Comparisons of two models on the same rows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from mlops_cli.core.stats.comparisons import delong, mcnemar, midranks, paired_bootstrap


def scored(n: int, seed: int, better: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    y = generator.random(n) < 0.4
    shared = generator.normal(size=n)
    a = y * 0.8 + shared + generator.normal(size=n)
    return y, a, y * (0.8 + better) + shared + generator.normal(size=n)


def slow_delong_variance(y: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """Straight from the paper: the placement values of every pair."""
    components = []
    for score in (a, b):
        wins = (score[y][:, None] > score[~y][None, :]) + 0.5 * (score[y][:, None] == score[~y][None, :])
        components.append((wins.mean(axis=1), wins.mean(axis=0)))
    (a1, a0), (b1, b0) = components
    return (
        np.cov(np.array([a1, b1]))[[0, 1, 0, 1], [0, 1, 1, 0]] @ [1, 1, -1, -1] / y.sum()
        + np.cov(np.array([a0, b0]))[[0, 1, 0, 1], [0, 1, 1, 0]] @ [1, 1, -1, -1] / (~y).sum()
    )


def test_midranks_are_scipys() -> None:
    values = np.random.default_rng(0).integers(0, 9, 50).astype(float)
    assert midranks(values).tolist() == stats.rankdata(values).tolist()


def test_delong_is_the_difference_of_the_areas_with_the_papers_variance() -> None:
    y, a, b = scored(150, 1, better=0.5)
    a, b = np.round(a, 1), np.round(b, 1)  # ties
    found = delong(y, a, b)
    assert found.estimate == pytest.approx(roc_auc_score(y, b) - roc_auc_score(y, a), abs=1e-12)
    half = 1.959963984540054 * np.sqrt(slow_delong_variance(y, a, b))
    assert (found.lower, found.upper) == pytest.approx((found.estimate - half, found.estimate + half), abs=1e-9)
    assert found.p_value == pytest.approx(2 * stats.norm.sf(found.estimate / half * 1.959963984540054), abs=1e-9)


def test_delong_of_a_model_with_itself_sees_no_difference() -> None:
    y, a, _ = scored(80, 2)
    found = delong(y, a, a)
    assert (found.estimate, found.lower, found.upper, found.p_value) == (0, 0, 0, 1)
    assert not found.is_superior


def test_delong_does_not_promote_on_two_rows_of_each_class() -> None:
    y = np.array([True, True, False, False])
    assert not delong(y, np.zeros(4), np.array([2.0, 3, 0, 1])).is_superior


def test_delong_promotes_an_equal_model_at_most_as_often_as_it_says() -> None:
    wins = sum(delong(*scored(200, seed)).is_superior for seed in range(400))
    assert wins <= 18  # 2.5% of 400 is 10


def test_delong_refuses_one_class_and_scores_that_are_no_numbers() -> None:
    with pytest.raises(ValueError, match="3 positive and 0 negative"):
        delong(np.ones(3, bool), np.zeros(3), np.zeros(3))
    with pytest.raises(ValueError, match="finite"):
        delong(np.array([True, False]), np.array([0.0, np.nan]), np.zeros(2))


def test_a_paired_bootstrap_finds_a_gain_and_repeats_itself() -> None:
    generator = np.random.default_rng(3)
    y = generator.normal(size=300)
    a, b = y + generator.normal(size=300), y + 0.6 * generator.normal(size=300)

    def metric(rows: np.ndarray) -> tuple[float, float]:
        return -float(np.mean((y[rows] - a[rows]) ** 2)), -float(np.mean((y[rows] - b[rows]) ** 2))

    found = paired_bootstrap(metric, 300, name="-mse", resamples=500)
    assert found == paired_bootstrap(metric, 300, name="-mse", resamples=500)
    assert found.is_superior
    assert found.p_value < 0.01
    standard = np.std((y - a) ** 2 - (y - b) ** 2) / np.sqrt(300)
    assert found.upper - found.lower == pytest.approx(2 * 1.97 * standard, rel=0.2)


def test_blocks_in_time_widen_the_interval_of_dependent_rows() -> None:
    generator = np.random.default_rng(4)
    gain = np.repeat(generator.normal(size=40), 25) + 0.1
    order = generator.permutation(1000)

    def metric(rows: np.ndarray) -> tuple[float, float]:
        return 0.0, float(gain[order][rows].mean())

    by_row = paired_bootstrap(metric, 1000, name="gain", resamples=400)
    by_block = paired_bootstrap(metric, 1000, name="gain", resamples=400, times=order, block=50)
    assert by_block.upper - by_block.lower > 3 * (by_row.upper - by_row.lower)


def test_a_bootstrap_that_cannot_score_says_so() -> None:
    with pytest.raises(ValueError, match="0 of 50"):
        paired_bootstrap(lambda rows: (np.nan, np.nan), 5, name="auc", resamples=50)
    with pytest.raises(ValueError, match="2 rows"):
        paired_bootstrap(lambda rows: (0.0, 0.0), 1, name="auc")
    with pytest.raises(ValueError, match="5 rows and 2 times"):
        paired_bootstrap(lambda rows: (0.0, 0.0), 5, name="auc", times=np.arange(2))


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (5, 1), (12, 12), (20, 4), (60, 40), (31, 30)])
def test_mcnemars_p_and_interval_agree(wins: int, losses: int) -> None:
    a = np.repeat([True, False, True, False], [30, wins, losses, 10])
    b = np.repeat([True, True, False, False], [30, wins, losses, 10])
    found = mcnemar(a, b)
    assert found.estimate == pytest.approx((wins - losses) / len(a))
    assert (found.p_value < 0.05) == (found.lower > 0 or found.upper < 0)
    if 0 < wins + losses < 25:
        assert found.p_value == pytest.approx(stats.binomtest(wins, wins + losses).pvalue, abs=1e-9)
    assert found.method == ("McNemar, exact" if wins + losses < 25 else "McNemar")


def test_mcnemar_refuses_unlike_shapes() -> None:
    with pytest.raises(ValueError, match="one length"):
        mcnemar(np.ones(3, bool), np.ones(4, bool))
