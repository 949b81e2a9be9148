"""The messages of the Open Inference Protocol over gRPC, as the protobuf library reads them.

They are described here, and built at import. Generated code would want one version of protobuf, and what else a model
needs may want another; a pool of their own keeps them apart from other packages' messages of the same names.

Source: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/open_inference_grpc.proto
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE, SERVICE = "inference", "GRPCInferenceService"
METHODS = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer")

# Fields as (number, type, name). `*` before a type: repeated; `map`: from names to InferParameter; `|`: one of several.
_TENSOR = ((1, "string", "name"), (2, "string", "datatype"), (3, "*int64", "shape"))
_TENSOR_DATA = (*_TENSOR, (4, "map", "parameters"), (5, "InferTensorContents", "contents"))
_MODEL = ((1, "string", "name"), (2, "string", "version"))
_MESSAGES: dict[str, tuple[tuple[int, str, str], ...]] = {
    "ServerLiveRequest": (),
    "ServerLiveResponse": ((1, "bool", "live"),),
    "ServerReadyRequest": (),
    "ServerReadyResponse": ((1, "bool", "ready"),),
    "ModelReadyRequest": _MODEL,
    "ModelReadyResponse": ((1, "bool", "ready"),),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": ((1, "string", "name"), (2, "string", "version"), (3, "*string", "extensions")),
    "ModelMetadataRequest": _MODEL,
    "ModelMetadataResponse": (
        (1, "string", "name"),
        (2, "*string", "versions"),
        (3, "string", "platform"),
        (4, "*ModelMetadataResponse.TensorMetadata", "inputs"),
        (5, "*ModelMetadataResponse.TensorMetadata", "outputs"),
    ),
    "ModelMetadataResponse.TensorMetadata": _TENSOR,
    "InferParameter": ((1, "|bool", "bool_param"), (2, "|int64", "int64_param"), (3, "|string", "string_param")),
    "InferTensorContents": (
        (1, "*bool", "bool_contents"),
        (2, "*int32", "int_contents"),
        (3, "*int64", "int64_contents"),
        (4, "*uint32", "uint_contents"),
        (5, "*uint64", "uint64_contents"),
        (6, "*float", "fp32_contents"),
        (7, "*double", "fp64_contents"),
        (8, "*bytes", "bytes_contents"),
    ),
    "ModelInferRequest": (
        (1, "string", "model_name"),
        (2, "string", "model_version"),
        (3, "string", "id"),
        (4, "map", "parameters"),
        (5, "*ModelInferRequest.InferInputTensor", "inputs"),
        (6, "*ModelInferRequest.InferRequestedOutputTensor", "outputs"),
        (7, "*bytes", "raw_input_contents"),
    ),
    "ModelInferRequest.InferInputTensor": _TENSOR_DATA,
    "ModelInferRequest.InferRequestedOutputTensor": ((1, "string", "name"), (2, "map", "parameters")),
    "ModelInferResponse": (
        (1, "string", "model_name"),
        (2, "string", "model_version"),
        (3, "string", "id"),
        (4, "map", "parameters"),
        (5, "*ModelInferResponse.InferOutputTensor", "outputs"),
        (6, "*bytes", "raw_output_contents"),
    ),
    "ModelInferResponse.InferOutputTensor": _TENSOR_DATA,
}

_Field = descriptor_pb2.FieldDescriptorProto


def _described() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="open_inference_grpc.proto", package=PACKAGE, syntax="proto3")
    made: dict[str, Any] = {}
    for name, fields in _MESSAGES.items():
        outer, _, own = name.rpartition(".")
        made[name] = (made[outer].nested_type if outer else file.message_type).add(name=own)
        for number, kind, field in fields:
            _add_field(made[name], name, number, kind, field)
    return file


def _add_field(message: Any, within: str, number: int, kind: str, name: str) -> None:
    if kind == "map":
        entry = message.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        _add_field(entry, within, 1, "string", "key")
        _add_field(entry, within, 2, "InferParameter", "value")
        kind = f"*{within}.{entry.name}"
    field = message.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
    if kind.startswith("*"):
        field.label = _Field.LABEL_REPEATED
    if kind.startswith("|"):
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    kind = kind.lstrip("*|")
    if kind[0].isupper():
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
    else:
        field.type = _Field.Type.Value(f"TYPE_{kind.upper()}")


def _classes() -> dict[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(_described().SerializeToString())
    find = pool.FindMessageTypeByName
    return {name: message_factory.GetMessageClass(find(f"{PACKAGE}.{name}")) for name in _MESSAGES}


MESSAGES = _classes()
ModelInferRequest = MESSAGES["ModelInferRequest"]
ModelInferResponse = MESSAGES["ModelInferResponse"]
