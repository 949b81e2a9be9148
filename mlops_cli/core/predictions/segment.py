"""One segment of the prediction log: answered requests as columns, and back. The format stands in FORMAT.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec
import pyarrow as pa
import pyarrow.ipc
from numpy.typing import NDArray

from mlops_cli.core.base.records import Signature
from mlops_cli.core.errors import ProjectError
from mlops_cli.core.predictions.columns import Way, all_scores_of, array_of, repeated, rows_of, runs
from mlops_cli.core.predictions.log_files import FORMAT_KEY, SEGMENT, VERSION_KEY, read_segment

VERSION = 2
SUFFIX = SEGMENT
REQUEST, ROW, ARRIVED, MODEL, MODEL_VERSION = "_request", "_row", "_arrived", "_model", "_version"
PREDICTION, SCORE, SCORES, LATENCY = "_prediction", "_score", "_scores", "_latency_ms"
RESERVED = (REQUEST, ROW, ARRIVED, MODEL, MODEL_VERSION, PREDICTION, SCORE, SCORES, LATENCY)
FORMAT = b"predictions"
CLASSES_KEY, SAMPLE_KEY = b"mlo.classes", b"mlo.sample"

_TIME = pa.timestamp("us", tz="UTC")
_ARROW = {"float": pa.float64(), "integer": pa.int64(), "boolean": pa.bool_(), "string": pa.string(), "datetime": _TIME}


class Answered(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request with its answers, n rows: `columns` has n values under each input's name, None where missing; a
    one-dimensional NumPy array may stand for a list, NaN where missing.

    `times` are the rows' own times, where the client sent them. `scores` is P(classes[1]) of a binary classifier,
    `all_scores` (n, k) the probabilities of all k classes, kept for more than two. `latency_ms` goes from the last byte
    of the request to its answer. `size` is about how many bytes the request's values take in memory, where that is
    known: the ring of a writer is bounded by it as well as by its rows.
    """

    request: str
    arrived: datetime
    model: str
    version: int | None
    signature: Signature
    columns: Mapping[str, Sequence[Any] | NDArray[Any]]
    predictions: Sequence[Any]
    scores: Sequence[float] | None = None
    all_scores: Sequence[Sequence[float]] | None = None
    time_column: str | None = None
    times: Sequence[datetime | None] | None = None
    latency_ms: float | None = None
    size: int = 0

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


def schema_of(signature: Signature, time_column: str | None, *, sample: float = 1.0) -> pa.Schema:
    """The columns of a segment, in order. `sample` is the share of the requests that the log takes."""
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
    metadata = {FORMAT_KEY: FORMAT, VERSION_KEY: str(VERSION).encode(), SAMPLE_KEY: repr(sample).encode()}
    if signature.task == "classification" and signature.classes:
        metadata[CLASSES_KEY] = msgspec.json.encode([str(label) for label in signature.classes])
        if len(signature.classes) > 2:
            fields.append(pa.field(SCORES, pa.list_(pa.float64(), len(signature.classes))))
    fields.append(pa.field(LATENCY, pa.float64()))
    return pa.schema(fields, metadata=metadata)


def classes_of(schema: pa.Schema) -> tuple[str, ...]:
    """The classes in the order of `_scores`, as text; empty for a regression and where a segment does not say."""
    text = (schema.metadata or {}).get(CLASSES_KEY)
    return tuple(msgspec.json.decode(text, type=list[str])) if text else ()


def sample_of(schema: pa.Schema) -> float:
    """The share of the requests that the log took as these rows were written; 1 before version 2."""
    try:
        return float((schema.metadata or {}).get(SAMPLE_KEY, b"1"))
    except ValueError:
        return 1.0


def group(batches: Iterable[Answered], rows: int) -> Iterator[list[Answered]]:
    """Batches that may share a segment (one model version, one UTC day), in arrival order, about `rows` rows each."""
    open_groups: dict[tuple[object, ...], list[Answered]] = {}
    sizes: dict[tuple[object, ...], int] = {}
    for batch in batches:
        at = batch.arrived if batch.arrived.tzinfo is UTC else batch.arrived.astimezone(UTC)
        key = (batch.model, batch.version, id(batch.signature), batch.times is None, at.toordinal())
        members = open_groups.get(key)
        if members is None:
            members, sizes[key] = open_groups.setdefault(key, []), 0
        members.append(batch)
        sizes[key] += len(batch.predictions)
        if sizes[key] >= rows:
            yield open_groups.pop(key)
    yield from open_groups.values()


def segment_name(batches: Sequence[Answered]) -> str:
    """`2013-04-01/20130401T120000.000000Z-<32 hex>.arrow`: the first arrival, and no other host's name."""
    first = min(batch.arrived for batch in batches).astimezone(UTC)
    return f"{batches[0].day}/{first.strftime('%Y%m%dT%H%M%S.%fZ')}-{uuid4().hex}{SUFFIX}"


def encode(batches: list[Answered], *, sample: float = 1.0, pause: Callable[[], None] | None = None) -> bytes:
    """The bytes of a segment. All batches share a model version, so one schema fits.

    `pause` is called after each column of a few hundred rows: whoever shares the interpreter may then go on. With it
    the list is emptied.
    """
    first = batches[0]
    time_column = first.time_column if first.times is not None else None
    schema = schema_of(first.signature, time_column, sample=sample)
    sink = pa.BufferOutputStream()
    with pyarrow.ipc.new_file(sink, schema) as writer:
        for run in runs(batches if pause is not None else list(batches)):
            writer.write_batch(_record_batch(run, schema, time_column, pause or _go_on))
    return bytes(sink.getvalue())


def _go_on() -> None:
    """Nobody shares the interpreter."""


def _record_batch(
    run: Sequence[Answered], schema: pa.Schema, time_column: str | None, pause: Callable[[], None]
) -> pa.RecordBatch:
    first, ways = run[0], Way(run)
    names = [column.name for column in first.signature.inputs]
    inputs = rows_of(run, names, ways)
    pause()
    is_text = first.signature.task == "classification"
    columns: list[pa.Array] = []
    for field in schema:
        name, kind = field.name, field.type
        if name == REQUEST:
            column = array_of(ways.spread([batch.request for batch in run]), kind)
        elif name == ROW:
            column = array_of(ways.places(), kind)
        elif name == ARRIVED:
            column = array_of(ways.spread([batch.arrived for batch in run]), kind)
        elif name == MODEL:
            column = repeated(first.model, ways.rows, kind)
        elif name == MODEL_VERSION:
            column = repeated(first.version, ways.rows, kind)
        elif name == PREDICTION:
            column = array_of(list(map(str if is_text else float, ways.chained(run, "predictions"))), kind)
        elif name == SCORE:
            column = array_of(list(ways.chained(run, "scores")), kind)
        elif name == SCORES:
            column = all_scores_of(run, kind)
        elif name == LATENCY:
            column = array_of(ways.spread([batch.latency_ms for batch in run]), kind)
        elif name == time_column:
            column = array_of(list(ways.chained(run, "times")), kind)
        else:
            column = array_of(inputs[name], kind)
        columns.append(column)
        pause()
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def decode(source: Any, name: str) -> pa.Table:
    """A segment's rows. `source` is an opened file or a buffer.

    Raises IntegrityError if it is torn, is no segment, or was written by a newer mlo.
    """
    return read_segment(source, name, FORMAT, VERSION)
