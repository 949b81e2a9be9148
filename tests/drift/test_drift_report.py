"""The page of a check: in order, small, and honest about what it cannot show."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from mlops_cli.core.base.records import Column
from mlops_cli.core.drift.check import check
from mlops_cli.core.drift.performance.records import CalibrationBin, Estimate, PerformanceAnswer, PerformanceWindow
from mlops_cli.core.drift.profiling import make_profile
from mlops_cli.core.drift.records import (
    Bounds,
    DriftAnswer,
    DriftResult,
    Multivariate,
    SchemaChange,
    Segment,
    Segments,
)
from mlops_cli.core.drift.report.page import drift_report
from mlops_cli.core.drift.report.words import headline, period
from mlops_cli.core.reports.blocks import Gallery, Heatmap, LineChart
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


def test_a_hundred_columns_over_eight_windows_stay_under_a_megabyte_and_are_the_same_bytes() -> None:
    generator = np.random.default_rng(2)
    names = [f"column_{place:03}" for place in range(100)]
    profile = make_profile(
        pa.table({name: generator.normal(size=400) for name in names}), inputs=[Column(name, "float") for name in names]
    )
    result = check(profile, pa.table({name: generator.normal(2 * (at % 2), 1, 400) for at, name in enumerate(names)}))
    history = [
        answer_of(result, Bounds(f"2013-03-{day:02}T00:00:00.000000Z", f"2013-03-{day + 1:02}T00:00:00.000000Z"))
        for day in range(1, 9)
    ]
    page = render(drift_report(answer_of(result), history))
    assert page == render(drift_report(answer_of(result), history))
    assert len(page) < 1_000_000
    assert page.count(b"<svg") == 24
    assert page.count(b"03-08") == 2  # the first columns in sight, the others folded


def test_the_heatmap_ends_with_the_checked_rows_and_marks_alarms_without_colour(drifted: DriftAnswer) -> None:
    earlier = msgspec.structs.replace(
        drifted, window=Bounds("2013-03-31T00:00:00.000000Z", "2013-04-01T00:00:00.000000Z"), verdict="quiet"
    )
    (heat,) = [block for block in drift_report(drifted, [earlier]).blocks if isinstance(block, Heatmap)]
    assert heat.columns == ("03-31", "checked\nrows")
    assert heat.emphasis == 1
    assert [cell.tone for cell in heat.cells[heat.rows.index("temp")] if cell] == ["alarm", "alarm"]
    assert 'aria-label="alarm">▲' in render(drift_report(drifted, [earlier])).decode()


def test_no_history_is_no_heatmap(drifted: DriftAnswer) -> None:
    same = msgspec.structs.replace(drifted, window=MONTH)
    assert not any(isinstance(block, Heatmap) for block in drift_report(drifted, [same]).blocks)


def test_changes_of_schema_come_before_the_columns(drifted: DriftAnswer) -> None:
    change = SchemaChange(column="\u202etail<b>" + "x" * 10_000, change="new", now="string")
    page = render(drift_report(msgspec.structs.replace(drifted, schema=(change,)))).decode()
    assert page.index("Changes of schema") < page.index("What the model sees")
    assert "\\u202etail&lt;b&gt;xxx" in page
    assert "x" * 100 not in page


def estimate(value: float) -> Estimate:
    return Estimate(value=value, lower=value - 0.02, upper=value + 0.02)


def test_performance_is_drawn_with_training_estimates_their_caveat_and_changes(drifted: DriftAnswer) -> None:
    days = [f"2013-04-{day:02}T00:00:00.000000Z" for day in range(1, 6)]
    windows = tuple(
        PerformanceWindow(
            start=start,
            end=end,
            rows=50,
            labelled=50 if place < 2 else 0,
            metrics={"auc": estimate(0.7 - place / 50)} if place < 2 else {},
            estimated={"auc": estimate(0.71)},
        )
        for place, (start, end) in enumerate(itertools.pairwise(days))
    )
    bins = (CalibrationBin(low=0.0, high=0.5, n=40, predicted=0.2, observed=0.4, lower=0.3, upper=0.5),)
    measured = PerformanceAnswer(
        model="flights@1",
        metrics=("auc",),
        training={"auc": 0.74},
        windows=windows,
        calibration=bins,
        calibration_error=0.2,
        detector="page-hinkley",
        changes=("2013-04-02T05:00:00.000000Z",),
        verdict="breach",
        metric="auc",
    )
    report = drift_report(msgspec.structs.replace(drifted, performance=measured))
    galleries = [block for block in report.blocks if isinstance(block, Gallery)]
    (chart,) = galleries[1].pictures
    assert isinstance(chart, LineChart)
    assert (chart.level, chart.changes, [line.dashed for line in chart.lines]) == (0.74, (1.0,), [False, True])
    page = render(report).decode()
    assert "hold only as long as the scores are calibrated" in page
    assert "newest labelled window has auc 0.68 (0.66 to 0.7), training had 0.74" in page
    assert "0 of 1 bins hold what was predicted within their interval" in page
    places = [
        page.index(text) for text in ("Before and now", "How well it does", "Are its probabilities", "How this was")
    ]
    assert places == sorted(places)


def test_segments_and_all_columns_together_have_their_place(drifted: DriftAnswer) -> None:
    segment = Segment(value="<b>JFK", verdict="drift", rows=9, rows_reference=99, columns=drifted.columns)
    together = Multivariate(
        auc=0.7, bound=0.55, p_value=0.001, level=0.01, effect=0.4, floor=0.1, alarm=True, n_reference=9, n=9,
        columns=(("temp", 0.6),),
    )  # fmt: skip
    found = msgspec.structs.replace(
        drifted, segments=Segments(column="origin", segments=(segment,), others=2), multivariate=together
    )
    page = render(drift_report(found)).decode()
    assert "By origin" in page
    assert "&lt;b&gt;JFK" in page
    assert "a classifier tells the window&#x27;s rows from the reference&#x27;s with an AUC of 0.7" in page


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
