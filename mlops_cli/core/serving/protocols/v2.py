"""The Open Inference Protocol V2 over REST, its JSON form: tensors by name, one for each input of the model.

Source: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from math import prod
from typing import Any

import msgspec

from mlops_cli.core.serving.decode import Rows
from mlops_cli.core.serving.loader import Answer, Served
from mlops_cli.core.serving.problems import BadInput, Problem, UnknownPath
from mlops_cli.core.serving.protocols.exchange import JSON, Asked, Body, Reply, read_json

MLO_VERSION = version("mlops-cli")
PREDICT, PROBABILITIES = "predict", "predict_proba"

_DATATYPES = {"float": "FP64", "integer": "INT64", "boolean": "BOOL", "string": "BYTES", "datetime": "BYTES"}
_LABELS: dict[type, str] = {bool: "BOOL", int: "INT64", float: "FP64", str: "BYTES"}
_RANGES = {
    **{f"INT{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)},
}
_ELEMENTS: dict[str, frozenset[type]] = {
    "BOOL": frozenset({bool}),
    "BYTES": frozenset({str}),
    **dict.fromkeys(_RANGES, frozenset({int})),
    **dict.fromkeys(("FP16", "FP32", "FP64"), frozenset({int, float})),
}


class _Tensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: list[Any]


class _Output(msgspec.Struct):
    name: str


class _Body(msgspec.Struct):
    inputs: list[_Tensor]
    id: str | None = None
    outputs: list[_Output] | None = None


_DECODER = msgspec.json.Decoder(_Body)


class Inference:
    media: tuple[str, ...] = (JSON, "")

    def read(self, body: Body, served: Served) -> Asked:
        request = read_json(_DECODER, body.data)
        rows = _rows(request.inputs, served)
        wanted = [output.name for output in request.outputs or ()] or [PREDICT]
        offered = {output["name"] for output in _outputs(served)}
        if unknown := [name[:100] for name in wanted if name not in offered]:
            raise BadInput(f"the model has no output {', '.join(unknown[:10])}; it has {', '.join(sorted(offered))}")
        if len(set(wanted)) < len(wanted):  # a short name, written often, would ask for a reply of any size
            raise BadInput("an output is asked for twice")

        def encode(answer: Answer, request_id: str) -> Reply:
            return Reply(
                msgspec.json.encode(
                    {
                        "model_name": served.name,
                        "model_version": served.version_text,
                        "id": request.id if request.id is not None else request_id,
                        "outputs": [_output(name, answer, served) for name in wanted],
                    }
                )
            )

        return Asked(rows, encode, request.id)

    def problem(self, problem: Problem, request_id: str) -> Any:
        return {"error": problem.message}


def server_metadata() -> dict[str, Any]:
    return {"name": "mlo", "version": MLO_VERSION, "extensions": []}


def model_metadata(served: Served) -> dict[str, Any]:
    inputs = [
        {"name": column.name, "datatype": _DATATYPES[column.kind], "shape": [-1]} for column in served.signature.inputs
    ]
    return {
        "name": served.name,
        "versions": [served.version_text],
        "platform": "sklearn",
        "inputs": inputs,
        "outputs": _outputs(served),
    }


def check_model(served: Served, name: str, number: str | None) -> None:
    """Raise UnknownPath unless the server holds this model, in this version if one is named."""
    if name != served.name:
        raise UnknownPath(f"there is no model {name[:128]} here; this server holds {served.name}")
    if number is not None and number != served.version_text:
        raise UnknownPath(f"there is no version {number[:64]} of {name} here; this server holds {served.version_text}")


def _outputs(served: Served) -> list[dict[str, Any]]:
    classes = served.signature.classes
    outputs = [{"name": PREDICT, "datatype": _label_type(served), "shape": [-1]}]
    if served.signature.task == "classification" and served.has_scores:
        outputs.append({"name": PROBABILITIES, "datatype": "FP64", "shape": [-1, len(classes)]})
    return outputs


def _label_type(served: Served) -> str:
    classes = served.signature.classes
    return _LABELS[type(classes[0])] if classes else "FP64"


def _output(name: str, answer: Answer, served: Served) -> dict[str, Any]:
    n = len(answer.labels)
    if name == PROBABILITIES:
        scores = answer.scores or []
        flat = [score for row in scores for score in row]
        return {"name": name, "datatype": "FP64", "shape": [n, len(served.signature.classes)], "data": flat}
    return {"name": name, "datatype": _label_type(served), "shape": [n], "data": answer.labels}


def _rows(tensors: Sequence[_Tensor], served: Served) -> Rows:
    decoder = served.decoder
    if len(tensors) == 1 and _is_matrix(tensors[0], served):
        tensor = tensors[0]
        width = len(decoder.names)
        flat = _flat(tensor)
        if tensor.shape[1] != width:
            raise BadInput(f"tensor {tensor.name}: shape {tensor.shape} does not fit the model's {width} inputs")
        # Element i*k + j stands in row i, column j.
        return decoder.columns({name: flat[place::width] for place, name in enumerate(decoder.names)})
    columns: dict[str, Any] = {}
    for tensor in tensors:
        if tensor.name in columns:
            raise BadInput(f"tensor {tensor.name} is given twice")
        if len(tensor.shape) not in (1, 2) or (len(tensor.shape) == 2 and tensor.shape[1] != 1):
            raise BadInput(f"tensor {tensor.name}: expected the shape [n] or [n, 1], got {tensor.shape[:8]}")
        columns[tensor.name] = _flat(tensor)
    return decoder.columns(columns)


def _is_matrix(tensor: _Tensor, served: Served) -> bool:
    """One [n, k] tensor of floats for all inputs: only where each input is a number, and none has the tensor's name."""
    return (
        tensor.datatype.startswith("FP")
        and len(tensor.shape) == 2
        and tensor.name not in served.decoder.names
        and all(column.kind in ("float", "integer") for column in served.signature.inputs)
    )


def _flat(tensor: _Tensor) -> list[Any]:
    """The tensor's elements, row by row, checked against its shape and datatype. Data may be flat or nested."""
    allowed = _ELEMENTS.get(tensor.datatype)
    if allowed is None:
        raise BadInput(f"tensor {tensor.name}: {tensor.datatype[:20]} is no datatype; use {', '.join(_ELEMENTS)}")
    data = tensor.data
    if data and type(data[0]) is list:
        width = tensor.shape[1] if len(tensor.shape) == 2 else None
        if any(type(row) is not list or len(row) != (width or len(row)) for row in data):
            raise BadInput(f"tensor {tensor.name}: its nested data does not have the shape {tensor.shape[:8]}")
        data = [element for row in data for element in row]
    if any(size < 0 for size in tensor.shape) or prod(tensor.shape) != len(data):
        raise BadInput(f"tensor {tensor.name}: the shape {tensor.shape[:8]} does not fit {len(data)} elements of data")
    kinds = set(map(type, data)) - {type(None)}
    if not kinds <= allowed:
        wrong = next(row for row, element in enumerate(data) if element is not None and type(element) not in allowed)
        kind = "a list" if type(data[wrong]) is list else repr(data[wrong])[:60]
        raise BadInput(f"tensor {tensor.name}: element {wrong} is {kind}, which is no {tensor.datatype}")
    if tensor.datatype in _RANGES and kinds:
        low, high = _RANGES[tensor.datatype]
        for row, element in enumerate(data):
            if element is not None and not low <= element <= high:
                raise BadInput(f"tensor {tensor.name}: element {row} does not fit {tensor.datatype}")
    return data
