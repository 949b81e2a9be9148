"""Intervals of shares, means and areas, against scipy, brute force and their promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from mlops_cli.core.stats.comparisons import delong
from mlops_cli.core.stats.intervals import auc_influence, auc_interval, mean_interval, wilson


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (0, 40), (1, 3), (17, 40), (40, 40), (123, 4567)])
def test_wilson_agrees_with_scipy(hits: int, n: int) -> None:
    theirs = stats.binomtest(hits, n).proportion_ci(method="wilson")
    ours = wilson(hits, n)
    assert (ours.lower, ours.upper) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_dependent_rows_count_as_fewer_and_of_few_windows_of_them_less_is_known() -> None:
    """200 rows of time 4 are worth 50, and hold 10 windows of 20 lags: 200 / (5 x 3) - 1 degrees of freedom."""
    ours, quantile = wilson(50, 200, time=4.0), stats.t.ppf(0.975, 200 / 15 - 1)
    for end in (ours.lower, ours.upper):
        assert abs(end - 0.25) == pytest.approx(quantile * np.sqrt(end * (1 - end) / 50), abs=1e-9)
    many, plain = wilson(5e6, 2e7, time=4.0), wilson(1.25e6, 5e6)
    assert (many.lower, many.upper) == pytest.approx((plain.lower, plain.upper), abs=1e-8)


@pytest.mark.parametrize(("hits", "n"), [(1, 0), (-1, 3), (4, 3)])
def test_what_is_no_share_is_refused(hits: int, n: int) -> None:
    with pytest.raises(ValueError, match="no share"):
        wilson(hits, n)


def test_a_mean_agrees_with_scipy() -> None:
    values = np.random.default_rng(1).exponential(size=57)
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    ours = mean_interval(values)
    assert (ours.lower, ours.upper) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_a_mean_of_less_than_two_rows_worth_has_no_bounds() -> None:
    assert mean_interval(np.arange(30.0), time=20).upper == math.inf
    with pytest.raises(ValueError, match="no rows"):
        mean_interval(np.empty(0))


@pytest.mark.parametrize("digits", [9, 1])
def test_an_area_is_that_of_all_pairs_and_its_error_that_of_delong(digits: int) -> None:
    random = np.random.default_rng(3)
    y = random.random(120) < 0.3
    score = np.round(random.normal(size=120) + y, digits)  # with one digit, many ties
    pairs = score[y][:, None] - score[~y][None, :]
    wins = (pairs > 0) + 0.5 * (pairs == 0)
    found = auc_interval(y, score)
    variance = wins.mean(1).var(ddof=1) / y.sum() + wins.mean(0).var(ddof=1) / (~y).sum()
    assert found.value == pytest.approx(wins.mean(), abs=1e-12)
    assert found.upper - found.value == pytest.approx(stats.norm.ppf(0.975) * math.sqrt(variance), abs=1e-9)
    # Against a constant score, whose components vary not at all, the gain's error is that of the area.
    gain = delong(y, np.zeros(120), score)
    assert gain.upper - gain.estimate == pytest.approx(found.upper - found.value, abs=1e-12)


def test_what_rows_add_to_an_area_adds_up_to_nothing() -> None:
    random = np.random.default_rng(4)
    y = random.random(90) < 0.4
    _, parts = auc_influence(y, random.normal(size=90))
    assert abs(parts.sum()) < 1e-9


def test_separated_classes_leave_room_for_one_row() -> None:
    y = np.arange(40) >= 20
    found = auc_interval(y, np.arange(40.0))
    assert found.value == found.upper == 1
    assert found.lower == pytest.approx(1 - stats.norm.ppf(0.975) / 20)
    with pytest.raises(ValueError, match="2 rows of each class"):
        auc_interval(np.arange(4) > 2, np.arange(4.0))
