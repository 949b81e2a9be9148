"""What goes wrong around a server: its log's folder, the machine's clock, and time enough to leak."""

from __future__ import annotations

import itertools
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pandas as pd
import pytest
from abuse_kit import connect
from serving_kit import ROW, eventually, project, running, served, serving
from sklearn.linear_model import LogisticRegression

from mlops_cli.core.models.save import save_model
from mlops_cli.core.predictions.reader import read_table
from mlops_cli.core.predictions.writer import PredictionWriter
from mlops_cli.core.serving.admission import LaneLimits
from mlops_cli.core.serving.protocols.exchange import JSON

Folders = tuple[Path, Path]

NOON = datetime(2013, 4, 1, 12, tzinfo=UTC)
# Root writes whatever a folder's mode says, unless it lacks this.
BOUND_BY_MODES = ("setpriv", "--bounding-set=-dac_override") if os.getuid() == 0 else ()
MOST_GROWTH_KIB = 16 << 10


class JumpingClock:
    """The machine's clock, which somebody sets."""

    def __init__(self) -> None:
        self.time = NOON

    def now(self) -> datetime:
        return self.time


@pytest.mark.parametrize("hours", [-30, -1, 24 * 400])
def test_a_clock_that_jumps_refuses_nobody_and_every_answer_stays_in_the_log(
    folders: Folders, tmp_path: Path, hours: int
) -> None:
    clock = JumpingClock()
    writer = PredictionWriter(tmp_path, clock=clock, interval_s=0.01, keep=timedelta(days=1000))
    lane = LaneLimits(sla_s=5.0, timeout_s=5.0)
    with running(served(folders[0]), log=writer, clock=clock, lane=lane) as client:
        for number, time in enumerate([NOON, NOON + timedelta(hours=hours), NOON + timedelta(minutes=1)]):
            clock.time = time
            answer = client.post("/predict", json=ROW, headers={"x-request-id": f"r{number}"})
            assert (answer.status_code, answer.json()["prediction"]) == (200, 1)
            eventually(lambda: client.get("/health").json()["log"]["written"] > number)  # noqa: B023 - asked at once
        state = client.get("/health").json()["log"]
    assert (state["dropped"], state["error"]) == (0, None)
    table = read_table(tmp_path, since=NOON - timedelta(days=2), until=NOON + timedelta(days=500))
    assert table is not None
    assert {row["_request"]: row["_arrived"] for row in table.to_pylist()} == {
        "r0": NOON,
        "r1": NOON + timedelta(hours=hours),
        "r2": NOON + timedelta(minutes=1),
    }


def test_a_log_folder_that_may_not_be_written_costs_rows_of_the_log_and_no_answer(
    tmp_path: Path, folders: Folders
) -> None:
    root = tmp_path / "project"
    project(root, folders)
    log = root / ".mlo" / "predictions"
    log.mkdir(parents=True, exist_ok=True)
    log.chmod(0o555)
    with serving(root, "flights@production", through=BOUND_BY_MODES) as process:
        for _ in range(3):
            assert process.client.post("/predict", json=ROW).status_code == 200
        eventually(lambda: process.client.get("/health").json()["log"]["dropped"] == 3)
        assert "denied" in process.client.get("/health").json()["log"]["error"]
        assert "mlo_log_dropped_rows_total 3.0" in process.client.get("/metrics").text
        log.chmod(0o777)  # and once it may be written, it is
        assert process.client.post("/predict", json=ROW).status_code == 200
        eventually(lambda: process.client.get("/health").json()["log"]["written"] == 1)
        assert process.end()[0] == 0


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads a process's memory from /proc")
def test_two_hundred_thousand_requests_leave_no_memory_behind(tmp_path: Path, folders: Folders) -> None:
    columns = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "b": [1.0, 0.0, 1.0, 0.0]})
    save_model(LogisticRegression().fit(columns, [0, 0, 1, 1]), tmp_path / "quick", example=columns)
    project(tmp_path / "project", (tmp_path / "quick", folders[1]))
    with serving(tmp_path / "project", "flights@production") as process:
        ask(process.client, 20_000)
        before = resident_kib(process.process.pid)
        ask(process.client, 200_000)
        assert resident_kib(process.process.pid) - before < MOST_GROWTH_KIB
        assert 'mlo_rows_total{model="flights"} 220000.0' in process.client.get("/metrics").text


def ask(client: httpx.Client, count: int, together: int = 50) -> None:
    """So many predictions over one connection, `together` at a time."""
    body = client.build_request("POST", "/predict", json={"a": 1.5, "b": 0.5}).content
    head = f"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: {JSON}\r\ncontent-length: {len(body)}\r\n\r\n"
    request = head.encode() + body
    with connect(client) as connection:
        for _ in itertools.repeat(None, count // together):
            connection.sendall(request * together)
            answered, rest = 0, b""
            while answered < together:
                part = connection.recv(1 << 18)
                assert part
                rest += part
                answered += rest.count(b"HTTP/1.1 200 OK\r\n")
                rest = rest[-16:] if not rest.endswith(b"}") else b""


def resident_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])
