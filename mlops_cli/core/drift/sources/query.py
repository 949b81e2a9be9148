"""Rows that a SQL query gives, by DuckDB: of files that it names, or of a DuckDB database."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_cli.core.base.extras import require
from mlops_cli.core.base.names import name_some, repeated
from mlops_cli.core.drift.sources.gather import gather
from mlops_cli.core.drift.window import Window
from mlops_cli.core.errors import MachineError, NotFound, ProjectError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

MEMORY = "384MB"  # what DuckDB may hold; it goes on in temporary files
_BATCH_ROWS = 16_384


def open_query(sql: str, *, folder: Path, database: Path | None = None, name: str = "") -> Window:
    """The rows of one SELECT, run once and kept by column, in memory or in a temporary file.

    folder: where the files lie that the query names relatively. database: a DuckDB file, opened read-only; `name` is
    what errors call it. Raises UsageError for a query that is not one SELECT or does not run, NotFound and ProjectError
    for files that it cannot read, MachineError if memory or disk do not suffice, and ExtraMissing without DuckDB.
    """
    duckdb = require("duckdb", extra="duckdb", purpose="a check of a SQL query")
    if database is not None and not database.is_file():
        raise NotFound(f"there is no database {name or database}", hint="give the file of a DuckDB database with --db")
    _refuse_other_than_one_select(duckdb, sql)
    spill = Path(tempfile.mkdtemp(prefix="mlo-sql-"))
    try:
        with _explained(duckdb, name or str(database)):
            connection = duckdb.connect(str(database or ":memory:"), read_only=database is not None)
            try:
                settings = {"memory_limit": MEMORY, "temp_directory": str(spill), "file_search_path": str(folder)}
                for setting, value in settings.items():
                    connection.execute(f"SET {setting} = '{_quoted(value)}'")
                return gather(_QuerySource(connection, sql))
            finally:
                connection.close()
    finally:
        shutil.rmtree(spill, ignore_errors=True)


def _quoted(value: str) -> str:
    return value.replace("'", "''")


def _refuse_other_than_one_select(duckdb: Any, sql: str) -> None:
    with _explained(duckdb, ""):
        statements = duckdb.extract_statements(sql)
    if len(statements) != 1:
        raise UsageError(f"the query has {len(statements)} statements", hint="give one SELECT")
    if statements[0].type != duckdb.StatementType.SELECT:
        kind = str(statements[0].type).rpartition(".")[2]
        raise UsageError(f"the query is no SELECT, but {kind}", hint="a check only reads: give one SELECT")


@dataclass(frozen=True, slots=True)
class _QuerySource:
    connection: Any
    sql: str

    def blocks(
        self, texts: frozenset[str], only: frozenset[str] | None = None
    ) -> Iterator[tuple[int, dict[str, pa.Array]]]:
        """Types are the query's own, so nothing is ever asked for twice."""
        import pyarrow as pa

        relation = self.connection.sql(self.sql)
        if twice := repeated(relation.columns):
            raise UsageError(f"the query gives two columns named {name_some(twice)}", hint="name each once, with AS")
        arrow = getattr(relation, "to_arrow_reader", None) or relation.fetch_arrow_reader
        reader = arrow(_BATCH_ROWS)
        plain = {field.name: _plain(field.type) for field in reader.schema}
        yield 0, {name: pa.nulls(0, kind) for name, kind in plain.items()}
        for batch in reader:
            yield (
                batch.num_rows,
                {
                    name: values if values.type == plain[name] else values.cast(plain[name])
                    for name, values in zip(batch.schema.names, batch.columns, strict=True)
                },
            )


def _plain(kind: pa.DataType) -> pa.DataType:
    """An enumeration's texts: the pieces of a dictionary may each have a numbering of their own."""
    import pyarrow as pa

    return kind.value_type if pa.types.is_dictionary(kind) else kind


@contextmanager
def _explained(duckdb: Any, database: str) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (duckdb.Error, pa.ArrowException) as error:
        text = _first_lines(str(error))
        if isinstance(error, duckdb.OutOfMemoryException):
            raise MachineError(f"the query needs more memory than it may: {text}", hint="select fewer rows") from None
        if "Could not set lock" in str(error):
            raise ProjectError(
                f"{database} is open for writing elsewhere", hint="wait for the other program, or check a copy"
            ) from None
        if "not a valid DuckDB database" in str(error):
            raise ProjectError(f"{database} is no DuckDB database", hint="give one that DuckDB wrote") from None
        if isinstance(error, duckdb.IOException):
            missing = "No files found" in str(error)
            raise (NotFound if missing else ProjectError)(
                f"the query cannot read its files: {text}", hint="files are found from the project's folder"
            ) from None
        raise UsageError(f"the query does not run: {text}", hint="try it with the duckdb command first") from None


def _first_lines(text: str) -> str:
    """The message without the drawing of the place below it."""
    lines = [line.strip() for line in text.partition("\n\nLINE")[0].splitlines() if line.strip()]
    return " ".join(lines)[:300]
