"""Datetime columns: freshness is reported, hours are compared between whole days, weekdays between whole weeks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import drift_kinds
import numpy as np
import pyarrow as pa
import pytest

from mlops_cli.core.base.records import Column
from mlops_cli.core.drift.calendar import DAY, calendar_of, microseconds
from mlops_cli.core.drift.check import check
from mlops_cli.core.drift.periods import Period
from mlops_cli.core.drift.profile import Profile
from mlops_cli.core.drift.profiling import make_profile
from mlops_cli.core.drift.records import ColumnResult
from mlops_cli.core.drift.summaries.times import add, summarize_times

FIRST = 20_000  # a day; 20_070 is ten weeks later


def rows(seed: int, n: int, first: int = FIRST, days: int = 70) -> pa.Table:
    at = drift_kinds.clock(np.random.default_rng(seed), n, first, days)
    return pa.table({"when": pa.array(at, pa.timestamp("us")), "at": pa.array(at, pa.timestamp("us"))})


def profile_of(table: pa.Table, time: str | None = "at") -> Profile:
    return make_profile(table, inputs=[Column("when", "datetime", True)], time=time)


def later(table: pa.Table, microseconds: int) -> pa.Table:
    moved = pa.array(np.array(table["when"].cast(pa.int64())) + microseconds, pa.timestamp("us"))
    return table.set_column(0, "when", moved)


def checked(table: pa.Table, period: Period | None = None) -> ColumnResult:
    return check(profile_of(rows(0, 4000)), table, period=period).columns[0]


def test_other_whole_weeks_are_quiet_and_their_age_is_told() -> None:
    result = checked(rows(1, 900, FIRST + 70, 7))
    assert [test.part for test in result.tests] == ["hour", "weekday"]
    assert not result.alarm
    assert result.age_s == pytest.approx(0.0)
    assert "before the window's end" in result.note


def test_other_hours_and_other_weekdays_are_found_in_their_parts() -> None:
    window = rows(2, 1500, FIRST + 70, 7)
    assert [test.part for test in checked(later(window, DAY // 4)).tests if test.alarm] == ["hour"]
    assert [test.part for test in checked(later(window, 2 * DAY)).tests if test.alarm] == ["weekday"]


def test_a_part_of_a_day_or_of_a_week_is_not_tested_and_says_why() -> None:
    result = checked(rows(3, 900, FIRST + 70, 3))
    assert [test.part for test in result.tests] == ["hour"]
    assert "weekday not tested: the window is not made of whole weeks in UTC" in result.note
    morning = rows(3, 900, FIRST + 70, 1)
    result = checked(morning.filter(pa.array(np.array(morning["at"].cast(pa.int64())) % DAY < DAY // 2)))
    assert not result.tests
    assert "hour and weekday not tested: the rows cover no whole day in UTC" in result.note


def test_the_bounds_of_a_window_say_which_days_it_covers() -> None:
    start = datetime.fromtimestamp((FIRST + 70) * 86_400, UTC)
    window = rows(4, 600, FIRST + 70, 7)
    whole, cut = Period(start, start + timedelta(days=7)), Period(start, start + timedelta(days=6, hours=23))
    assert [test.part for test in checked(window, whole).tests] == ["hour", "weekday"]
    assert [test.part for test in checked(window, cut).tests] == []
    assert "not made of whole days" in checked(window, cut).note


def test_a_reference_of_few_days_or_without_time_tests_no_hours() -> None:
    window = rows(5, 600, FIRST + 70, 7)
    short = check(profile_of(rows(6, 900, FIRST, 5)), window).columns[0]
    assert not short.tests
    assert "the reference covers 5 whole days, and 8" in short.note
    unordered = check(profile_of(rows(6, 900), time=None), window).columns[0]
    assert "without model.time nobody knows" in unordered.note


def test_days_that_are_cut_off_do_not_count() -> None:
    times = np.arange(FIRST * DAY + DAY // 3, (FIRST + 4) * DAY + DAY // 3, DAY // 96)
    found = calendar_of(None, pa.chunked_array([pa.array(times, pa.timestamp("us"))]))
    assert (found.first, found.last) == (FIRST + 1, FIRST + 4)
    office = times[(times % DAY >= DAY // 3) & (times % DAY < 2 * DAY // 3)]
    found = calendar_of(None, pa.chunked_array([pa.array(office[office < (FIRST + 4) * DAY], pa.timestamp("us"))]))
    assert (found.first, found.last) == (FIRST, FIRST + 4)


def test_times_of_any_zone_are_taken_in_utc_and_text_as_iso_8601() -> None:
    zoned = pa.chunked_array([pa.array([0], pa.timestamp("s", "Asia/Tokyo"))])
    text = pa.chunked_array([pa.array(["1970-01-01T09:00:00+09:00", None])])
    naive = pa.chunked_array([pa.array([0], pa.timestamp("ms"))])
    assert [int(microseconds(values)[0]) for values in (zoned, text, naive)] == [0, 0, 0]  # type: ignore[index]
    assert microseconds(pa.chunked_array([pa.array(["soon"])])) is None


@pytest.mark.parametrize("days", [70, 900])
def test_rows_counted_apart_add_exactly_whatever_days_they_share(days: int) -> None:
    table = rows(7, 3000, days=days)
    whole = summarize_times(table["when"], table["at"])
    at = np.array(table["at"].cast(pa.int64()))
    for early in (at < (FIRST + 35) * DAY, np.arange(3000) % 2 == 0, at < 0):
        halves = [table.filter(pa.array(chosen)) for chosen in (early, ~early)]
        parts = [summarize_times(half["when"], half["at"]) for half in halves]
        assert add(*parts) == add(*parts[::-1]) == whole


def test_hours_and_weekdays_are_those_of_whole_days_and_weeks() -> None:
    table = rows(8, 3000)
    hour, weekday, why = summarize_times(later(table, DAY // 4)["when"], table["at"]).cycles()
    assert hour is not None
    assert weekday is not None
    assert (hour.clusters, weekday.clusters, why) == (70, 10, "")
    at = np.array(table["at"].cast(pa.int64()))
    when = at + DAY // 4
    assert hour.counts == tuple(np.bincount(when % DAY // (DAY // 24), minlength=24).tolist())
    assert weekday.counts == tuple(np.bincount((when // DAY + 3) % 7, minlength=7).tolist())
    by_day = np.zeros((70, 24))
    np.add.at(by_day, (at // DAY - FIRST, when % DAY // (DAY // 24)), 1)
    assert np.array_equal(hour.matrix(), by_day.T @ by_day)
