"""gRPC, row by row of PROTOCOLS.md, against a real server."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from certificate_kit import make
from serving_kit import ROW, eventually, project, running, served, serving

from mlops_cli.core.errors import UsageError
from mlops_cli.core.predictions.reader import read_table
from mlops_cli.core.predictions.writer import PredictionWriter
from mlops_cli.core.serving.limits import Limits
from mlops_cli.core.serving.loader import Served
from mlops_cli.core.serving.rpc.messages import MESSAGES, PACKAGE, SERVICE
from mlops_cli.core.serving.rpc.server import RpcServer, RpcTls
from mlops_cli.core.serving.server import free_port

Folders = tuple[Path, Path]

CONTENTS = {
    "carrier": ("BYTES", "bytes_contents", [b"UA", b"DL"]),
    "distance": ("INT64", "int64_contents", [500, 500]),
    "temp": ("FP64", "fp64_contents", [41.5, -20.0]),
    "pressure": ("FP32", "fp32_contents", [1013.0, float("nan")]),
    "night": ("BOOL", "bool_contents", [False, True]),
}
RAW = {
    "carrier": b"".join(struct.pack("<I", len(text)) + text for text in (b"UA", b"DL")),
    "distance": struct.pack("<2q", 500, 500),
    "temp": struct.pack("<2d", 41.5, -20.0),
    "pressure": struct.pack("<2f", 1013.0, float("nan")),
    "night": bytes([0, 1]),
}
SMALL = Limits(last_s=0.0, body_bytes=20_000)


class Client:
    """Calls by name. `told` are the metadata that came after the last answer."""

    def __init__(self, address: str, credentials: Any = None, **options: int) -> None:
        pairs = list(options.items())
        self.channel = (
            grpc.insecure_channel(address, options=pairs)
            if credentials is None
            else grpc.secure_channel(address, credentials, options=pairs)
        )
        self.told: dict[str, str] = {}

    def __call__(
        self, name: str, /, *, metadata: dict[str, str] | None = None, gzip: bool = False, **fields: Any
    ) -> Any:
        ask = self.channel.unary_unary(
            f"/{PACKAGE}.{SERVICE}/{name}",
            request_serializer=MESSAGES[f"{name}Request"].SerializeToString,
            response_deserializer=MESSAGES[f"{name}Response"].FromString,
        )
        answer, call = ask.with_call(
            MESSAGES[f"{name}Request"](**fields),
            timeout=30,
            metadata=list((metadata or {}).items()),
            compression=grpc.Compression.Gzip if gzip else None,
            wait_for_ready=True,
        )
        self.told = dict(call.trailing_metadata())
        return answer

    def refusal(self, name: str, /, **fields: Any) -> tuple[str, str]:
        with pytest.raises(grpc.RpcError) as caught:
            self(name, **fields)
        self.told = dict(caught.value.trailing_metadata())  # type: ignore[attr-defined]
        return caught.value.code().name, caught.value.details()  # type: ignore[attr-defined]


def inputs(**changes: Any) -> list[dict[str, Any]]:
    """Typed tensors of two rows; a change replaces a tensor's (datatype, field, values), None leaves it out."""
    given = {**CONTENTS, **changes}
    return [
        {"name": name, "datatype": of[0], "shape": [len(of[2])], "contents": {of[1]: of[2]}}
        for name, of in given.items()
        if of is not None
    ]


def raw(**changes: bytes) -> dict[str, Any]:
    """The same rows as raw contents."""
    tensors = [{"name": name, "datatype": of[0], "shape": [2]} for name, of in CONTENTS.items()]
    return {"inputs": tensors, "raw_input_contents": list({**RAW, **changes}.values())}


def beside(port: int, **options: Any) -> Any:
    return lambda app: [RpcServer(app, "127.0.0.1", port, limits=options.pop("limits", SMALL), **options)]


def reach(port: int, **options: Any) -> Client:
    return Client(f"127.0.0.1:{port}", **options)


@pytest.fixture(scope="module")
def ask(model: Served) -> Iterator[Client]:
    port = free_port("127.0.0.1", 0)
    with running(model, beside=beside(port)):
        client = reach(port)
        yield client
        client.channel.close()


def test_what_the_server_says_of_itself_and_its_model(ask: Client) -> None:
    assert (ask("ServerLive").live, ask("ServerReady").ready) == (True, True)
    assert ask("ServerMetadata").name == "mlo"
    for name, version, ready in (("flights", "", True), ("flights", "1", True), ("flights", "2", False), ("x", "", 0)):
        assert ask("ModelReady", name=name, version=version).ready == ready
    model = ask("ModelMetadata", name="flights")
    assert (model.name, list(model.versions), model.platform) == ("flights", ["1"], "sklearn")
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in model.outputs] == [
        ("predict", "INT64", [-1]),
        ("predict_proba", "FP64", [-1, 2]),
    ]
    assert {tensor.name: tensor.datatype for tensor in model.inputs}["carrier"] == "BYTES"


