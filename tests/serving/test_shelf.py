"""Several models in one server: which one answers, when it is loaded, and what stays when it moves on."""

from __future__ import annotations

import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from certificate_kit import make
from serving_kit import ROW, Process, eventually, project, promote, running, served, serving

from mlops_cli.core.errors import NotFound
from mlops_cli.core.serving.loader import Served
from mlops_cli.core.serving.shelf import Slot, Source

Folders = tuple[Path, Path]


class Registry:
    """Versions 1, 2, ... of the two models in turn; `key` is what every reference means. Counts what it loads."""

    def __init__(self, folders: Folders, name: str = "flights") -> None:
        self.folders = folders
        self.name = name
        self.key = 1
        self.loads: list[int] = []
        self.failed: list[tuple[int, str]] = []
        self.broken = False
        self.gate = threading.Event()
        self.gate.set()

    def load(self, key: int) -> Served:
        self.loads.append(key)
        assert self.gate.wait(20)
        if self.broken:
            raise NotFound(f"{self.name}@{key} is nowhere")
        return served(self.folders[key % 2 == 0], version=key, name=self.name)

    @property
    def source(self) -> Source:
        return Source(lambda: self.key, self.load, failed=lambda key, reason: self.failed.append((key, reason)))

    def find(self, name: str) -> Slot:
        if name != self.name:
            raise NotFound(f"there is no model {name}")
        return self.slot()

    def classes(self, name: str) -> tuple[int, ...]:
        return (0, 1)

    def slot(self, **facts: Any) -> Slot:
        return Slot(f"{self.name}@production", self.name, source=self.source, follows=True, **facts)


def test_each_model_answers_under_its_name_and_version_and_the_first_where_none_is_named(folders: Folders) -> None:
    slots = [
        Slot("flights@1", "flights", served=served(folders[0], version=1)),
        Slot("delays@7", "delays", served=served(folders[1], version=7, name="delays")),
        Slot("flights@2", "flights", served=served(folders[1], version=2)),
    ]
    paths = {
        "/predict": ("flights", 1),
        "/models/delays/predict": ("delays", 7),
        "/models/flights/predict": ("flights", 1),
        "/models/flights/versions/2/predict": ("flights", 2),
        "/models/delays/versions/7/predict": ("delays", 7),
    }
    with running(slots) as client:
        for path, wanted in paths.items():
            answer = client.post(path, json=ROW).json()
            assert (answer["model"], answer["version"]) == wanted
        body = {"dataframe_records": [ROW]}
        both = [client.post(f"/models/{name}/invocations", json=body).json() for name in ("flights", "delays")]
        assert [answer["predictions"] for answer in both] == [[1], [0]]
        assert client.get("/v2/models/flights").json()["versions"] == ["1", "2"]
        assert client.get("/v2/models/delays/versions/7/ready").json() == {"name": "delays", "ready": True}
        for path in ("/v2/models/trains", "/v2/models/delays/versions/8"):
            assert client.get(path).status_code == 404
        assert "this server holds 7" in client.get("/v2/models/delays/versions/8").json()["error"]
        assert [model["ref"] for model in client.get("/health").json()["models"]] == [
            "flights@1",
            "delays@7",
            "flights@2",
        ]
        documented = client.get("/openapi.json").json()
        assert {"/predict", "/models/delays/predict", "/v2/models/delays/infer"} <= documented["paths"].keys()
        counted = client.get("/metrics").text
    assert 'mlo_rows_total{model="delays"} 3.0' in counted
    assert 'mlo_rows_total{model="flights"} 4.0' in counted


def test_a_lazy_model_is_loaded_once_by_whoever_asks_first_and_the_server_is_ready_before(folders: Folders) -> None:
    registry = Registry(folders)
    registry.gate.clear()
    with running([registry.slot(is_eager=False)]) as client, ThreadPoolExecutor(4) as pool:
        assert client.get("/v2/health/ready").status_code == 200
        assert client.get("/v2/models/flights/ready").json() == {"name": "flights", "ready": False}
        assert registry.loads == []
        asked = [pool.submit(client.post, "/predict", json=ROW) for _ in range(4)]
        eventually(lambda: registry.loads)
        index = client.post("/v2/repository/index").json()
        registry.gate.set()
        assert {answer.result().json()["version"] for answer in asked} == {1}
        assert client.get("/v2/models/flights/ready").json()["ready"] is True
    assert registry.loads == [1]
    assert index == [{"name": "flights", "version": "", "state": "LOADING", "reason": ""}]


def test_a_lazy_model_that_cannot_be_loaded_is_said_and_tried_again(folders: Folders) -> None:
    registry = Registry(folders)
    registry.broken = True
    with running([registry.slot(is_eager=False)]) as client:
        refused = client.post("/predict", json=ROW)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert "flights@1 is nowhere" in refused.json()["error"]
        registry.broken = False
        assert client.post("/predict", json=ROW).json()["version"] == 1


def test_an_unloaded_model_stays_away_until_it_is_loaded_again(folders: Folders) -> None:
    registry = Registry(folders)
    slot = registry.slot(served=served(folders[0], version=1))
    with running([slot], library=registry) as client:
        assert client.post("/v2/repository/models/flights/unload").status_code == 200
        refused = client.post("/predict", json=ROW)
        assert (refused.status_code, "was unloaded" in refused.json()["error"]) == (503, True)
        assert client.post("/v2/repository/index", json={"ready": True}).json() == []
        registry.key = 2
        assert client.post("/v2/repository/models/flights/load").status_code == 200
        assert client.post("/predict", json=ROW).json()["version"] == 2
        index = client.post("/v2/repository/index").json()
    assert index == [{"name": "flights", "version": "2", "state": "READY", "reason": ""}]


