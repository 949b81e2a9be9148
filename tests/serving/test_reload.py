import asyncio
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving_kit import ROW, eventually, running, served

from mlops_cli.core.errors import RemoteError
from mlops_cli.core.serving import reload
from mlops_cli.core.serving.loader import Served
from mlops_cli.core.serving.metrics import Metrics
from mlops_cli.core.serving.reload import Reloader
from mlops_cli.core.serving.shelf import Slot, Source
from mlops_cli.core.serving.worker import Worker


class Alias:
    """A registry in one variable. `broken` versions do not load; `away` is what resolve raises."""

    def __init__(self, folders: tuple[Path, Path]) -> None:
        self.folders = folders
        self.key = 1
        self.away: Exception | None = None
        self.broken: set[int] = set()
        self.deployed: list[str] = []
        self.loads: list[int] = []
        self.unrecorded = False

    def resolve(self) -> int:
        if self.away is not None:
            raise self.away
        return self.key

    def load(self, key: int) -> Served:
        self.loads.append(key)
        if key in self.broken:
            raise ValueError(f"version {key} is broken")
        model = served(self.folders[key % 2 == 0], version=key)
        return model.warmed()

    def record(self, model: Served) -> None:
        if self.unrecorded:
            raise RemoteError("the registry is read-only")
        self.deployed.append(model.title)

    @property
    def source(self) -> Source:
        return Source(self.resolve, self.load, self.record)


def test_a_moved_alias_is_served_without_one_failed_request(folders: tuple[Path, Path]) -> None:
    alias = Alias(folders)
    answers: list[tuple[int, Any]] = []
    stop = threading.Event()
    with running(served(folders[0], version=1), source=alias.source, poll_s=0.02) as client:

        def send() -> None:
            with httpx.Client(base_url=client.base_url, trust_env=False, timeout=30) as mine:
                while not stop.is_set():
                    answer = mine.post("/predict", json=ROW)
                    answers.append((answer.status_code, answer.json()))

        threads = [threading.Thread(target=send) for _ in range(3)]
        for thread in threads:
            thread.start()
        for version in (2, 3, 4):
            alias.key = version
            eventually(lambda version=version: client.get("/version").json()["version"] == version)
        stop.set()
        for thread in threads:
            thread.join()
        eventually(lambda: alias.deployed == ["flights@1", "flights@2", "flights@3", "flights@4"])
        assert 'mlo_reloads_total{model="flights"} 3.0' in client.get("/metrics").text
        assert 'mlo_model_info{model="flights"' in client.get("/metrics").text
        assert client.get("/metrics").text.count("mlo_model_info{") == 1
    assert {status for status, _ in answers} == {200}
    # Each answer is that of the version that it names.
    assert {(document["version"] % 2, document["prediction"]) for _, document in answers} == {(1, 1), (0, 0)}


def test_a_version_that_does_not_load_leaves_the_old_one_and_says_so(folders: tuple[Path, Path], caplog: Any) -> None:
    alias = Alias(folders)
    alias.broken = {2}
    with running(served(folders[0]), source=alias.source, poll_s=0.01) as client, caplog.at_level(logging.ERROR):
        alias.key = 2
        eventually(lambda: client.get("/health").json()["reload"]["error"] is not None)
        assert client.post("/predict", json=ROW).json()["version"] == 1
        assert client.get("/health").json()["reload"]["error"] == "ValueError: version 2 is broken"
        assert 'mlo_reload_failed{model="flights"} 1.0' in client.get("/metrics").text
        assert alias.loads == [2]  # not again at each poll
        alias.key = 3
        eventually(lambda: client.get("/version").json()["version"] == 3)
        assert client.get("/health").json()["reload"]["error"] is None
        assert 'mlo_reload_failed{model="flights"} 0.0' in client.get("/metrics").text
    assert "the new version cannot be served, flights@1 stays" in caplog.text


