from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.core.base.clock import FixedClock, SystemClock, clock_from, format_time, parse_duration, parse_time
from mlops_cli.core.errors import UsageError


def test_mlo_now_fixes_the_clock() -> None:
    clock = clock_from({"MLO_NOW": "2013-05-01T14:00:00+02:00"})
    assert isinstance(clock, FixedClock)
    assert clock.now() == datetime(2013, 5, 1, 12, tzinfo=UTC)
    clock.advance(90)
    assert clock.now() == datetime(2013, 5, 1, 12, 1, 30, tzinfo=UTC)


def test_without_mlo_now_the_clock_is_the_systems_in_utc() -> None:
    clock = clock_from({})
    assert isinstance(clock, SystemClock)
    assert clock.now().tzinfo is UTC


def test_a_wrong_mlo_now_says_how_to_write_it() -> None:
    with pytest.raises(UsageError, match="yesterday") as caught:
        clock_from({"MLO_NOW": "yesterday"})
    assert "2013-05-01" in str(caught.value.hint)


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])))
def test_a_time_reads_back_as_it_was_written(time: datetime) -> None:
    try:
        text = format_time(time)
    except OverflowError:  # the first and last hours of the calendar have no UTC form
        return
    assert parse_time(text) == time


@pytest.mark.parametrize("text", ["soon", "2013-13-01", "0001-01-01T00:00:00+23:00", "9999-12-31T23:59:59-12:00"])
def test_what_is_no_time_that_utc_can_hold_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a time"):
        parse_time(text)


@given(st.lists(st.datetimes(min_value=datetime(1000, 1, 1), timezones=st.just(UTC)), min_size=2))
def test_text_order_is_time_order(times: list[datetime]) -> None:
    assert sorted(map(format_time, times)) == list(map(format_time, sorted(times)))


@pytest.mark.parametrize(
    ("text", "seconds"), [("24h", 86400), ("30m", 1800), ("7d", 604800), ("500ms", 0.5), ("1.5 h", 5400)]
)
def test_durations_are_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "24", "h", "-1h", "0s", "1 fortnight", "1h30m", "0.0001ms", "36501d", f"{'9' * 400}d"]
)
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="duration"):
        parse_duration(text)
