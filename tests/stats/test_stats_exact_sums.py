"""Sums without rounding."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.core.stats.exact_sums import Exact, exact_sum, exact_sum_of_squares, mean_and_deviation

FINITE = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=30)


def fraction(total: Exact) -> Fraction:
    return Fraction(total.number) * Fraction(2) ** total.exponent


@given(FINITE)
def test_sums_and_sums_of_squares_are_those_of_fractions(values: list[float]) -> None:
    assert fraction(exact_sum(np.array(values))) == sum((Fraction(value) for value in values), Fraction(0))
    assert fraction(exact_sum_of_squares(np.array(values))) == sum((Fraction(v) ** 2 for v in values), Fraction(0))


@given(FINITE, st.integers(0, 30))
def test_parts_add_up_to_the_bytes_of_the_whole(values: list[float], cut: int) -> None:
    for total in (exact_sum, exact_sum_of_squares):
        assert total(np.array(values[:cut])) + total(np.array(values[cut:])) == total(np.array(values[::-1]))


@given(FINITE.filter(len))
def test_mean_and_deviation_are_rounded_once(values: list[float]) -> None:
    n, numbers = len(values), np.array(values)
    mean, deviation = mean_and_deviation(n, exact_sum(numbers), exact_sum_of_squares(numbers))
    fractions = [Fraction(value) for value in values]
    centre = sum(fractions, Fraction(0)) / n
    assert mean == float(centre)
    variance = sum(((value - centre) ** 2 for value in fractions), Fraction(0)) / n
    root = Fraction(math.isqrt(int(variance * 4**1200)), 2**1200)
    assert deviation == pytest.approx(float(root), rel=3e-16, abs=0)


def test_many_rows_do_not_overflow() -> None:
    values = np.full(100_000, float(2**53 - 1))
    assert fraction(exact_sum(values)) == 100_000 * (2**53 - 1)
    assert fraction(exact_sum_of_squares(-values)) == 100_000 * (2**53 - 1) ** 2


def test_nothing_has_no_mean() -> None:
    assert all(math.isnan(value) for value in mean_and_deviation(0, Exact(), Exact()))
