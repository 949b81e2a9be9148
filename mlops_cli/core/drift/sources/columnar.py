"""Parquet and Arrow files: one column at a time, from one file or from the shards of a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mlops_cli.core.base.names import name_some, repeated
from mlops_cli.core.drift.columns import plain
from mlops_cli.core.drift.sources.types import wider
from mlops_cli.core.drift.window import Window
from mlops_cli.core.errors import ProjectError

if TYPE_CHECKING:
    import pyarrow as pa


class ColumnFile(Protocol):
    """A file whose columns can be read one by one, each from a fresh opening: a folder may hold thousands."""

    name: str
    schema: pa.Schema
    rows: int

    def read(self, column: str) -> pa.ChunkedArray: ...


class ParquetShard:
    def __init__(self, path: Path, name: str) -> None:
        from pyarrow import parquet

        self.name, self._path = name, path
        with explained(name), parquet.ParquetFile(path) as file:
            self._metadata = file.metadata
            self.schema, self.rows = file.schema_arrow, file.metadata.num_rows

    def read(self, column: str) -> pa.ChunkedArray:
        """A row group at a time, on this thread: half the memory and half the work of the whole column at once."""
        import pyarrow as pa
        from pyarrow import parquet

        kind = self.schema.field(column).type
        is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        options: dict[str, Any] = {"metadata": self._metadata, "pre_buffer": False}
        with (
            explained(self.name),
            parquet.ParquetFile(self._path, read_dictionary=[column] if is_text else None, **options) as file,
        ):
            groups = (
                file.read_row_group(number, columns=[column], use_threads=False).column(column)
                for number in range(file.num_row_groups)
            )
            return _together([chunk for group in groups for chunk in group.chunks], kind)


def _together(chunks: list[pa.Array], kind: pa.DataType) -> pa.ChunkedArray:
    import pyarrow as pa

    return pa.chunked_array(chunks) if chunks else pa.chunked_array([], kind)


class ArrowShard:
    """An Arrow IPC file, which Feather version 2 is too."""

    def __init__(self, path: Path, name: str) -> None:
        self.name, self._path = name, path
        with explained(name), self._open() as reader:
            self.schema = reader.schema
            # A batch's length is in its metadata; of its columns, the first alone is read.
            self.rows = sum(batch.num_rows for batch in self._batches(0)) if len(self.schema) else 0

    def read(self, column: str) -> pa.ChunkedArray:
        import pyarrow as pa

        with explained(self.name):
            pieces = [batch.column(0) for batch in self._batches(self.schema.get_field_index(column))]
            return pa.chunked_array(pieces, self.schema.field(column).type)

    def _open(self, **options: Any) -> Any:
        import pyarrow as pa

        return pa.ipc.open_file(pa.OSFile(str(self._path)), **options)

    def _batches(self, index: int) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        with self._open(options=pa.ipc.IpcReadOptions(included_fields=[index])) as reader:
            for number in range(reader.num_record_batches):
                batch = reader.get_batch(number)
                batch.validate()  # a length that the buffers do not have would be read past their ends
                yield batch


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Arrow's errors as one that names the file."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the machine's, with its own words
        raise ProjectError(
            f"{name} does not read as rows: {str(error).partition(chr(10))[0][:200]}",
            hint="give a Parquet, CSV, JSON lines or Arrow file",
        ) from None


def open_shards(shards: Sequence[ColumnFile]) -> Window:
    """The rows of all shards, one after the other. Raises ProjectError if their columns differ in name or kind."""
    first = shards[0]
    for shard in shards:
        if twice := repeated(shard.schema.names):
            raise ProjectError(f"{shard.name} has two columns named {name_some(twice)}", hint="name each column once")
        if other := sorted(set(shard.schema.names) ^ set(first.schema.names)):
            raise ProjectError(
                f"{shard.name} and {first.name} differ in {name_some(other)}",
                hint="the files of a folder must have the same columns",
            )
    schema = _common(shards)

    def read(name: str) -> pa.ChunkedArray:

        kind = schema.field(name).type
        pieces = []
        for shard in shards:
            column = shard.read(name)
            as_it_is = column.type == kind or shard.schema.field(name).type == kind
            pieces += (column if as_it_is else plain(column).cast(kind, safe=False)).chunks
        if len({piece.type for piece in pieces}) > 1:
            pieces = [piece.cast(kind) for piece in pieces]
        return _together(pieces, kind)

    return Window(schema, sum(shard.rows for shard in shards), read)


def _common(shards: Sequence[ColumnFile]) -> pa.Schema:
    import pyarrow as pa

    first = shards[0]
    if len(shards) == 1:
        return first.schema
    types: dict[str, pa.DataType] = {}
    for name in first.schema.names:
        kinds = list(dict.fromkeys(shard.schema.field(name).type for shard in shards))
        common = kinds[0] if len(kinds) == 1 else wider(kinds)
        if common is None:
            other = next(shard for shard in shards if shard.schema.field(name).type != kinds[0])
            raise ProjectError(
                f"{name} is {kinds[0]} in {first.name} and {other.schema.field(name).type} in {other.name}",
                hint="write the files of a folder with one schema",
            )
        types[name] = common
    return pa.schema(list(types.items()))
