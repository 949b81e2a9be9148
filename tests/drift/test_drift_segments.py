"""The check within each value of a column, and the corrections that all tests of one answer share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mlops_cli.core.base.records import Column
from mlops_cli.core.drift.check import check
from mlops_cli.core.drift.family import Family, check_family
from mlops_cli.core.drift.profile import Profile
from mlops_cli.core.drift.profiling import make_profile
from mlops_cli.core.drift.records import Segment, Segments
from mlops_cli.core.drift.window import Window
from mlops_cli.core.errors import UsageError

N, M = 6000, 3000
INPUTS = [Column("x", "float", True), Column("y", "float", True), Column("carrier", "string", True)]


def world(seed: int, n: int, shifts: dict[str, float] | None = None) -> pa.Table:
    """x, y, and a carrier; x is shifted by carrier."""
    generator = np.random.default_rng(seed)
    carrier = generator.choice(["AA", "DL", "UA"], n, p=[0.4, 0.4, 0.2])
    shift = np.array([(shifts or {}).get(name, 0.0) for name in carrier.tolist()])
    return pa.table({"x": generator.normal(size=n) + shift, "y": generator.normal(size=n), "carrier": carrier})


def profile_of(table: pa.Table, **other: Any) -> Profile:
    return make_profile(table, inputs=INPUTS, **other)


def checked(reference: pa.Table, window: pa.Table, column: str = "carrier", **other: Any) -> Family:
    return check_family(profile_of(reference, **other), window, lambda: Window.of_table(reference), segments=column)


def segments(family: Family) -> Segments:
    assert family.segments is not None
    return family.segments


def segment(family: Family, value: str) -> Segment:
    return next(one for one in segments(family).segments if one.value == value)


def test_two_segments_that_drift_apart_are_found_where_the_whole_is_quiet() -> None:
    reference, window = world(0, N), world(1, M, {"AA": 0.45, "DL": -0.45})
    assert check(profile_of(reference), window).verdict == "quiet"
    family = checked(reference, window)
    assert family.result.alarms == ()
    assert [(one.value, one.alarms) for one in segments(family).segments if one.alarms] == [
        ("AA", ("x",)),
        ("DL", ("x",)),
    ] or {one.value for one in segments(family).segments if one.alarms} == {"AA", "DL"}
    assert family.result.verdict == "drift"
    assert segment(family, "UA").verdict == "quiet"


def test_segments_without_drift_are_quiet_and_the_whole_answers_as_before() -> None:
    reference, window = world(2, N), world(3, M)
    family, alone = checked(reference, window), check(profile_of(reference), window)
    assert family.result.verdict == alone.verdict == "quiet"
    assert [one.effect for one in family.result.columns] == [one.effect for one in alone.columns]
    assert all(not one.alarms for one in segments(family).segments)


def test_nothing_asked_for_is_the_plain_check() -> None:
    reference, window = world(2, N), world(3, M, {"AA": 0.5})
    profile = profile_of(reference)

    def never() -> Window:
        raise AssertionError("the reference's rows are not needed")

    assert check_family(profile, window, never).result == check(profile, window)


def test_all_tests_of_an_answer_share_alpha() -> None:
    family = checked(world(2, N), world(3, M))
    found = segments(family)
    assert found.level is not None
    spent = family.result.level * family.result.tests + found.level * found.tests
    assert spent == pytest.approx(family.result.rules.alpha)


def test_rare_values_are_counted_and_new_ones_named() -> None:
    reference, window = world(4, N), world(5, M)
    carriers = window["carrier"].to_pylist()
    carriers[:70], carriers[70:80] = ["NEW"] * 70, ["ODD"] * 10
    before = reference["carrier"].to_pylist()
    before[:3] = ["ODD"] * 3
    reference = reference.set_column(2, "carrier", pa.array(before))
    found = segments(checked(reference, window.set_column(2, "carrier", pa.array(carriers))))
    assert {one.value for one in found.segments} == {"AA", "DL", "UA"}
    assert found.fresh == (("NEW", 70),)
    assert found.others == 1
    assert "new in the window: NEW (70)" in found.note


def test_numbers_are_cut_at_the_reference_quartiles() -> None:
    found = segments(checked(world(6, N), world(7, M), "y"))
    assert len(found.segments) == 4
    assert [one.rows_reference for one in found.segments] == [N // 4] * 4
    assert all("y" not in {column.column for column in one.columns} for one in found.segments)


def test_few_numbers_and_booleans_are_segments_themselves() -> None:
    generator = np.random.default_rng(8)
    for values in (generator.integers(1, 4, N + M), generator.random(N + M) < 0.5):
        reference = world(9, N).append_column("part", pa.array(values[:N]))
        window = world(10, M).append_column("part", pa.array(values[N:]))
        found = segments(checked(reference, window, "part"))
        assert {one.value for one in found.segments} in ({"1", "2", "3"}, {"true", "false"})


def test_a_text_of_ten_thousand_values_makes_no_segment_and_says_so() -> None:
    names = [f"id{row}" for row in range(10_000)]
    reference = world(11, 10_000).append_column("part", pa.array(names))
    window = world(12, M).append_column("part", pa.array(names[:M]))
    family = checked(reference, window, "part")
    assert segments(family).segments == ()
    assert segments(family).others == 10_000
    assert family.result.level == check(profile_of(reference), window).level  # no test, no share


def test_only_the_twenty_largest_values_are_segments() -> None:
    names = np.array([f"v{place:02}" for place in range(30)])
    reference = world(13, N).append_column("part", pa.array(np.resize(names, N)))
    window = world(14, M).append_column("part", pa.array(np.resize(names, M)))
    found = segments(checked(reference, window, "part"))
    assert (len(found.segments), found.others) == (20, 10)


def test_missing_rows_are_a_segment_of_their_own() -> None:
    tables = [world(15, N), world(16, M)]
    parts = [pa.array(["a" if row % 3 else None for row in range(table.num_rows)]) for table in tables]
    cut = [table.append_column("part", part) for table, part in zip(tables, parts, strict=True)]
    assert {one.value for one in segments(checked(cut[0], cut[1], "part")).segments} == {"a", "(missing)"}


@pytest.mark.parametrize("side", ["reference", "window"])
def test_a_column_that_is_not_there_is_refused(side: str) -> None:
    tables = {"reference": world(17, 200), "window": world(18, 200)}
    kept = {name: table.append_column("part", pa.array(["a"] * 200)) for name, table in tables.items()}
    kept[side] = tables[side]
    with pytest.raises(UsageError, match=f"the {side} has no column part"):
        checked(kept["reference"], kept["window"], "part")


def test_times_and_other_kinds_make_no_segments() -> None:
    reference, window = world(17, 200), world(18, 200)
    stamps = pa.array(range(200), pa.timestamp("s"))
    with pytest.raises(UsageError, match="make no segments"):
        checked(reference.append_column("part", stamps), window.append_column("part", stamps), "part")
    texts, numbers = pa.array(["a"] * 200), pa.array([1] * 200)
    with pytest.raises(UsageError, match="holds string in the reference and int64 in the window"):
        checked(reference.append_column("part", texts), window.append_column("part", numbers), "part")


def test_an_unimportant_column_of_a_segment_only_warns() -> None:
    reference, window = world(19, N), world(20, M, {"AA": 0.8})
    family = checked(reference, window, importances={"x": 0.0001, "y": 0.5, "carrier": 0.3})
    assert segment(family, "AA").alarms == ("x",)
    assert family.result.verdict == "quiet"


@pytest.mark.parametrize(
    "broken",
    [
        {"y": pa.nulls(M)},
        {"y": pa.array(["text"] * M)},
        {"y": pa.array(np.full(M, np.inf))},
    ],
    ids=["all missing", "retyped", "infinite"],
)
def test_a_broken_column_breaks_no_segment(broken: dict[str, Any]) -> None:
    window = world(21, M)
    for name, values in broken.items():
        window = window.set_column(window.column_names.index(name), name, values)
    family = checked(world(22, N), window)
    assert family.result.verdict == "drift"
    assert len(segments(family).segments) == 3


def test_one_row_makes_no_segment() -> None:
    family = checked(world(23, N), world(24, 1))
    assert segments(family).segments == ()
    assert family.result.verdict == "too_little"


def test_segments_keep_the_dependence_of_their_own_rows() -> None:
    generator = np.random.default_rng(25)
    slow = np.repeat(generator.normal(size=(N + M) // 50), 50)
    table = world(26, N + M).set_column(0, "x", pa.array(slow)).append_column("at", pa.array(range(N + M)))
    family = checked(table.slice(0, N), table.slice(N), time="at")
    times = {column.column: column.time or 0.0 for column in segment(family, "AA").columns}
    assert times["x"] > 5 > times["y"]
    assert family.result.verdict != "drift"


def test_segments_without_drift_raise_no_false_alarms() -> None:
    alarms = [checked(world(100 + run, 2000), world(500 + run, 1000)).result.verdict == "drift" for run in range(25)]
    assert sum(alarms) <= 1


@pytest.mark.slow
def test_hundreds_of_answers_with_segments_and_without_drift_are_quiet() -> None:
    alarms = [checked(world(2000 + run, 2000), world(5000 + run, 700)).result.verdict == "drift" for run in range(400)]
    assert np.mean(alarms) <= 0.025
