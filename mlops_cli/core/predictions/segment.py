"""One segment of the prediction log: answered requests as columns, and back. The format stands in FORMAT.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, repeat
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.ipc

from mlops_cli.core.base.records import Signature
from mlops_cli.core.errors import IntegrityError, ProjectError

VERSION = 1
SUFFIX = ".arrow"
REQUEST, ROW, ARRIVED, MODEL, MODEL_VERSION = "_request", "_row", "_arrived", "_model", "_version"
PREDICTION, SCORE = "_prediction", "_score"
RESERVED = (REQUEST, ROW, ARRIVED, MODEL, MODEL_VERSION, PREDICTION, SCORE)

_FORMAT_KEY, _VERSION_KEY = b"mlo.format", b"mlo.version"
_FORMAT = b"predictions"
_TIME = pa.timestamp("us", tz="UTC")
_ARROW = {"float": pa.float64(), "integer": pa.int64(), "boolean": pa.bool_(), "string": pa.string(), "datetime": _TIME}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One request with its answers, n rows: `columns` has n values under each input's name, None where missing.

    `times` are the rows' own times, where the client sent them; `scores` is P(classes[1]) of a binary classifier.
    """

    request: str
    arrived: datetime
    model: str
    version: int | None
    signature: Signature
    columns: Mapping[str, Sequence[Any]]
    predictions: Sequence[Any]
    scores: Sequence[float] | None = None
    time_column: str | None = None
    times: Sequence[datetime | None] | None = None

    @property
    def rows(self) -> int:
        return len(self.predictions)

    @property
    def day(self) -> str:
        return self.arrived.astimezone(UTC).strftime("%Y-%m-%d")


def refuse_reserved(signature: Signature, time_column: str | None) -> None:
    """Raise ProjectError if an input cannot be logged under its own name."""
    for column in signature.inputs:
        if column.name in RESERVED or column.name == time_column:
            other = "model.time in mlo.yaml" if column.name == time_column else "a column of the prediction log"
            raise ProjectError(
                f"the model's input {column.name} has the name of {other}",
                hint="rename the column in training, or serve with --no-log",
            )


def schema_of(signature: Signature, time_column: str | None) -> pa.Schema:
    """The columns of a segment, in order."""
    fields = [
        pa.field(REQUEST, pa.string()),
        pa.field(ROW, pa.int32()),
        pa.field(ARRIVED, _TIME),
        pa.field(MODEL, pa.string()),
        pa.field(MODEL_VERSION, pa.int64()),
        *(pa.field(column.name, _ARROW[column.kind]) for column in signature.inputs),
    ]
    if time_column is not None:
        fields.append(pa.field(time_column, _TIME))
    prediction = pa.string() if signature.task == "classification" else pa.float64()
    fields += [pa.field(PREDICTION, prediction), pa.field(SCORE, pa.float64())]
    return pa.schema(fields, metadata={_FORMAT_KEY: _FORMAT, _VERSION_KEY: str(VERSION).encode()})


def group(batches: Iterable[Answered], rows: int) -> Iterator[list[Answered]]:
    """Batches that may share a segment (one model version, one UTC day), in arrival order, about `rows` rows each."""
    open_groups: dict[tuple[object, ...], list[Answered]] = {}
    sizes: dict[tuple[object, ...], int] = {}
    for batch in batches:
        key = (batch.model, batch.version, id(batch.signature), batch.times is None, batch.day)
        open_groups.setdefault(key, []).append(batch)
        sizes[key] = sizes.get(key, 0) + batch.rows
        if sizes[key] >= rows:
            yield open_groups.pop(key)
            del sizes[key]
    yield from open_groups.values()


def segment_name(batches: Sequence[Answered]) -> str:
    """`2013-04-01/20130401T120000.000000Z-<32 hex>.arrow`: the first arrival, and no other host's name."""
    first = min(batch.arrived for batch in batches).astimezone(UTC)
    return f"{batches[0].day}/{first.strftime('%Y%m%dT%H%M%S.%fZ')}-{uuid4().hex}{SUFFIX}"


def encode(batches: Sequence[Answered]) -> bytes:
    """The bytes of a segment. All batches share a model version, so one schema fits."""
    first = batches[0]
    time_column = first.time_column if first.times is not None else None
    schema = schema_of(first.signature, time_column)
    predictions = chain.from_iterable(batch.predictions for batch in batches)
    values: dict[str, Iterable[Any]] = {
        REQUEST: _spread(batches, "request"),
        ROW: chain.from_iterable(range(batch.rows) for batch in batches),
        ARRIVED: _spread(batches, "arrived"),
        MODEL: _spread(batches, "model"),
        MODEL_VERSION: _spread(batches, "version"),
        PREDICTION: map(str, predictions) if first.signature.task == "classification" else map(float, predictions),
        SCORE: chain.from_iterable(batch.scores or repeat(None, batch.rows) for batch in batches),
    }
    for column in first.signature.inputs:
        values[column.name] = [value for batch in batches for value in batch.columns[column.name]]
    if time_column is not None:
        values[time_column] = chain.from_iterable(batch.times or () for batch in batches)
    table = pa.table([pa.array(list(values[field.name]), field.type) for field in schema], schema=schema)
    sink = pa.BufferOutputStream()
    with pyarrow.ipc.new_file(sink, schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _spread(batches: Sequence[Answered], field: str) -> Iterator[Any]:
    """The batch's value of `field`, once for each of its rows."""
    return chain.from_iterable(repeat(getattr(batch, field), batch.rows) for batch in batches)


def decode(source: Any, name: str) -> pa.Table:
    """A segment's rows. `source` is an opened file or a buffer.

    Raises IntegrityError if it is torn, is no segment, or was written by a newer mlo.
    """
    try:
        with pyarrow.ipc.open_file(source) as reader:
            metadata = reader.schema.metadata or {}
            if metadata.get(_FORMAT_KEY) != _FORMAT:
                raise IntegrityError(f"{name} is not a segment of a prediction log", hint="move it out of the folder")
            if int(metadata.get(_VERSION_KEY, b"0")) > VERSION:
                raise IntegrityError(
                    f"{name} has version {metadata[_VERSION_KEY].decode()}; this mlo reads up to {VERSION}",
                    hint="upgrade mlo: pip install --upgrade mlops-cli",
                )
            table = reader.read_all()
            table.validate(full=True)  # flipped bits in an offset would read past the end of a buffer
            return table
    except (pa.ArrowException, OSError, ValueError) as error:
        raise IntegrityError(f"{name} is torn: {error}", hint="its rows are lost; the others are read") from None
