"""`mlo serve` as a real process: what a supervisor, a user at a terminal and an operator see of it."""

import json
import signal
import socket
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving_kit import ROW, project, promote, serving

from mlops_cli.core.predictions.reader import read_table

Folders = tuple[Path, Path]
ALWAYS = {"since": datetime(2000, 1, 1, tzinfo=UTC), "until": datetime(2100, 1, 1, tzinfo=UTC)}


def wait_until(holds: Any) -> None:
    for _ in range(1500):
        if holds():
            return
        threading.Event().wait(0.02)
    raise AssertionError("it never came to hold")


@pytest.mark.slow
def test_a_served_alias_follows_a_promotion_and_the_log_and_the_registry_know(tmp_path: Path, folders: Folders) -> None:
    workspace = project(tmp_path / "p", folders)
    with serving(tmp_path / "p", "flights@production") as server:
        assert server.ready["model"] == "flights"
        assert server.ready["version"] == 1
        assert server.ready["pid"] == server.process.pid
        answers = [server.client.post("/predict", json=ROW).json()]
        promote(workspace, 2)
        wait_until(lambda: server.client.get("/version").json()["version"] == 2)
        answers.append(server.client.post("/predict", json={**ROW, "time_hour": "2013-04-01T00:00:00Z"}).json())
        code, err = server.end()
    assert (code, "now serving flights@2 (was flights@1)" in err) == (0, True)
    table = read_table(workspace.paths.predictions, **ALWAYS)
    assert table is not None
    logged = {row["_request"]: row for row in table.to_pylist()}
    for answer in answers:
        row = logged[answer["request_id"]]
        assert (row["_version"], row["_prediction"]) == (answer["version"], str(answer["prediction"]))
        assert row["_score"] == answer["probability"]
        assert datetime.now(UTC) - row["_arrived"] < timedelta(minutes=10)
    workspace.registry.refresh()
    first, second = (event for event in workspace.registry.history("flights") if event.kind == "deploy")
    assert (first.subject, second.subject) == ("flights@1", "flights@2")
    assert (first.data["ref"], first.data["pid"]) == ("flights@production", server.ready["pid"])
    assert (first.data["previous"], second.data["previous"]) == (None, "flights@1")
    assert first.data["address"] == server.ready["url"]
    assert first.data["host"] == socket.gethostname()


@pytest.mark.slow
def test_sigterm_finishes_what_is_in_flight_and_flushes_the_log(tmp_path: Path, folders: Folders) -> None:
    workspace = project(tmp_path / "p", folders)
    body = json.dumps({"rows": [ROW] * 200}).encode()
    head = f"POST /predict HTTP/1.1\r\nhost: localhost\r\nx-request-id: slow\r\ncontent-length: {len(body)}\r\n\r\n"
    with serving(tmp_path / "p", "flights@1") as server:
        address = (server.client.base_url.host, server.client.base_url.port or 80)
        with socket.create_connection(address, timeout=30) as connection:
            connection.sendall(head.encode() + body[:100])
            # An answer on another connection: the server has read the head above by now.
            assert server.client.post("/predict", json=ROW).status_code == 200
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: refused(address))
            connection.sendall(body[100:])
            answer = b""
            while part := connection.recv(1 << 16):
                answer += part
        assert server.process.wait(30) == 0
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in answer
    table = read_table(workspace.paths.predictions, **ALWAYS)
    assert table is not None
    assert table["_request"].to_pylist().count("slow") == 200
    assert table.num_rows == 201


def refused(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=1).close()
    except OSError:
        return True
    return False


@pytest.mark.slow
def test_ctrl_c_ends_it_with_130_and_an_open_host_wants_its_token(tmp_path: Path, folders: Folders) -> None:
    project(tmp_path / "p", folders)
    with serving(tmp_path / "p", "flights@2", "--no-log", environ={"MLO_SERVE_TOKEN": "s3cret"}) as server:
        assert server.client.post("/predict", json=ROW).status_code == 401
        headers = {"authorization": "Bearer s3cret"}
        assert server.client.post("/predict", json=ROW, headers=headers).json()["prediction"] == 0
        assert server.client.get("/health", headers=headers).json()["log"] is None
        code, err = server.end(signal.SIGINT)
    assert code == 130
    assert "Traceback" not in err
    assert "s3cret" not in err
    assert not (tmp_path / "p" / ".mlo" / "predictions").exists()


@pytest.mark.slow
def test_a_log_on_a_remote_is_there_for_another_host(tmp_path: Path, folders: Folders) -> None:
    (tmp_path / "bucket").mkdir()
    more = f"serve: {{log: shared}}\nremotes: {{shared: {tmp_path / 'bucket'}}}\n"
    project(tmp_path / "p", folders, more=more)
    with serving(tmp_path / "p", "flights@production", environ={"MLO_NOW": "2013-04-01T12:00:00Z"}) as server:
        assert server.client.post("/predict", json=ROW).status_code == 200
        assert server.end()[0] == 0
    from mlops_cli.core.remotes.open import open_url

    day = datetime(2013, 4, 1, tzinfo=UTC)
    table = read_table(open_url(str(tmp_path / "bucket"), root=tmp_path), since=day, until=day + timedelta(days=1))
    assert table is not None
    assert table.num_rows == 1


@pytest.mark.slow
def test_a_killed_server_loses_no_closed_segment_and_the_port_is_free_again(tmp_path: Path, folders: Folders) -> None:
    workspace = project(tmp_path / "p", folders)
    with serving(tmp_path / "p", "flights@1") as server:
        server.client.post("/predict", json=ROW)
        wait_until(lambda: list(workspace.paths.predictions.glob("*/*.arrow")))
        server.process.kill()
        server.process.wait()
        with pytest.raises(httpx.TransportError):
            server.client.get("/ping")
    table = read_table(workspace.paths.predictions, **ALWAYS)
    assert table is not None
    assert table.num_rows == 1
