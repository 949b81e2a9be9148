"""Files of labels: segments, and the Parquet of whole days. FORMAT.md describes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from mlops_cli.core.predictions.log_files import DAY, FORMAT_KEY, SEGMENT, VERSION_KEY, open_day, read_segment

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT, VERSION = b"labels", 1
LABEL, RECORDED = "_label", "_recorded"

Row = tuple[datetime, str, int, str]  # recorded, request, row, label

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def segment_name(recorded: datetime) -> str:
    """`2013-05-01/20130501T060000.000000Z-<32 hex>.arrow`."""
    return f"{recorded:%Y-%m-%d}/{recorded:%Y%m%dT%H%M%S.%fZ}-{uuid4().hex}{SEGMENT}"


def schema() -> pa.Schema:
    import pyarrow as pa

    fields = [
        ("_request", pa.string()),
        ("_row", pa.int32()),
        (LABEL, pa.string()),
        (RECORDED, pa.timestamp("us", tz="UTC")),
    ]
    return pa.schema(fields, metadata={FORMAT_KEY: FORMAT, VERSION_KEY: str(VERSION).encode()})


def encode(rows: Sequence[Row]) -> bytes:
    """The bytes of a segment."""
    import pyarrow as pa
    import pyarrow.ipc

    sink = pa.BufferOutputStream()
    table = _table(((at - _EPOCH) // _MICROSECOND, *rest) for at, *rest in rows)
    with pyarrow.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def decode(source: Any, name: str) -> pa.Table:
    """A segment's rows; `source` is an opened file or a buffer. Raises IntegrityError as the prediction log's."""
    return read_segment(source, name, FORMAT, VERSION)


def tables_of(path: Path) -> Iterator[pa.Table]:
    """The rows of one file. Raises IntegrityError if it is torn as a whole, FileNotFoundError."""
    if path.name.endswith(DAY):
        day = open_day(path, FORMAT, VERSION)
        for group in range(day.footer.num_row_groups):
            yield day.group(group)
    else:
        import pyarrow as pa

        yield decode(pa.BufferReader(path.read_bytes()), path.name)


def _table(rows: Iterable[tuple[Any, ...]]) -> pa.Table:
    import pyarrow as pa

    columns: list[list[Any]] = [[], [], [], []]
    for stamp, request, row, label in rows:
        for column, value in zip(columns, (request, row, label, stamp), strict=True):
            column.append(value)
    kinds = schema()
    return pa.table([pa.array(values, field.type) for values, field in zip(columns, kinds, strict=True)], schema=kinds)
