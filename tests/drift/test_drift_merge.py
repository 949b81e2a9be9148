"""Profiles of shards: counted on one frame and added, they are the bytes of one pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import drift_kinds
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_cli.core.base.records import Column
from mlops_cli.core.drift.check import check
from mlops_cli.core.drift.merging import frame_digest, merge, profile_like
from mlops_cli.core.drift.profile import Profile
from mlops_cli.core.drift.profiling import make_profile
from mlops_cli.core.errors import ProjectError, UsageError

INPUTS = [Column("x", "float", True), Column("c", "string", True), Column("b", "boolean", True)]
NUMBERS = st.none() | st.sampled_from([0.0, -0.0, 1e308, -1e308, float("inf"), 0.1, 5e-324]) | st.floats(allow_nan=True)
ROWS = st.lists(st.tuples(NUMBERS, st.none() | st.text("abc", max_size=2), st.none() | st.booleans()), max_size=30)


def table(rows: list[Any], start: int = 0) -> pa.Table:
    x, c, b = zip(*rows, strict=True) if rows else ((), (), ())
    columns = {"x": pa.array(x, pa.float64()), "c": pa.array(c, pa.string()), "b": pa.array(b, pa.bool_())}
    return pa.table({**columns, "at": pa.array(range(start, start + len(rows)), pa.int64())})


def merged(data: st.DataObject, parts: list[Profile]) -> Profile:
    """Merged in any order, along any tree."""
    parts = data.draw(st.permutations(parts))
    while len(parts) > 1:
        count = data.draw(st.integers(2, len(parts)))
        parts = [*parts[count:], merge(parts[:count])]
    return parts[0]


def shards(data: st.DataObject, whole: pa.Table) -> list[pa.Table]:
    places = np.array(data.draw(st.lists(st.integers(0, 3), min_size=whole.num_rows, max_size=whole.num_rows)))
    return [whole.filter(pa.array(places == place, pa.bool_())) for place in range(4)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), frame=ROWS.filter(len), rows=ROWS, timed=st.booleans())
def test_shards_on_one_frame_add_up_to_one_pass(data: st.DataObject, frame: Any, rows: Any, timed: bool) -> None:
    known = make_profile(table(frame), inputs=INPUTS, time="at" if timed else None)
    whole = table(rows, start=5)
    parts = [profile_like(known, part) for part in shards(data, whole)]
    assert merged(data, parts).to_bytes() == profile_like(known, whole).to_bytes()


KINDS: tuple[tuple[str, Any], ...] = (
    ("t", "string"), ("v", "vector"), ("w", "vector"), ("when", "datetime"), ("soon", "datetime"),
)  # fmt: skip
WORDS = st.lists(st.sampled_from(["alpha", "Beta,", "gamma", "42", "déjà", "x"]), min_size=3, max_size=6).map(" ".join)
NUMBER = st.sampled_from([0.0, -0.0, 1.0, -2.5, 1e9, 3e38, -3e38, 1e-40]) | st.floats(-3, 3, width=32)
# Over three years, so that days are dropped; crowded, so that shards share some.
MOMENTS = st.integers(0, 1200 * 24).map(lambda hour: hour * 3_600_000_000) | st.integers(0, 3 * 86_400_000_000)
OTHERS = st.lists(
    st.tuples(
        st.none() | WORDS,
        st.none() | st.lists(NUMBER, min_size=3, max_size=3),
        st.none() | st.lists(NUMBER, min_size=3, max_size=3),
        st.none() | MOMENTS,
        st.none() | MOMENTS,
    ),
    max_size=24,
)


def others(rows: list[Any]) -> pa.Table:
    """Prose, vectors of 3 and of 36 dimensions, times, and a clock that lacks some rows."""
    t, v, w, when, at = zip(*rows, strict=True) if rows else ((),) * 5
    vector, wide = pa.list_(pa.float32(), 3), pa.list_(pa.float32(), 36)
    moment = pa.timestamp("us")
    columns = {"t": pa.array(t, pa.string()), "v": pa.array(v, vector)}
    columns["w"] = pa.array([None if one is None else one * 12 for one in w], wide)
    columns |= {"when": pa.array(when, moment), "soon": pa.array(at, moment), "at": pa.array(at, moment)}
    return pa.table(columns)


def frame_of_kinds(seed: int, time: str | None) -> Profile:
    generator = np.random.default_rng(seed)
    words = ["alpha", "beta", "gamma", "delta", "one", "two", "three", "Four."]
    rows = [
        (" ".join(generator.choice(words, 5)), *generator.normal(size=(2, 3)).tolist(), row * 10**10, row * 10**10)
        for row in range(40)
    ]
    known = make_profile(others(rows), inputs=[Column(*one, True) for one in KINDS], time=time)
    assert known.column("t").text is not None
    return known


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), rows=OTHERS, seed=st.integers(0, 3), timed=st.booleans())
def test_shards_of_prose_vectors_and_times_add_up_to_one_pass(
    data: st.DataObject, rows: Any, seed: int, timed: bool
) -> None:
    known = frame_of_kinds(seed, "at" if timed else None)
    whole = others(rows)
    parts = [profile_like(known, part) for part in shards(data, whole)]
    assert merged(data, parts).to_bytes() == profile_like(known, whole).to_bytes()
    assert {frame_digest(part) for part in parts} == {frame_digest(known)}


def test_the_frame_of_other_kinds_is_added_to_rows_counted_on_it() -> None:
    known = frame_of_kinds(0, "at")
    both = merge([known, profile_like(known, others([("new words here", [1.0] * 3, None, 5, 6)]))])
    prose, vector = both.column("t").text, both.column("v").vector
    assert prose is not None
    assert vector is not None
    assert (prose.parts["length"].n, vector.n, both.column("w").missing) == (41, 41, 1)
    assert prose.most_rows(["new words here"])[0] >= 1
    with pytest.raises(UsageError, match="that of t is another"):
        merge([both, profile_like(frame_of_kinds(1, "at"), others([]))])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), rows=ROWS.filter(lambda rows: len(rows) > 3))
def test_few_values_add_up_without_a_frame(data: st.DataObject, rows: Any) -> None:
    whole = table(rows)
    parts = [make_profile(part, inputs=INPUTS) for part in shards(data, whole) if part.num_rows]
    assert merged(data, parts).to_bytes() == make_profile(whole, inputs=INPUTS).to_bytes()


def many(seed: int, n: int) -> pa.Table:
    generator = np.random.default_rng(seed)
    ids = [f"{number:x}" for number in generator.integers(0, 50_000, n)]
    return pa.table({"x": generator.normal(size=n), "c": ids, "b": generator.random(n) > 0.5, "at": np.arange(n)})


def test_the_frame_is_counted_on_itself_and_added_to_the_days_after() -> None:
    first, second = many(1, 9000), many(2, 7000)
    known = make_profile(first, inputs=INPUTS, time="at")
    both = merge([known, profile_like(known, second)])
    assert both.to_bytes() == profile_like(known, pa.concat_tables([second, first])).to_bytes()
    assert frame_digest(both) == frame_digest(known)
    rest = both.column("c").categorical
    assert rest is not None
    assert rest.rest.level > 0
    counted = np.unique(np.concatenate([first["c"].to_numpy(), second["c"].to_numpy()]), return_counts=True)[1]
    assert rest.singletons == pytest.approx(int(np.sum(counted == 1)), rel=0.2)
    assert len(both.to_bytes()) < 3 * 64 * 1024


def test_a_merged_profile_of_every_kind_is_one_to_check_against() -> None:
    tables = [drift_kinds.table(drift_kinds.rows(np.random.default_rng(seed), 1500)) for seed in (1, 2, 3)]
    known = drift_kinds.profile_of(drift_kinds.rows(np.random.default_rng(0), 1500))
    both = Profile.from_bytes(merge([known, *(profile_like(known, one) for one in tables)]).to_bytes())
    week = drift_kinds.rows(np.random.default_rng(4), 1200, 20_070, 7)
    assert check(both, drift_kinds.table(week)).alarms == ()
    for name in ("N/A in 5%", "mean 0.5 sigma in 10% of dimensions", "six hours later"):
        column, change = drift_kinds.DRIFTS[name]
        moved = dict(week)
        change(moved, np.random.default_rng(5))
        assert check(both, drift_kinds.table(moved)).alarms == (column,)


def test_a_frame_without_a_vector_counts_none() -> None:
    empty = pa.table({"v": pa.array([None, None], pa.list_(pa.float32(), 3))})
    known = make_profile(empty, inputs=[Column("v", "vector", True)])
    more = profile_like(known, pa.table({"v": pa.array([[1.0, 2.0, 3.0]], pa.list_(pa.float32(), 3))}))
    assert check(merge([known, more]), empty).alarms == ()


def test_profiles_of_different_frames_are_a_clear_error() -> None:
    one, two = (make_profile(many(seed, 6000), inputs=INPUTS) for seed in (1, 2))
    with pytest.raises(UsageError, match="x was counted on other edges") as failed:
        merge([one, two])
    assert "--like" in str(failed.value.hint)
    with pytest.raises(UsageError, match="on different frames: that of x is another"):
        merge([profile_like(one, many(3, 50)), profile_like(two, many(3, 50))])
    with pytest.raises(UsageError, match="other columns"):
        merge([one, make_profile(many(1, 60), inputs=INPUTS[:1])])


def test_a_profile_of_version_1_does_not_add() -> None:
    older = Profile.from_bytes((Path(__file__).parent / "golden" / "profile-1.bin").read_bytes())
    with pytest.raises(UsageError, match="temp comes from a profile of version 1"):
        merge([older, older])


def test_rows_that_do_not_fit_the_frame_are_refused() -> None:
    known = make_profile(many(1, 60), inputs=INPUTS, time="at")
    with pytest.raises(ProjectError, match="no column b"):
        profile_like(known, many(2, 60).drop_columns(["b"]))
    with pytest.raises(ProjectError, match="no at, by which"):
        profile_like(known, many(2, 60).drop_columns(["at"]))
    with pytest.raises(ProjectError, match="hold string in x"):
        profile_like(known, many(2, 60).set_column(0, "x", pa.array(["a"] * 60)))
