"""The page of a check: in order, small, and honest about what it cannot show."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from mlops_cli.core.base.records import Column
from mlops_cli.core.drift.check import check
from mlops_cli.core.drift.profiling import make_profile
from mlops_cli.core.drift.records import Bounds, DriftAnswer, DriftResult
from mlops_cli.core.drift.report.page import drift_report
from mlops_cli.core.drift.report.words import headline, period
from mlops_cli.core.reports.html import render

MONTH = Bounds("2013-04-01T00:00:00.000000Z", "2013-05-01T00:00:00.000000Z")


def answer_of(result: DriftResult, window: Bounds | None = MONTH) -> DriftAnswer:
    return DriftAnswer(
        verdict=result.verdict,
        exit_code=0,
        model="flights@1",
        source=".mlo/predictions",
        window=window,
        rows=result.rows,
        rows_reference=result.rows_reference,
        alarms=result.alarms,
        answers=result.answers,
        columns=result.columns,
        tests=result.tests,
        level=result.level,
        rules=result.rules,
        notes=result.notes,
        profile="xxh128:" + "0" * 32,
    )


@pytest.fixture(scope="module")
def drifted() -> DriftAnswer:
    generator = np.random.default_rng(0)
    kinds = ["aa", "bb", "<i>cc</i>"]
    before = pa.table(
        {"temp": generator.normal(size=3000), "code": generator.choice(kinds, 3000), "calm": [1.0] * 3000}
    )
    values = generator.choice(kinds, 900).astype(object)
    values[:60] = "<script>new</script>"
    mask = np.arange(900) % 10 == 0
    now = pa.table(
        {"temp": pa.array(generator.normal(1, 1, 900), mask=mask), "code": values.tolist(), "calm": [1.0] * 900}
    )
    inputs = [Column("temp", "float", True), Column("code", "string"), Column("calm", "float")]
    return answer_of(check(make_profile(before, inputs=inputs), now))


def test_the_page_goes_from_the_verdict_to_the_method(drifted: DriftAnswer) -> None:
    text = render(drift_report(drifted)).decode()
    order = ["Drift of flights@1", "Drift: temp, code", "What the model sees", "Before and now"]
    order += [
        "Missing, new and strange values",
        "How this was decided",
        "Distances that are reported, never decided on",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert "Missing now" in text
    assert "code has values the reference never had: &lt;script&gt;new&lt;/script&gt; (60)" in text
    assert "<script" not in text
    assert "<i>cc" not in text


def test_the_page_is_small_even_with_hundreds_of_columns() -> None:
    generator = np.random.default_rng(1)
    before, now = ({f"column_{place}": generator.normal(shift, 1, 400) for place in range(300)} for shift in (0, 2))
    profile = make_profile(pa.table(before), inputs=[Column(name, "float") for name in before])
    answer = answer_of(check(profile, pa.table(now)))
    assert len(answer.alarms) == 300
    assert len(render(drift_report(answer))) < 1_000_000


def test_whole_days_are_written_as_days_and_files_by_name(drifted: DriftAnswer) -> None:
    assert period(drifted) == "2013-04-01 to 2013-05-01"
    hours = answer_of(check_of_nothing(), Bounds("2013-04-01T06:00:00.000000Z", "2013-04-01T12:00:00.000000Z"))
    assert period(hours) == "2013-04-01 06:00 to 2013-04-01 12:00 UTC"
    assert period(answer_of(check_of_nothing(), None)) == ".mlo/predictions"


def check_of_nothing() -> DriftResult:
    profile = make_profile(pa.table({"x": [1.0, 2.0]}), inputs=[Column("x", "float")])
    return check(profile, pa.table({"x": pa.array([], pa.float64())}))


def test_a_window_that_says_nothing_has_a_page_too() -> None:
    answer = answer_of(check_of_nothing())
    assert headline(answer).startswith("too little data")
    assert b"too few rows" in render(drift_report(answer))
