"""Columns of vectors, and every other type that Arrow has."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import drift_kinds
import msgspec
import numpy as np
import pyarrow as pa
import pytest
from drift_kinds import as_vectors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_cli.core.base.records import Column
from mlops_cli.core.drift.check import check
from mlops_cli.core.drift.columns import kind_of
from mlops_cli.core.drift.merging import merge, profile_like
from mlops_cli.core.drift.profile import Profile
from mlops_cli.core.drift.profiling import make_profile
from mlops_cli.core.drift.records import DriftResult
from mlops_cli.core.drift.summaries.vectors import add, count_like, signs, vectors

GENERATOR = np.random.default_rng(0)
MIXING = GENERATOR.normal(size=(4, 1600)) / 2


def lists(values: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.astype(np.float32).ravel()), values.shape[1])


def profile_of(values: pa.Array) -> Profile:
    return make_profile(pa.table({"x": values}), inputs=[Column("x", kind_of(values.type), True)])  # type: ignore[arg-type]


def checked(before: pa.Array, now: pa.Array) -> DriftResult:
    return check(profile_of(before), pa.table({"x": now}))


@pytest.mark.parametrize("width", [3, 32, 100])
def test_vectors_without_drift_are_quiet_and_a_shift_is_found_by_the_kernel(width: int) -> None:
    before, now = GENERATOR.normal(size=(1500, width)), GENERATOR.normal(size=(800, width))
    quiet = checked(lists(before), lists(now))
    assert (quiet.verdict, quiet.tests) == ("quiet", 3)
    moved = checked(lists(before), lists(now + 0.3)).columns[0]
    assert {test.part for test in moved.tests if test.alarm} >= {"kernel"}


def test_a_change_of_the_dependence_between_components_is_found() -> None:
    before, now = GENERATOR.normal(size=(2000, 2)), GENERATOR.normal(size=(1500, 2))
    now[:, 1] = 0.9 * now[:, 0] + np.sqrt(1 - 0.81) * now[:, 1]
    assert [test.part for test in checked(lists(before), lists(now)).columns[0].tests if test.alarm] == ["kernel"]


def test_a_vector_with_a_gap_in_it_is_missing_and_one_outlier_changes_nothing() -> None:
    before, now = GENERATOR.normal(size=(1000, 40)), GENERATOR.normal(size=(500, 40))
    before[7], now[::10, 3] = 1e9, np.nan
    column = checked(lists(before), lists(now)).columns[0]
    assert column.missing == pytest.approx(0.1)
    assert [test.part for test in column.tests if test.alarm] == ["missing"]


def test_vectors_of_another_length_are_another_type() -> None:
    result = checked(lists(np.ones((50, 4))), lists(np.ones((50, 5))))
    assert [(change.column, change.change) for change in result.schema] == [("x", "retyped")]


def test_lists_of_one_length_are_vectors_and_of_many_are_only_there_or_not() -> None:
    assert profile_of(pa.array([[1, 2], None, [3, 4]])).columns[0].vector is not None
    ragged = profile_of(pa.array([[1.0], [1.0, 2.0]]))
    assert ragged.columns[0].kind == "other"
    gone = check(ragged, pa.table({"x": pa.array([None, [1.0]] * 400)}))
    assert gone.columns[0].missing == 0.5
    assert "only missing rows are tested" in gone.columns[0].note


def test_vectors_in_one_frame_add() -> None:
    known = profile_of(lists(GENERATOR.normal(size=(300, 40)))).columns[0].vector
    assert known is not None
    taken = [vectors(pa.chunked_array([lists(GENERATOR.normal(size=(n, 40)))]), 40) for n in (70, 50)]
    both = vectors(pa.chunked_array([lists(np.concatenate([one.values for one in taken]))]), 40)
    joined, whole = add(count_like(known, taken[0]), count_like(known, taken[1])), count_like(known, both)
    assert joined == whole
    features = known.features(both.values)
    mean, covariance = whole.moments()
    assert mean == pytest.approx(features.mean(axis=0), abs=1e-12)
    assert covariance == pytest.approx(np.cov(features.T, bias=True), abs=1e-12)


@pytest.mark.parametrize("width", [2, 24, 25, 768, 1536, 3072])
def test_a_profile_of_vectors_takes_at_most_64_kib_for_up_to_two_billion_rows(width: int) -> None:
    profile = profile_of(lists(GENERATOR.normal(0.5, 1, size=(1024, width))))
    data = profile.to_bytes()
    assert Profile.from_bytes(data).to_bytes() == data
    known = profile.columns[0].vector
    assert known is not None
    for _ in range(21):
        known = add(known, known)
    assert known.n == 2**31
    assert len(msgspec.msgpack.encode(known)) <= 64 * 1024


def test_more_dimensions_than_rows_are_no_drift() -> None:
    def draw() -> np.ndarray:
        return GENERATOR.normal(size=(500, 4)) @ MIXING + GENERATOR.normal(size=(500, 1600))

    assert checked(lists(draw()), lists(draw())).alarms == ()
    moved = draw()
    moved[:, 1000:] += 0.3
    assert checked(lists(draw()), lists(moved)).alarms == ("x",)


def test_projections_keep_lengths_on_average_and_are_the_same_everywhere() -> None:
    known = profile_of(lists(GENERATOR.normal(size=(50, 900)))).columns[0].vector
    assert known is not None
    values = GENERATOR.normal(size=(200, 900)).astype(np.float32)
    assert known.projected(values).std() == pytest.approx(1.0, abs=0.05)
    assert signs(4, 3).tolist() == [[1, 1, 1], [-1, -1, 1], [1, -1, -1], [1, -1, 1]]


@pytest.mark.parametrize("width", [3, 40])
def test_one_vector_that_fills_the_window_is_an_atom_however_common_its_components(width: int) -> None:
    before, now = GENERATOR.normal(size=(4000, width)), GENERATOR.normal(size=(2000, width))
    now[:80] = 0.0
    tests = {test.part: test for test in checked(lists(before), lists(now)).columns[0].tests}
    assert tests["atom"].alarm


def test_a_profile_of_version_2_is_read_checked_and_added_to() -> None:
    data = (Path(__file__).parent / "golden" / "profile-2.bin").read_bytes()
    known = Profile.from_bytes(data)
    rows = drift_kinds.rows(np.random.default_rng(1), 400)
    rows["wide"] = as_vectors(rows.pop("vector")[:, :40])
    table = drift_kinds.table({**rows, "vector": rows["wide"]}).drop_columns(["vector"])
    assert check(known, table).alarms == ()
    parts = [profile_like(known, table.slice(at, 200)) for at in (0, 200)]
    assert merge(parts).to_bytes() == profile_like(known, table).to_bytes()
    assert merge([known, *parts]).rows == 440
    rows["wide"] = as_vectors(np.full((400, 40), 2.0))
    moved = drift_kinds.table({**rows, "vector": rows["wide"]}).drop_columns(["vector"])
    assert check(merge([known, *parts]), moved).alarms == ("wide",)


NASTY: dict[str, tuple[pa.DataType, list[Any]]] = {
    "bool": (pa.bool_(), [True, False]),
    "null": (pa.null(), [None]),
    "int": (pa.int64(), [0, 1, -(2**63), 2**63 - 1]),
    "uint": (pa.uint64(), [0, 2**64 - 1]),
    "half": (pa.float16(), [np.float16(0.5), np.float16("inf")]),
    "float": (pa.float64(), [0.0, -0.0, 1e308, -1e308, float("inf"), float("-inf"), float("nan"), 5e-324]),
    "decimal": (pa.decimal256(60, 2), [Decimal("1.50"), Decimal(10) ** 50]),
    "duration": (pa.duration("ns"), [0, 2**62]),
    "time": (pa.time32("ms"), [0, 86_399_999]),
    "date": (pa.date32(), [0, 2**20]),
    "timestamp": (pa.timestamp("s", "Asia/Tokyo"), [0, 2**40, -(2**40)]),
    "text": (pa.string(), ["", "a", "\x00", "a b c d", "é" * 300, "日本語のテキストはここにあります", "N/A"]),
    "dictionary": (pa.dictionary(pa.int8(), pa.string()), ["a", "b"]),
    "binary": (pa.binary(), [b"", b"\xff"]),
    "vector": (pa.list_(pa.float32(), 2), [[0.0, 1.0], [float("nan"), 1.0], [None, 1.0], [3e38, -3e38]]),
    "ragged": (pa.list_(pa.float64()), [[], [1.0], [1.0, 2.0]]),
    "words": (pa.list_(pa.string()), [["a"], []]),
    "struct": (pa.struct({"a": pa.int64()}), [{"a": 1}, {"a": None}]),
    "map": (pa.map_(pa.string(), pa.int64()), [[("a", 1)], []]),
}


@st.composite
def columns(draw: st.DrawFn, name: str | None = None) -> tuple[str, pa.Array]:
    name = name or draw(st.sampled_from(sorted(NASTY)))
    kind, values = NASTY[name]
    rows = draw(st.lists(st.none() | st.sampled_from(values), min_size=1, max_size=30))
    return name, pa.array(rows, kind)


@pytest.mark.filterwarnings("error")
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), columns())
def test_no_type_and_no_value_breaks_a_check(data: st.DataObject, before: tuple[str, pa.Array]) -> None:
    name, values = before
    profile = make_profile(
        pa.table({"x": values, "at": np.arange(len(values))}),
        inputs=[Column("x", kind_of(values.type), True)],  # type: ignore[arg-type]
        time=data.draw(st.sampled_from(["at", None])),
    )
    assert Profile.from_bytes(profile.to_bytes()).to_bytes() == profile.to_bytes()
    _, now = data.draw(columns(name) | columns())
    for rows in (now, now.slice(0, 0), values):
        result = check(profile, pa.table({"x": rows, "at": np.arange(len(rows))}))
        assert result.verdict in ("drift", "quiet", "too_little")
    assert not [column.column for column in result.columns if column.alarm]
