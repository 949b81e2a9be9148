"""The documentation page: FastAPI draws it, from a schema made of the model's signature."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlops_cli.core.base.records import Column
from mlops_cli.core.serving.http import Receive, Scope, Send
from mlops_cli.core.serving.loader import Served
from mlops_cli.core.serving.protocols.v2 import MLO_VERSION, model_metadata

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

    def __init__(self, served: Callable[[], Served], *, locked: bool) -> None:
        self._served = served
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
        app.openapi = lambda: openapi(self._served(), locked=self._locked)  # type: ignore[method-assign]
        return app


def openapi(served: Served, *, locked: bool = False) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the server with this version behind it."""
    row = _row_schema(served)
    example = row["example"]
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": f"{served.name} on mlo", "version": served.version_text},
        "paths": {
            "/predict": {"post": _predict(example)},
            "/invocations": {"post": _invocations(example)},
            f"/v2/models/{served.name}/infer": {"post": _infer(served)},
            f"/v2/models/{served.name}": {"get": _get("What the model takes and gives, as tensors")},
            "/v2": {"get": _get("The server's name and version")},
            "/v2/health/live": {"get": _get("Is the process alive?")},
            "/v2/health/ready": {"get": _get("Can it answer?")},
            "/health": {"get": _get("How the model, the registry and the log are")},
            "/ping": {"get": _get("Is the process alive?")},
            "/version": {"get": _get("Which version answers")},
            "/metrics": {"get": _get("Metrics for Prometheus", media="text/plain")},
        },
        "components": {"schemas": {"Row": row, "Error": _ERROR}},
    }
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
_ROW = {"$ref": "#/components/schemas/Row"}


def _predict(example: Any) -> dict[str, Any]:
    rows = {"type": "object", "properties": {"rows": {"type": "array", "items": _ROW}}, "required": ["rows"]}
    return {
        "summary": "Predict one row, or several under `rows`",
        "requestBody": _body(
            {"oneOf": [_ROW, rows]}, {"one row": example, "several rows": {"rows": [example, example]}}
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
    tensors = [{**tensor, "shape": [1], "data": [None]} for tensor in model_metadata(served)["inputs"]]
    if served.example is not None:
        tensors = [{**tensor, "data": [served.example[tensor["name"]]]} for tensor in tensors]
    body = _body({"type": "object"}, {"one row": {"inputs": tensors}})
    return {
        "summary": "Predict, by the Open Inference Protocol V2",
        "requestBody": body,
        "responses": _responses("The outputs"),
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
