"""The kernel two-sample test, and counts in clusters, against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mlops_cli.core.stats.clusters import clustered_chi_square
from mlops_cli.core.stats.kernel import (
    feature_codes,
    features,
    frequencies,
    kernel_p_value,
    median_bandwidth,
    weighted_chi_square_tail,
    witness_bound,
)


def test_the_frequencies_are_those_of_every_machine() -> None:
    drawn = frequencies(3, 4)
    assert drawn[0].tolist() == pytest.approx(FIRST, abs=1e-6)
    assert stats.kstest(frequencies(100, 64).ravel(), "norm").pvalue > 0.01


FIRST = [-0.063901, -0.452366, -0.716896, 0.475048]


def test_products_of_features_are_the_gaussian_kernel() -> None:
    values = np.random.default_rng(0).normal(size=(40, 5))
    mapped = features(values, frequencies(5, 8_000), 2.0)
    squares = ((values[:, None] - values[None]) ** 2).sum(axis=2)
    assert np.abs(mapped @ mapped.T - np.exp(-squares / 8)).max() < 0.05
    assert np.linalg.norm(mapped, axis=1) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("width", [1, 40, 5000])
def test_the_features_of_a_row_do_not_depend_on_the_rows_beside_it(width: int) -> None:
    sizes = 10.0 ** np.arange(-33, 34)[:, None] / np.sqrt(width)
    values = np.random.default_rng(9).normal(size=(67, width)) * sizes
    drawn = frequencies(width, 64)
    whole = feature_codes(values, drawn, 3.0)
    apart = [feature_codes(values[start:end], drawn, 3.0) for start, end in ((0, 1), (1, 2), (2, 40), (40, 67))]
    assert np.array_equal(whole, np.concatenate(apart))
    turned = values[:35] @ drawn / 3.0
    assert np.abs(whole[:35, :64] / 1024 - np.cos(turned)).max() < 2e-3


def test_the_bandwidth_is_the_median_distance() -> None:
    values = np.random.default_rng(1).normal(size=(30, 3))
    distances = [np.linalg.norm(a - b) for place, a in enumerate(values) for b in values[:place]]
    assert median_bandwidth(values) == pytest.approx(np.median(distances))
    assert median_bandwidth(np.ones((20, 3))) == 1.0
    assert median_bandwidth(np.array([[0.0]] * 20 + [[3.0]])) == pytest.approx(3.0)


@pytest.mark.parametrize("degrees", [2, 5, 30, 128])
@pytest.mark.parametrize("p", [0.9, 0.5, 0.05, 1e-3, 1e-8, 1e-30])
def test_nearly_equal_weights_give_the_chi_square_tail(degrees: int, p: float) -> None:
    weights = 3 * (1 + 1e-7 * np.arange(degrees))
    at = 3 * float(stats.chi2.isf(p, degrees))
    assert weighted_chi_square_tail(at, weights) == pytest.approx(p, rel=0.07)


@pytest.mark.parametrize("at", [2.0, 5.0, 10.0, 20.0, 40.0, 60.0])
def test_pairs_of_weights_give_the_tail_of_a_sum_of_exponentials(at: float) -> None:
    means = 2 * np.array([1.0, 0.5, 0.2])
    factors = [np.prod([a / (a - b) for b in means if b != a]) for a in means]
    exact = float(np.sum(factors * np.exp(-at / means)))
    assert weighted_chi_square_tail(at, np.repeat(means / 2, 2)) == pytest.approx(exact, rel=0.05)


@given(st.lists(st.floats(1e-3, 10), min_size=1, max_size=12), st.floats(0, 200))
def test_the_tail_is_a_probability_that_falls(weights: list[float], at: float) -> None:
    tail = weighted_chi_square_tail(at, np.array(weights))
    assert 0 <= weighted_chi_square_tail(at * 1.1 + 0.1, np.array(weights)) <= tail * 1.01 + 1e-12
    assert tail <= 1


def test_weights_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="positive weight"):
        weighted_chi_square_tail(1.0, np.zeros(3))


def test_the_p_value_is_that_of_permuted_rows() -> None:
    generator = np.random.default_rng(2)
    n, m = 400, 150
    rows = generator.normal(size=(n + m, 4))
    rows[n:, 0] += 0.22
    mapped = features(rows, frequencies(4, 64), median_bandwidth(rows[:n]))

    def statistic(order: np.ndarray) -> float:
        gap = mapped[order[:n]].mean(axis=0) - mapped[order[n:]].mean(axis=0)
        return float(n * m / (n + m) * gap @ gap)

    seen, p = kernel_p_value(
        mapped[:n].mean(axis=0) - mapped[n:].mean(axis=0), np.cov(mapped[:n].T, bias=True), float(n), float(m)
    )
    assert seen == pytest.approx(statistic(np.arange(n + m)))
    permuted = np.mean([statistic(generator.permutation(n + m)) >= seen for _ in range(2000)])
    assert p == pytest.approx(permuted, abs=0.02)


def test_a_constant_has_no_kernel_test() -> None:
    assert kernel_p_value(np.ones(3), np.zeros((3, 3)), 10, 10)[1] == 1.0


def test_the_witness_bounds_the_total_variation_from_below() -> None:
    generator = np.random.default_rng(3)
    for sigmas in (0.0, 0.5, 1.0, 3.0):
        before, now = generator.normal(size=(3000, 2)), generator.normal(size=(1000, 2))
        now[:, 0] += sigmas
        width, drawn = median_bandwidth(before[:500]), frequencies(2, 64)
        mapped, current = features(before, drawn, width), features(now, drawn, width)
        bound = witness_bound(mapped.mean(axis=0), np.cov(mapped.T), current[::2], current[1::2])
        assert 0.4 * sigmas**2 / (4 + sigmas**2) <= bound + 0.003
        assert bound <= 2 * stats.norm.cdf(sigmas / 2) - 1 + 0.02


def clusters(generator: np.random.Generator, count: int, size: int, mood: float) -> np.ndarray:
    """(count, 6) counts: the weights of a cluster's categories move together by `mood`."""
    shares = np.exp(mood * generator.normal(size=(count, 1)) * np.array([1, 1, 0.5, 0, -1, -1.0]))
    return np.array([generator.multinomial(size, one / one.sum()) for one in shares])


