"""What a protocol is to the server: it reads a body into rows, and writes answers and problems for its clients."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from mlops_cli.core.serving.decode import Rows
from mlops_cli.core.serving.loader import Answer, Served
from mlops_cli.core.serving.problems import BadInput, Problem

JSON, CSV = "application/json", "text/csv"

Document = TypeVar("Document")
Written = TypeVar("Written")  # a reply, as a protocol writes it

_BYTE = re.compile(r"\(byte (\d+)\)")
_NOT_JSON = re.compile(rb"-?(NaN|Infinity)\b")


class BareNaN(BadInput):
    """NaN where JSON has no word for it. Python's own encoder writes it, so some clients send it."""


class Body(NamedTuple):
    """A request's body as it arrived: its content type without parameters, and the request's headers."""

    data: bytes
    media: str
    headers: Mapping[bytes, bytes] = {}


class Reply(NamedTuple):
    """The body of an answer with its content type, and headers that only this protocol sends."""

    body: bytes
    media: bytes = JSON.encode()
    headers: tuple[tuple[bytes, bytes], ...] = ()
    status: int = 200


class Asked(msgspec.Struct, Generic[Written], frozen=True):
    """A request as a protocol read it. `encode` writes the reply from the answer and the request's id;
    `request_id` is the id in the body, if the protocol has one."""

    rows: Rows
    encode: Callable[[Answer, str], Written]
    request_id: str | None = None


class Exchange(Protocol):
    """One protocol. `media` are the content types it reads; an empty string among them: the header may be absent."""

    media: tuple[str, ...]

    def read(self, body: Body, served: Served) -> Asked[Reply]:
        """Raises Problem for a body that is not what the path takes. Called from any thread."""
        ...

    def problem(self, problem: Problem, request_id: str) -> Any:
        """The problem as the protocol's clients read it: something that encodes to JSON."""
        ...


def read_typed(decoder: msgspec.json.Decoder[Document], body: bytes) -> Document | None:
    """The body if it has exactly the decoder's types, else None; `read_json` says why."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # a ValidationError is a DecodeError
        return None


def read_json(decoder: msgspec.json.Decoder[Document], body: bytes | memoryview) -> Document:
    """The body as a document. Raises BadInput, also for NaN and infinities, which are no JSON."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise BadInput(f"the body is not what this path takes: {error}") from None
    except UnicodeDecodeError:
        raise BadInput("the body is not UTF-8") from None
    except msgspec.DecodeError as error:
        place = _BYTE.search(str(error))
        at = int(place[1]) if place else 0
        body = bytes(body)
        if bare := _NOT_JSON.match(body, max(at - 1, 0)) or _NOT_JSON.match(body, at):
            word = bare[0].decode()
            kind = BareNaN if word == "NaN" else BadInput
            raise kind(f"{word} at byte {bare.start()} is no JSON; write null for a missing value") from None
        raise BadInput(f"the body is not JSON: {error}" if body.strip() else "the body is empty") from None
    except RecursionError:
        raise BadInput("the JSON is nested too deeply") from None
