"""mlo's own protocol: POST /predict with the model's inputs as named fields."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from mlops_cli.core.serving.loader import Answer, Served
from mlops_cli.core.serving.problems import BadInput, Problem
from mlops_cli.core.serving.protocols.exchange import JSON, Asked, Body, Reply, read_json, read_typed
from mlops_cli.core.serving.protocols.mlflow import FORMS
from mlops_cli.core.serving.typed import RowType

ROWS = "rows"

_DECODER = msgspec.json.Decoder(dict[str, Any] | list[Any])
_ENCODER = msgspec.json.Encoder()


class _One(msgspec.Struct):
    prediction: Any
    probability: float | dict[str, float] | UnsetType
    model: str
    version: int | str
    request_id: str


class _Many(msgspec.Struct):
    predictions: list[Any]
    probabilities: list[float | dict[str, float]] | UnsetType
    model: str
    version: int | str
    request_id: str


@lru_cache(maxsize=64)
def _typed(row_type: RowType) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(row_type.Fields)


class Named:
    media: tuple[str, ...] = (JSON, "")

    def read(self, body: Body, served: Served) -> Asked[Reply]:
        row_type = served.decoder.row_type
        row = read_typed(_typed(row_type), body.data) if row_type is not None else None
        if row is not None and (rows := served.decoder.typed([row])) is not None:
            return Asked(rows, lambda answer, request_id: _encode_one(answer, request_id, served))
        document = read_json(_DECODER, body.data)
        if isinstance(document, list):
            raise BadInput('the body is a list; for several rows send {"rows": [...]}')
        if len(document) == 1 and isinstance(document.get(ROWS), list):
            asked = served.decoder.records(document[ROWS])
            return Asked(asked, lambda answer, request_id: _encode_rows(answer, request_id, served))
        try:
            asked = served.decoder.records([document])
        except BadInput as error:  # there is one row, and the client never numbered it
            if elsewhere := _elsewhere(document, served):
                raise BadInput(elsewhere) from None
            raise BadInput(error.message.replace(": row 0 is null", " is null").replace("row 0: ", "")) from None
        return Asked(asked, lambda answer, request_id: _encode_one(answer, request_id, served))

    def problem(self, problem: Problem, request_id: str) -> Any:
        return {"error": problem.message, "request_id": request_id}


def _elsewhere(document: Mapping[str, Any], served: Served) -> str | None:
    """Is it a body of another protocol, to be sent to that one's path?"""
    form = next((form for form in FORMS if form in document and form not in served.decoder.names), None)
    if form is None:
        return None
    here = 'here are taken the inputs as fields, or {"rows": [...]}'
    values = document[form]
    if (
        form == "inputs"
        and isinstance(values, list)
        and values
        and isinstance(values[0], dict)
        and "shape" in values[0]
    ):
        return f"a body with tensors goes to /v2/models/{served.name}/infer; {here}"
    return f"a body with {form} goes to /invocations; {here}"


def _encode_one(answer: Answer, request_id: str, served: Served) -> Reply:
    share = probability(answer.scores[0], served) if answer.scores is not None else UNSET
    return Reply(_ENCODER.encode(_One(answer.labels[0], share, served.name, _version(served), request_id)))


def _encode_rows(answer: Answer, request_id: str, served: Served) -> Reply:
    shares = [probability(scores, served) for scores in answer.scores] if answer.scores is not None else UNSET
    return Reply(_ENCODER.encode(_Many(answer.labels, shares, served.name, _version(served), request_id)))


def _version(served: Served) -> int | str:
    return served.version if served.version is not None else served.title


def probability(scores: list[float], served: Served) -> float | dict[str, float]:
    """Of two classes the second one's probability; of more, each one's by its label."""
    if served.is_binary:
        return scores[1]
    return {str(label): score for label, score in zip(served.signature.classes, scores, strict=True)}
