"""The Open Inference Protocol over gRPC: the same models, limits, log and metrics as over HTTP."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

import grpc

from mlops_cli.core.serving.http import is_request_id
from mlops_cli.core.serving.loader import Answer, Served
from mlops_cli.core.serving.problems import BadInput, Problem, UnknownPath
from mlops_cli.core.serving.protocols import v2
from mlops_cli.core.serving.protocols.exchange import Asked
from mlops_cli.core.serving.protocols.tensors import DATATYPES, Tensor, finite, pack, rows_of, text
from mlops_cli.core.serving.request_ids import new_request_id
from mlops_cli.core.serving.rpc.messages import MESSAGES, METHODS, PACKAGE, SERVICE, ModelInferResponse

if TYPE_CHECKING:
    from mlops_cli.core.serving.app import Application

CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
# Where the elements of a datatype stand. The other datatypes have no such place and come as raw contents.
_CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_OPEN = {"ServerLive": "/v2/health/live", "ServerReady": "/v2/health/ready"}  # as the guard knows them

_log = logging.getLogger(__name__)


class Service:
    """The methods of `GRPCInferenceService`, for the models of an application."""

    def __init__(self, app: Application) -> None:
        self._shelf = app.shelf
        self._predicting = app.predicting
        self._status = app.status
        self._guard = app.guard
        self._metrics = app.metrics

    def handlers(self) -> Any:
        """What a gRPC server adds to itself."""
        answers = (self._live, self._ready, self._model_ready, self._server, self._model, self._infer)
        return grpc.method_handlers_generic_handler(
            f"{PACKAGE}.{SERVICE}",
            {
                name: grpc.unary_unary_rpc_method_handler(
                    self._method(name, answer),
                    request_deserializer=MESSAGES[f"{name}Request"].FromString,
                    response_serializer=MESSAGES[f"{name}Response"].SerializeToString,
                )
                for name, answer in zip(METHODS, answers, strict=True)
            },
        )

    def _method(self, name: str, answer: Callable[[Any, str], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
        """A request's way: let in, answered or refused, counted."""

        async def call(request: Any, context: Any) -> Any:
            started = perf_counter()
            metadata = {key.encode(): _bytes(value) for key, value in context.invocation_metadata() or ()}
            request_id = _id(metadata, request)
            told = [("x-request-id", request_id)]
            reply, refused = None, (grpc.StatusCode.OK, "")
            self._metrics.in_flight.inc()
            status = 499  # what a client that went away was answered
            try:
                self._guard.authorize(_OPEN.get(name, name), metadata)
                reply = await answer(request, request_id)
                status = 200
            except Problem as problem:
                status = problem.status
                if problem.refused:
                    self._metrics.refused(request.model_name, problem.refused)  # only ModelInfer is refused so
                told += [(key.decode(), value.decode()) for key, value in problem.headers if key == b"retry-after"]
                refused = CODES.get(status, grpc.StatusCode.INTERNAL), problem.message
            except Exception:  # noqa: BLE001 - a client sees no more of it than its id
                status = 500
                _log.exception("request %s to %s failed", request_id, name)
                message = f"something failed in the server; its log has it under {request_id}"
                refused = grpc.StatusCode.INTERNAL, message
            finally:  # before the client can know
                self._metrics.in_flight.dec()
                model = getattr(request, "model_name", "") or getattr(request, "name", "")
                self._metrics.answered(f"/{PACKAGE}.{SERVICE}/{name}", status, perf_counter() - started, model)
            context.set_trailing_metadata(tuple(told))
            if status != 200:
                await context.abort(*refused)
            return MESSAGES[f"{name}Response"](**reply) if isinstance(reply, dict) else reply

        return call

    # -- the methods ---------------------------------------------------------------------------------------

    async def _live(self, request: Any, request_id: str) -> dict[str, Any]:
        return {"live": True}

    async def _ready(self, request: Any, request_id: str) -> dict[str, Any]:
        return {"ready": self._status.trouble is None}

    async def _model_ready(self, request: Any, request_id: str) -> dict[str, Any]:
        """Of a model that nobody knows: no. Triton's clients ask so."""
        try:
            return {"ready": self._shelf.find(request.name, request.version or None)[1] is not None}
        except Problem:
            return {"ready": False}

    async def _server(self, request: Any, request_id: str) -> dict[str, Any]:
        return {**v2.server_metadata(), "extensions": []}

    async def _model(self, request: Any, request_id: str) -> dict[str, Any]:
        slot, served = self._shelf.find(request.name, request.version or None)
        served = served or await self._predicting.loaded(slot)
        return v2.model_metadata(served, self._shelf.held(request.name))

    async def _infer(self, request: Any, request_id: str) -> Any:
        if not request.model_name:
            raise UnknownPath(f"no model is named; this server holds {', '.join(self._shelf.names)}")
        slot, served = self._shelf.find(request.model_name, request.model_version or None)

        def read(served: Served) -> Asked[Any]:
            wanted = _wanted(request, served)
            rows = rows_of(_tensors(request), served.decoder)
            return Asked(rows, lambda answer, request_id: _response(request, request_id, answer, wanted, served))

        return await self._predicting.answer(slot, served, read, request.ByteSize(), lambda: request_id)


