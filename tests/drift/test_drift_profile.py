"""The profile: canonical bytes, exact counts, whatever kind of column."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mlops_cli.core.base.records import Column
from mlops_cli.core.drift.check import check
from mlops_cli.core.drift.profile import MAGIC, Profile
from mlops_cli.core.drift.profiling import make_profile
from mlops_cli.core.drift.summaries.numbers import EDGES, display_counts, is_counter
from mlops_cli.core.errors import IntegrityError, ProjectError
from mlops_cli.core.models.predictions import Predictions


def profile_of(values: object, kind: str = "float", **other: object) -> Profile:
    table = pa.table({"x": values, **other})
    return make_profile(table, inputs=[Column("x", kind, True)], time="at")  # type: ignore[arg-type]


@given(st.lists(st.none() | st.floats(allow_nan=True), min_size=1, max_size=50))
def test_the_bytes_read_back_and_are_canonical(values: list[float | None]) -> None:
    profile = profile_of(pa.array(values, pa.float64()))
    data = profile.to_bytes()
    assert Profile.from_bytes(data).to_bytes() == data
    assert profile_of(pa.array(values, pa.float64())).to_bytes() == data


def test_edges_and_counts_are_exact_where_values_are_few() -> None:
    numeric = profile_of([3.0, 1.0, 1.0, None, 2.0]).column("x").numeric
    assert numeric is not None
    edges, below, upto = numeric.arrays()
    assert (edges.tolist(), below.tolist(), upto.tolist()) == ([1, 2, 3], [0, 2, 3], [2, 3, 4])
    assert numeric.exact


def test_many_values_become_4096_edges_of_equal_mass_that_hold_every_atom() -> None:
    generator = np.random.default_rng(0)
    values = np.concatenate((generator.normal(size=50_000), np.full(40, 0.123), np.full(20, 9e9)))
    profile = profile_of(values)
    numeric = profile.column("x").numeric
    assert numeric is not None
    edges, below, upto = numeric.arrays()
    assert len(edges) <= EDGES
    assert {0.123, 9e9} <= set(edges.tolist())
    assert np.max(below[1:] - upto[:-1]) <= len(values) / (EDGES - 1) + 1
    assert upto[-1] == len(values)
    assert 32 * 1024 < len(profile.to_bytes()) <= 64 * 1024


def test_tails_count_rows_strictly_beyond_the_thousandth() -> None:
    tails = profile_of(np.arange(5000.0)).column("x").numeric.tails  # type: ignore[union-attr]
    assert (tails.k, tails.low, tails.high, tails.below, tails.above) == (5, 4.0, 4995.0, 4, 4)


def test_missing_rows_are_nulls_and_nan_alike() -> None:
    column = profile_of(pa.array([1.0, None, float("nan"), 2.0])).column("x")
    assert (column.missing, column.present) == (2, 2)


def test_only_the_most_frequent_values_that_fit_are_listed_and_the_rest_is_counted() -> None:
    values = [f"v{number:05}" for number in range(12_000)] + ["often"] * 9 + ["twice"] * 2
    profile = profile_of(values, "string")
    known = profile.column("x").categorical
    assert known is not None
    assert known.values[:3] == ("often", "twice", "v00000")
    assert 4_000 < len(known.values) < 5_000
    assert (sum(known.counts) + known.rest_rows, known.doubletons) == (12_011, 1)
    assert known.rest_values == pytest.approx(12_002 - len(known.values), rel=0.15)
    assert known.singletons == pytest.approx(12_000, rel=0.1)


def test_up_to_512_values_beyond_those_listed_are_counted_exactly() -> None:
    values = [f"{number:0200}" for number in range(700)]
    known = profile_of(values + values[-1:], "string").column("x").categorical
    assert known is not None
    assert (len(known.values) + known.rest_values, known.singletons, known.doubletons) == (700, 699, 1)


@pytest.mark.parametrize("length", [1, 6, 190])
@pytest.mark.parametrize("rows", [1, 40])
def test_no_column_takes_more_than_64_kib(length: int, rows: int) -> None:
    texts = [f"{number:0{length}}" for number in range(min(10**length, 12_000))] * rows
    numbers = np.random.default_rng(0).normal(size=20_000) * 1e300
    for profile in (profile_of(texts, "string"), profile_of(numbers)):
        assert len(profile.to_bytes()) <= 64 * 1024


def test_a_profile_of_version_1_is_read_and_checked() -> None:
    data = (Path(__file__).parent / "golden" / "profile-1.bin").read_bytes()
    profile = Profile.from_bytes(data)
    numeric = profile.column("temp").numeric
    assert numeric is not None
    edges, below, upto = numeric.arrays()
    assert (profile.rows, upto[-1], below[0], len(edges)) == (400, 392, 0, len(np.unique(edges)))
    minutes = [datetime(2013, 1, 2, tzinfo=UTC) + timedelta(minutes=row) for row in range(400)]
    generator = np.random.default_rng(14)
    current = {"hour": np.arange(400) % 24, "wet": np.arange(400) % 7 == 0, "left": minutes, "at": minutes}
    current |= {"temp": generator.normal(80, 10, 400), "carrier": generator.choice(["AA", "UA", "DL"], 400)}
    result = check(profile, pa.table({**current, "spare": np.arange(400)}))
    assert result.alarms == ("temp",)


def test_long_texts_are_known_by_their_beginning_and_digest() -> None:
    known = profile_of(["a" * 5000, "a" * 5000, "a" * 4999 + "b"], "string").column("x").categorical
    assert known is not None
    assert known.counts == (2, 1)
    assert all(len(value) < 120 for value in known.values)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pa.array([1, 2, None], pa.int64()), "integer"),
        (pa.array([1, 2, 3], pa.uint8()), "float"),
        (pa.array([True, None, False]), "boolean"),
        (pa.array([True, False]), "float"),
        (pa.array([0, 1], pa.int64()), "boolean"),
        (pa.array(["a", None], pa.large_string()).dictionary_encode(), "string"),
        (pa.array([1, 2]), "string"),
        (pa.array([None, None], pa.null()), "float"),
        (pa.array([None, None], pa.null()), "string"),
        (pa.array([1.5, 2.5]).cast(pa.decimal128(5, 2)), "float"),
        (pa.array([0, 1], pa.timestamp("ns")), "datetime"),
        (pa.array([0, 1], pa.date32()), "datetime"),
        (pa.array([1e308, -1e308, float("inf")]), "float"),
        (pa.array([2**62, 2**62 + 1]), "integer"),
    ],
)
def test_every_kind_of_column_is_taken(values: pa.Array, kind: str) -> None:
    profile = profile_of(values, kind)
    assert Profile.from_bytes(profile.to_bytes()).to_bytes() == profile.to_bytes()


@pytest.mark.parametrize(
    ("values", "kind"), [(["a"], "float"), ([2], "boolean"), ([[1]], "string"), ([1.5], "datetime")]
)
def test_a_reference_of_another_kind_is_refused(values: list[object], kind: str) -> None:
    with pytest.raises(ProjectError, match="in x, of which the model takes"):
        profile_of(values, kind)


def test_an_empty_reference_and_a_missing_input_are_refused() -> None:
    with pytest.raises(ProjectError, match="no rows"):
        profile_of(pa.array([], pa.float64()))
    with pytest.raises(ProjectError, match="no column y"):
        make_profile(pa.table({"x": [1]}), inputs=[Column("y", "float")])


def test_the_time_orders_the_rows_and_is_no_feature() -> None:
    generator = np.random.default_rng(1)
    series = np.repeat(generator.normal(size=500), 20)
    order = generator.permutation(10_000)
    table = pa.table({"x": series[order], "at": order, "spare": order})
    inputs = [Column("x", "float"), Column("at", "integer")]
    profile = make_profile(table, inputs=inputs, time="at")
    assert [column.name for column in profile.columns] == ["x"]
    assert 9 < profile.column("x").numeric.time < 21  # type: ignore[union-attr]
    assert profile.others == {"at": "int64", "spare": "int64"}
    shuffled = make_profile(table, inputs=inputs, time=None)
    assert shuffled.column("x").numeric.time == 1.0  # type: ignore[union-attr]
    assert make_profile(table, inputs=[Column("x", "float")], time="absent").time_missing == "absent"


def test_a_column_that_only_grows_is_a_counter() -> None:
    assert is_counter(np.arange(50.0), 50)
    assert is_counter(-np.arange(50.0), 50)
    assert not is_counter(np.arange(15.0), 15)
    assert not is_counter(np.append(np.arange(50.0), 3), 50)


def test_answers_are_profiled_as_the_log_writes_them() -> None:
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]])
    table = pa.table({"x": [1.0, 2.0, 3.0]})
    profile = make_profile(table, inputs=[Column("x", "float")], prediction=Predictions(np.array([0, 1, 0]), scores))
    assert profile.column("_prediction").categorical.values == ("0", "1")  # type: ignore[union-attr]
    assert profile.column("_score").numeric.mean == pytest.approx(0.4666667)  # type: ignore[union-attr]
    regression = make_profile(
        table, inputs=[Column("x", "float")], prediction=Predictions(np.array([0.5, 1, 2])), task="regression"
    )
    assert [column.name for column in regression.answers] == ["_prediction"]
    with pytest.raises(ValueError, match="2 answers were given for 3 rows"):
        make_profile(table, inputs=[Column("x", "float")], prediction=Predictions(np.zeros(2)))


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", MAGIC, MAGIC + b"\x01", MAGIC + b"\x01\xc1", MAGIC + b"\x09\x80"])
def test_bytes_that_are_no_profile_are_an_integrity_error(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        Profile.from_bytes(data)


@given(st.data())
@settings(max_examples=40)
def test_a_changed_byte_anywhere_is_noticed(data: st.DataObject) -> None:
    whole = bytearray(make_profile(pa.table({"x": [1.0, 2.0, 2.0]}), inputs=[Column("x", "float")]).to_bytes())
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    assume(whole[17] != 1)  # what calls itself a profile of the first version has no checksum
    with pytest.raises(IntegrityError):
        Profile.from_bytes(bytes(whole))


@given(st.lists(st.floats(-10, 10), max_size=40))
def test_display_counts_hold_every_row(values: list[float]) -> None:
    counts = display_counts(np.sort(values), np.linspace(-5, 5, 21))
    assert (len(counts), counts.sum()) == (22, len(values))
