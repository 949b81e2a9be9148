"""What the check says of windows with a known answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_cli.core.base.records import Column
from mlops_cli.core.drift.check import check
from mlops_cli.core.drift.profile import Profile
from mlops_cli.core.drift.profiling import make_profile
from mlops_cli.core.drift.records import ColumnResult, DriftResult, Rules
from mlops_cli.core.errors import UsageError
from mlops_cli.core.models.predictions import Predictions

N, M = 4000, 1500


def normal(seed: int, n: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, n)


def profile_of(columns: dict[str, Any], **other: Any) -> Profile:
    table = pa.table(columns)
    kinds = {"string": "string", "large_string": "string", "bool": "boolean", "int64": "integer", "null": "float"}
    inputs = [
        Column(
            field.name, "datetime" if pa.types.is_timestamp(field.type) else kinds.get(str(field.type), "float"), True
        )  # type: ignore[arg-type]
        for field in table.schema
    ]
    return make_profile(table, inputs=inputs, **other)


def column(result: DriftResult, name: str = "x") -> ColumnResult:
    return next(one for one in (*result.answers, *result.columns) if one.column == name)


def test_a_quiet_window_is_quiet_and_says_what_it_would_have_found() -> None:
    result = check(profile_of({"x": normal(0, N)}), pa.table({"x": normal(1, M)}))
    assert result.verdict == "quiet"
    assert result.alarms == ()
    assert column(result).status == "quiet"
    assert 0.05 < (column(result).smallest_detectable or 0) < 0.2


def test_a_shift_of_half_a_sigma_is_drift() -> None:
    result = check(profile_of({"x": normal(0, N)}), pa.table({"x": normal(1, M, 0.5)}))
    assert (result.verdict, result.alarms) == ("drift", ("x",))
    assert column(result).effect == pytest.approx(0.197, abs=0.05)  # 2 Phi(0.25) - 1
    assert (column(result).wasserstein, column(result).mean) == pytest.approx((0.5, 0.5), abs=0.1)


def test_a_trifle_stays_silent_at_a_million_rows() -> None:
    result = check(profile_of({"x": normal(0, 1_000_000)}), pa.table({"x": normal(1, 1_000_000, 0.02)}))
    assert column(result).tests[0].p_adjusted <= 0.01  # type: ignore[operator]
    assert result.verdict == "quiet"


def test_correlation_alone_is_not_seen() -> None:
    a, b = normal(0, N), normal(1, N)
    result = check(profile_of({"a": a, "b": b}), pa.table({"a": a, "b": np.sort(b)}))
    assert result.verdict == "quiet"


@pytest.mark.parametrize("side", ["reference", "window"])
def test_one_outlier_changes_nothing_else(side: str) -> None:
    before, now = normal(0, N), normal(1, M, 0.5)
    quiet = normal(2, M)
    clean = [check(profile_of({"x": before}), pa.table({"x": values})) for values in (now, quiet)]
    spoiled = before.copy() if side == "reference" else None
    if spoiled is not None:
        spoiled[5] = 1e7
        found = [check(profile_of({"x": spoiled}), pa.table({"x": values})) for values in (now, quiet)]
    else:
        now[5], quiet[5] = 1e7, 1e7
        found = [check(profile_of({"x": before}), pa.table({"x": values})) for values in (now, quiet)]
    assert [result.verdict for result in found] == [result.verdict for result in clean] == ["drift", "quiet"]
    for one, other in zip(found, clean, strict=True):
        assert column(one).effect == pytest.approx(column(other).effect, abs=2e-3)


def test_missing_rows_sentinels_zeros_and_units_are_found_in_their_parts() -> None:
    profile = profile_of({"x": normal(0, N)})
    values = normal(1, M)
    broken = {
        "missing": pa.array(values, mask=np.arange(M) % 20 == 0),
        "atom": np.where(np.arange(M) % 30 == 0, -999.0, values),
        "tails": np.where(np.arange(M) % 10 == 0, values * 1000, values),
    }
    for part, changed in broken.items():
        result = check(profile, pa.table({"x": changed}))
        assert part in {test.part for test in column(result).tests if test.alarm}, part
    zeros = check(profile, pa.table({"x": np.where(np.arange(M) % 20 == 0, 0.0, values)}))
    assert [test.part for test in column(zeros).tests if test.alarm] == ["atom"]
    assert "0 fills 5.0% of the window" in column(zeros).tests[-1].detail


def test_a_new_category_is_named() -> None:
    generator = np.random.default_rng(3)
    profile = profile_of({"x": generator.choice(["a", "b"], N)})
    values = generator.choice(["a", "b"], M).astype(object)
    values[:60] = "new"
    result = check(profile, pa.table({"x": values.tolist()}))
    assert column(result).new_values == (("new", 60),)
    assert {test.part for test in column(result).tests if test.alarm} == {"unseen"}


def test_an_id_never_alarms() -> None:
    texts, numbers = ([f"{side}{row}" for row in range(N)] for side in "ab"), (np.arange(N), N + np.arange(N))
    (before, now), (first, second) = texts, numbers
    profile = profile_of({"id": before, "row": first, "at": first}, time="at")
    result = check(profile, pa.table({"id": now, "row": second, "at": second}))
    assert result.alarms == ()
    assert "every value occurs once" in column(result, "id").note
    assert "only ever grows" in column(result, "row").note


def test_an_id_of_more_values_than_are_kept_never_alarms() -> None:
    profile = profile_of({"id": [f"a{row}" for row in range(12_000)]})
    result = check(profile, pa.table({"id": [f"b{row}" for row in range(5_000)]}))
    assert result.alarms == ()


def test_dates_are_never_tested() -> None:
    profile = profile_of({"seen": pa.array(range(N), pa.timestamp("s")), "x": normal(0, N)})
    result = check(profile, pa.table({"seen": pa.array(range(10**9, 10**9 + M), pa.timestamp("s")), "x": normal(1, M)}))
    assert result.verdict == "quiet"
    assert column(result, "seen").status == "not_tested"
    assert "the window 2001-09-09" in column(result, "seen").note


def test_changes_of_schema_always_alarm() -> None:
    profile = profile_of({"x": normal(0, N), "y": normal(1, N), "z": ["a"] * N})
    result = check(profile, pa.table({"x": ["1"] * M, "z": ["a"] * M, "fresh": normal(2, M)}))
    assert [change.text for change in result.schema] == [
        "x holds string, the reference floats",
        "y is missing: the window does not have it",
        "fresh is new: the reference does not have it",
    ]
    assert [one.column for one in result.columns] == ["z"]
    assert set(result.alarms) == {"x", "y", "fresh"}
    assert result.verdict == "drift"


def test_columns_that_the_reference_had_beside_the_inputs_are_no_news() -> None:
    table = pa.table({"x": normal(0, N), "late": [0] * N, "at": np.arange(N)})
    profile = make_profile(table, inputs=[Column("x", "float")], time="at")
    result = check(profile, pa.table({"x": normal(1, M), "late": [1] * M, "at": np.arange(M), "_request": ["r"] * M}))
    assert result.verdict == "quiet"


def test_whole_numbers_where_floats_were_are_no_change_of_kind() -> None:
    profile = profile_of({"x": np.round(normal(0, N) * 10)})
    result = check(profile, pa.table({"x": pa.array(np.round(normal(1, M) * 10), pa.int32())}))
    assert result.verdict == "quiet"


def test_rows_of_another_table_are_an_error_that_names_both() -> None:
    with pytest.raises(UsageError, match="none of the reference's columns; it has a, b") as caught:
        check(profile_of({"x": normal(0, N)}), pa.table({"a": [1], "b": [2]}))
    assert "give rows with x" in (caught.value.hint or "")


def test_too_few_rows_are_too_little_data_and_not_silence() -> None:
    result = check(profile_of({"x": normal(0, N)}), pa.table({"x": normal(1, 20)}))
    assert (result.verdict, column(result).status) == ("too_little", "too_little")
    assert check(profile_of({"x": normal(0, N)}), pa.table({"x": pa.array([], pa.float64())})).verdict == "too_little"


def test_one_decidable_important_column_is_enough_for_an_answer() -> None:
    columns = {"x": normal(0, N), "gone": pa.array([None] * N, pa.float64())}
    result = check(profile_of(columns), pa.table({"x": normal(1, M), "gone": pa.array([None] * M, pa.float64())}))
    assert result.verdict == "quiet"
    weighted = profile_of(columns, importances={"x": 0.0, "gone": 0.3})
    assert (
        check(weighted, pa.table({"x": normal(1, M), "gone": pa.array([None] * M, pa.float64())})).verdict
        == "too_little"
    )


def test_unimportant_columns_warn_and_do_not_decide() -> None:
    profile = profile_of({"x": normal(0, N), "y": normal(1, N)}, importances={"x": 0.3, "y": 0.001})
    result = check(profile, pa.table({"x": normal(2, M), "y": normal(3, M, 1)}))
    assert (result.verdict, column(result, "y").status, result.alarms) == ("quiet", "warning", ("y",))
    assert check(profile, pa.table({"x": normal(2, M, 1), "y": normal(3, M)})).verdict == "drift"


def test_columns_are_sorted_by_alarm_then_importance_times_effect() -> None:
    before = {name: normal(seed, N) for seed, name in enumerate("abcd")}
    profile = profile_of(before, importances={"a": 0.1, "b": 0.4, "c": 0.2, "d": 0.3})
    shifts = {"a": 1.0, "b": 0.3, "c": 1.0, "d": 0.0}
    now = {name: normal(10 + seed, M, shifts[name]) for seed, name in enumerate("abcd")}
    assert [one.column for one in check(profile, pa.table(now)).columns] == ["c", "b", "a", "d"]


def test_the_predictions_stand_apart_and_decide() -> None:
    x = normal(0, N)
    scores = np.clip(0.5 + x / 10, 0, 1)
    answers = Predictions((scores > 0.5).astype(int), np.column_stack((1 - scores, scores)))
    profile = profile_of({"x": x}, prediction=answers)
    now = normal(1, M)
    quiet = pa.table({"x": now, "_prediction": np.where(now > 0, "1", "0").tolist(), "_score": 0.5 + now / 10})
    result = check(profile, quiet)
    assert (result.verdict, [one.column for one in result.answers]) == ("quiet", ["_prediction", "_score"])
    moved = check(profile, pa.table({"x": now}), answers=pa.table({"_prediction": ["1"] * M, "_score": 0.7 + now / 10}))
    assert (moved.verdict, moved.alarms) == ("drift", ("_prediction", "_score"))
    assert "no predictions" in check(profile, pa.table({"x": now})).notes[1]


def test_dependence_in_either_sample_makes_rows_worth_less() -> None:
    generator = np.random.default_rng(9)
    lumpy = np.repeat(generator.normal(size=200), 20)
    at = np.arange(N)
    profile = profile_of({"x": lumpy, "at": at}, time="at")
    window = np.repeat(generator.normal(0.4, 1, 75), 20)
    ordered = check(profile, pa.table({"x": window, "at": np.arange(M)}))
    assert column(ordered).n_effective < M / 6
    unordered = check(profile_of({"x": lumpy}), pa.table({"x": window}))
    assert column(unordered).n_effective == M
    assert "taken as independent" in unordered.notes[0]
    assert column(unordered).tests[0].p_value < 1e-6 * column(ordered).tests[0].p_value  # type: ignore[operator]
    without_time = check(profile, pa.table({"x": window}))
    assert column(without_time).n_effective < M / 6
    assert "taken from the reference" in without_time.notes[0]


def test_the_rows_order_decides_nothing_where_a_time_does() -> None:
    generator = np.random.default_rng(9)
    lumpy, window = (np.repeat(generator.normal(size=size), 20) for size in (200, 75))
    profile = profile_of({"x": lumpy, "at": np.arange(N)}, time="at")
    order = generator.permutation(M)
    straight = check(profile, pa.table({"x": window, "at": np.arange(M)}))
    shuffled = check(profile, pa.table({"x": window[order], "at": np.arange(M)[order]}))
    assert straight.columns == shuffled.columns


def test_rows_missing_in_runs_are_worth_less_than_rows_missing_here_and_there() -> None:
    at = np.arange(N)
    profile = profile_of({"x": pa.array(normal(0, N), mask=np.zeros(N, bool)), "at": at}, time="at")
    scattered = pa.array(normal(1, M), mask=np.arange(M) % 20 == 0)
    runs = pa.array(normal(1, M), mask=np.arange(M) // 15 % 20 == 0)
    found = [
        next(
            test
            for test in column(check(profile, pa.table({"x": values, "at": np.arange(M)}))).tests
            if test.part == "missing"
        )
        for values in (scattered, runs)
    ]
    assert found[0].alarm
    assert found[0].p_value < found[1].p_value  # type: ignore[operator]


def test_settings_move_alpha_floor_and_what_must_be_detectable() -> None:
    profile, window = profile_of({"x": normal(0, N)}), pa.table({"x": normal(1, M, 0.3)})
    assert check(profile, window).verdict == "drift"
    assert check(profile, window, rules=Rules(floor=0.3)).verdict == "quiet"
    assert check(profile, window, rules=Rules(alpha=1e-60)).verdict == "too_little"


VALUES = {
    "float": st.one_of(st.none(), st.floats(), st.sampled_from([1e7, -999.0, 0.0])),
    "integer": st.none() | st.integers(-(2**63), 2**63 - 1),
    "boolean": st.none() | st.booleans(),
    "string": st.none() | st.text(max_size=3),
    "datetime": st.none() | st.datetimes(),
}
TYPES = {
    "float": pa.float64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
    "string": pa.string(),
    "datetime": pa.timestamp("us"),
}


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), st.sampled_from(sorted(VALUES)), st.sampled_from(sorted(VALUES)), st.booleans())
def test_no_column_whatsoever_crashes_the_check(data: st.DataObject, kind: str, other: str, timed: bool) -> None:
    before = data.draw(st.lists(VALUES[kind], min_size=1, max_size=40))
    now = data.draw(st.lists(VALUES[other], max_size=40))
    reference = pa.table({"x": pa.array(before, TYPES[kind]), "at": range(len(before))})
    current = pa.table({"x": pa.array(now, TYPES[other]), "at": pa.array(range(len(now)), pa.int64())})
    profile = make_profile(reference, inputs=[Column("x", kind, True)], time="at" if timed else None)  # type: ignore[arg-type]
    result = check(Profile.from_bytes(profile.to_bytes()), current)
    for one in result.columns:
        assert 0 <= one.effect <= 1
        assert all(test.p_adjusted is None or 0 <= test.p_adjusted <= 1 for test in one.tests)


def test_values_near_the_largest_double_are_checked_like_others() -> None:
    signs = np.sign(normal(1, M)) * 1.7e308
    times = pa.array(np.arange(N), pa.timestamp("s", tz="UTC"))
    profile = profile_of({"x": normal(0, N), "at": times}, time="at")
    result = check(profile, pa.table({"x": signs, "at": times.slice(0, M)}))
    assert result.verdict == "drift"
    assert (column(result).mean, column(result).wasserstein) == (None, None)
    assert check(profile_of({"x": signs}), pa.table({"x": -signs})).verdict == "quiet"
