"""Predict the rows of a file into another file, a chunk at a time."""

from __future__ import annotations

import contextlib
import csv
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.base.names import repeated
from mlops_cli.core.base.records import Signature
from mlops_cli.core.errors import NotFound, UsageError, WouldOverwrite
from mlops_cli.core.models.errors import WrongInputs
from mlops_cli.core.models.load import LoadedModel
from mlops_cli.core.workflows.resolve import load_resolved, resolve_model
from mlops_cli.core.workflows.workspace import Workspace

CHUNK_ROWS = 16_384
CHUNK_BYTES = 4 << 20
PREDICTION, PROBABILITY = "prediction", "probability"
PARQUET, CSV = (".parquet", ".pq"), (".csv",)

_WRONG_VALUE = re.compile(r"In CSV column #(\d+): .*?CSV conversion error to [^:]*: invalid value '(.*)'", re.DOTALL)
_CSV_TYPES = {"float": pa.float64(), "boolean": pa.bool_(), "string": pa.string(), "datetime": pa.string()}


class Predicted(msgspec.Struct, frozen=True):
    """What was written: `columns` are those added to the input's."""

    model: str
    version: int | None
    run: str
    rows: int
    output: str
    columns: list[str]


def predict_file(workspace: Workspace, text: str, source: Path, target: Path, *, force: bool = False) -> Predicted:
    """Write the rows of `source` with their predictions to `target`, all of them or nothing.

    Both are Parquet or CSV, by their extension. Added are `prediction` and, of a classifier, `probability` (of the
    second of two classes) or `probability_<class>` (of more). Raises NotFound, WouldOverwrite without `force`,
    WrongInputs for a missing column or values of another kind, UsageError for a file that does not read.
    """
    write = _writer_for(target)
    if target.exists() and not force:
        raise WouldOverwrite(f"{target} exists", hint="say --force to replace it, or name another file")
    if not source.is_file():
        raise NotFound(f"there is no file {source}", hint="name a Parquet or CSV file")
    resolved = resolve_model(workspace, text)
    loaded = load_resolved(workspace, resolved)
    chunks = _chunks(source, loaded.signature)
    rows = 0
    added: list[str] = []
    workspace.progress.begin(f"predict {source.name}", _row_count(source), "rows")
    try:
        with _whole_file(target) as temporary, contextlib.ExitStack() as stack:
            sink: Any = None
            for chunk in chunks:
                answers = _answers(loaded, chunk, source)
                added = answers.column_names
                table = pa.table([*chunk.columns, *answers.columns], names=[*chunk.column_names, *added])
                if sink is None:
                    sink = stack.enter_context(write(temporary, table.schema))
                sink.write_table(table)
                rows += table.num_rows
                workspace.progress.advance(table.num_rows)
    finally:
        workspace.progress.end()
    return Predicted(resolved.name, resolved.version, resolved.run, rows, str(target), added)


def _answers(loaded: LoadedModel, chunk: pa.Table, source: Path) -> pa.Table:
    taken = {name for name in chunk.column_names if name == PREDICTION or name.startswith(PROBABILITY)}
    if twice := repeated(chunk.column_names):
        raise WrongInputs(f"{source} has two columns named {', '.join(twice[:8])}", hint="name each column once")
    absent = [column.name for column in loaded.signature.inputs if column.name not in chunk.column_names]
    if absent:
        raise WrongInputs(
            f"{source} has no column {', '.join(absent)}; it has {', '.join(chunk.column_names)}",
            hint=f"the model takes {', '.join(column.name for column in loaded.signature.inputs)}",
        )
    predictions = loaded.predict(chunk)
    signature = loaded.signature
    labels = pa.array(list(signature.classes)).type if signature.classes else pa.float64()
    columns = {PREDICTION: pa.array(predictions.labels.tolist(), labels)}
    if predictions.scores is not None and len(signature.classes) == 2:
        columns[PROBABILITY] = pa.array(predictions.scores[:, 1])
    elif predictions.scores is not None:
        for place, label in enumerate(signature.classes):
            columns[f"{PROBABILITY}_{label}"] = pa.array(predictions.scores[:, place])
    if clash := sorted(taken & columns.keys()):
        raise UsageError(f"{source} has a column {', '.join(clash)} already", hint="rename it, so that both fit")
    return pa.table(columns)


