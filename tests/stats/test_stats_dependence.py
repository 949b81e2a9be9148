"""Autocorrelation times, distances that are reported, and what could have been found."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal, stats
from scipy.spatial import distance

from mlops_cli.core.stats.dependence import autocorrelation_time, score_series, spells
from mlops_cli.core.stats.detectable import detectable_distance, detectable_variation
from mlops_cli.core.stats.distances import jensen_shannon, psi, total_variation, wasserstein


def autoregressive(n: int, phi: float, seed: int) -> np.ndarray:
    return signal.lfilter([1], [1, -phi], np.random.default_rng(seed).normal(size=n))


def test_independent_rows_are_worth_one_each() -> None:
    for n in (200, 5_000, 300_000):
        assert autocorrelation_time(np.random.default_rng(n).normal(size=n)) == pytest.approx(1, abs=0.12)


@pytest.mark.parametrize(("n", "low", "high"), [(10_000, 12, 19), (400_000, 15, 21)])
def test_an_autoregressive_series_of_time_19_comes_out_near_16(n: int, low: float, high: float) -> None:
    assert low <= autocorrelation_time(autoregressive(n, 0.9, 3)) <= high


def test_a_trend_between_blocks_is_not_taken_for_dependence() -> None:
    noise = np.random.default_rng(1).normal(size=10_000)
    assert autocorrelation_time(noise + np.linspace(0, 3, 10_000)) < 1.5


def test_values_whose_squares_overflow_have_the_time_of_their_pattern() -> None:
    series = autoregressive(5_000, 0.9, 4)
    assert autocorrelation_time(series * (1e307 / np.abs(series).max())) == pytest.approx(autocorrelation_time(series))


def test_one_outlier_does_not_hide_dependence() -> None:
    series = autoregressive(5_000, 0.9, 4)
    spoiled = series.copy()
    spoiled[70] = 1e7
    clean, robust = (autocorrelation_time(score_series(x, np.sort(x))) for x in (series, spoiled))
    assert robust == pytest.approx(clean, rel=0.05)


def test_a_series_that_is_nearly_always_zero_keeps_its_dependence() -> None:
    wet = np.repeat(np.random.default_rng(2).random(200) < 0.03, 50)
    rain = np.where(wet, 0.7, 0.0)
    assert autocorrelation_time(score_series(rain, np.sort(rain))) > 15


def test_constants_short_series_and_nothing_have_time_one() -> None:
    for series in (np.ones(500), np.arange(10.0), np.array([])):
        assert autocorrelation_time(series) == 1.0
    assert autocorrelation_time() == 1.0
    with pytest.raises(ValueError, match="gaps"):
        autocorrelation_time(np.full(100, np.nan))


def test_indicators_of_categories_pool_their_covariances() -> None:
    codes = np.repeat(np.random.default_rng(7).integers(0, 4, 500), 20)
    found = autocorrelation_time(*((codes == code).astype(float) for code in range(4)))
    assert 14 < found < 26


def test_wasserstein_agrees_with_scipy_where_all_values_are_edges() -> None:
    generator = np.random.default_rng(0)
    a, b = np.sort(generator.integers(0, 30, 80).astype(float)), np.sort(generator.integers(-5, 40, 50).astype(float))
    edges = np.union1d(a, b)
    found = wasserstein(np.searchsorted(a, edges, side="right"), len(a), b, edges)
    assert found == pytest.approx(stats.wasserstein_distance(a, b), abs=1e-9)


def test_distances_over_bins_agree_with_scipy_and_with_the_formula() -> None:
    p, q = np.array([10.0, 20, 0, 70]), np.array([5.0, 5, 20, 20])
    assert jensen_shannon(p, q) == pytest.approx(distance.jensenshannon(p, q, base=2), abs=1e-9)
    assert total_variation(p, q) == pytest.approx(0.4)
    shares = [(0.1, 0.1), (0.2, 0.1), (1e-4, 0.4), (0.7, 0.4)]
    assert psi(p, q) == pytest.approx(sum((b - a) * np.log(b / a) for a, b in shares))
    assert psi(p, p) == jensen_shannon(p, p) == total_variation(p, p) == 0
    for measure in (psi, jensen_shannon, total_variation):
        with pytest.raises(ValueError, match="rows"):
            measure(p, np.zeros(4))


def test_what_is_called_detectable_is_detected() -> None:
    level, n, m = 1e-3, 4000, 500
    shift = 2 * stats.norm.ppf((detectable_distance(level, n, m) + 1) / 2)  # D = 2 Phi(shift / 2) - 1
    generator = np.random.default_rng(8)
    found = [
        stats.ks_2samp(generator.normal(size=n), generator.normal(shift, 1, m), method="asymp").pvalue <= level
        for _ in range(60)
    ]
    assert np.mean(found) >= 0.75
    assert detectable_distance(level, n, m) < detectable_distance(level, n, 100)


def test_a_detectable_variation_grows_with_cells_and_shrinks_with_rows() -> None:
    assert detectable_variation(1e-3, 1000, 500, 3) < detectable_variation(1e-3, 1000, 500, 30)
    assert detectable_variation(1e-3, 1000, 5000, 3) < detectable_variation(1e-3, 1000, 500, 3)
    assert detectable_variation(1e-3, 1000, 500, 1) == np.inf


def test_a_cold_front_is_one_event_and_scattered_rows_are_many() -> None:
    rows = np.zeros(1000, bool)
    rows[100:140] = True
    assert spells(rows, 20.0) == 1
    assert spells(rows, 4.0) == 2
    rows[500] = True
    assert spells(rows, 20.0) == 2
    assert spells(rows, 1.0) == 41
    assert spells(np.zeros(10, bool), 3.0) == 0
