"""The check against the plain rule, on whatever Hypothesis thinks of."""

from __future__ import annotations

from typing import Any

import numpy as np
import plain_rule
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_cli.core.base.records import Column
from mlops_cli.core.drift.check import check
from mlops_cli.core.drift.profile import Profile
from mlops_cli.core.drift.profiling import make_profile

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
