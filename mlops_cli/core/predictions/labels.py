"""Labels of logged predictions: what turned out to be true, however late it is known. FORMAT.md describes the files.

A label belongs to a row of a request. Segments of labels are only ever added; of several labels of one row the one
recorded last counts, and the others stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec

from mlops_cli.core.base.files import write_atomic
from mlops_cli.core.errors import IntegrityError, NotFound, UsageError
from mlops_cli.core.predictions.outbox import PREFIX

if TYPE_CHECKING:
    import pyarrow as pa

    from mlops_cli.core.remotes.remote import Remote

VERSION = 1
FOLDER = "labels"
SUFFIX = ".arrow"
LABEL, RECORDED = "_label", "_recorded"
MOST_ROW = 2**31 - 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FORMAT_KEY, _VERSION_KEY = b"mlo.format", b"mlo.version"
_FORMAT = b"labels"


class Label(msgspec.Struct, frozen=True):
    """What was true of row `row` of a request, as the text that the prediction log writes for such a prediction."""

    request: str
    row: int
    label: str

    @property
    def place(self) -> tuple[str, int]:
        return self.request, self.row


class Recorded(msgspec.Struct, frozen=True):
    """What became of labels: `added` rows had none, `changed` had another one, `unchanged` had this one already.

    `segment` is the name of the segment that was written, None where there was nothing to write.
    """

    added: int
    changed: int
    unchanged: int
    segment: str | None = None


class Known(msgspec.Struct):
    """The labels that count, by request and row, each with the time it was recorded; `torn` as the log's reader.

    A server may keep one and give it to `record_labels`, which updates it, so that no call reads all segments anew.
    """

    labels: dict[tuple[str, int], tuple[datetime, str]]
    superseded: int = 0
    torn: dict[str, str] = {}

    def take(self, place: tuple[str, int], time: datetime, label: str) -> None:
        """The latest wins; of two recorded at one time, the greater text, so that no order of reading matters."""
        before = self.labels.get(place)
        if before is not None and before[1] != label:
            self.superseded += 1
        if before is None or (time, label) > before:
            self.labels[place] = time, label


def record_labels(
    log: Path | Remote, labels: Iterable[Label], now: datetime, *, known: Known | None = None
) -> Recorded:
    """Keep labels beside the prediction log. A row that has this very label already is left alone.

    They appear all at once, durably, in one segment, or not at all. A later label of a row is recorded at a later time
    than the one it replaces, even if the clock went back. Raises UsageError, before anything is written, for two labels
    of one row, an empty request id or a row below 0; MachineError or RemoteError if the segment cannot be written.
    """
    wanted = _distinct(labels)
    known = read_labels(log) if known is None else known
    now = now.astimezone(UTC)
    fresh: list[tuple[datetime, Label]] = []
    added = changed = 0
    for label in wanted:
        before = known.labels.get(label.place)
        if before is not None and before[1] == label.label:
            continue
        added, changed = added + (before is None), changed + (before is not None)
        fresh.append((now if before is None else max(now, before[0] + timedelta(microseconds=1)), label))
    unchanged = len(wanted) - len(fresh)
    if not fresh:
        return Recorded(0, 0, unchanged)
    name = f"{now:%Y-%m-%d}/{now:%Y%m%dT%H%M%S.%fZ}-{uuid4().hex}{SUFFIX}"
    data = encode(fresh)
    if isinstance(log, Path):
        write_atomic(log / FOLDER / name, data)
    else:
        log.put(f"{PREFIX}{FOLDER}/{name}", data)
        log.settle()
    for time, label in fresh:
        known.take(label.place, time, label.label)
    return Recorded(added, changed, unchanged, name)


def has_labels(log: Path | Remote) -> bool:
    """Whether any label was ever recorded. One look at a folder, or one listing."""
    if isinstance(log, Path):
        return any((log / FOLDER).glob(f"????-??-??/*{SUFFIX}"))
    return next(iter(log.list(f"{PREFIX}{FOLDER}/")), None) is not None


def read_labels(log: Path | Remote, *, since: datetime | None = None) -> Known:
    """The labels that count. Those recorded over a day before `since` are left out: no label is older than its row.

    A torn segment is skipped and named. Raises RemoteError if the remote is away.
    """
    early = since is None or since <= _EPOCH  # before it is no label, and of year 1 no day before
    first = "" if since is None or early else f"{since.astimezone(UTC) - timedelta(days=1):%Y-%m-%d}"
    known = Known({})
    for name, source in _segments(log, first):
        try:
            table = decode(source, name)
        except IntegrityError as error:
            known.torn[name] = error.message
            continue
        # Times as numbers: a timestamp's to_pylist() imports pandas, which costs more than all the rest.
        stamps = table.column(RECORDED).cast("int64").to_pylist()
        columns = (table.column(column).to_pylist() for column in ("_request", "_row", LABEL))
        for stamp, request, row, label in zip(stamps, *columns, strict=True):
            known.take((request, row), _EPOCH + timedelta(microseconds=stamp), label)
    return known


def encode(labels: Sequence[tuple[datetime, Label]]) -> bytes:
    """The bytes of a segment."""
    import pyarrow as pa
    import pyarrow.ipc

    time = pa.timestamp("us", tz="UTC")
    fields = [("_request", pa.string()), ("_row", pa.int32()), (LABEL, pa.string()), (RECORDED, time)]
    schema = pa.schema(fields, metadata={_FORMAT_KEY: _FORMAT, _VERSION_KEY: str(VERSION).encode()})
    rows = [(label.request, label.row, label.label, at) for at, label in labels]
    columns = [
        pa.array(list(values), field.type) for values, field in zip(zip(*rows, strict=True), schema, strict=True)
    ]
    sink = pa.BufferOutputStream()
    with pyarrow.ipc.new_file(sink, schema) as writer:
        writer.write_table(pa.table(columns, schema=schema))
    return bytes(sink.getvalue())


def decode(source: Any, name: str) -> pa.Table:
    """A segment's rows; `source` is an opened file or a buffer. Raises IntegrityError as the prediction log's."""
    import pyarrow as pa
    import pyarrow.ipc

    try:
        with pyarrow.ipc.open_file(source) as reader:
            metadata: Mapping[bytes, bytes] = reader.schema.metadata or {}
            if metadata.get(_FORMAT_KEY) != _FORMAT:
                raise IntegrityError(f"{name} is not a segment of labels", hint="move it out of the folder")
            if int(metadata.get(_VERSION_KEY, b"0")) > VERSION:
                raise IntegrityError(
                    f"{name} has version {metadata[_VERSION_KEY].decode()}; this mlo reads up to {VERSION}",
                    hint="upgrade mlo: pip install --upgrade mlops-cli",
                )
            table = reader.read_all()
            table.validate(full=True)
            return table
    except (pa.ArrowException, OSError, ValueError) as error:
        raise IntegrityError(f"{name} is torn: {error}", hint="its labels are lost; record them again") from None


def _distinct(labels: Iterable[Label]) -> list[Label]:
    """One label a row, in order. Raises UsageError."""
    seen: dict[tuple[str, int], Label] = {}
    for label in labels:
        if not label.request:
            raise UsageError("a label has an empty request id", hint="give the id that the server answered with")
        if not 0 <= label.row <= MOST_ROW:
            raise UsageError(f"{label.row} is no row of request {label.request}", hint="rows are counted from 0")
        before = seen.setdefault(label.place, label)
        if before.label != label.label:
            raise UsageError(
                f"row {label.row} of request {label.request} has two labels: {before.label} and {label.label}",
                hint="of a request with several rows, say which row: a column _row, from 0",
            )
    return list(seen.values())


def _segments(log: Path | Remote, first: str) -> Iterator[tuple[str, Any]]:
    import pyarrow as pa

    if isinstance(log, Path):
        for path in sorted((log / FOLDER).glob(f"????-??-??/*{SUFFIX}")):
            if not path.name.startswith(".") and path.parent.name >= first:
                try:
                    yield path.name, pa.BufferReader(path.read_bytes())
                except FileNotFoundError:
                    continue
        return
    prefix = f"{PREFIX}{FOLDER}/"
    for key in log.list(prefix):
        day, slash, name = key.removeprefix(prefix).partition("/")
        if slash and "/" not in name and name.endswith(SUFFIX) and day >= first:
            try:
                yield name, pa.BufferReader(log.get(key))
            except NotFound:
                continue
