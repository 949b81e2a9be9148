"""What every store of runs promises. A store for another database adds one fixture parameter."""

from __future__ import annotations

import json
import math
import os
import socket
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.core.base.database import Database
from mlops_cli.core.base.records import Column, Entry, Logged, LoggedModel, Metric, Signature, StageRecord
from mlops_cli.core.errors import Exit, ProjectError, UsageError
from mlops_cli.core.tracking.errors import RunDamaged, RunNotFound, RunOver
from mlops_cli.core.tracking.records import Run
from mlops_cli.core.tracking.store import RunStore

OpenStore = Callable[[str], RunStore]
START, LATER = "2013-05-01T12:00:00.000000Z", "2013-05-01T12:05:00.000000Z"
ID = "0123456789abcdef0123456789abcdef"


@pytest.fixture(params=["sqlite"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
    """Opens a connection of its own to the store of a name."""
    assert request.param == "sqlite"
    return lambda name: RunStore(Database(tmp_path / f"{name}.db"))


@pytest.fixture
def store(open_store: OpenStore) -> RunStore:
    return open_store("one")


def run(number: int = 0, **fields: Any) -> Run:
    digits = ID if number == 0 else f"{number:032x}"
    return Run(**{"id": digits, "name": "brave-otter", "start": START, **fields})


def ended(before: Run, **fields: Any) -> Run:
    return msgspec.structs.replace(before, **{"status": "finished", "end": LATER, **fields})


FULL = {
    "command": "mlo run",
    "actor": "Ada",
    "params": {"lr": 0.1, "layers": [1, 2], "nested": {"a": None}, "name": "x", "on": True, "much": math.inf},
    "tags": {"kind": "test"},
    "artifacts": {"roc.svg": Entry("xxh128:" + "0" * 32, "file", 7)},
    "model": LoggedModel("model", "sklearn-skops", {"a": "b"}, Signature((Column("x", "float"),), "regression")),
    "inputs": {"data/raw": "xxh128:" + "1" * 32},
    "outputs": {"model": Entry("xxh128:" + "2" * 32, "dir", 70, 3)},
    "stages": (StageRecord("train", "k" * 64, "ran", ID, {"data/raw": "xxh128:" + "1" * 32}, {"lr": 0.1}),),
    "overrides": {"lr": 0.1},
    "commit": "c" * 40,
    "branch": "main",
    "dirty": True,
    "diff": "xxh128:" + "3" * 32,
    "environment": {"python": "3.11", "packages": {"numpy": "2.0"}},
}


def test_a_finished_run_comes_back_as_it_went_in(store: RunStore) -> None:
    begun = store.start(run(**FULL))
    done = store.finish(ended(begun))
    assert done == ended(begun)
    assert store.get(ID) == done


def test_start_fills_in_where_the_run_lives(store: RunStore) -> None:
    begun = store.start(run(pid=os.getpid()))
    assert begun.host == socket.gethostname()
    assert store.get(ID) == begun


def test_an_id_is_given_once(store: RunStore) -> None:
    store.start(run())
    with pytest.raises(UsageError, match="already"):
        store.start(run())


def test_metrics_come_back_in_order_and_the_latest_leads(store: RunStore) -> None:
    store.start(run())
    points = [Metric("loss", 0.2, 2, 30), Metric("loss", 0.9, 0, 10), Metric("loss", 0.5, 1, 20), Metric("auc", 0.7)]
    store.log(ID, Logged(metrics=tuple(points)))
    assert store.get(ID).metrics == {"loss": 0.2, "auc": 0.7}
    assert [point.value for point in store.metric_history(ID, "loss")] == [0.9, 0.5, 0.2]
    assert set(store.history(ID)) == {"loss", "auc"}


@given(
    points=st.lists(
        st.tuples(
            st.integers(-3, 3), st.integers(0, 3), st.sampled_from([0.0, -1.0, 2.5, math.inf, -math.inf, math.nan])
        ),
        min_size=1,
        max_size=12,
    ),
    seed=st.randoms(use_true_random=False),
    cut=st.integers(0, 12),
)
@settings(max_examples=40, deadline=None)
def test_the_latest_value_is_the_largest_by_step_time_and_value_in_any_order_of_arrival(
    tmp_path_factory: pytest.TempPathFactory, points: list[tuple[int, int, float]], seed: Any, cut: int
) -> None:
    def key(point: tuple[int, int, float]) -> tuple[int, int, bool, float]:
        step, ts, value = point
        return step, ts, math.isnan(value), 0.0 if math.isnan(value) else value

    store = RunStore(Database(tmp_path_factory.mktemp("runs") / "mlo.db"))
    store.start(run())
    arriving = [*points, *points[:3]]
    seed.shuffle(arriving)
    for part in (arriving[:cut], arriving[cut:]):
        store.log(ID, Logged(metrics=tuple(Metric("m", value, step, ts) for step, ts, value in part)))
    expected = max(points, key=key)[2]
    latest = store.get(ID).metrics["m"]
    assert latest == expected or (math.isnan(latest) and math.isnan(expected))
    history = [(point.step, point.time_ms, point.value) for point in store.metric_history(ID, "m")]
    assert [key(point) for point in history] == sorted({key(point) for point in points})


def test_the_same_point_twice_is_one_point(store: RunStore) -> None:
    store.start(run())
    for _ in range(3):
        store.log(ID, Logged(metrics=(Metric("m", math.nan, 1, 5), Metric("m", 0.5, 1, 5))))
    assert len(store.metric_history(ID, "m")) == 2


def test_what_is_logged_later_under_a_name_holds(store: RunStore) -> None:
    entry = Entry("xxh128:" + "0" * 32, "file", 7)
    store.start(run(params={"seed": 7}))
    store.log(ID, Logged(params={"lr": 0.1}, tags={"a": "1"}, artifacts={"x": entry}, model=FULL["model"]))  # type: ignore[arg-type]
    store.log(ID, Logged(tags={"a": "2"}))
    found = store.get(ID)
    assert found.params == {"seed": 7, "lr": 0.1}
    assert found.tags == {"a": "2"}
    assert found.artifacts == {"x": entry}
    assert found.model == FULL["model"]


def test_finishing_lays_its_facts_over_what_was_logged(store: RunStore) -> None:
    begun = store.start(run(params={"seed": 7}))
    store.log(ID, Logged(params={"lr": 0.1}, model=FULL["model"], metrics=(Metric("m", 1.0),)))  # type: ignore[arg-type]
    done = store.finish(ended(begun, inputs={"a": "xxh128:" + "1" * 32}))
    assert done.params == {"seed": 7, "lr": 0.1}
    assert done.metrics == {"m": 1.0}
    assert done.model == FULL["model"]
    assert done.inputs == {"a": "xxh128:" + "1" * 32}


def test_a_run_that_ended_never_changes(store: RunStore) -> None:
    begun = store.start(run())
    store.finish(ended(begun))
    for change in (
        lambda: store.log(ID, Logged(tags={"late": "1"})),
        lambda: store.finish(ended(begun, status="failed")),
    ):
        with pytest.raises(RunOver, match="never changes"):
            change()
    assert store.get(ID).tags == {}


def test_a_run_is_not_finished_as_running(store: RunStore) -> None:
    with pytest.raises(UsageError, match="finished as running"):
        store.finish(store.start(run()))


def test_logging_to_a_run_that_is_not_there_is_not_found(store: RunStore) -> None:
    with pytest.raises(RunNotFound) as caught:
        store.log(ID, Logged())
    assert caught.value.exit_code == Exit.NOT_FOUND


def test_a_run_is_found_by_four_digits_or_more(store: RunStore) -> None:
    store.start(run())
    assert store.get("0123").id == ID
    assert store.get("0123456789ABCDEF").id == ID
    assert store.get(ID).id == ID
    with pytest.raises(RunNotFound, match="fedc"):
        store.get("fedc")


@pytest.mark.parametrize("text", ["", "012", "xyzw", "0123%", "../..", ID + "0"])
def test_what_is_no_id_is_wrong_usage(store: RunStore, text: str) -> None:
    store.start(run())
    with pytest.raises(UsageError):
        store.get(text)


def test_an_ambiguous_beginning_names_the_runs(store: RunStore) -> None:
    store.start(run(id="aaaa" + "0" * 28))
    store.start(run(id="aaaa" + "f" * 28))
    with pytest.raises(UsageError, match="aaaaf"):
        store.get("aaaa")
    assert store.get("aaaa0").id == "aaaa" + "0" * 28


def test_runs_are_listed_newest_first(store: RunStore) -> None:
    for number in range(1, 6):
        store.start(run(number, start=f"2013-05-0{number}T12:00:00.000000Z"))
    assert [found.start[8:10] for found in store.list(limit=3)] == ["05", "04", "03"]
    assert len(store.list()) == 5
    assert store.get("latest").start[8:10] == "05"


def test_latest_looks_for_a_finished_run_unless_told_otherwise(store: RunStore) -> None:
    first = store.start(run(1))
    store.start(run(2, start=LATER))
    with pytest.raises(RunNotFound):
        store.latest()
    store.finish(ended(first))
    assert store.latest().id == first.id
    assert store.latest(status=None).start == LATER
    assert [found.status for found in store.list(status="running")] == ["running"]


def test_an_empty_store_has_no_latest_run(store: RunStore) -> None:
    assert store.list() == []
    with pytest.raises(RunNotFound, match="no run yet"):
        store.get("latest")


def test_an_unknown_metric_names_those_there_are(store: RunStore) -> None:
    store.start(run())
    store.log(ID, Logged(metrics=(Metric("auc", 0.7),)))
    with pytest.raises(RunNotFound, match="no metric loss") as caught:
        store.metric_history(ID, "loss")
    assert "auc" in (caught.value.hint or "")


def test_many_runs_are_read_at_once(store: RunStore) -> None:
    for number in range(1, 41):
        store.start(run(number, params={"n": number}))
        store.log(f"{number:032x}", Logged(metrics=(Metric("m", float(number)),)))
    assert {found.params["n"]: found.metrics["m"] for found in store.list()} == {n: float(n) for n in range(1, 41)}


# -- travelling ----------------------------------------------------------------------------------------------


def finished_full(store: RunStore) -> Run:
    begun = store.start(run(**FULL, pid=os.getpid()))
    points = (
        Metric("m", math.nan, 0, 1),
        Metric("m", -math.inf, 1, 2),
        Metric("m", 0.5, 2, 3),
        Metric("n", 1e300, 0, 0),
    )
    store.log(ID, Logged(metrics=points))
    return store.finish(ended(begun))


def test_a_manifest_makes_the_same_run_elsewhere(store: RunStore, open_store: OpenStore) -> None:
    done = finished_full(store)
    other = open_store("two")
    got = other.add_manifest(store.manifest(ID))
    assert got == msgspec.structs.replace(done, pid=0, born="")
    assert other.manifest(ID) == store.manifest(ID)
    assert str(other.history(ID)) == str(store.history(ID))


def test_a_manifest_is_added_once(store: RunStore, open_store: OpenStore) -> None:
    finished_full(store)
    other = open_store("two")
    for _ in range(2):
        other.add_manifest(store.manifest(ID))
    assert len(other.list()) == 1
    assert store.add_manifest(other.manifest(ID)).id == ID


def test_a_manifest_that_says_something_else_of_a_run_is_refused(store: RunStore, open_store: OpenStore) -> None:
    finished_full(store)
    other = open_store("two")
    other.finish(ended(other.start(run())))
    with pytest.raises(RunDamaged, match="something else"):
        other.add_manifest(store.manifest(ID))


def test_a_manifest_is_canonical_json_that_says_its_version(store: RunStore) -> None:
    finished_full(store)
    data = store.manifest(ID)
    document = json.loads(data)
    assert document["kind"] == "run"
    assert document["version"] == 1
    assert document["history"]["m"] == [[0, 1, "NaN"], [1, 2, "-Infinity"], [2, 3, 0.5]]
    assert data == json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode().replace(
        b"1e+300", b"1e300"
    )


def test_a_running_run_has_no_manifest(store: RunStore) -> None:
    store.start(run())
    with pytest.raises(UsageError, match="still running"):
        store.manifest(ID)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b'{"kind":"run","version":1,"run":{},"history":{}}'])