@pytest.mark.parametrize(("mood", "size"), [(0.0, 40), (0.5, 40), (0.5, 400)])
def test_clusters_that_differ_among_themselves_are_no_drift(mood: float, size: int) -> None:
    generator = np.random.default_rng(4)
    p_values = []
    for _ in range(200):
        before, now = clusters(generator, 40, 40, mood), clusters(generator, 5, size, mood)
        found = clustered_chi_square(
            (before.T @ before).astype(float), before.sum(axis=0).astype(float), 40, now.sum(axis=0).astype(float), 5
        )
        p_values.append(found.p_value)
    assert np.mean(np.array(p_values) <= 0.05) <= 0.1
    assert np.mean(np.array(p_values) <= 0.001) <= 0.01


def test_independent_rows_in_clusters_give_pearsons_statistic() -> None:
    generator = np.random.default_rng(5)
    before, now = clusters(generator, 300, 50, 0.0), clusters(generator, 100, 50, 0.0)
    found = clustered_chi_square(
        (before.T @ before).astype(float), before.sum(axis=0).astype(float), 300, now.sum(axis=0).astype(float), 100
    )
    exact = stats.chi2_contingency(np.array([before.sum(axis=0), now.sum(axis=0)]), correction=False)
    assert found.statistic == pytest.approx(exact.statistic)
    assert found.p_value == pytest.approx(exact.pvalue, abs=0.08)
    assert found.worth_n == pytest.approx(1.0, abs=0.15)
