"""Open rows that lie in files, readable a column at a time, whatever their format.

Parquet and Arrow are read where they are. CSV and JSON lines are read once, into columns in memory or, beyond some
megabytes, in a temporary file.
"""

from __future__ import annotations

import stat
from collections.abc import Collection
from pathlib import Path
from typing import Literal

from mlops_cli.core.base.names import name_some
from mlops_cli.core.drift.sources.columnar import ArrowShard, ParquetShard, open_shards
from mlops_cli.core.drift.sources.csv_files import CsvSource
from mlops_cli.core.drift.sources.gather import gather
from mlops_cli.core.drift.sources.json_lines import JsonLinesSource
from mlops_cli.core.drift.window import Window
from mlops_cli.core.errors import NotFound, ProjectError

Format = Literal["parquet", "arrow", "csv", "json"]

_SUFFIXES: dict[str, Format] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".jsonl.gz": "json",
    ".ndjson.gz": "json",
}
_MAGIC: dict[bytes, Format] = {b"PAR1": "parquet", b"ARRO": "arrow"}
FORMATS = "a Parquet, CSV, JSON lines or Arrow file, or a folder of them"


def open_rows(path: Path, *, texts: Collection[str] = (), name: str = "") -> Window:
    """The rows of a file, or of all files of a folder, by column.

    path: .parquet, .arrow, .feather, .csv or .jsonl/.ndjson (also .gz), or any name if it begins as Parquet or Arrow
    do. texts: columns that stay texts in CSV and JSON lines, where 007 is not 7; any other has the type that all its
    values fit: integer, float, boolean, timestamp, else text. `name` is what errors call the path. The same rows come
    in the same order at every call. Raises NotFound, and ProjectError for what does not read.
    """
    name = name or str(path)
    files = _files(path, name)
    names = [name if file == path else f"{name.rstrip('/')}/{file.relative_to(path).as_posix()}" for file in files]
    formats = [_format(file, called) for file, called in zip(files, names, strict=True)]
    if len(set(formats)) > 1:
        other = next(place for place, found in enumerate(formats) if found != formats[0])
        raise ProjectError(
            f"{name} holds files of several formats: {names[0]} and {names[other]}", hint="give one of them"
        )
    if formats[0] == "parquet":
        return open_shards([ParquetShard(file, called) for file, called in zip(files, names, strict=True)])
    if formats[0] == "arrow":
        return open_shards([ArrowShard(file, called) for file, called in zip(files, names, strict=True)])
    source = CsvSource(files, names) if formats[0] == "csv" else JsonLinesSource(files, names)
    return gather(source, texts=frozenset(texts))


def _files(path: Path, name: str) -> list[Path]:
    """The file itself, or the data files below a folder, by name; hidden ones and _SUCCESS and its like are none."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"there is no file {name}", hint=f"give {FORMATS}") from None
    if stat.S_ISREG(mode):
        return [path]
    if not stat.S_ISDIR(mode):
        raise ProjectError(f"{name} is no file, but a pipe or a device", hint=f"rows are read twice: give {FORMATS}")
    found = sorted(
        file
        for file in path.rglob("*")
        if file.is_file() and not any(part.startswith((".", "_")) for part in file.relative_to(path).parts)
    )
    found = [file for file in found if _suffix(file) is not None]
    if not found:
        raise NotFound(f"{name} holds no file of rows", hint=f"give {FORMATS}")
    keys = sorted({part for file in found for part in file.relative_to(path).parts[:-1] if "=" in part})
    if keys:
        raise ProjectError(
            f"{name} is partitioned by folders ({name_some(keys)}), whose values are in no file",
            hint=f"read it with --sql \"from read_parquet('{name}/**/*.parquet', hive_partitioning = true)\"",
        )
    return found


def _suffix(path: Path) -> Format | None:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return _SUFFIXES.get("".join(suffixes[-2:])) or _SUFFIXES.get("".join(suffixes[-1:]))


def _format(path: Path, name: str) -> Format:
    known = _suffix(path)
    if known is None:
        with path.open("rb") as file:
            known = _MAGIC.get(file.read(4))
    if known is None:
        raise ProjectError(f"{name} does not read as rows: its name says no format", hint=f"give {FORMATS}")
    return known
