"""Several processes that share a port, as a user starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving_kit import ROW, Process, eventually, project, promote, serving

pytestmark = pytest.mark.slow


def workers_of(server: Process) -> list[int]:
    """The processes that answer, by the process that watches them."""
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(server.process.pid)], capture_output=True, text=True, check=False
    )
    return sorted(int(pid) for pid in children.stdout.split())


@pytest.fixture
def two(tmp_path: Path, folders: tuple[Path, Path]) -> Iterator[Process]:
    project(tmp_path / "p", folders)
    with serving(tmp_path / "p", "flights@production", "--workers", "2") as server:
        yield server


class Load:
    """Clients that ask without a pause, each request on a connection of its own."""

    def __init__(self, server: Process, clients: int = 4) -> None:
        self.answers: list[Any] = []
        self.failures: list[str] = []
        self._url = f"{server.client.base_url}"
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        while not self._stop.is_set():
            try:
                with httpx.Client(base_url=self._url, trust_env=False, timeout=30) as client:
                    self.answers.append(client.post("/predict", json=ROW).json()["version"])
            except httpx.TransportError as error:
                self.failures.append(f"{type(error).__name__}: {error}")

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_a_killed_process_loses_only_what_it_was_answering_and_is_replaced(two: Process) -> None:
    first, second = workers_of(two)
    assert two.ready["workers"] == 2
    assert two.ready["pid"] == two.process.pid
    with Load(two) as load:
        eventually(lambda: len(load.answers) > 50)
        os.kill(first, signal.SIGKILL)
        eventually(lambda: two.client.get("/v2/health/ready").status_code == 503)
        eventually(lambda: two.client.get("/v2/health/ready").status_code == 200)
        seen = len(load.answers)
        eventually(lambda: len(load.answers) > seen + 50)
    assert len(load.failures) <= 4  # one a client, at the moment of the kill
    assert second in workers_of(two)
    assert len(workers_of(two)) == 2
    counted = two.client.get("/metrics").text
    assert "mlo_worker_restarts_total 1.0" in counted
    assert "mlo_workers 2.0" in counted
    code, err = two.end()
    assert code == 0
    assert "starting it again" in err


def test_what_is_counted_and_loaded_concerns_all_processes(two: Process) -> None:
    def clients() -> Iterator[httpx.Client]:
        for _ in range(16):
            with httpx.Client(base_url=two.client.base_url, trust_env=False, timeout=30) as client:
                yield client

    for client in clients():
        assert client.post("/invocations", json={"dataframe_records": [ROW]}).status_code == 200
    line = 'mlo_requests_total{path="/invocations",status="200"} 16.0'
    assert line in two.client.get("/metrics").text
    assert two.client.post("/v2/repository/models/flights/unload").status_code == 200
    assert {client.post("/predict", json=ROW).status_code for client in clients()} == {503}
    assert two.client.post("/v2/repository/models/flights/load").status_code == 200
    assert {client.post("/predict", json=ROW).status_code for client in clients()} == {200}
    assert two.client.post("/v2/repository/models/nothing/load").status_code == 404


def test_all_processes_move_to_the_version_that_the_alias_means(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    workspace = project(tmp_path / "p", folders)
    with serving(tmp_path / "p", "flights@production", "--workers", "2") as server, Load(server) as load:
        eventually(lambda: len(load.answers) > 50)
        promote(workspace, 2)
        eventually(lambda: load.answers[-50:] == [2] * 50)
        load.end()
        assert load.failures == []
        assert server.end()[0] == 0
    workspace.registry.refresh()
    deployed = [event.subject for event in workspace.registry.history("flights") if event.kind == "deploy"]
    assert deployed == ["flights@1", "flights@2"]  # by one of the processes, not by each


def test_what_no_process_can_load_is_said_once(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    project(tmp_path / "p", folders)
    command = [sys.executable, "-m", "mlops_cli", "serve", "flights@9", "--workers", "3", "--port", "0"]
    done = subprocess.run(command, cwd=tmp_path / "p", capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 6
    assert done.stderr.count("flights") >= 1
    assert done.stderr.count("hint:") == 1
    assert done.stdout == ""


def test_processes_end_when_the_one_that_watches_them_is_killed(two: Process) -> None:
    pids = workers_of(two)
    assert len(pids) == 2
    two.process.kill()
    two.process.wait()

    def running() -> list[str]:
        return subprocess.run(["ps", "-eo", "pid="], capture_output=True, text=True, check=True).stdout.split()

    def are_gone() -> bool:
        return not set(pids) & {int(pid) for pid in running()}

    eventually(are_gone)
