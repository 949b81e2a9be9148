"""A real server, asked by clients that others made. They run in environments of their own, and print what they got."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving_kit import Process, project, serving

pytestmark = pytest.mark.peer

SCRIPTS = Path(__file__).with_name("clients")
PYTHONS = {
    "MLO_CLIENTS": os.environ.get("MLO_CLIENTS"),
    "MLO_MLSERVER": os.environ.get("MLO_MLSERVER"),
}
INPUTS = [
    {"name": "carrier", "datatype": "BYTES", "shape": [-1]},
    {"name": "distance", "datatype": "INT64", "shape": [-1]},
    {"name": "temp", "datatype": "FP64", "shape": [-1]},
    {"name": "pressure", "datatype": "FP64", "shape": [-1]},
    {"name": "night", "datatype": "BOOL", "shape": [-1]},
]
OUTPUTS = [
    {"name": "predict", "datatype": "INT64", "shape": [-1]},
    {"name": "predict_proba", "datatype": "FP64", "shape": [-1, 2]},
]


@pytest.fixture(scope="module")
def server(folders: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    root = tmp_path_factory.mktemp("clients") / "project"
    project(root, folders)
    with serving(root, "flights@production", "--grpc-port", "0") as process:
        yield process


def told(script: str, *arguments: str, needs: str = "MLO_CLIENTS") -> dict[str, Any]:
    """What a script of `clients` printed."""
    python = PYTHONS[needs]
    if python is None:
        if os.environ.get("MLO_REQUIRE_ALL"):
            pytest.fail(f"{needs} names no Python, and MLO_REQUIRE_ALL is set")
        pytest.skip(f"{needs} names no Python that has the client; .ci/run makes one")
    command = [python, str(SCRIPTS / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    answered: dict[str, Any] = json.loads(done.stdout)
    return answered


def test_tritonclient(server: Process) -> None:
    seen = told("triton_client.py", server.ready["url"], "flights")
    assert (seen["live"], seen["ready"], seen["model ready"], seen["unknown ready"]) == (
        True,
        True,
        [True, True, False],
        False,
    )
    assert seen["server"]["extensions"] == ["binary_tensor_data", "model_repository"]
    assert (seen["model"]["inputs"], seen["model"]["outputs"]) == (INPUTS, OUTPUTS)
    for form in ("binary", "json"):
        assert seen[form]["predict"] == [1, 0]
        assert seen[form]["response"]["model_version"] == "1"
    assert seen["binary"]["response"]["id"] == "id-1"
    assert seen["binary"]["response"]["outputs"][0]["parameters"] == {"binary_data_size": 16}
    assert seen["json"]["response"]["outputs"][0]["data"] == [1, 0]
    assert seen["both"]["predict"] == [1, 0]
    assert [sum(row) for row in seen["both"]["predict_proba"]] == pytest.approx([1.0, 1.0])
    assert seen["mixed"] == seen["asynchronous"] == seen["gzip"] == [1, 0]


def test_tritonclient_is_told_what_is_wrong(server: Process) -> None:
    seen = told("triton_client.py", server.ready["url"], "flights")
    assert seen["refusals"] == {
        "shape": {"status": "400", "message": "tensor temp: expected the shape [n] or [n, 1], got [2, 3]"},
        "unknown input": {"status": "400", "message": "unknown columns: tmp"},
        "version": {"status": "404", "message": "there is no version 9 of flights here; this server holds 1"},
        "model": {"status": "404", "message": "there is no model nope here; this server holds flights"},
        "classes": {
            "status": "400",
            "message": "the classification extension is not offered; ask for the output predict_proba",
        },
        "configuration": {
            "status": "404",
            "message": "the extension model_configuration is not offered; GET /v2/models/M says what the model takes",
        },
        "statistics": {
            "status": "404",
            "message": "the extension statistics is not offered; GET /metrics has what was counted",
        },
    }


def test_tritonclient_manages_the_repository(server: Process) -> None:
    seen = told("triton_client.py", server.ready["url"], "flights")
    assert seen["index"] == [{"name": "flights", "version": "1", "state": "READY", "reason": ""}]
    unloaded = {"name": "flights", "version": "", "state": "UNAVAILABLE", "reason": "unloaded"}
    assert seen["after unload"] == [False, [unloaded]]
    assert seen["after load"] == [True, [1, 0]]
    assert seen["unknown load"] == {"status": "404", "message": "there is no model nope; registered: flights"}
    assert seen["load with config"]["status"] == "400"
    assert seen["load with config"]["message"].startswith("config is not taken")
    assert seen["load with a file"]["message"].startswith("file:1/model.pkl is not taken")


def test_kserve_s_client(server: Process) -> None:
    seen = told("kserve_client.py", server.ready["url"], "flights")
    assert (seen["live"], seen["ready"], seen["model ready"]) == (True, True, [True, False])
    for form in ("binary", "json"):
        assert (seen[form]["predict"], seen[form]["id"]) == ([1, 0], "id-2")
        assert [sum(row) for row in seen[form]["predict_proba"]] == pytest.approx([1.0, 1.0])
    assert "expected the shape [n] or [n, 1], got [2, 3], '400 Bad Request'" in seen["shape"]


def test_tritonclient_over_grpc(server: Process) -> None:
    seen = told("triton_grpc_client.py", server.ready["grpc"], "flights")
    assert (seen["live"], seen["ready"], seen["model ready"]) == (True, True, [True, False, False])
    assert seen["server"]["name"] == "mlo"
    assert [tensor["name"] for tensor in seen["model"]["inputs"]] == [tensor["name"] for tensor in INPUTS]
    assert (seen["predict"], seen["id"]) == ([1, 0], "id-4")
    assert [sum(row) for row in seen["predict_proba"]] == pytest.approx([1.0, 1.0])
    assert seen["missing"] == ["StatusCode.INVALID_ARGUMENT", "missing columns: night"]
    assert seen["repository"][0] == "StatusCode.UNIMPLEMENTED"


def test_kserve_s_client_over_grpc(server: Process) -> None:
    seen = told("kserve_grpc_client.py", server.ready["grpc"], "flights")
    assert (seen["live"], seen["ready"], seen["model ready"]) == (True, True, True)
    assert seen["raw"] == seen["typed"] == {"id": "id-5", "predict": [1, 0]}


def test_mlserver_s_types_and_codecs(server: Process) -> None:
    seen = told("mlserver_client.py", server.ready["url"], "flights", needs="MLO_MLSERVER")
    assert (seen["server"]["name"], seen["id"], seen["predict"]) == ("mlo", "id-3", [1, 0])
    assert [tensor["name"] for tensor in seen["model"]["inputs"]] == [tensor["name"] for tensor in INPUTS]


def test_mlflow_s_scoring_client(server: Process) -> None:
    seen = told("mlflow_client.py", server.ready["url"])
    assert seen["version"]["model"] == "flights"
    assert seen["frame"] == [1, 0]  # in which a number is missing
    assert seen["rows"] == [1, 0]
    assert "missing columns: temp" in seen["refused"]