def test_a_model_of_the_registry_can_be_loaded_while_the_server_runs(folders: Folders) -> None:
    registry = Registry(folders, "delays")
    with running([Slot("flights@1", "flights", served=served(folders[0]))], library=registry, poll_s=0.01) as client:
        assert client.post("/models/delays/predict", json=ROW).status_code == 404
        assert client.post("/v2/repository/models/trains/load").status_code == 404
        assert client.post("/v2/repository/models/delays/load").status_code == 200
        assert client.post("/models/delays/predict", json=ROW).json()["version"] == 1
        registry.key = 2  # and is followed like those that were there at the start
        eventually(lambda: client.post("/models/delays/predict", json=ROW).json()["version"] == 2)


def test_a_model_that_cannot_be_loaded_leaves_the_one_that_answers(folders: Folders) -> None:
    registry = Registry(folders)
    with running([registry.slot(served=served(folders[0], version=1))], library=registry, poll_s=60) as client:
        registry.key, registry.broken = 2, True
        refused = client.post("/v2/repository/models/flights/load")
        assert (refused.status_code, "flights@2 is nowhere" in refused.json()["error"]) == (400, True)
        assert client.post("/predict", json=ROW).json()["version"] == 1


def test_the_version_before_stays_warm_answers_by_its_number_and_comes_back_without_loading(folders: Folders) -> None:
    registry = Registry(folders)
    slot = registry.slot(served=served(folders[0], version=1))
    with running([slot], poll_s=0.01) as client:
        registry.key = 2
        eventually(lambda: client.post("/predict", json=ROW).json()["version"] == 2)
        assert client.post("/models/flights/versions/1/predict", json=ROW).json()["version"] == 1
        assert client.get("/v2/models/flights").json()["versions"] == ["2", "1"]
        registry.key, registry.broken = 1, True  # its files are gone meanwhile
        eventually(lambda: client.post("/predict", json=ROW).json()["version"] == 1)
    assert registry.loads == [2]


def test_a_version_that_cannot_be_loaded_is_told_to_the_registry_once(folders: Folders) -> None:
    registry = Registry(folders)
    with running([registry.slot(served=served(folders[0], version=1))], poll_s=0.01) as client:
        registry.key, registry.broken = 2, True
        eventually(lambda: registry.failed)
        assert client.post("/predict", json=ROW).json()["version"] == 1
    assert registry.failed == [(2, "flights@2 is nowhere")]


# -- as a user starts it -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_corrupt_successor_leaves_the_version_that_answers_and_an_event(tmp_path: Path, folders: Folders) -> None:
    workspace = project(tmp_path / "p", folders)
    with serving(tmp_path / "p", "flights@production", "--no-log") as server:
        for path in (workspace.paths.cache / "objects").rglob("*"):
            if path.is_file():
                path.chmod(0o644)
                path.write_bytes(b"not what was registered")
        promote(workspace, 2)

        def failed() -> list[Any]:
            workspace.registry.refresh()
            return [event for event in workspace.registry.history() if event.kind == "deploy-failed"]

        eventually(failed)
        assert server.client.post("/predict", json=ROW).json()["version"] == 1
        assert server.client.get("/health").json()["reload"]["error"] is not None
        assert server.end()[0] == 0
    (event,) = failed()
    assert event.subject == "flights@2"
    assert event.data["serving"] == "flights@1"


@pytest.mark.slow
def test_a_server_with_a_certificate_answers_https_alone(tmp_path: Path, folders: Folders) -> None:
    files = make(tmp_path, "server")
    project(tmp_path / "p", folders)
    tls = ("--tls-cert", str(files.certificate), "--tls-key", str(files.key))
    with serving(tmp_path / "p", "flights@1", "flights@2", "--no-log", *tls) as server:
        assert server.ready["models"] == ["flights@1", "flights@2"]
        url = server.ready["url"].replace("127.0.0.1", "localhost")
        assert url.startswith("https://")
        context = ssl.create_default_context(cafile=files.certificate)
        with httpx.Client(base_url=url, verify=context, trust_env=False) as client:
            both = [client.post(f"/models/flights/versions/{v}/predict", json=ROW).json() for v in (1, 2)]
        assert [answer["prediction"] for answer in both] == [1, 0]
        with pytest.raises(httpx.TransportError):
            httpx.get(url.replace("https", "http") + "/ping", trust_env=False)


def asked_until_the_end(server: Process, statuses: list[int], failures: list[str]) -> None:
    """Ask over connections that are kept, until nobody listens any more."""
    with httpx.Client(base_url=server.client.base_url, trust_env=False, timeout=30) as client:
        while True:
            try:
                statuses.append(client.post("/predict", json=ROW).status_code)
            except httpx.ConnectError:
                return
            except httpx.TransportError as error:
                failures.append(repr(error))
                return


@pytest.mark.slow
def test_sigterm_under_load_fails_no_request(tmp_path: Path, folders: Folders) -> None:
    project(tmp_path / "p", folders)
    statuses: list[int] = []
    failures: list[str] = []
    with serving(tmp_path / "p", "flights@1") as server:
        threads = [threading.Thread(target=asked_until_the_end, args=(server, statuses, failures)) for _ in range(6)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(statuses) > 200)
        assert server.end()[0] == 0
        for thread in threads:
            thread.join()
    assert failures == []
    assert set(statuses) == {200}