# -- messages ------------------------------------------------------------------------------------------------------


def _id(metadata: dict[bytes, bytes], request: Any) -> str:
    """The client's, in the metadata or in the request, or one of ours."""
    for given in (metadata.get(b"x-request-id", b"").decode("latin-1"), getattr(request, "id", "")):
        if is_request_id(given):
            return given
    return new_request_id()


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _tensors(request: Any) -> list[Tensor]:
    """The inputs with their elements: raw for all of them, or typed for all."""
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise BadInput(f"raw_input_contents has {len(raw)} entries for {len(request.inputs)} inputs; give one for each")
    tensors = []
    for place, given in enumerate(request.inputs):
        tensor = Tensor(given.name, given.datatype, list(given.shape))
        if "shared_memory_region" in given.parameters:
            raise BadInput(f"tensor {given.name[:100]}: shared memory is not offered; send the data")
        if raw:
            if given.HasField("contents"):
                raise BadInput(f"tensor {given.name[:100]} has both contents and raw_input_contents")
            tensor.blob = memoryview(raw[place])
        else:
            tensor.elements = _elements(tensor, given.contents)
        tensors.append(tensor)
    return tensors


def _elements(tensor: Tensor, contents: Any) -> list[Any]:
    field = _CONTENTS.get(tensor.datatype)
    if field is None:
        if tensor.datatype in DATATYPES:
            raise BadInput(f"tensor {tensor.name[:100]}: {tensor.datatype} is taken as raw_input_contents only")
        return []  # the datatype is refused with the tensor
    others = [found.name for found, _ in contents.ListFields() if found.name != field]
    if others:
        raise BadInput(f"tensor {tensor.name[:100]}: {tensor.datatype} belongs into {field}, not into {others[0]}")
    elements = list(getattr(contents, field))
    if tensor.datatype == "BYTES":
        return [text(tensor, place, element) for place, element in enumerate(elements)]
    return finite(tensor, elements) if tensor.datatype.startswith("FP") else elements


def _wanted(request: Any, served: Served) -> Sequence[str]:
    names = [output.name for output in request.outputs]
    v2.check_outputs(names, served)
    for output in request.outputs:
        if "shared_memory_region" in output.parameters:
            raise BadInput(f"output {output.name}: shared memory is not offered")
        if "classification" in output.parameters and output.parameters["classification"].int64_param:
            raise BadInput(f"the classification extension is not offered; ask for the output {v2.PROBABILITIES}")
    return names or [v2.PREDICT]


def _response(request: Any, request_id: str, answer: Answer, wanted: Sequence[str], served: Served) -> Any:
    """Raw contents for whoever sent raw ones."""
    response = ModelInferResponse(
        model_name=served.name, model_version=served.version_text, id=request.id or request_id
    )
    for name in wanted:
        datatype, shape, values = v2.output_values(name, answer, served)
        output = response.outputs.add(name=name, datatype=datatype, shape=shape)
        if request.raw_input_contents:
            response.raw_output_contents.append(pack(values, datatype))
        else:
            elements = [value.encode() for value in values] if datatype == "BYTES" else values
            getattr(output.contents, _CONTENTS[datatype]).extend(elements)
    return response
