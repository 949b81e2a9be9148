"""Who is let in, who is turned away, and who is told that it took too long."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving_kit import running

from mlops_cli.core.base.records import Column, Signature
from mlops_cli.core.models.predictions import Predictions
from mlops_cli.core.serving.admission import Lane, LaneLimits, Pace
from mlops_cli.core.serving.batching import Batcher
from mlops_cli.core.serving.decode import Decoder
from mlops_cli.core.serving.loader import Served
from mlops_cli.core.serving.metrics import Metrics
from mlops_cli.core.serving.problems import Expired, Unavailable

SIGNATURE = Signature((Column("x", "float"),), "regression")


class Gated:
    """Doubles x, once its gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.rows: list[int] = []
        self.threads: set[str] = set()

    def __call__(self, columns: Any, n: int) -> Predictions:
        self.threads.add(threading.current_thread().name)
        self.rows.append(n)
        self.entered.set()
        assert self.gate.wait(20)
        return Predictions(2 * np.asarray(columns["x"]))


def toy(model: Callable[[Any, int], Predictions], version: int = 1, name: str = "toy", **facts: Any) -> Served:
    known = {"name": name, "version": version, "run": "b" * 32, "key": version, "signature": SIGNATURE}
    return Served(infer=model, decoder=Decoder(SIGNATURE), **known, **facts)


# -- the pace ------------------------------------------------------------------------------------------------


@given(st.floats(1e-4, 0.1), st.floats(0, 1e-3), st.lists(st.integers(1, 500), min_size=30, max_size=60))
def test_a_pace_without_noise_is_learnt(start: float, each: float, sizes: list[int]) -> None:
    pace = Pace()
    for _ in range(10):
        for rows in sizes:
            pace.learn(rows, start + each * rows)
    wanted = start + each * 250 if len(set(sizes)) > 1 else (start + each * sizes[0]) * max(1, 250 / sizes[0])
    assert pace.expect(250) == pytest.approx(wanted, rel=0.02)


def test_before_any_batch_nothing_is_expected_and_nobody_turned_away() -> None:
    lane = Lane("toy", LaneLimits(sla_s=0.001))
    lane.enter(1)
    lane.check(10_000, 0.0, 0.0)
    assert Pace().expect(10) == 0.0


@given(st.lists(st.tuples(st.integers(1, 4096), st.floats(0, 10)), min_size=1, max_size=40), st.integers(1, 10_000))
def test_more_rows_never_take_less_time_and_never_less_than_nothing(seen: list[tuple[int, float]], rows: int) -> None:
    pace = Pace()
    for batch in seen:
        pace.learn(*batch)
    assert 0 <= pace.expect(rows) <= pace.expect(2 * rows) * (1 + 1e-9)


# -- the door ------------------------------------------------------------------------------------------------


def test_who_could_not_be_answered_in_time_is_turned_away_with_the_time_and_when_to_come_back() -> None:
    lane = Lane("toy", LaneLimits(sla_s=0.05))
    for _ in range(50):
        lane.pace.learn(10, 0.040)
    lane.enter(10)
    lane.check(1, 0.0, 0.0)  # one more batch of the size: 44 ms
    lane.enter(15)
    with pytest.raises(Unavailable, match="over the 50 ms promised") as caught:
        lane.check(10, 0.0, 0.0)
    assert caught.value.refused == "sla"
    assert dict(caught.value.headers)[b"retry-after"] == b"1"
    lane.leave(10)
    lane.leave(15)
    lane.check(10, 0.0, 10.0)  # nobody waits: a first request is always let in


@given(st.integers(0, 2**32), st.floats(0.001, 0.02))
def test_the_margin_becomes_what_few_requests_exceed(seed: int, scale: float) -> None:
    lane = Lane("toy", LaneLimits(sla_s=0.2))
    over = np.random.default_rng(seed).exponential(scale, 6000) - scale
    late = 0
    for place, excess in enumerate(over):
        late += place >= 3000 and excess > lane.margin_s
        lane.took(0.02 + float(excess), 0.02)
        assert 0 <= lane.margin_s <= 0.2
    assert late / 3000 <= 0.01


def test_the_margin_keeps_requests_out_that_would_be_late_and_goes_when_it_is_no_longer_needed() -> None:
    lane = Lane("toy", LaneLimits(sla_s=0.05))
    for _ in range(50):
        lane.pace.learn(10, 0.030)
    lane.enter(1)
    assert lane.check(9, 0.0, 0.0) == pytest.approx(0.030, rel=0.02)
    for _ in range(40):
        lane.took(0.060, 0.030)
    with pytest.raises(Unavailable, match="could take"):
        lane.check(9, 0.0, 0.0)
    for _ in range(10_000):
        lane.took(0.030, 0.030)
    lane.check(9, 0.0, 0.0)
    lane.took(1.0, 0.0)  # nothing was expected of it
    assert lane.margin_s == 0.0


def test_what_other_models_have_to_do_first_counts_as_waiting() -> None:
    async def run() -> None:
        batcher, slow, quick = Batcher(Metrics()), Lane("slow"), Lane("quick", LaneLimits(sla_s=0.01))
        batcher.open_lane(slow)
        batcher.open_lane(quick)
        slow.pace.learn(1, 0.5)
        quick.pace.learn(1, 0.001)
        quick.enter(1)
        batcher.check(quick)
        slow.enter(1)
        with pytest.raises(Unavailable, match="over the 10 ms promised"):
            batcher.check(quick)

    asyncio.run(run())


