from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from serving_kit import NAMES, ROW, running, served

from mlops_cli.core.base.clock import FixedClock
from mlops_cli.core.predictions.reader import read_table
from mlops_cli.core.predictions.writer import PredictionWriter

NOW = datetime(2013, 4, 1, 12, tzinfo=UTC)


def logged(folder: Path) -> list[dict[str, Any]]:
    table = read_table(folder, since=NOW - timedelta(days=1), until=NOW + timedelta(days=1))
    rows = table.to_pylist() if table is not None else []
    return sorted(rows, key=lambda row: (row["_request"], row["_row"]))


def test_the_log_holds_what_was_asked_and_what_was_answered(folders: tuple[Path, Path], tmp_path: Path) -> None:
    writer = PredictionWriter(tmp_path)
    with running(served(folders[0], version=4), log=writer, clock=FixedClock(NOW)) as client:
        headers = {"x-request-id": "a"}
        timed = {**ROW, "pressure": None, "time_hour": "2013-03-31T10:00:00Z"}
        single = client.post("/predict", json=timed, headers=headers).json()
        several = client.post(
            "/predict", json={"rows": [ROW, {**ROW, "temp": -20}]}, headers={"x-request-id": "b"}
        ).json()
        tensor = [
            {"name": name, "shape": [1], "datatype": kind, "data": [ROW[name]]}
            for name, kind in zip(NAMES, ["BYTES", "INT64", "FP64", "FP64", "BOOL"], strict=True)
        ]
        client.post("/v2/models/flights/infer", json={"id": "c", "inputs": tensor})
        client.post("/invocations", json={"instances": [ROW]}, headers={"x-request-id": "d"})
        assert client.post("/predict", json={}).status_code == 400
    rows = logged(tmp_path)
    assert [(row["_request"], row["_row"]) for row in rows] == [("a", 0), ("b", 0), ("b", 1), ("c", 0), ("d", 0)]
    assert {(row["_model"], row["_version"], row["_arrived"]) for row in rows} == {("flights", 4, NOW)}
    assert {name: rows[0][name] for name in NAMES} == {**ROW, "pressure": None}
    assert [row["time_hour"] for row in rows] == [datetime(2013, 3, 31, 10, tzinfo=UTC), None, None, None, None]
    assert [row["_prediction"] for row in rows] == ["1", "1", "0", "1", "1"]
    assert rows[0]["_score"] == single["probability"]
    assert [row["_score"] for row in rows[1:3]] == several["probabilities"]


def test_without_a_log_nothing_is_written_and_health_says_none(client: httpx.Client) -> None:
    assert client.get("/health").json()["log"] is None
    assert "mlo_log_" not in client.get("/metrics").text


def test_a_log_that_cannot_be_written_changes_no_answer_and_is_counted(folders: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("where the folder should be")
    writer = PredictionWriter(tmp_path / "file", interval_s=0.01)
    with running(served(folders[0]), log=writer) as client:
        assert client.post("/predict", json=ROW).status_code == 200
        while not client.get("/health").json()["log"]["dropped"]:
            pass
        assert client.get("/health").json()["log"]["error"]
        assert "mlo_log_dropped_rows_total 1.0" in client.get("/metrics").text
        assert client.post("/predict", json=ROW).status_code == 200
    assert writer.state.dropped == 2


def test_the_log_is_flushed_when_the_server_ends(folders: tuple[Path, Path], tmp_path: Path) -> None:
    writer = PredictionWriter(tmp_path, interval_s=3600)
    with running(served(folders[0]), log=writer, clock=FixedClock(NOW)) as client:
        for number in range(20):
            client.post("/predict", json=ROW, headers={"x-request-id": f"{number:02}"})
    assert [row["_request"] for row in logged(tmp_path)] == [f"{number:02}" for number in range(20)]