def test_typed_contents_are_answered_with_typed_ones(ask: Client) -> None:
    answer = ask("ModelInfer", model_name="flights", id="mine", inputs=inputs())
    assert (answer.model_name, answer.model_version, answer.id) == ("flights", "1", "mine")
    (output,) = answer.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("predict", "INT64", [2])
    assert list(output.contents.int64_contents) == [1, 0]
    assert not answer.raw_output_contents
    assert ask.told["x-request-id"] == "mine"


def test_raw_contents_are_answered_with_raw_ones(ask: Client) -> None:
    outputs = [{"name": "predict_proba"}, {"name": "predict"}]
    answer = ask("ModelInfer", model_name="flights", model_version="1", outputs=outputs, **raw())
    scores, labels = answer.raw_output_contents
    assert struct.unpack("<2q", labels) == (1, 0)
    late = struct.unpack("<4d", scores)
    assert (late[0] + late[1], late[2] + late[3]) == pytest.approx((1.0, 1.0))
    assert late[1] > 0.5 > late[3]
    assert [list(output.shape) for output in answer.outputs] == [[2, 2], [2]]
    assert answer.id == ask.told["x-request-id"]


def test_one_matrix_may_stand_for_all_inputs_of_numbers_only(ask: Client) -> None:
    matrix = [{"name": "rows", "datatype": "FP64", "shape": [1, 5], "contents": {"fp64_contents": [1.0] * 5}}]
    assert ask.refusal("ModelInfer", model_name="flights", inputs=matrix)[0] == "INVALID_ARGUMENT"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temp": None}, "missing columns: temp"),
        ({"tmp": ("FP64", "fp64_contents", [1.0, 2.0])}, "unknown columns: tmp"),
        ({"temp": ("FP64", "fp64_contents", [1.0])}, "temp"),
        ({"temp": ("FP64", "fp32_contents", [1.0, 2.0])}, "belongs into fp64_contents, not into fp32_contents"),
        ({"temp": ("FP64", "fp64_contents", [1.0, float("inf")])}, "element 1 is infinite"),
        ({"temp": ("FP64", "fp64_contents", [1.0, float("nan")])}, "temp: row 1 is null"),
        ({"temp": ("FP16", "fp32_contents", [1.0, 2.0])}, "FP16 is taken as raw_input_contents only"),
        ({"temp": ("DOUBLE", "fp64_contents", [1.0, 2.0])}, "DOUBLE is no datatype"),
        ({"distance": ("INT8", "int_contents", [5, 300])}, "element 1 does not fit INT8"),
        ({"carrier": ("BYTES", "bytes_contents", [b"UA", b"\xff"])}, "element 1 is not UTF-8"),
        ({"carrier": ("INT64", "int64_contents", [1, 2])}, "carrier"),
    ],
)
def test_rows_that_do_not_fit_are_named(ask: Client, changes: Any, message: str) -> None:
    code, said = ask.refusal("ModelInfer", model_name="flights", inputs=inputs(**changes))
    assert code == "INVALID_ARGUMENT"
    assert message in said


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({**raw(), "raw_input_contents": [b""]}, "has 1 entries for 5 inputs"),
        ({**raw(), "inputs": inputs()}, "has both contents and raw_input_contents"),
        (raw(temp=b"12"), "takes 16 bytes"),
        ({**raw(), "outputs": [{"name": "nope"}]}, "has no output nope"),
        ({**raw(), "outputs": [{"name": "predict"}] * 2}, "asked for twice"),
        (
            {**raw(), "outputs": [{"name": "predict", "parameters": {"classification": {"int64_param": 2}}}]},
            "classification",
        ),
        (
            {**raw(), "outputs": [{"name": "predict", "parameters": {"shared_memory_region": {"string_param": "x"}}}]},
            "shared memory",
        ),
    ],
)
def test_other_requests_that_cannot_be_answered_are_explained(ask: Client, fields: Any, message: str) -> None:
    code, said = ask.refusal("ModelInfer", model_name="flights", **fields)
    assert (code, message in said) == ("INVALID_ARGUMENT", True)


