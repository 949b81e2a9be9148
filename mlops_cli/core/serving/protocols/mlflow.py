"""MLflow's scoring protocol: POST /invocations, as `mlflow models serve` answers it."""

from __future__ import annotations

import json
from functools import lru_cache
from math import isfinite
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from mlops_cli.core.serving.decode import Rows
from mlops_cli.core.serving.loader import Answer, Served
from mlops_cli.core.serving.problems import BadInput, Problem
from mlops_cli.core.serving.protocols.exchange import CSV, JSON, Asked, BareNaN, Body, Reply, read_json, read_typed
from mlops_cli.core.serving.typed import RowType

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "ENDPOINT_NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "REQUEST_TIMEOUT",
    413: "REQUEST_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    431: "REQUEST_TOO_LARGE",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class _Split(msgspec.Struct, forbid_unknown_fields=True):
    columns: list[str]
    data: list[Any]
    index: list[Any] | None = None


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    dataframe_split: _Split | UnsetType = UNSET
    dataframe_records: list[Any] | UnsetType = UNSET
    instances: list[Any] | UnsetType = UNSET
    inputs: dict[str, Any] | list[Any] | UnsetType = UNSET
    params: dict[str, Any] | None = None


_DECODER = msgspec.json.Decoder(_Body)


class _Predictions(msgspec.Struct):
    predictions: list[Any]


_ENCODER = msgspec.json.Encoder()


@lru_cache(maxsize=64)
def _typed(row_type: RowType) -> msgspec.json.Decoder[Any]:
    """The forms whose rows have the signature's types, with nothing else said; `_DECODER` reads what differs."""
    split = msgspec.defstruct(
        "Split",
        [("columns", list[str]), ("data", list[row_type.Positions]), ("index", list[Any] | None, None)],  # type: ignore[name-defined]
        forbid_unknown_fields=True,
    )
    forms: list[Any] = [
        ("dataframe_split", split | UnsetType, UNSET),
        ("dataframe_records", list[row_type.Fields] | UnsetType, UNSET),  # type: ignore[name-defined]
        ("instances", list[row_type.Positions] | UnsetType, UNSET),  # type: ignore[name-defined]
    ]
    return msgspec.json.Decoder(msgspec.defstruct("Body", forms, forbid_unknown_fields=True))


class Scoring:
    media: tuple[str, ...] = (JSON, CSV)

    def read(self, body: Body, served: Served) -> Asked[Reply]:
        if body.media == CSV:
            try:
                rows = served.decoder.csv(body.data.decode("utf-8"))
            except UnicodeDecodeError:
                raise BadInput("the body is not UTF-8") from None
        else:
            rows = _quickly(body.data, served) or _rows(_document(body.data), served)
        return Asked(rows, _encode)

    def problem(self, problem: Problem, request_id: str) -> Any:
        return {"error_code": _CODES.get(problem.status, "INTERNAL_ERROR"), "message": problem.message}


def _quickly(body: bytes, served: Served) -> Rows | None:
    """The rows of a body without fault or oddity; None for any other."""
    row_type = served.decoder.row_type
    document = read_typed(_typed(row_type), body) if row_type is not None else None
    if document is None:
        return None
    given = [
        form for form in (document.dataframe_split, document.dataframe_records, document.instances) if form is not UNSET
    ]
    if len(given) != 1:
        return None
    if document.dataframe_split is UNSET:
        return served.decoder.typed(given[0])
    return served.decoder.typed(given[0].data) if given[0].columns == served.decoder.names else None


def _document(body: bytes) -> _Body:
    """The body, in which NaN stands for null: MLflow's own client writes a frame's missing numbers so."""
    try:
        return read_json(_DECODER, body)
    except BareNaN:
        return _with_nan(body)


def _with_nan(body: bytes) -> _Body:
    def constant(word: str) -> None:
        if word != "NaN":
            raise BadInput(f"{word} is no JSON; only NaN is taken, for a missing value")

    def number(digits: str) -> float:
        if not isfinite(value := float(digits)):
            raise BadInput(f"the body is not JSON: {digits[:40]} is out of range")
        return value

    try:
        return msgspec.convert(json.loads(body, parse_constant=constant, parse_float=number), _Body)
    except msgspec.ValidationError as error:
        raise BadInput(f"the body is not what this path takes: {error}") from None
    except ValueError as error:
        raise BadInput(f"the body is not JSON: {error}") from None
    except RecursionError:
        raise BadInput("the JSON is nested too deeply") from None


def _rows(body: _Body, served: Served) -> Rows:
    given = [form for form in FORMS if getattr(body, form) is not UNSET]
    if len(given) != 1:
        raise BadInput(f"give exactly one of {', '.join(FORMS)}; the body has {', '.join(given) or 'none of them'}")
    if body.params:
        raise BadInput(f"this model takes no params, and the body has {', '.join(list(body.params)[:10])}")
    decoder = served.decoder
    if isinstance(body.dataframe_split, _Split):
        return decoder.positional(body.dataframe_split.data, body.dataframe_split.columns)
    if isinstance(body.dataframe_records, list):
        return decoder.records(body.dataframe_records)
    values = body.inputs if isinstance(body.inputs, dict | list) else body.instances
    if isinstance(values, dict):
        return decoder.columns(values)
    return _unnamed(values if isinstance(values, list) else [], served)


def _unnamed(values: list[Any], served: Served) -> Rows:
    """A list of rows: objects, lists in the signature's order, or bare values of the only input."""
    if not values or type(values[0]) is dict:
        return served.decoder.records(values)
    if type(values[0]) is not list and len(served.decoder.names) == 1:
        return served.decoder.columns({served.decoder.names[0]: values})
    return served.decoder.positional(values)


def _encode(answer: Answer, request_id: str) -> Reply:
    return Reply(_ENCODER.encode(_Predictions(answer.labels)))
