"""The Open Inference Protocol V2 over REST: tensors by name, as JSON or as the binary data that follows it.

Sources: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
and https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from mlops_cli.core.serving.loader import Answer, Served
from mlops_cli.core.serving.problems import BadInput, Problem
from mlops_cli.core.serving.protocols.exchange import JSON, Asked, Body, Reply, read_json
from mlops_cli.core.serving.protocols.tensors import Tensor, pack, rows_of

MLO_VERSION = version("mlops-cli")
PREDICT, PROBABILITIES = "predict", "predict_proba"
BINARY = "application/octet-stream"
HEADER_LENGTH = b"inference-header-content-length"
EXTENSIONS = ("binary_tensor_data", "model_repository")
NOT_OFFERED = {"config": "model_configuration", "stats": "statistics"}
INSTEAD = {"config": "GET /v2/models/M says what the model takes", "stats": "GET /metrics has what was counted"}

_DATATYPES = {"float": "FP64", "integer": "INT64", "boolean": "BOOL", "string": "BYTES", "datetime": "BYTES"}
_LABELS: dict[type, str] = {bool: "BOOL", int: "INT64", float: "FP64", str: "BYTES"}
_DIGITS = 18  # of a header that is a length


class _Memory(msgspec.Struct, gc=False):
    """Parameters of a tensor. Others are ignored, as the protocol wants it."""

    binary_data_size: int | None = None
    binary_data: bool | None = None
    classification: int | None = None
    shared_memory_region: str | None = None


class _Input(msgspec.Struct, gc=False):
    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | UnsetType = UNSET
    parameters: _Memory | None = None


class _Output(msgspec.Struct, gc=False):
    name: str
    parameters: _Memory | None = None


class _Parameters(msgspec.Struct, gc=False):
    binary_data_output: bool | None = None


class _Request(msgspec.Struct, gc=False):
    inputs: list[_Input]
    id: str | None = None
    outputs: list[_Output] | None = None
    parameters: _Parameters | None = None


class _Size(msgspec.Struct, gc=False):
    binary_data_size: int


class _Answered(msgspec.Struct, gc=False):
    name: str
    datatype: str
    shape: Sequence[int]
    data: Sequence[Any] | UnsetType = UNSET
    parameters: _Size | UnsetType = UNSET


class _Response(msgspec.Struct, gc=False):
    model_name: str
    model_version: str
    id: str
    outputs: list[_Answered]


_DECODER = msgspec.json.Decoder(_Request)
_ENCODER = msgspec.json.Encoder()


class Inference:
    media: tuple[str, ...] = (JSON, BINARY, "")

    def read(self, body: Body, served: Served) -> Asked[Reply]:
        head, blobs = _split(body)
        request = read_json(_DECODER, head)
        rows = rows_of(_tensors(request.inputs, blobs), served.decoder)
        wanted = _wanted(request, served)

        def encode(answer: Answer, request_id: str) -> Reply:
            return _encode(answer, request.id if request.id is not None else request_id, wanted, served)

        return Asked(rows, encode, request.id)

    def problem(self, problem: Problem, request_id: str) -> Any:
        return {"error": problem.message}


def server_metadata() -> dict[str, Any]:
    return {"name": "mlo", "version": MLO_VERSION, "extensions": list(EXTENSIONS)}


def model_metadata(served: Served, versions: Sequence[str]) -> dict[str, Any]:
    """`versions`: all that the server holds of the model."""
    inputs = [
        {"name": column.name, "datatype": _DATATYPES[column.kind], "shape": [-1]} for column in served.signature.inputs
    ]
    return {
        "name": served.name,
        "versions": list(versions),
        "platform": "sklearn",
        "inputs": inputs,
        "outputs": offered(served),
    }


def offered(served: Served) -> list[dict[str, Any]]:
    """The outputs of a model, the one that an unspecific request gets first."""
    classes = served.signature.classes
    outputs = [{"name": PREDICT, "datatype": label_type(served), "shape": [-1]}]
    if served.signature.task == "classification" and served.has_scores:
        outputs.append({"name": PROBABILITIES, "datatype": "FP64", "shape": [-1, len(classes)]})
    return outputs


def label_type(served: Served) -> str:
    classes = served.signature.classes
    return _LABELS[type(classes[0])] if classes else "FP64"


def check_outputs(names: Sequence[str], served: Served) -> None:
    """Raises BadInput for outputs that the model does not have, or that are asked for twice."""
    known = [output["name"] for output in offered(served)]
    if unknown := [name[:100] for name in names if name not in known]:
        raise BadInput(f"the model has no output {', '.join(unknown[:10])}; it has {', '.join(sorted(known))}")
    if len(set(names)) < len(names):  # a short name, written often, would ask for a reply of any size
        raise BadInput("an output is asked for twice")


def output_values(name: str, answer: Answer, served: Served) -> tuple[str, list[int], list[Any]]:
    """Datatype, shape and elements, row by row, of one output."""
    n = len(answer.labels)
    if name == PROBABILITIES:
        flat = [score for row in answer.scores or () for score in row]
        return "FP64", [n, len(served.signature.classes)], flat
    return label_type(served), [n], answer.labels


# -- requests --------------------------------------------------------------------------------------------------


def _split(body: Body) -> tuple[bytes | memoryview, memoryview | None]:
    """The JSON, and the binary data after it if the header says that there is some."""
    length = body.headers.get(HEADER_LENGTH)
    if length is None:
        return body.data, None
    if not length.isdigit() or len(length) > _DIGITS or int(length) > len(body.data):
        raise BadInput(
            "Inference-Header-Content-Length must be the length of the JSON in bytes, "
            f"at most the body's {len(body.data):,}"
        )
    if int(length) == 0:
        raise BadInput("a request of binary data alone is not taken; name the tensors in a JSON header before it")
    whole = memoryview(body.data)
    return whole[: int(length)], whole[int(length) :]


def _tensors(inputs: Sequence[_Input], blobs: memoryview | None) -> list[Tensor]:
    """The inputs with their elements or their part of the binary data, which must be used up."""
    tensors = []
    at = 0
    for given in inputs:
        size = None
        if given.parameters is not None:
            size = given.parameters.binary_data_size
            if given.parameters.shared_memory_region is not None:
                raise BadInput(f"tensor {given.name[:100]}: shared memory is not offered; send the data")
        if size is None:
            if isinstance(given.data, UnsetType):
                raise BadInput(f"tensor {given.name[:100]} has neither data nor parameters.binary_data_size")
            tensors.append(Tensor(given.name, given.datatype, given.shape, given.data))
            continue
        if given.data is not UNSET:
            raise BadInput(f"tensor {given.name[:100]} has both data and parameters.binary_data_size")
        if blobs is None:
            raise BadInput(
                f"tensor {given.name[:100]} has binary data, and there is no Inference-Header-Content-Length"
            )
        if not 0 <= size <= len(blobs) - at:
            raise BadInput(
                f"tensor {given.name[:100]}: its binary_data_size does not fit the {len(blobs) - at:,} bytes "
                "that are left after the tensors before it"
            )
        tensors.append(Tensor(given.name, given.datatype, given.shape, None, blobs[at : at + size]))
        at += size
    if blobs is not None and at != len(blobs):
        raise BadInput(f"{len(blobs) - at:,} bytes after the JSON belong to no tensor")
    return tensors


def _wanted(request: _Request, served: Served) -> list[tuple[str, bool]]:
    """The outputs by name, and whether each is wanted as binary data."""
    default = request.parameters is not None and request.parameters.binary_data_output is True
    if not request.outputs:
        return [(PREDICT, default)]
    check_outputs([output.name for output in request.outputs], served)
    wanted = []
    for output in request.outputs:
        binary = default
        if (parameters := output.parameters) is not None:
            if parameters.classification:
                raise BadInput(f"the classification extension is not offered; ask for the output {PROBABILITIES}")
            if parameters.shared_memory_region is not None:
                raise BadInput(f"output {output.name}: shared memory is not offered")
            binary = default if parameters.binary_data is None else parameters.binary_data
        wanted.append((output.name, binary))
    return wanted


# -- responses -------------------------------------------------------------------------------------------------


def _encode(answer: Answer, request_id: str, wanted: Sequence[tuple[str, bool]], served: Served) -> Reply:
    outputs = []
    blobs = []
    for name, binary in wanted:
        datatype, shape, values = output_values(name, answer, served)
        if binary:
            blobs.append(pack(values, datatype))
            outputs.append(_Answered(name, datatype, shape, UNSET, _Size(len(blobs[-1]))))
        else:
            outputs.append(_Answered(name, datatype, shape, values))
    head = _ENCODER.encode(_Response(served.name, served.version_text, request_id, outputs))
    if not blobs:
        return Reply(head)
    length = (HEADER_LENGTH, b"%d" % len(head))
    return Reply(b"".join((head, *blobs)), BINARY.encode(), (length,))
