"""Requests of the Open Inference Protocol with binary data, made without any client's help."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

from mlops_cli.core.base.records import Column, Signature
from mlops_cli.core.models.predictions import Predictions
from mlops_cli.core.serving.decode import Decoder
from mlops_cli.core.serving.loader import Served
from mlops_cli.core.serving.protocols.exchange import Body, Reply

HEADER = b"inference-header-content-length"
CODES = {
    "BOOL": "?", "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q", "UINT8": "B", "UINT16": "H", "UINT32": "I",
    "UINT64": "Q", "FP16": "e", "FP32": "f", "FP64": "d",
}  # fmt: skip


def holding(*columns: Column, classes: tuple[Any, ...] = (), max_rows: int = 1000) -> Served:
    """A model with these inputs that nobody asks to predict."""

    def infer(columns: Any, n: int) -> Predictions:
        raise AssertionError("only its decoder is wanted")

    signature = Signature(columns, "classification" if classes else "regression", classes)
    return Served(
        name="m",
        version=1,
        run="a" * 32,
        key=1,
        signature=signature,
        infer=infer,
        decoder=Decoder(signature, max_rows=max_rows),
        has_scores=bool(classes),
    )


def blob_of(values: Sequence[Any], datatype: str) -> bytes:
    if datatype == "BYTES":
        return b"".join(struct.pack("<I", len(value)) + value for value in values)
    return struct.pack(f"<{len(values)}{CODES[datatype]}", *values)


def tensor(
    name: str, datatype: str, values: Sequence[Any], shape: list[int] | None = None
) -> tuple[dict[str, Any], bytes]:
    """The head of a binary tensor, and its blob."""
    blob = blob_of(values, datatype)
    head = {"name": name, "datatype": datatype, "shape": shape if shape is not None else [len(values)]}
    return {**head, "parameters": {"binary_data_size": len(blob)}}, blob


def binary(*tensors: tuple[dict[str, Any], bytes], length: Any = None, tail: bytes = b"", **rest: Any) -> Body:
    head = json.dumps({"inputs": [head for head, _ in tensors], **rest}).encode()
    size = str(len(head)) if length is None else str(length)
    return Body(b"".join([head, *(blob for _, blob in tensors), tail]), "", {HEADER: size.encode()})


def outputs_of(reply: Reply) -> dict[str, Any]:
    """A reply's outputs by name: the blob of a binary one, else its data."""
    length = dict(reply.headers).get(HEADER)
    head, rest = (reply.body, b"") if length is None else (reply.body[: int(length)], reply.body[int(length) :])
    found = {}
    for output in json.loads(head)["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        found[output["name"]] = output["data"] if size is None else rest[:size]
        rest = rest[size or 0 :]
    assert rest == b""
    return found
