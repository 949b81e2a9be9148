"""Two samples: Kolmogorov-Smirnov, chi-square, Fisher, against scipy and against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mlops_cli.core.stats.contingency import chi_square, pool_thin
from mlops_cli.core.stats.proportions import effective_fisher, fisher_exact, hypergeometric_upper
from mlops_cli.core.stats.two_sample import ks_critical, ks_on_edges, ks_p_value, ks_statistic

samples = st.lists(
    st.sampled_from([-np.inf, -2.0, 0.0, 0.5, 1.0, 3.0, np.inf]) | st.floats(-5, 5), min_size=1, max_size=60
)


@given(samples, samples)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # scipy's own, on its p
def test_ks_agrees_with_scipy_where_values_are_tied_or_infinite(a: list[float], b: list[float]) -> None:
    assert ks_statistic(np.array(a), np.array(b)) == pytest.approx(
        stats.ks_2samp(a, b, method="asymp").statistic, abs=1e-12
    )


@given(samples, samples)
def test_ks_on_all_distinct_edges_is_ks_on_the_samples(a: list[float], b: list[float]) -> None:
    reference, current = np.sort(a), np.sort(b)
    edges = np.unique(reference)
    below = np.searchsorted(reference, edges, side="left")
    upto = np.searchsorted(reference, edges, side="right")
    exact = ks_statistic(reference, current)
    assert ks_on_edges(below, upto, len(a), current, edges) == pytest.approx(exact, abs=1e-12)
    half = slice(None, None, 2)
    assert ks_on_edges(below[half], upto[half], len(a), current, edges[half]) <= exact + 1e-12


@pytest.mark.parametrize("distance", [0.01, 0.05, 0.2, 0.6])
def test_ks_p_is_kolmogorovs_limit_and_never_below_the_exact_one(distance: float) -> None:
    n, m = 60.0, 40.0
    p = ks_p_value(distance, n, m)
    assert p == pytest.approx(stats.kstwobign.sf(distance * np.sqrt(24)), abs=1e-9)
    a = np.arange(60.0)
    for shift in (5.0, 15.0, 40.0):
        b = np.linspace(0, 59, 40) + shift + 0.5
        assert ks_p_value(ks_statistic(a, b), n, m) >= stats.ks_2samp(a, b, method="exact").pvalue - 1e-12


def test_the_critical_distance_has_the_p_it_was_asked_for() -> None:
    assert ks_p_value(ks_critical(1e-4, 500, 200), 500, 200) == pytest.approx(1e-4, rel=1e-9)


def test_empty_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="0 and 1"):
        ks_statistic(np.array([]), np.array([1.0]))
    with pytest.raises(ValueError, match="positive"):
        ks_p_value(0.1, 0, 5)


@given(st.lists(st.tuples(st.integers(5, 500), st.integers(5, 500)), min_size=2, max_size=12))
def test_chi_square_agrees_with_scipy_where_nothing_is_pooled(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs, dtype=float).T
    expected = stats.chi2_contingency(np.array([a, b]), correction=False)
    if expected.expected_freq.min() < 5:
        return
    found = chi_square(a, b)
    assert found.statistic == pytest.approx(expected.statistic, rel=1e-9, abs=1e-9)
    assert found.p_value == pytest.approx(expected.pvalue, abs=1e-9)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=30))
def test_pooling_keeps_every_row_and_leaves_no_thin_cell_unless_all_are(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs, dtype=float).T
    pooled_a, pooled_b = pool_thin(a, b)
    assert (pooled_a.sum(), pooled_b.sum()) == (a.sum(), b.sum())
    if len(pooled_a) > 1:
        expected = (pooled_a + pooled_b) * min(a.sum(), b.sum()) / (a.sum() + b.sum())
        assert expected.min() >= 5 - 1e-9


def test_an_id_column_pools_to_one_cell_and_says_nothing() -> None:
    found = chi_square(np.repeat([1.0, 0.0], 500), np.repeat([0.0, 1.0], 500))
    assert (found.cells, found.p_value, found.distance) == (1, 1.0, 0.0)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_fisher_agrees_with_scipy(hits_a: int, rest_a: int, hits_b: int, rest_b: int) -> None:
    p = fisher_exact(hits_a, hits_a + rest_a, hits_b, hits_b + rest_b)
    assert p == pytest.approx(stats.fisher_exact([[hits_a, rest_a], [hits_b, rest_b]]).pvalue, abs=1e-9)


def test_fisher_keeps_its_digits_on_large_counts_and_small_p() -> None:
    found = fisher_exact(17_000, 1_000_000, 900, 40_000)
    assert found == pytest.approx(stats.fisher_exact([[17_000, 983_000], [900, 39_100]]).pvalue, rel=1e-6)


def test_fisher_refuses_what_is_no_proportion() -> None:
    with pytest.raises(ValueError, match="5 of 4"):
        fisher_exact(5, 4, 0, 1)


def test_dependent_rows_weigh_less() -> None:
    assert fisher_exact(0, 1000, 30, 1000) < effective_fisher(0, 1000, 30, 1000, time_a=10, time_b=10)
    assert effective_fisher(3, 10, 4, 12) == fisher_exact(3, 10, 4, 12)
    assert effective_fisher(0, 0, 4, 12) == 1.0


def test_the_upper_hypergeometric_tail_agrees_with_scipy() -> None:
    for hits in range(13):
        expected = stats.hypergeom.sf(hits - 1, 70, 20, 12)
        assert hypergeometric_upper(hits, 20, 12, 50) == pytest.approx(expected, abs=1e-12)
