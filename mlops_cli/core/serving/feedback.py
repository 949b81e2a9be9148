"""POST /feedback: what turned out to be true of predictions, by the id that their request was answered with."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from mlops_cli.core.errors import MloError, UsageError
from mlops_cli.core.predictions.label_taker import LabelTaker
from mlops_cli.core.predictions.label_writer import LabelsFull, LabelWriter
from mlops_cli.core.predictions.labels import MOST_ROW, Label
from mlops_cli.core.serving.http import Request, is_request_id, json_bytes
from mlops_cli.core.serving.limits import Limits
from mlops_cli.core.serving.metrics import Metrics
from mlops_cli.core.serving.predicting import Predicting
from mlops_cli.core.serving.problems import BadInput, TooLarge, Unavailable, UnknownPath
from mlops_cli.core.serving.protocols.exchange import JSON, Reply, read_json
from mlops_cli.core.serving.shelf import Shelf

_Row = Annotated[int, Meta(ge=0, le=MOST_ROW)]

_log = logging.getLogger(__name__)


class _Label(msgspec.Struct, forbid_unknown_fields=True):
    request_id: str
    label: Any
    row: _Row = 0


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    """One label, or a list of them."""

    request_id: str | UnsetType = UNSET
    label: Any = UNSET
    row: _Row = 0
    labels: list[_Label] | UnsetType = UNSET


_DECODER = msgspec.json.Decoder(_Body)


class Feedback:
    """Takes labels for the models of a server. Without a `writer` the server keeps no log, and takes none."""

    def __init__(
        self,
        shelf: Shelf,
        predicting: Predicting,
        metrics: Metrics,
        limits: Limits,
        writer: LabelWriter | None,
        classes: Callable[[str], Awaitable[Sequence[Any]]],
    ) -> None:
        """`classes` asks the registry for those of all versions of a model."""
        self._classes = classes
        self._shelf = shelf
        self._predicting = predicting
        self._metrics = metrics
        self._limits = limits
        self._writer = writer

    async def take(self, request: Request, model: str) -> Reply:
        """Record the labels of a body; they are durable when this returns.

        Raises BadInput for labels that the model cannot have answered, TooLarge for more than a request may have rows,
        UnknownPath for a model that is not here or a server without a log, Unavailable where they cannot be written.
        """
        slot, served = self._shelf.find(model)
        if self._writer is None:
            raise UnknownPath("this server keeps no prediction log, so labels have nothing to belong to")
        request.media((JSON, ""))
        asked = _labels(read_json(_DECODER, await request.body(self._limits)))
        if len(asked) > self._limits.rows:
            raise TooLarge(f"the body has {len(asked):,} labels; this server takes {self._limits.rows:,}")
        signatures = [each.signature for each in (served or await self._predicting.loaded(slot), *slot.versions)]
        classes = dict.fromkeys(label for signature in signatures for label in signature.classes)
        taker = LabelTaker(model, signatures[0].task, tuple(classes))
        try:
            done = self._writer.append(labels := await self._read(asked, taker))
        except UsageError as error:
            raise BadInput(error.message) from None
        except LabelsFull:
            raise Unavailable("more labels wait to be written than the server holds; try again") from None
        try:
            await asyncio.wrap_future(done)
        except (MloError, OSError) as error:
            _log.warning("labels cannot be written: %s", error)
            raise Unavailable("the labels could not be written; try again") from None
        self._metrics.feedback[model] += len(labels)
        return Reply(json_bytes({"recorded": len(labels), "model": model}))

    async def _read(self, asked: Sequence[_Label], taker: LabelTaker) -> list[Label]:
        """The labels as the log writes them. Raises BadInput, UsageError.

        One may come late, for a version that is no longer in memory and knew other classes: only then the registry is
        asked for those.
        """
        try:
            return _taken(asked, taker)
        except UsageError:
            older = [label for label in await self._classes(taker.model) if label not in taker.classes]
            if not taker.classes or not older:
                raise
            return _taken(asked, msgspec.structs.replace(taker, classes=(*taker.classes, *older)))


def _labels(body: _Body) -> list[_Label]:
    one = body.request_id is not UNSET or body.label is not UNSET
    if body.labels is not UNSET:
        if one:
            raise BadInput("the body has labels and a label of its own; send one of them")
        if not body.labels:
            raise BadInput("labels is an empty list")
        return body.labels
    if isinstance(body.request_id, UnsetType) or body.label is UNSET:
        raise BadInput('send {"request_id": ..., "label": ...}, with "row" where the request had several rows')
    return [_Label(body.request_id, body.label, body.row)]


def _taken(asked: Sequence[_Label], taker: LabelTaker) -> list[Label]:
    """Raises BadInput for what is no id, UsageError for what is no label."""
    return [Label(_id(one.request_id), one.row, taker.text(one.label)) for one in asked]


def _id(text: str) -> str:
    if not is_request_id(text):
        raise BadInput(f"{text[:128]!r} is no request id; send the one that the prediction was answered with")
    return text
