"""The words for a reference, and the windows of time that they mean."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.core.drift.periods import Period
from mlops_cli.core.drift.references import Named
from mlops_cli.core.errors import UsageError

NOW = datetime(2013, 5, 1, 6, tzinfo=UTC)
APRIL_30 = Period(datetime(2013, 4, 30, tzinfo=UTC), datetime(2013, 5, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "choice", "count"),
    [
        ("training", "training", 0),
        ("weekday", "weekday", 4),
        ("weekday:12", "weekday", 12),
        ("season", "season", 1),
        ("season:2", "season", 2),
        ("2013-04-01..2013-05-01", "window", 0),
        ("30d..7d", "window", 0),
        ("2013-04-01T06:00:00Z..1d", "window", 0),
        ("../2013..x/march.parquet", "file", 0),
        ("./weekday:0", "file", 0),
        ("march.parquet", "file", 0),
    ],
)
def test_what_is_no_word_for_a_reference_is_a_file(text: str, choice: str, count: int) -> None:
    named = Named.parse(text)
    assert (named.choice, named.count, named.text) == (choice, count, text)


def test_the_same_weekday_is_that_day_of_the_weeks_before() -> None:
    days = [period.start.strftime("%a %d %b") for period in Named.parse("weekday:3").periods(APRIL_30, NOW)]
    assert days == ["Tue 23 Apr", "Tue 16 Apr", "Tue 09 Apr"]


def test_the_same_season_starts_on_that_day_of_the_years_before() -> None:
    leap = Period(datetime(2012, 2, 29, tzinfo=UTC), datetime(2012, 3, 7, tzinfo=UTC))
    starts = [period.start.date().isoformat() for period in Named.parse("season:4").periods(leap, NOW)]
    assert starts == ["2011-02-28", "2010-02-28", "2009-02-28", "2008-02-29"]
    long = Period(NOW - timedelta(days=400), NOW)
    with pytest.raises(UsageError, match="no season"):
        Named.parse("season").periods(long, NOW)


@given(st.integers(1, 60 * 24), st.integers(1, 20), st.sampled_from(["weekday", "season"]))
def test_no_reference_window_overlaps_with_the_checked_one_or_another(hours: int, count: int, word: str) -> None:
    window = Period(NOW - timedelta(hours=hours), NOW)
    later = [window, *Named.parse(f"{word}:{count}").periods(window, NOW)]
    assert all(before.end <= after.start for after, before in itertools.pairwise(later))
    assert len(later) == count + 1


def test_a_window_that_overlaps_with_the_checked_one_is_refused() -> None:
    (april,) = Named.parse("2013-04-01..2013-04-30").periods(APRIL_30, NOW)
    assert april.end == APRIL_30.start
    with pytest.raises(UsageError, match="overlaps with the window to be checked"):
        Named.parse("2013-04-01..2013-05-01").periods(APRIL_30, NOW)
    with pytest.raises(UsageError, match="is not a time"):
        Named.parse("2013-44-01..2013-05-01").periods(APRIL_30, NOW)
