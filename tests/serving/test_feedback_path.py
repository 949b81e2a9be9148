"""POST /feedback: what it takes, what it refuses, and that labels find their predictions."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from serving_kit import ROW, project, running, save, served, serving

from mlops_cli.core.base.clock import SystemClock
from mlops_cli.core.predictions.label_writer import LabelWriter
from mlops_cli.core.predictions.labels import read_labels
from mlops_cli.core.predictions.reader import read_log
from mlops_cli.core.serving.limits import Limits


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "m"
    save(path)
    return path


@contextmanager
def labelled(folder: Path, log: Path, **options: Any) -> Iterator[httpx.Client]:
    writer = LabelWriter(log, SystemClock(), first_s=0, interval_s=0)
    with running(served(folder), labels=writer, **options) as client:
        yield client


def known(log: Path) -> dict[tuple[str, int], str]:
    return {place: label for place, (_, label) in read_labels(log).labels.items()}


def test_a_label_is_durable_when_it_is_answered_and_counted(folder: Path, tmp_path: Path) -> None:
    with labelled(folder, tmp_path) as client:
        answer = client.post("/feedback", json={"request_id": "r1", "label": 1})
        assert (answer.status_code, answer.json()) == (200, {"recorded": 1, "model": "flights"})
        assert known(tmp_path) == {("r1", 0): "1"}
        many = {"labels": [{"request_id": "r2", "label": "0"}, {"request_id": "r2", "row": 3, "label": 1.0}]}
        assert client.post("/models/flights/feedback", json=many).json()["recorded"] == 2
        assert known(tmp_path) == {("r1", 0): "1", ("r2", 0): "0", ("r2", 3): "1"}
        assert 'mlo_feedback_total{model="flights"} 3' in client.get("/metrics").text


def test_the_same_label_again_adds_nothing_and_a_later_one_counts(folder: Path, tmp_path: Path) -> None:
    with labelled(folder, tmp_path) as client:
        for _ in range(3):
            assert client.post("/feedback", json={"request_id": "r1", "label": 1}).status_code == 200
        assert len(list((tmp_path / "labels").rglob("*.arrow"))) == 1
        client.post("/feedback", json={"request_id": "r1", "label": 0})
    assert known(tmp_path) == {("r1", 0): "0"}


def test_labels_of_many_clients_are_all_kept(folder: Path, tmp_path: Path) -> None:
    with labelled(folder, tmp_path) as client, ThreadPoolExecutor(8) as pool:
        sent = pool.map(
            lambda number: client.post("/feedback", json={"request_id": f"r{number}", "label": number % 2}), range(80)
        )
        assert {answer.status_code for answer in sent} == {200}
    assert known(tmp_path) == {(f"r{number}", 0): str(number % 2) for number in range(80)}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"request_id": "r1", "label": 2}, "2 is no class of flights; its classes are 0, 1"),
        ({"request_id": "r1", "label": None}, "None is no class of flights"),
        ({"request_id": "r1", "label": [1]}, "is no class of flights"),
        ({"request_id": "r1"}, 'send {"request_id": ..., "label": ...}'),
        ({"label": 1}, 'send {"request_id": ..., "label": ...}'),
        ({}, 'send {"request_id": ..., "label": ...}'),
        ({"labels": []}, "labels is an empty list"),
        ({"labels": [{"request_id": "r1", "label": 1}], "label": 1}, "send one of them"),
        ({"request_id": "", "label": 1}, "'' is no request id"),
        ({"request_id": "a b", "label": 1}, "'a b' is no request id"),
        ({"request_id": "r1", "label": 1, "row": -1}, "$.row"),
        ({"request_id": "r1", "label": 1, "row": 2**31}, "$.row"),
        ({"request_id": "r1", "label": 1, "rwo": 1}, "rwo"),
        ({"request_id": 7, "label": 1}, "$.request_id"),
        (
            {"labels": [{"request_id": "r1", "label": 1}, {"request_id": "r1", "label": 0}]},
            "row 0 of request r1 has two labels",
        ),
        ([], "the body is not what this path takes"),
    ],
)
def test_what_cannot_be_a_label_is_refused_and_nothing_is_kept(
    folder: Path, tmp_path: Path, body: Any, said: str
) -> None:
    with labelled(folder, tmp_path) as client:
        answer = client.post("/feedback", json=body)
        assert answer.status_code == 400
        assert said in answer.text.replace('\\"', '"')
    assert known(tmp_path) == {}


def test_other_refusals(folder: Path, tmp_path: Path) -> None:
    with labelled(folder, tmp_path, limits=Limits(rows=2, last_s=0.0), token="secret") as client:
        label = {"request_id": "r1", "label": 1}
        assert client.post("/feedback", json=label).status_code == 401
        client.headers["Authorization"] = "Bearer secret"
        assert client.post("/feedback", json={"labels": [label] * 3}).status_code == 413
        assert client.post("/feedback", content="r1,1", headers={"Content-Type": "text/csv"}).status_code == 415
        assert client.get("/feedback").status_code == 405
        assert client.post("/models/nope/feedback", json=label).status_code == 404
        assert client.post("/models/flights/versions/1/feedback", json=label).status_code == 404
        assert client.post("/feedback", content=b"{").status_code == 400
        assert client.post("/feedback", json=label).status_code == 200
    assert known(tmp_path) == {("r1", 0): "1"}


def test_the_examples_of_the_documentation_are_answered(folder: Path, tmp_path: Path) -> None:
    with labelled(folder, tmp_path) as client:
        operation = client.get("/openapi.json").json()["paths"]["/feedback"]["post"]
        examples = operation["requestBody"]["content"]["application/json"]["examples"]
        assert [client.post("/feedback", json=one["value"]).status_code for one in examples.values()] == [200, 200]
    with running(served(folder)) as client:
        assert "/feedback" not in client.get("/openapi.json").json()["paths"]


def test_a_server_without_a_log_takes_no_labels(folder: Path) -> None:
    with running(served(folder)) as client:
        answer = client.post("/feedback", json={"request_id": "r1", "label": 1})
        assert answer.status_code == 404
        assert "keeps no prediction log" in answer.text


def test_labels_that_cannot_be_written_are_answered_503_and_may_be_sent_again(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("a file stands where the folder should be")
    with labelled(folder, tmp_path) as client:
        label = {"request_id": "r1", "label": 1}
        refused = client.post("/feedback", json=label)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert str(tmp_path) not in refused.text
        assert 'mlo_feedback_total{model="flights"} 0.0' in client.get("/metrics").text
        (tmp_path / "labels").unlink()
        assert client.post("/feedback", json=label).status_code == 200
    assert known(tmp_path) == {("r1", 0): "1"}


def test_a_class_that_only_a_version_out_of_memory_knew_is_a_label(folder: Path, tmp_path: Path) -> None:
    workspace = project(tmp_path / "project", (folder, folder))
    first = workspace.registry.version("flights", 1)
    signature = replace(first.signature, classes=(0, 1, 2))
    workspace.registry.add_version(replace(first, version=0, run="c" * 32, signature=signature))
    with serving(workspace.root, "flights@1") as process:
        label = {"request_id": "late", "label": 2}
        assert process.client.post("/feedback", json=label).status_code == 200
        refused = process.client.post("/feedback", json={**label, "label": 3})
        assert (refused.status_code, refused.json()["error"]) == (
            400,
            "3 is no class of flights; its classes are 0, 1, 2",
        )
    assert known(workspace.root / ".mlo" / "predictions") == {("late", 0): "2"}


def test_predictions_and_labels_of_several_processes_are_joined_by_id(folder: Path, tmp_path: Path) -> None:
    workspace = project(tmp_path / "project", (folder, folder))
    with serving(workspace.root, "flights@production", "--workers", "2") as process:
        ids = []
        for _ in range(6):
            with httpx.Client(base_url=process.ready["url"], timeout=30, trust_env=False) as client:
                predicted = client.post("/predict", json=ROW)
                ids.append(predicted.headers["x-request-id"])
                assert client.post("/feedback", json={"request_id": ids[-1], "label": 1}).status_code == 200
        assert process.end()[0] == 0
    log = workspace.root / ".mlo" / "predictions"
    now = datetime.now(UTC)
    tables = read_log(log, since=now - timedelta(days=1), until=now + timedelta(days=1))
    logged = [request for table in tables for request in table["_request"].to_pylist()]
    assert sorted(logged) == sorted(ids)
    assert known(log) == {(request, 0): "1" for request in ids}
