"""Flights: real data that really drifts. January to March against April."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlops_cli.core.base.records import Column
from mlops_cli.core.drift.check import check
from mlops_cli.core.drift.profile import Profile
from mlops_cli.core.drift.profiling import make_profile
from mlops_cli.core.drift.records import DriftResult
from mlops_cli.core.drift.sources.open import open_rows

MONTHS = Path(__file__).parents[2] / "examples" / "flights" / "months"
NUMBERS = ["sched_dep_time", "distance", "temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"]
CODES = ["carrier", "origin", "dest"]


@pytest.fixture(scope="module")
def profile() -> Profile:
    reference = pa.concat_tables([pq.read_table(MONTHS / f"2013-0{month}.parquet") for month in (1, 2, 3)])
    inputs = [*(Column(name, "string") for name in CODES), *(Column(name, "float", True) for name in NUMBERS)]
    return make_profile(reference, inputs=inputs, time="time_hour")


@pytest.fixture(scope="module")
def april(profile: Profile) -> DriftResult:
    return check(profile, open_rows(MONTHS / "2013-04.parquet"))


def test_april_names_temp_first_and_dewp_and_keeps_distance_and_departure_silent(april: DriftResult) -> None:
    assert april.verdict == "drift"
    assert april.alarms == ("temp", "dewp")
    status = {column.column: column.status for column in april.columns}
    assert status["distance"] == status["sched_dep_time"] == "quiet"
    assert status["humid"] == "too_little"  # 0.18 cannot be told from the weather's own moods


def test_the_weathers_dependence_is_what_the_rule_says(april: DriftResult) -> None:
    times = {column.column: column.time or 0 for column in april.columns}
    assert 45 < times["temp"] < 75
    assert 45 < times["dewp"] < 75
    assert times["distance"] < 2
    assert 8 < times["sched_dep_time"] < 16


def test_july_is_hot(profile: Profile) -> None:
    july = check(profile, open_rows(MONTHS / "2013-07.parquet"))
    temp = next(column for column in july.columns if column.column == "temp")
    assert temp.effect == pytest.approx(0.999, abs=0.002)
    assert not {"distance", "sched_dep_time"} & set(july.alarms)


def test_half_of_the_reference_against_the_other_half_is_not_drift_of_codes(profile: Profile) -> None:
    february = check(profile, open_rows(MONTHS / "2013-02.parquet"))
    assert not {"carrier", "origin", "dest", "distance", "sched_dep_time"} & set(february.alarms)