def test_a_full_queue_and_a_broken_promise_are_counted() -> None:
    model = Gated()
    with running(toy(model), lane=LaneLimits(queue=2)) as client, ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(client.post, "/predict", json={"x": 1.0}) for _ in range(2)]
        lane = client.app.shelf.default.lane  # type: ignore[attr-defined]
        while lane.waiting < 2:
            threading.Event().wait(0.001)
        refused = client.post("/invocations", json={"instances": [1.0]})
        model.gate.set()
        assert [answer.result().status_code for answer in waiting] == [200, 200]
        counted = client.get("/metrics").text
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["error_code"] == "TEMPORARILY_UNAVAILABLE"
    assert 'mlo_refused_total{model="toy",reason="queue"} 1.0' in counted


# -- those who waited too long ---------------------------------------------------------------------------------


def test_a_request_that_waited_too_long_is_told_so_and_never_predicted() -> None:
    model = Gated()
    with running(toy(model), lane=LaneLimits(timeout_s=0.05)) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/predict", json={"x": 1.0})
        assert model.entered.wait(20)
        late = client.post("/predict", json={"x": 2.0})
        model.gate.set()
        assert first.result().status_code == 504
        fresh = client.post("/predict", json={"x": 3.0})
        counted = client.get("/metrics").text
    assert late.status_code == 504
    assert "no answer within 50 ms" in late.json()["error"]
    assert fresh.json()["prediction"] == 6.0
    assert sum(model.rows) == 2  # the one that ran, and the fresh one
    assert 'mlo_refused_total{model="toy",reason="expired"} 2.0' in counted


def test_who_left_before_his_turn_is_not_predicted() -> None:
    model = Gated()

    async def run() -> None:
        lane, batcher, served = Lane("toy"), Batcher(Metrics()), toy(model)
        batcher.start()
        rows = served.decoder.records([{"x": 0.0}])
        first = batcher.submit(lane, served, rows)
        await asyncio.to_thread(model.entered.wait)
        gone = batcher.submit(lane, served, rows)
        gone.cancel()
        last = batcher.submit(lane, served, rows)
        model.gate.set()
        await asyncio.gather(first, last)
        await batcher.close()
        assert lane.waiting == lane.rows == lane.threaded == 0

    asyncio.run(run())
    assert sum(model.rows) == 2


# -- where predictions are made ----------------------------------------------------------------------------------


def test_a_quick_model_predicts_all_requests_of_a_turn_at_once_on_the_event_loop() -> None:
    model = Gated()
    model.gate.set()

    async def run() -> None:
        lane, batcher, served = Lane("toy"), Batcher(Metrics()), toy(model, is_quick=True)
        batcher.start()
        asked = [batcher.submit(lane, served, served.decoder.records([{"x": float(x)}])) for x in range(5)]
        answers = await asyncio.gather(*asked)
        assert [answer.labels for answer in answers] == [[0.0], [2.0], [4.0], [6.0], [8.0]]
        many = batcher.submit(lane, served, served.decoder.records([{"x": 1.0}] * 500))
        await many
        await batcher.close()

    asyncio.run(run())
    assert model.rows == [5, 500]
    assert model.threads == {"MainThread", "inference"}  # many rows are for the thread, however quick the model is


def test_a_model_that_became_slow_moves_to_the_thread() -> None:
    model = Gated()
    model.gate.set()

    async def run() -> None:
        lane, batcher, served = Lane("toy"), Batcher(Metrics()), toy(model, is_quick=True)
        batcher.start()
        lane.cpu_s = 0.5
        await batcher.submit(lane, served, served.decoder.records([{"x": 1.0}]))
        await batcher.close()

    asyncio.run(run())
    assert model.threads == {"inference"}


def test_a_model_that_hangs_does_not_keep_the_server_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlops_cli.core.serving import batching

    monkeypatch.setattr(batching, "STUCK_S", 0.0)
    model = Gated()
    with running(toy(model)) as client, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.post, "/predict", json={"x": 1.0})
        assert model.entered.wait(20)
        ready = client.get("/v2/health/ready")
        model.gate.set()
        waiting.result()
        assert client.get("/v2/health/ready").json() == {"live": True, "ready": True}
    assert ready.status_code == 503
    assert "toy has been predicting for" in ready.json()["error"]


def test_an_expired_request_says_so_in_the_form_of_its_protocol() -> None:
    model = Gated()
    paths = {"/invocations": {"instances": [1.0]}, "/v2/models/toy/infer": _tensor()}
    with running(toy(model), lane=LaneLimits(timeout_s=0.05)) as client:
        answers = {path: client.post(path, json=body) for path, body in paths.items()}
        model.gate.set()
    assert {answer.status_code for answer in answers.values()} == {504}
    assert answers["/invocations"].json()["error_code"] == "DEADLINE_EXCEEDED"
    assert set(answers["/v2/models/toy/infer"].json()) == {"error"}


def _tensor() -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [1.0]}]}


def test_expired_is_a_problem_of_its_own() -> None:
    expired = Lane("toy", LaneLimits(timeout_s=2.0)).expired()
    assert isinstance(expired, Expired)
    assert (expired.status, expired.refused) == (504, "expired")
