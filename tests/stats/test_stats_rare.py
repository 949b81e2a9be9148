"""Rare things: unseen values, tails, new atoms, Holm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mlops_cli.core.stats.atoms import atom_p_value
from mlops_cli.core.stats.multiplicity import holm
from mlops_cli.core.stats.ranks import beyond_p_value
from mlops_cli.core.stats.unseen import missing_mass_upper, unseen_p_value


@given(st.integers(1, 6), st.integers(0, 40), st.integers(1, 40))
def test_rows_beyond_the_kth_rank_follow_the_hypergeometric_law(k: int, beyond: int, m: int) -> None:
    n = 30
    if beyond > m:
        return
    # At least `beyond` new rows below the k-th of n: among the first beyond + k - 1 pooled ranks at most k - 1 are old.
    expected = stats.hypergeom.cdf(k - 1, n + m, n, beyond + k - 1) if beyond else 1.0
    assert beyond_p_value(beyond, m, k, n) == pytest.approx(expected, abs=1e-9)


def test_tails_agree_with_the_beta_binomial_for_sizes_that_are_not_whole() -> None:
    for beyond in (0, 1, 4, 30, 200):
        expected = stats.betabinom.sf(beyond - 1, 200, 0.7, 99.3)
        assert beyond_p_value(beyond, 200, 0.7, 99.0) == pytest.approx(expected, abs=1e-12)


def test_no_tail_is_refused() -> None:
    with pytest.raises(ValueError, match="no tail"):
        beyond_p_value(5, 4, 1, 10)


def test_an_unseen_value_has_the_odds_of_a_value_of_that_count_landing_in_the_window_alone() -> None:
    # No singleton: the mass is exponential, and u of u such rows fall into the window with odds (m / (n + m)) ** u.
    assert unseen_p_value(3, 1000, 0, 0, 9000) == pytest.approx(0.1**3, rel=0.02)


def test_unseen_values_are_expected_where_the_reference_is_full_of_singletons() -> None:
    assert unseen_p_value(500, 500, 1000, 0, 1000) == 1.0
    assert unseen_p_value(50, 500, 100, 40, 1000) > 0.2
    assert unseen_p_value(50, 500, 0, 0, 1000) < 1e-9


@given(st.integers(0, 50), st.integers(0, 50))
def test_the_bound_of_the_missing_mass_lies_above_good_turing(singletons: int, doubletons: int) -> None:
    assert missing_mass_upper(singletons, doubletons, 200) >= min(1.0, singletons / 200)


def test_the_bound_of_an_empty_singleton_count_is_the_rule_of_e_to_the_minus_np() -> None:
    assert missing_mass_upper(0, 0, 1000) == pytest.approx(-np.log(0.01) / 1000)


def test_unseen_values_of_a_zipf_law_raise_no_alarm_beyond_their_rate() -> None:
    generator = np.random.default_rng(5)
    alarms = 0
    for _ in range(400):
        values = generator.zipf(1.6, 3000)
        reference, current = values[:2000], values[2000:]
        counts = np.unique(reference, return_counts=True)[1]
        unseen = int(np.sum(~np.isin(current, reference)))
        alarms += unseen_p_value(unseen, 1000, np.sum(counts == 1), np.sum(counts == 2), 2000) <= 0.01
    assert alarms <= 9  # 4 expected


def test_an_atom_is_corrected_for_having_been_chosen() -> None:
    generator = np.random.default_rng(6)
    alarms = 0
    for _ in range(200):
        pooled = generator.integers(0, 300, 900)
        reference, current = pooled[:600], pooled[600:]
        values, counts = np.unique(current, return_counts=True)
        alarms += (
            min(
                atom_p_value(int(count), 300, int(np.sum(reference == value)), 600)
                for value, count in zip(values, counts, strict=True)
            )
            <= 0.05
        )
    assert alarms <= 18  # at most 10 expected


def test_a_sentinel_is_found_and_a_single_new_value_is_not() -> None:
    assert atom_p_value(25, 500, 0, 10_000) < 1e-20
    assert atom_p_value(1, 500, 0, 10_000) == 1.0
    with pytest.raises(ValueError, match="no shares"):
        atom_p_value(3, 2, 0, 1)


def test_weights_share_alpha_out() -> None:
    # Sorted by p / weight: 0.01 / 0.5, 0.02 / 0.25, 0.03 / 0.25; what is left of the weights is 1, 0.5, 0.25.
    assert holm([0.02, 0.01, 0.03], [1, 2, 1]).tolist() == pytest.approx([0.04, 0.02, 0.04])
    assert holm([0.01, 0.04, 0.03], [3, 3, 3]).tolist() == pytest.approx(holm([0.01, 0.04, 0.03]).tolist())
    for weights in ([1, 0], [1]):
        with pytest.raises(ValueError, match="weight"):
            holm([0.1, 0.2], weights)


def test_holm_is_the_stepdown_of_the_paper() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]).tolist() == []
    with pytest.raises(ValueError, match="outside"):
        holm([1.2])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_keeps_the_order_and_lies_between_the_p_and_bonferroni(p: list[float]) -> None:
    adjusted = holm(p)
    assert (adjusted >= np.array(p)).all()
    assert (adjusted <= np.minimum(1, np.array(p) * len(p)) + 1e-15).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()
