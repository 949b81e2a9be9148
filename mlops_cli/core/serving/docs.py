"""The documentation page: FastAPI draws it, from a schema made of the model's signature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlops_cli.core.base.records import Column
from mlops_cli.core.serving.http import Receive, Scope, Send
from mlops_cli.core.serving.loader import Served
from mlops_cli.core.serving.protocols.v2 import MLO_VERSION, model_metadata
from mlops_cli.core.serving.shelf import Shelf

ASSETS = "/docs/assets"
PATHS = frozenset(
    {
        "/docs",
        "/docs/oauth2-redirect",
        "/openapi.json",
        f"{ASSETS}/swagger-ui.css",
        f"{ASSETS}/swagger-ui-bundle.js",
        f"{ASSETS}/favicon.png",
    }
)

_TYPES: dict[str, dict[str, Any]] = {
    "float": {"type": "number", "example": 1.5},
    "integer": {"type": "integer", "format": "int64", "example": 1},
    "boolean": {"type": "boolean", "example": True},
    "string": {"type": "string", "example": "text"},
    "datetime": {"type": "string", "format": "date-time", "example": "2013-05-01T12:00:00Z"},
}


class Docs:
    """An ASGI app for PATHS. FastAPI is imported at the first visit: a server that nobody reads about never pays."""

    def __init__(self, shelf: Shelf, *, locked: bool, labelled: bool) -> None:
        self._shelf = shelf
        self._labelled = labelled
        self._locked = locked
        self._app: Any = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is None:
            self._app = self._build()
        await self._app(scope, receive, send)

    def _build(self) -> Any:
        from fastapi_offline import FastAPIOffline  # brings the page's assets along: no network is needed to read it

        app = FastAPIOffline(
            title="mlo serve", version=MLO_VERSION, redoc_url=None, openapi_url="/openapi.json", static_url=ASSETS
        )
        # FastAPI caches nothing here: a hot reload may bring a version with other inputs.
        app.openapi = lambda: openapi(self._held(), locked=self._locked, labelled=self._labelled)  # type: ignore[method-assign]
        return app

    def _held(self) -> list[Served]:
        """The version that answers for each model, the default first."""
        held = [slot.served for name in self._shelf.names for slot in self._shelf.named(name)[:1]]
        return [served for served in held if served is not None]


def openapi(held: Sequence[Served], *, locked: bool = False, labelled: bool = False) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the server with these versions behind it, the default first. `locked` servers want a
    token, `labelled` ones take labels."""
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "mlo", "version": MLO_VERSION},
        "paths": dict(_COMMON),
        "components": {"schemas": {"Error": _ERROR}},
    }
    for place, served in enumerate(held):
        row = _row_schema(served)
        name = "Row" if place == 0 else f"Row of {served.name}"
        schema = {"$ref": f"#/components/schemas/{name.replace(' ', '%20')}"}
        document["components"]["schemas"][name] = row
        predicting = {"predict": _predict(row["example"], schema), "invocations": _invocations(row["example"])}
        if place == 0:
            document["info"] = {"title": f"{served.name} on mlo", "version": served.version_text}
            document["paths"] |= {f"/{path}": {"post": operation} for path, operation in predicting.items()}
        if len(held) > 1:
            model = f"/models/{served.name}"
            document["paths"] |= {f"{model}/{path}": {"post": operation} for path, operation in predicting.items()}
        if labelled and place == 0:
            document["paths"]["/feedback"] = {"post": _feedback(served)}
        if labelled and len(held) > 1:
            document["paths"][f"/models/{served.name}/feedback"] = {"post": _feedback(served)}
        document["paths"][f"/v2/models/{served.name}/infer"] = {"post": _infer(served)}
        document["paths"][f"/v2/models/{served.name}"] = {"get": _get("What the model takes and gives, as tensors")}
    if locked:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


def _row_schema(served: Served) -> dict[str, Any]:
    properties = {column.name: _property(column) for column in served.signature.inputs}
    required = list(properties)
    example = {name: schema["examples"][0] for name, schema in properties.items()}
    if served.decoder.time_column is not None:
        properties[served.decoder.time_column] = {
            "type": "string",
            "format": "date-time",
            "description": "The row's own time; logged, never shown to the model",
        }
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
        "example": served.example or example,
    }