def _row_count(source: Path) -> int | None:
    if source.suffix.lower() not in PARQUET:
        return None
    with contextlib.suppress(pa.ArrowException, OSError):
        return int(pq.read_metadata(source).num_rows)
    return None


def _chunks(source: Path, signature: Signature) -> Iterator[pa.Table]:
    """The file's rows, at least one (perhaps empty) chunk. Raises UsageError if it does not read."""
    suffix = source.suffix.lower()
    if suffix not in PARQUET + CSV:
        raise UsageError(f"{source} is neither Parquet nor CSV", hint="name a file that ends in .parquet or .csv")
    try:
        batches = _parquet(source) if suffix in PARQUET else _csv(source, signature)
        first = True
        for table in batches:
            if table.num_rows or first:
                yield table
            first = False
    except pa.ArrowException as error:
        reason = str(error).strip().partition("\n")[0]
        raise UsageError(f"{source} does not read: {reason}", hint="mend the file and run again") from None


def _parquet(source: Path) -> Iterator[pa.Table]:
    with pq.ParquetFile(source) as file:
        empty = True
        for batch in file.iter_batches(batch_size=CHUNK_ROWS):
            empty = False
            yield pa.Table.from_batches([batch])
        if empty:
            yield file.schema_arrow.empty_table()


def _csv(source: Path, signature: Signature) -> Iterator[pa.Table]:
    """Inputs are read as what the model takes, everything else as the text it is, so that it is written as it was."""
    with source.open("rb") as file:
        header = file.readline()
    names = pa.csv.read_csv(pa.py_buffer(header)).column_names if header.strip() else []
    if not names:
        raise UsageError(f"{source} is empty", hint="its first line names the columns")
    types = dict.fromkeys(names, pa.string())
    for column in signature.inputs:
        # pandas writes a column of integers with gaps as 5.0; only as floats do both read.
        whole = pa.float64() if column.nullable else pa.int64()
        types[column.name] = _CSV_TYPES.get(column.kind, whole)
    options = pa.csv.ConvertOptions(column_types=types, strings_can_be_null=True, null_values=[""])
    blocks = pa.csv.ReadOptions(block_size=CHUNK_BYTES)
    try:
        with pa.csv.open_csv(source, read_options=blocks, convert_options=options) as reader:
            empty = True
            for batch in reader:
                empty = False
                yield pa.Table.from_batches([batch])
            if empty:
                yield reader.schema.empty_table()
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):
            yield pa.table([pa.array([], types[name]) for name in names], names=names)
            return
        if wrong := _WRONG_VALUE.search(str(error)):
            raise _wrong_value(source, names, int(wrong[1]), wrong[2]) from None
        raise


def _wrong_value(source: Path, names: list[str], place: int, value: str) -> UsageError:
    """Arrow tells the number of a column and the value; people want its name and the first line that holds it."""
    with source.open(encoding="utf-8", errors="replace", newline="") as file:
        lines = csv.reader(file)
        at = next((lines.line_num for row in lines if place < len(row) and row[place] == value), None)
    line = f" in line {at}" if at is not None else ""
    return UsageError(
        f"{source} does not read: column {names[place]} holds {value!r}{line}, which is not what the model takes",
        hint="mend the file and run again; an empty cell is a missing value",
    )


def _writer_for(target: Path) -> Any:
    suffix = target.suffix.lower()
    if suffix in PARQUET:
        return pq.ParquetWriter
    if suffix in CSV:
        return _open_csv
    raise UsageError(f"{target} is neither Parquet nor CSV", hint="name an output that ends in .parquet or .csv")


def _open_csv(path: Path, schema: pa.Schema) -> Any:
    return pa.csv.CSVWriter(path, schema, write_options=pa.csv.WriteOptions(quoting_style="needed"))


@contextlib.contextmanager
def _whole_file(target: Path) -> Iterator[Path]:
    """A temporary path beside `target`; it becomes `target` at the end, or goes away if anything fails."""
    temporary = target.parent / f".{target.name}.{secrets.token_hex(4)}.tmp"
    with machine_errors(f"cannot write {target}"):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise UsageError(f"{target.parent} is not a folder", hint="name another output") from None
        try:
            yield temporary
            # Rename last: whoever looks at the target sees the old file or all of the new one.
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
