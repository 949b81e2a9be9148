"""The check against the plain rule, on whatever Hypothesis thinks of."""

from __future__ import annotations

from typing import Any

import numpy as np
import plain_rule
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from mlops_cli.core.base.records import Column
from mlops_cli.core.drift.check import check
from mlops_cli.core.drift.profile import Profile
from mlops_cli.core.drift.profiling import make_profile
from mlops_cli.core.drift.summaries import categories

numbers = st.one_of(st.sampled_from([None, 0.0, 1.0, 2.5, -999.0, float("inf"), float("nan")]), st.floats(-3, 3))
texts = st.sampled_from([None, "a", "b", "c", "d", "e", "x1", "x2"])


@st.composite
def samples(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> tuple[list[Any], list[Any]]:
    """Two samples, each a few values repeated: large enough for tests to alarm."""

    def one() -> list[Any]:
        kinds = draw(st.lists(values, min_size=1, max_size=12))
        return [value for value in kinds for _ in range(draw(st.integers(1, 40)))]

    return one(), one()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(samples(numbers), samples(texts))
def test_the_check_is_the_plain_rule(
    numeric: tuple[list[Any], list[Any]], categorical: tuple[list[Any], list[Any]]
) -> None:
    tests: plain_rule.Found = {}
    for (name, rule), (before, now) in zip(
        (("x", plain_rule.numeric_tests), ("c", plain_rule.categorical_tests)), (numeric, categorical), strict=True
    ):
        tests |= {(name, part): found for part, found in rule(before, now).items()}
    rows = [max(len(numeric[side]), len(categorical[side])) for side in (0, 1)]
    if any(len(sample[side]) != rows[side] for sample in (numeric, categorical) for side in (0, 1)):
        numeric, categorical = (  # one table has columns of one length: repeat the shorter until it fits
            tuple((sample[side] * rows[side])[: rows[side]] for side in (0, 1)) for sample in (numeric, categorical)
        )
        tests = {("x", part): found for part, found in plain_rule.numeric_tests(*numeric).items()}
        tests |= {("c", part): found for part, found in plain_rule.categorical_tests(*categorical).items()}
    reference, current = (
        pa.table({"x": pa.array(numeric[side], pa.float64()), "c": pa.array(categorical[side], pa.string())})
        for side in (0, 1)
    )
    profile = make_profile(reference, inputs=[Column("x", "float", True), Column("c", "string", True)])
    result = check(Profile.from_bytes(profile.to_bytes()), current)
    found = {(column.column, test.part): test for column in result.columns for test in column.tests}
    assert found.keys() == tests.keys()
    for name, (p, effect) in tests.items():
        assert found[name].p_value == pytest.approx(p, rel=1e-6, abs=1e-9), name
        assert found[name].effect == pytest.approx(effect, abs=1e-9), name
    assert {name for name, test in found.items() if test.alarm} == plain_rule.alarms(tests)


def test_the_plain_rule_can_alarm_in_every_part() -> None:
    """Else agreement above would be agreement on silence."""
    generator = np.random.default_rng(0)
    clean = generator.normal(size=3000).tolist()
    broken = [*generator.normal(1, 1, 1500).tolist(), *[-999.0] * 300, *[None] * 200]
    tests: plain_rule.Found = {("x", part): found for part, found in plain_rule.numeric_tests(clean, broken).items()}
    words = generator.choice(["a", "b"], 3000).tolist()
    tests |= {("c", part): found for part, found in plain_rule.categorical_tests(words, ["new"] * 2000).items()}
    expected = {("x", part) for part in ("distribution", "missing", "tails", "atom")}
    assert plain_rule.alarms(tests) == expected | {("c", "distribution"), ("c", "unseen")}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(samples(st.sampled_from([None, *(f"{letter}{letter * place}" for letter in "abcdef" for place in range(4))])))
def test_values_beyond_those_listed_are_pooled_as_the_plain_rule_says(sample: tuple[list[Any], list[Any]]) -> None:
    before, now = sample
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(categories, "LISTED_BYTES", 40)
        profile = make_profile(pa.table({"c": pa.array(before, pa.string())}), inputs=[Column("c", "string", True)])
    result = check(profile, pa.table({"c": pa.array(now, pa.string())}))
    found = {test.part: test for test in result.columns[0].tests}
    tests = plain_rule.categorical_tests(before, now, limit=40)
    assert found.keys() == tests.keys()
    for name, (p, effect) in tests.items():
        assert found[name].p_value == pytest.approx(p, rel=1e-6, abs=1e-9), name
        assert found[name].effect == pytest.approx(effect, abs=1e-9), name


@pytest.mark.parametrize("mood", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("moved", [0, 3])
@pytest.mark.parametrize("rows", [40, 200])
def test_hours_and_weekdays_are_the_plain_rule(mood: float, moved: int, rows: int) -> None:
    generator = np.random.default_rng([rows, moved, int(10 * mood)])
    day_us, first, days = 86_400_000_000, 20_003, 63  # a Thursday

    def times(start: int, count: int, late: int) -> tuple[np.ndarray, np.ndarray]:
        """Times and the days they lie on: busy mornings or evenings, by the day's mood."""
        each = generator.poisson(rows, count)
        day = np.repeat(np.arange(start, start + count), each)
        shift = np.repeat(generator.normal(0, 4 * mood, count), each)
        hour = (generator.normal(12, 5, len(day)) + shift + late) % 24
        when = day * day_us + (hour / 24 * day_us).astype(np.int64)
        within = np.concatenate([np.linspace(0, day_us - 1, size) for size in each])
        return when, day * day_us + within.astype(np.int64)

    def table(when: np.ndarray, at: np.ndarray) -> pa.Table:
        return pa.table({"when": pa.array(when, pa.timestamp("us")), "at": pa.array(at, pa.timestamp("us"))})

    before, now = times(first, days, 0), times(first + 70, 7, moved)
    profile = make_profile(table(*before), inputs=[Column("when", "datetime", True)], time="at")
    found = {test.part: test for test in check(profile, table(*now)).columns[0].tests}
    for part, k, width in (("hour", 24, 1), ("weekday", 7, 7)):
        counted = []
        for (when, at), start, count in ((before, first, days // width), (now, first + 70, 7 // width)):
            code = when // (day_us // 24) % 24 if part == "hour" else (when // day_us + 3) % 7
            grid = np.zeros((count, k))
            np.add.at(grid, ((at // day_us - start) // width, code), 1)
            counted.append(grid)
        p, effect = plain_rule.cycle_test(counted[0], counted[1].sum(axis=0), len(counted[1]))
        assert found[part].effect == pytest.approx(effect, abs=1e-9), part
        assert found[part].p_value == pytest.approx(p, rel=0.1, abs=2e-5), part
    assert not moved or mood or found["hour"].alarm


WORDS = ["alpha", "Beta,", "gamma;", "Été", "one", "two!", "Three", "b42", "7"]
SENTENCES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 1000), st.lists(st.tuples(SENTENCES, st.integers(1, 20)), min_size=1, max_size=15))
def test_prose_is_the_plain_rule(seed: int, said: list[tuple[str, int]]) -> None:
    generator = np.random.default_rng(seed)
    lengths = generator.integers(4, 9, 120)
    before = [" ".join(["so it is", *generator.choice(WORDS, length)]) for length in lengths]
    now = [text for text, count in said for _ in range(count)]
    profile = make_profile(pa.table({"t": before}), inputs=[Column("t", "string", True)])
    assert profile.columns[0].text is not None
    found = {test.part: test for test in check(profile, pa.table({"t": now})).columns[0].tests}
    for part, (p, effect) in plain_rule.text_tests(before, now).items():
        assert found[part].effect == pytest.approx(effect, abs=1e-9), part
        assert found[part].p_value == pytest.approx(p, rel=1e-6, abs=1e-9), part
    text, bounds = plain_rule.text_atom(before, now)
    assert (f"“{text[:60]}”" in found["atom"].detail) == bool(text)
    atom = [found["atom"].p_value, found["atom"].effect]
    assert any(atom == pytest.approx(list(bound), rel=1e-6, abs=1e-9) for bound in bounds)


@pytest.mark.parametrize("sigmas", [0.0, 0.05, 0.1, 0.13, 0.16, 0.3])
def test_beyond_4096_distinct_values_the_verdict_is_that_of_the_raw_rows(sigmas: float) -> None:
    slack = 1 / 4095
    for seed in range(12):
        generator = np.random.default_rng([seed, int(100 * sigmas)])
        before, now = generator.normal(size=6_000), generator.normal(sigmas, 1, 2_500)
        profile = make_profile(pa.table({"x": before}), inputs=[Column("x", "float", True)])
        tests = {test.part: test for test in check(profile, pa.table({"x": now})).columns[0].tests}
        raw = float(stats.ks_2samp(before, now).statistic)
        seen = tests["distribution"].effect
        assert seen - 1e-12 <= raw <= seen + slack
        found: plain_rule.Found = {("x", part): (test.p_value or 0.0, test.effect) for part, test in tests.items()}
        verdicts = []
        for distance in (seen, raw, seen + slack):
            p = float(stats.kstwobign.sf(distance * np.sqrt(6_000 * 2_500 / 8_500)))
            verdicts.append(("x", "distribution") in plain_rule.alarms({**found, ("x", "distribution"): (p, distance)}))
        assert tests["distribution"].alarm == verdicts[0]
        assert verdicts[0] != verdicts[2] or verdicts[1] == verdicts[0]