def test_what_is_not_here_is_not_found_and_what_no_method_is_not_implemented(ask: Client) -> None:
    assert ask.refusal("ModelInfer", inputs=inputs())[0] == "NOT_FOUND"
    assert ask.refusal("ModelInfer", model_name="nope", inputs=inputs())[0] == "NOT_FOUND"
    assert ask.refusal("ModelInfer", model_name="flights", model_version="9", inputs=inputs())[0] == "NOT_FOUND"
    assert ask.refusal("ModelMetadata", name="nope")[0] == "NOT_FOUND"
    unknown = ask.channel.unary_unary(f"/{PACKAGE}.{SERVICE}/RepositoryIndex")
    with pytest.raises(grpc.RpcError) as caught:
        unknown(b"", timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED  # type: ignore[attr-defined]
    garbled = ask.channel.unary_unary(f"/{PACKAGE}.{SERVICE}/ModelInfer")
    with pytest.raises(grpc.RpcError):
        garbled(b"\xff" * 100, timeout=30)
    assert ask("ServerLive").live


def test_a_message_beyond_the_limit_is_refused_also_when_it_is_compressed(ask: Client) -> None:
    large = inputs(carrier=("BYTES", "bytes_contents", [b"U" * 200_000, b"DL"]))
    for gzip in (False, True):
        code, _ = ask.refusal("ModelInfer", gzip=gzip, model_name="flights", inputs=large)
        assert code == "RESOURCE_EXHAUSTED"
    answer = ask("ModelInfer", gzip=True, model_name="flights", inputs=inputs())
    assert list(answer.outputs[0].contents.int64_contents) == [1, 0]


def test_answers_are_logged_and_counted_as_those_over_http(folders: Folders, tmp_path: Path) -> None:
    port = free_port("127.0.0.1", 0)
    writer = PredictionWriter(tmp_path)
    with running(served(folders[0]), log=writer, beside=beside(port)) as client:
        ask = reach(port)
        ask("ModelInfer", model_name="flights", inputs=inputs(), metadata={"x-request-id": "from-metadata"})
        ask.refusal("ModelInfer", model_name="flights", inputs=[])
        text = client.get("/metrics").text
        ask.channel.close()
    path = f'path="/{PACKAGE}.{SERVICE}/ModelInfer"'
    assert f'mlo_requests_total{{model="flights",{path},status="200"}} 1.0' in text
    assert f'mlo_requests_total{{model="flights",{path},status="400"}} 1.0' in text
    assert 'mlo_rows_total{model="flights"} 2.0' in text
    now = datetime.now(UTC)
    table = read_table(tmp_path, since=now - timedelta(days=1), until=now + timedelta(days=1))
    assert table is not None
    assert [(row["_request"], row["_row"], row["temp"], row["pressure"]) for row in table.to_pylist()] == [
        ("from-metadata", 0, 41.5, 1013.0),
        ("from-metadata", 1, -20.0, None),
    ]


def test_the_token_is_wanted_everywhere_but_for_life_and_readiness(folders: Folders) -> None:
    port = free_port("127.0.0.1", 0)
    with running(served(folders[0]), token="secret", beside=beside(port)):
        ask = reach(port)
        assert (ask("ServerLive").live, ask("ServerReady").ready) == (True, True)
        for metadata in ({}, {"authorization": "Bearer wrong"}):
            code, said = ask.refusal("ModelInfer", metadata=metadata, model_name="flights", inputs=inputs())
            assert (code, "wants its token" in said) == ("UNAUTHENTICATED", True)
            assert ask.refusal("ModelMetadata", metadata=metadata, name="flights")[0] == "UNAUTHENTICATED"
        known = {"authorization": "Bearer secret"}
        assert ask("ModelInfer", metadata=known, model_name="flights", inputs=inputs()).outputs
        ask.channel.close()


def test_tls_is_that_of_the_http_server(folders: Folders, tmp_path: Path) -> None:
    files = make(tmp_path, "localhost")
    port = free_port("127.0.0.1", 0)
    tls = RpcTls(files.certificate, files.key)
    with running(served(folders[0]), beside=beside(port, tls=tls)):
        trusted = grpc.ssl_channel_credentials(files.certificate.read_bytes())
        ask = Client(f"localhost:{port}", trusted)
        assert ask("ServerLive").live
        ask.channel.close()


def test_a_key_that_grpc_cannot_read_is_refused_at_the_start(tmp_path: Path) -> None:
    files = make(tmp_path, "localhost")
    with pytest.raises(UsageError, match="gRPC reads none that is"):
        RpcTls(files.certificate, files.locked).credentials()


def test_mlo_serve_answers_grpc_from_each_of_its_processes(tmp_path: Path, folders: Folders) -> None:
    project(tmp_path / "project", folders)
    with serving(tmp_path / "project", "flights@production", "--grpc-port", "0", "--workers", "2") as process:
        address = process.ready["grpc"]
        options = {"grpc.use_local_subchannel_pool": 1}  # else channels share a connection
        clients = [Client(address, **options) for _ in range(12)]
        for ask in clients:
            answer = ask("ModelInfer", model_name="flights", inputs=inputs())
            assert list(answer.outputs[0].contents.int64_contents) == [1, 0]
            ask.channel.close()
        assert process.client.post("/predict", json=ROW).status_code == 200
        assert 'mlo_rows_total{model="flights"} 25.0' in process.client.get("/metrics").text
        assert process.end()[0] == 0


def test_a_server_that_ends_says_that_it_is_not_ready_while_it_finishes(model: Served) -> None:
    with running(model, limits=Limits(last_s=20.0)) as client:
        assert client.get("/v2/health/ready").status_code == 200
        client.server.should_exit = True  # type: ignore[attr-defined]
        seen: list[httpx.Response] = []
        eventually(lambda: seen.append(client.get("/v2/health/ready")) or seen[-1].status_code == 503)
    assert json.loads(seen[-1].content)["error"] == "the server is about to end"
    assert seen[-1].headers["connection"] == "close"