def _property(column: Column) -> dict[str, Any]:
    schema = dict(_TYPES[column.kind])
    schema["examples"] = [schema.pop("example")]
    if column.nullable:
        schema["type"] = [schema["type"], "null"]
        schema["description"] = "null where missing"
    return schema


_ERROR = {
    "type": "object",
    "properties": {"error": {"type": "string"}, "request_id": {"type": "string"}},
}


def _predict(example: Any, row: dict[str, Any]) -> dict[str, Any]:
    rows = {"type": "object", "properties": {"rows": {"type": "array", "items": row}}, "required": ["rows"]}
    return {
        "summary": "Predict one row, or several under `rows`",
        "requestBody": _body(
            {"oneOf": [row, rows]}, {"one row": example, "several rows": {"rows": [example, example]}}
        ),
        "responses": _responses("The prediction"),
    }


def _invocations(example: Any) -> dict[str, Any]:
    split = {"dataframe_split": {"columns": list(example), "data": [list(example.values())]}}
    columns = {"inputs": {name: [value] for name, value in example.items()}}
    forms = {"dataframe_split": split, "dataframe_records": {"dataframe_records": [example]}, "inputs": columns}
    body = _body({"type": "object"}, {**forms, "instances": {"instances": [example]}})
    body["content"]["text/csv"] = {"schema": {"type": "string"}}
    return {
        "summary": "Predict, by MLflow's scoring protocol",
        "requestBody": body,
        "responses": _responses("The predictions"),
    }


def _infer(served: Served) -> dict[str, Any]:
    tensors = [{**tensor, "shape": [1], "data": [None]} for tensor in model_metadata(served, ())["inputs"]]
    if served.example is not None:
        tensors = [{**tensor, "data": [served.example[tensor["name"]]]} for tensor in tensors]
    body = _body({"type": "object"}, {"one row": {"inputs": tensors}})
    return {
        "summary": "Predict, by the Open Inference Protocol V2",
        "requestBody": body,
        "responses": _responses("The outputs"),
    }


def _feedback(served: Served) -> dict[str, Any]:
    classes = list(served.signature.classes)
    label = {"enum": [*classes, *map(str, classes)]} if classes else {"type": "number"}
    fields = {"request_id": {"type": "string"}, "label": label, "row": {"type": "integer", "minimum": 0, "default": 0}}
    one = {"type": "object", "properties": fields, "required": ["request_id", "label"], "additionalProperties": False}
    many = {"type": "object", "properties": {"labels": {"type": "array", "items": one}}, "required": ["labels"]}
    example = {"request_id": "0" * 32, "label": classes[0] if classes else 1.5}
    forms = {"one label": example, "several": {"labels": [example, {**example, "row": 1}]}}
    return {
        "summary": "Say what turned out to be true of predictions, by the id that their request was answered with",
        "requestBody": _body({"oneOf": [one, many]}, forms),
        "responses": _responses("How many labels are recorded, durably"),
    }


def _body(schema: dict[str, Any], examples: dict[str, Any]) -> dict[str, Any]:
    named = {name: {"value": value} for name, value in examples.items()}
    return {"required": True, "content": {"application/json": {"schema": schema, "examples": named}}}


def _responses(text: str) -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        "200": {"description": text, "content": {"application/json": {"schema": {"type": "object"}}}},
        "400": {"description": "The rows do not fit the model; the columns at fault are named", "content": error},
        "413": {"description": "Too many bytes or rows", "content": error},
        "415": {"description": "Another content type than the path takes", "content": error},
    }


def _get(summary: str, media: str = "application/json") -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": {"description": summary, "content": {media: {}}}}}


_COMMON: dict[str, Any] = {
    "/v2": {"get": _get("The server's name and version")},
    "/v2/health/live": {"get": _get("Is the process alive?")},
    "/v2/health/ready": {"get": _get("Can it answer?")},
    "/v2/repository/index": {"post": _get("The models, and how they are")},
    "/health": {"get": _get("How the models, the registry and the log are")},
    "/ping": {"get": _get("Is the process alive?")},
    "/version": {"get": _get("Which version answers")},
    "/metrics": {"get": _get("Metrics for Prometheus", media="text/plain")},
}