def test_bytes_that_are_no_manifest_are_damaged(store: RunStore, data: bytes) -> None:
    with pytest.raises(RunDamaged):
        store.add_manifest(data)


def test_a_manifest_cut_anywhere_is_damaged(store: RunStore, open_store: OpenStore) -> None:
    finished_full(store)
    data = store.manifest(ID)
    other = open_store("two")
    for length in range(0, len(data), 53):
        with pytest.raises(RunDamaged):
            other.add_manifest(data[:length])
    assert other.list() == []


def test_a_manifest_of_a_newer_mlo_asks_for_an_upgrade(store: RunStore, open_store: OpenStore) -> None:
    finished_full(store)
    newer = store.manifest(ID).replace(b'"version":1', b'"version":2')
    with pytest.raises(ProjectError, match="version 2"):
        open_store("two").add_manifest(newer)


params = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "$float", "b"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(value=params)
@settings(max_examples=40, deadline=None)
def test_any_parameter_survives_the_store_and_the_way(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    folder = tmp_path_factory.mktemp("params")
    store, other = RunStore(Database(folder / "a.db")), RunStore(Database(folder / "b.db"))
    store.finish(ended(store.start(run(params={"p": value}))))
    other.add_manifest(store.manifest(ID))
    assert repr(sorted_keys(store.get(ID).params["p"])) == repr(sorted_keys(value))
    assert repr(sorted_keys(other.get(ID).params["p"])) == repr(sorted_keys(value))


def sorted_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: sorted_keys(value[key]) for key in sorted(value)}
    return [sorted_keys(item) for item in value] if isinstance(value, list) else value


# -- several at once -----------------------------------------------------------------------------------------


def _write_many(path: str, number: int) -> None:
    store = RunStore(Database(Path(path)))
    own = store.start(run(number + 1))
    for step in range(15):
        store.log(own.id, Logged(metrics=(Metric("m", float(step), step, 1),), tags={"step": str(step)}))
        store.log(
            "f" * 32, Logged(metrics=(Metric("shared", float(step), step, 1), Metric(f"own{number}", 1.0, step, 1)))
        )
    store.finish(ended(own))


def test_eight_processes_write_at_once_and_nobody_meets_a_lock(tmp_path: Path) -> None:
    path = tmp_path / "one.db"
    store = RunStore(Database(path))
    store.start(run(id="f" * 32))
    spawn = get_context("spawn")
    workers = [spawn.Process(target=_write_many, args=(str(path), number)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 8
    assert len(store.list(status="finished")) == 8
    assert len(store.metric_history("f" * 32, "shared")) == 15
    assert all(len(store.metric_history("f" * 32, f"own{number}")) == 15 for number in range(8))