def test_a_registry_out_of_reach_changes_no_answer_and_is_said(folders: tuple[Path, Path]) -> None:
    alias = Alias(folders)
    with running(served(folders[0]), source=alias.source, poll_s=0.01) as client:
        alias.away = RemoteError("s3://bucket does not answer")
        eventually(lambda: client.get("/health").json()["registry"]["reachable"] is False)
        health = client.get("/health")
        assert health.status_code == 200
        assert health.json()["registry"]["error"] == "s3://bucket does not answer"
        assert client.post("/predict", json=ROW).status_code == 200
        assert "mlo_registry_reachable 0.0" in client.get("/metrics").text
        alias.away = None
        alias.key = 2
        eventually(lambda: client.get("/version").json()["version"] == 2)
        assert client.get("/health").json()["registry"] == {"reachable": True, "error": None}


def test_a_deployment_that_cannot_be_recorded_is_said_and_served(folders: tuple[Path, Path], caplog: Any) -> None:
    alias = Alias(folders)
    alias.unrecorded = True
    with running(served(folders[0]), source=alias.source, poll_s=0.01) as client, caplog.at_level(logging.WARNING):
        eventually(lambda: "could not be recorded" in caplog.text)
        assert client.post("/predict", json=ROW).status_code == 200
        alias.key = 2
        eventually(lambda: client.get("/version").json()["version"] == 2)


def test_a_fixed_version_is_recorded_and_not_polled(folders: tuple[Path, Path]) -> None:
    alias = Alias(folders)
    alias.key = 2
    with running(served(folders[0]), source=alias.source, follow=False, poll_s=0.001) as client:
        eventually(lambda: alias.deployed == ["flights@1"])
        assert client.get("/version").json()["version"] == 1
    assert alias.loads == []


def test_a_registry_that_hangs_is_out_of_reach_and_does_not_keep_the_server_alive(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload, "SLOW_S", 0.01)
    alias = Alias(folders)
    hang = threading.Event()

    def resolve() -> int:
        hang.wait(60)
        return 1

    source = Source(resolve, alias.load, alias.record)
    with running(served(folders[0]), source=source, poll_s=0.01) as client:
        eventually(lambda: client.get("/health").json()["registry"]["reachable"] is False)
        assert "has not answered" in client.get("/health").json()["registry"]["error"]
    hang.set()


def test_a_broken_version_is_tried_again_after_a_pause(folders: tuple[Path, Path], monkeypatch: Any) -> None:
    alias = Alias(folders)
    alias.key, alias.broken = 2, {2}
    now = 0.0
    monkeypatch.setattr(reload, "monotonic", lambda: now)

    async def run() -> None:
        nonlocal now
        slot, worker = Slot("flights@production", "flights", served=served(folders[0])), Worker("registry")
        reloader = Reloader(slot, alias.source, worker, Metrics())
        for at, loads in ((0.0, 1), (4.9, 1), (5.1, 2), (15.0, 2), (15.2, 3)):
            now = at
            await reloader.poll()
            assert (at, len(alias.loads)) == (at, loads)
        alias.broken = set()
        now = 1000.0
        await reloader.poll()
        assert [held.title for held in slot.versions][:1] == ["flights@2"]
        worker.close()

    asyncio.run(run())


class Held:
    """A worker whose answers come when the test says so."""

    def __init__(self) -> None:
        self.asked: asyncio.Future[Any] | None = None

    def call(self, _: Callable[[], Any]) -> asyncio.Future[Any]:
        self.asked = asyncio.get_running_loop().create_future()
        return self.asked


def test_a_server_told_to_stop_as_the_registry_answers_does_stop(folders: tuple[Path, Path]) -> None:
    async def scenario() -> bool:
        worker: Any = Held()
        slot = Slot("flights@production", "flights", served=served(folders[0]))
        following = asyncio.create_task(Reloader(slot, Alias(folders).source, worker, Metrics(), poll_s=0).run())
        while worker.asked is None:
            await asyncio.sleep(0)
        for _ in range(5):  # until the task waits for the answer
            await asyncio.sleep(0)
        worker.asked.set_result(1)
        following.cancel()
        await asyncio.wait({following}, timeout=5)
        stopped = following.cancelled()
        while not following.done():
            following.cancel()
            await asyncio.sleep(0.01)
        return stopped

    assert asyncio.run(scenario())
