import asyncio
import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving_kit import ROW, running, served

from mlops_cli.core.base.records import Column, Signature
from mlops_cli.core.models.errors import WrongInputs
from mlops_cli.core.models.predictions import Predictions
from mlops_cli.core.serving.admission import Lane, LaneLimits
from mlops_cli.core.serving.batching import Batcher
from mlops_cli.core.serving.decode import Decoder
from mlops_cli.core.serving.loader import Served
from mlops_cli.core.serving.metrics import Metrics
from mlops_cli.core.serving.problems import Unavailable

SIGNATURE = Signature((Column("x", "float"),), "regression")


class Model:
    """Doubles x; may wait at a gate, and fails on negative x. Remembers the size of each batch."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.batches: list[int] = []

    def __call__(self, columns: Any, n: int) -> Predictions:
        self.entered.set()
        assert self.gate.wait(20)
        x = np.asarray(columns["x"])
        self.batches.append(len(x))
        if (x < 0).any():
            raise RuntimeError("a secret of the model")
        return Predictions(2 * x)


def toy(model: Any, version: int = 1) -> Served:
    facts = {"name": "toy", "version": version, "run": "b" * 32, "key": version, "signature": SIGNATURE}
    return Served(infer=model, decoder=Decoder(SIGNATURE), **facts)


def test_what_is_queued_while_the_model_works_goes_in_one_batch() -> None:
    model = Model()
    one = toy(model)

    async def run() -> list[Any]:
        lane, batcher = Lane("toy"), Batcher(Metrics())
        batcher.start()
        model.gate.clear()
        first = batcher.submit(lane, one, one.decoder.records([{"x": 0.0}]))
        await asyncio.to_thread(model.entered.wait)
        rest = [batcher.submit(lane, one, one.decoder.records([{"x": float(n)}] * n)) for n in range(1, 6)]
        model.gate.set()
        answers = await asyncio.gather(first, *rest)
        await batcher.close()
        return [answer.labels for answer in answers]

    assert asyncio.run(run()) == [[0.0], [2.0], [4.0] * 2, [6.0] * 3, [8.0] * 4, [10.0] * 5]
    assert model.batches == [1, 15]


def test_a_batch_never_mixes_versions_and_never_grows_without_end() -> None:
    model, other = Model(), Model()
    one, two = toy(model), toy(other, 2)

    async def run() -> None:
        lane, batcher = Lane("toy"), Batcher(Metrics(), batch_rows=4)
        batcher.start()
        model.gate.clear()
        futures = [batcher.submit(lane, one, one.decoder.records([{"x": 1.0}]))]
        await asyncio.to_thread(model.entered.wait)
        futures += [batcher.submit(lane, version, one.decoder.records([{"x": 1.0}])) for version in (one, two) * 4]
        model.gate.set()
        await asyncio.gather(*futures)
        await batcher.close()

    asyncio.run(run())
    assert model.batches == [1, 4]
    assert other.batches == [4]


def test_a_request_that_fails_does_not_fail_its_neighbours() -> None:
    model = Model()
    one = toy(model)

    async def run() -> list[Any]:
        lane, batcher = Lane("toy"), Batcher(Metrics())
        batcher.start()
        model.gate.clear()
        futures = [batcher.submit(lane, one, one.decoder.records([{"x": 0.0}]))]
        await asyncio.to_thread(model.entered.wait)
        futures += [batcher.submit(lane, one, one.decoder.records([{"x": x}])) for x in (1.0, -1.0, 2.0)]
        model.gate.set()
        answers = await asyncio.gather(*futures, return_exceptions=True)
        await batcher.close()
        return answers

    _, first, failed, last = asyncio.run(run())
    assert (first.labels, last.labels) == ([2.0], [4.0])
    assert isinstance(failed, RuntimeError)


def test_too_many_waiting_requests_are_turned_away_at_once() -> None:
    model = Model()
    one = toy(model)

    async def run() -> None:
        lane, batcher = Lane("toy", LaneLimits(queue=3)), Batcher(Metrics())
        batcher.start()
        model.gate.clear()
        rows = one.decoder.records([{"x": 0.0}])
        futures = [batcher.submit(lane, one, rows)]
        await asyncio.to_thread(model.entered.wait)
        futures += [batcher.submit(lane, one, rows), batcher.submit(lane, one, rows)]
        with pytest.raises(Unavailable) as caught:
            batcher.submit(lane, one, rows)
        assert (caught.value.status, caught.value.headers) == (503, ((b"retry-after", b"1"),))
        model.gate.set()
        await asyncio.gather(*futures)
        await batcher.close()

    asyncio.run(run())


def test_a_model_that_raises_is_a_500_without_its_secrets_and_with_an_id_in_the_log(caplog: Any) -> None:
    with running(toy(Model())) as client, caplog.at_level(logging.ERROR):
        answer = client.post("/predict", json={"x": -1.0})
        assert client.post("/predict", json={"x": 1.0}).json()["prediction"] == 2.0
    assert answer.status_code == 500
    document = answer.json()
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert document["request_id"] in document["error"]
    assert document["request_id"] in caplog.text
    assert "a secret of the model" in caplog.text


def test_a_bug_in_the_server_is_a_500_with_an_id_in_the_log(caplog: Any) -> None:
    def broken(columns: Any, n: int) -> Predictions:
        return Predictions(np.array([object()], dtype=object))

    with running(toy(broken)) as client, caplog.at_level(logging.ERROR):
        answer = client.post("/invocations", json={"instances": [1.0]})
        assert client.get("/ping").status_code == 200
    assert answer.status_code == 500
    assert answer.json()["error_code"] == "INTERNAL_ERROR"
    assert answer.headers["x-request-id"] in caplog.text
    assert "Traceback" not in answer.text


def test_rows_the_model_cannot_take_are_the_client_s_to_mend() -> None:
    def picky(columns: Any, n: int) -> Predictions:
        raise WrongInputs("the model cannot take these rows: unknown category")

    with running(toy(picky)) as client:
        answer = client.post("/predict", json={"x": 1.0})
    assert answer.status_code == 400
    assert "unknown category" in answer.json()["error"]


def test_a_model_that_answers_too_few_rows_is_not_believed() -> None:
    with pytest.raises(ValueError, match="answered 1 predictions to 2 rows"):
        toy(lambda columns, n: Predictions(np.zeros(1))).answer([Decoder(SIGNATURE).records([{"x": 1.0}] * 2)])


def test_a_model_fitted_with_all_cores_is_served_with_one(tmp_path: Path) -> None:
    import pandas as pd
    from sklearn.neighbors import KNeighborsRegressor

    from mlops_cli.core.models.load import load_model
    from mlops_cli.core.models.save import save_model
    from mlops_cli.core.serving.loader import make_served

    frame = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0]})
    save_model(KNeighborsRegressor(2, n_jobs=-1).fit(frame, frame["x"]), tmp_path / "m", example=frame)
    loaded = load_model(tmp_path / "m")
    make_served(loaded, name="x", version=1, run="", key=1)
    assert loaded.estimator.n_jobs == 1


def test_the_answers_are_those_of_the_model_itself(folders: tuple[Path, Path]) -> None:
    import pandas as pd

    from mlops_cli.core.models.load import load_model

    rows = [{**ROW, "temp": float(temp), "pressure": None if temp % 3 else 1000.0} for temp in range(20, 60)]
    direct = load_model(folders[0]).predict(pd.DataFrame(rows))
    with running(served(folders[0])) as client:
        together = client.post("/predict", json={"rows": rows}).json()
        alone = [client.post("/predict", json=row).json()["probability"] for row in rows]
    assert direct.scores is not None
    assert together["predictions"] == direct.labels.tolist()
    assert together["probabilities"] == alone == direct.scores[:, 1].tolist()
