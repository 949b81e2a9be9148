"""The rows that an entry of the store holds, as one Arrow table, and a model's scores on them."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from mlops_cli.core.base.digest import Digest
from mlops_cli.core.base.names import repeated
from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import MloError, ProjectError, TooLittleData, UsageError
from mlops_cli.core.store.tree import walk
from mlops_cli.core.workflows.resolve import bring
from mlops_cli.core.workflows.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

    from mlops_cli.core.models.load import LoadedModel

SUFFIXES = (".parquet", ".csv")


def read_rows(workspace: Workspace, entry: Entry, path: str) -> pa.Table:
    """The rows of `path`, which held `entry`: a Parquet or CSV file, or a folder of them, read in order of name.

    Every byte is verified; objects that the cache lacks come from a remote. Raises ProjectError for other files,
    ObjectMissing, IntegrityError, RemoteError.
    """
    import pyarrow as pa

    bring(workspace, entry, what=path)
    if entry.kind == "file":
        return _read(workspace, entry.digest, path)
    tables = [
        _read(workspace, found.digest, f"{path}/{name}")
        for name, found in walk(workspace.store, entry)
        if found.kind in ("file", "exec") and PurePosixPath(name).suffix.lower() in SUFFIXES
    ]
    if not tables:
        raise ProjectError(
            f"{path} holds no rows: no file in it is Parquet or CSV", hint="name a file, or such a folder"
        )
    try:
        return pa.concat_tables(tables, promote_options="permissive")  # an int here, a float there
    except pa.ArrowException as error:
        raise ProjectError(f"the files in {path} have different columns: {error}", hint="name one of them") from None


def _read(workspace: Workspace, digest: str, path: str) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv, parquet

    source = pa.BufferReader(workspace.store.read(Digest.parse(digest)))
    try:
        table = csv.read_csv(source) if path.lower().endswith(".csv") else parquet.read_table(source)
    except (pa.ArrowException, OSError) as error:
        raise ProjectError(f"{path} does not read as rows: {error}", hint="give a Parquet or a CSV file") from None
    if twice := repeated(table.column_names):
        raise ProjectError(f"{path} has two columns named {', '.join(twice[:8])}", hint="name each column once")
    return table


def score_each(
    loaded: LoadedModel, table: pa.Table, target: str, names: Sequence[str]
) -> tuple[dict[str, float | None], dict[str, str]]:
    """The scores that can be taken, and why the others cannot. None for a score that is not finite.

    Raises ProjectError and WrongInputs if the rows do not fit the model at all.
    """
    from mlops_cli.core.models.score import score

    scores: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    try:
        scores.update(score(loaded, table, target, names))
    except (TooLittleData, UsageError):  # one score that cannot be taken must not cost the others
        for name in names:
            try:
                scores.update(score(loaded, table, target, [name]))
            except (TooLittleData, UsageError) as error:
                reasons[name] = error.message
    return {name: value if value is not None and isfinite(value) else None for name, value in scores.items()}, reasons


def count_rows(workspace: Workspace, entry: Entry, path: str) -> int | None:
    """How many rows a Parquet file, or a folder of nothing else, holds, from the footers alone; None otherwise."""
    import pyarrow as pa

    digests = [(path, entry.digest)]
    try:
        if entry.kind == "dir":
            digests = [(name, found.digest) for name, found in walk(workspace.store, entry) if not found.is_dir]
        if not digests or not all(name.lower().endswith(".parquet") for name, _ in digests):
            return None
        return sum(_rows_in(workspace, digest) for _, digest in digests)
    except (OSError, pa.ArrowException, MloError):
        return None


def _rows_in(workspace: Workspace, digest: str) -> int:
    from pyarrow import parquet

    with workspace.store.open(Digest.parse(digest)) as file:
        return int(parquet.read_metadata(file).num_rows)
