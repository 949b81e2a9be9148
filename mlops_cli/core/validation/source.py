"""The rows to check, a column at a time: a Parquet or CSV file, or a folder of them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from mlops_cli.core.errors import NotFound, ProjectError

SUFFIXES = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv"}


class Rows:
    """The table in `path`. Columns are read when they are asked for, so a wide file costs what is checked of it.

    NaN counts as missing, like null; an empty CSV cell too. Raises NotFound, ProjectError.
    """

    def __init__(self, path: Path, *, shown: str | None = None) -> None:
        self.shown = shown or str(path)
        self._path = path
        if not path.exists():
            raise NotFound(
                f"there is no {self.shown} to check", hint="run the stage that makes it, or mlo data checkout"
            )
        self._dataset = self._open()

    @property
    def names(self) -> list[str]:
        return list(self._dataset.schema.names)

    @functools.cached_property
    def count(self) -> int:
        """Number of rows."""
        return int(self._read(self._dataset.count_rows))

    @functools.lru_cache(maxsize=4)  # noqa: B019 - a Rows lives as long as one check; neighbours ask for one column
    def column(self, name: str) -> Any:
        """A pa.ChunkedArray (count,), dictionaries decoded, NaN as null. Raises KeyError for an unknown name."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if name not in self.names:
            raise KeyError(name)
        values = self._read(lambda: self._dataset.to_table(columns=[name]).column(0))
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        if pa.types.is_floating(values.type):
            values = values.cast(pa.float64())
            values = pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)
        return values

    def _open(self) -> Any:
        import pyarrow as pa
        import pyarrow.dataset as ds

        files = self._files()
        kind = SUFFIXES[files[0].suffix.lower()]
        form = ds.CsvFileFormat(convert_options=_csv_options()) if kind == "csv" else ds.ParquetFileFormat()
        parts = self._read(lambda: [ds.dataset(str(file), format=form) for file in files])
        names = parts[0].schema.names
        for file, part in zip(files, parts, strict=True):
            if set(part.schema.names) != set(names):
                odd = sorted(set(part.schema.names) ^ set(names))
                raise ProjectError(
                    f"{self.shown}: {files[0].name} and {file.name} differ in their columns: {', '.join(odd)}",
                    hint="files of one folder must hold one table; check them one by one",
                )
        # `permissive` widens integers to floats and null columns to any type, as months with gaps need.
        schema = self._read(lambda: pa.unify_schemas([part.schema for part in parts], promote_options="permissive"))
        return ds.dataset([str(file) for file in files], format=form, schema=schema.remove_metadata())

    def _files(self) -> list[Path]:
        path = self._path
        found = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        files = [file for file in found if file.suffix.lower() in SUFFIXES]
        if not files:
            raise ProjectError(
                f"{self.shown} is neither Parquet nor CSV, nor a folder of them",
                hint="checks read .parquet, .pq and .csv",
            )
        if len({SUFFIXES[file.suffix.lower()] for file in files}) > 1:
            raise ProjectError(f"{self.shown} holds both Parquet and CSV", hint="check the files one by one")
        return files

    def _read(self, read: Any) -> Any:
        import pyarrow as pa

        try:
            return read()
        except pa.ArrowException as error:
            raise ProjectError(
                f"cannot read {self.shown}: {' '.join(str(error).split())[:300]}",
                hint="is it whole, and what its name says?",
            ) from None


def _csv_options() -> Any:
    from pyarrow import csv

    return csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False)
