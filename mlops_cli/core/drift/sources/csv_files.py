"""CSV files in blocks, as texts first: what a column holds is decided by all of its values, not by the first ones."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_cli.core.base.names import name_some, repeated
from mlops_cli.core.drift.sources.types import typed
from mlops_cli.core.errors import ProjectError

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class CsvSource:
    """One file, or several with the same columns, read one after the other. `names` are what errors call them."""

    paths: Sequence[Path]
    names: Sequence[str]
    block_bytes: int = BLOCK_BYTES
    _header: list[str] = field(default_factory=list)

    def blocks(
        self, texts: frozenset[str], only: frozenset[str] | None = None
    ) -> Iterator[tuple[int, dict[str, pa.Array]]]:
        """Raises ProjectError that names the file and, for a ragged one, the row."""
        import pyarrow as pa

        for path, name in zip(self.paths, self.names, strict=True):
            header = self._columns(path, name)
            wanted = [column for column in header if only is None or column in only]
            with _explained(path, name):
                # A header alone has columns too, and Arrow refuses one without a line end.
                yield 0, {column: pa.nulls(0) for column in wanted}
                if not wanted or not _first_line(path).endswith(b"\n"):
                    continue
                last: Any = None
                for batch in _open(path, self.block_bytes, header, wanted):
                    last = batch.column(header[-1])[-1] if batch.num_rows and header[-1] in wanted else last
                    columns = {
                        column: values if column in texts else typed(values)
                        for column, values in zip(batch.schema.names, batch.columns, strict=True)
                    }
                    yield batch.num_rows, columns
                if last is not None:
                    _refuse_open_quote(path, name, last.as_py())

    def _columns(self, path: Path, name: str) -> list[str]:
        header = _header(path, name)
        if twice := repeated(header):
            raise ProjectError(f"{name} has two columns named {name_some(twice)}", hint="name each column once")
        if not self._header:
            self._header.extend(header)
        elif set(header) != set(self._header):
            other = sorted(set(header) ^ set(self._header))
            raise ProjectError(
                f"{name} and {self.names[0]} differ in {name_some(other)}",
                hint="the files of a folder must have the same columns",
            )
        return header


def _header(path: Path, name: str) -> list[str]:
    from pyarrow import csv

    if _is_empty(path, name):
        raise ProjectError(f"{name} is empty", hint="give a file with the names of the columns in its first line")
    with _explained(path, name):
        line = _first_line(path)
        reader = csv.open_csv(_bytes(line + b"\n"), parse_options=csv.ParseOptions(newlines_in_values=True))
        return list(reader.schema.names)


def _first_line(path: Path) -> bytes:
    """The header, with its line end: quotes may hold line ends of their own."""
    line, quotes = b"", 0
    with _stream(path) as file:
        while True:
            more: bytes = file.readline(1 << 20)
            line, quotes = line + more, quotes + more.count(b'"')
            if not more or (quotes % 2 == 0 and line.strip(b"\xef\xbb\xbf\r\n") and line.endswith(b"\n")):
                return line


def _is_empty(path: Path, name: str) -> bool:
    with _explained(path, name), _stream(path) as file:
        return not file.read(64).strip(b"\xef\xbb\xbf\r\n\t ")


def _stream(path: Path) -> Any:
    return gzip.open(path) if is_gzip(path) else path.open("rb")


def is_gzip(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _bytes(data: bytes) -> Any:
    import pyarrow as pa

    return pa.BufferReader(data)


def _open(path: Path, block_bytes: int, header: list[str], wanted: list[str], handler: Any = None) -> Any:
    import pyarrow as pa
    from pyarrow import csv

    return csv.open_csv(
        pa.input_stream(str(path), compression="gzip" if is_gzip(path) else None),
        read_options=csv.ReadOptions(block_size=block_bytes, use_threads=handler is None),
        # A quoted text may hold line ends, wherever a block ends.
        parse_options=csv.ParseOptions(newlines_in_values=True, invalid_row_handler=handler),
        convert_options=csv.ConvertOptions(
            column_types={name: pa.string() for name in header}, include_columns=wanted, strings_can_be_null=True
        ),
    )


def _refuse_open_quote(path: Path, name: str, last: str | None) -> None:
    """Raise ProjectError if the last value of a file was in a quote that never ends: Arrow takes all that follows.

    Then the file ends with the quote and the value as it stands in one; without it, not with the quote before it.
    """
    spellings = [last] if last is not None else _nulls()
    for inside in (text.replace('"', '""').encode() for text in spellings):
        end = _end(path, len(inside) + 8)
        before = end.rstrip(b'"')
        # Of quotes alone each two are one of the value, or its beginning and end.
        is_odd = (len(end) - len(before)) % 2 == 1 and not before[-1:].isalnum()
        if is_odd if not inside.strip(b'"') else end.endswith(b'"' + inside) and not end.endswith(b'""' + inside):
            with _stream(path) as file:
                lines = sum(block.count(b"\n") for block in iter(lambda: file.read(BLOCK_BYTES), b""))
            line = lines + 1 - inside.count(b"\n")
            raise ProjectError(
                f"{name} does not read as CSV: a quote opens in line {line} and never ends",
                hint='end it with ", and write a quote inside of one as ""',
            )


def _nulls() -> list[str]:
    from pyarrow import csv

    return list(csv.ConvertOptions().null_values)


def _end(path: Path, size: int) -> bytes:
    """The last bytes of a file, as it reads unpacked."""
    with _stream(path) as file:
        if not is_gzip(path):
            file.seek(max(0, path.stat().st_size - size))
            return bytes(file.read())
        end = b""
        while block := file.read(BLOCK_BYTES):
            end = (end + block)[-size:]
        return end


@contextmanager
def _explained(path: Path, name: str) -> Iterator[None]:
    """Arrow's errors and zlib's, as one that says which file, and where in it."""
    import zlib

    import pyarrow as pa

    try:
        yield
    except UnicodeDecodeError:
        raise ProjectError(f"{name} does not read as CSV: it is not UTF-8", hint="save it as UTF-8") from None
    except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, gzip.BadGzipFile):
            raise  # the machine's, with its own words
        where = _ragged(path) if isinstance(error, pa.ArrowInvalid) and "columns, got" in str(error) else None
        raise ProjectError(
            f"{name} does not read as CSV: {where or _plainly(str(error))}",
            hint="give a row as many values as the header has, quote values with commas, and save the file as UTF-8",
        ) from None


def _plainly(text: str) -> str:
    if "invalid UTF8" in text:
        return "it is not UTF-8"
    if "straddling" in text:
        return "a row, or a quote that never ends, is longer than 4 MiB"
    return text.partition("\n")[0][:200]


def _ragged(path: Path) -> str | None:
    """Which row has too many or too few values: only a second, single-threaded reading counts rows."""
    import pyarrow as pa

    found: list[str] = []

    def note(row: Any) -> str:
        if not found:
            found.append(f"row {row.number} has {row.actual_columns} values, and the header {row.expected_columns}")
        return "error"

    try:
        header = list(_header(path, path.name))
        for _ in _open(path, BLOCK_BYTES, header, header[:1], note):
            pass
    except (pa.ArrowException, OSError, ProjectError):
        pass  # the caller has an error already; this reading only looks for a better one
    return found[0] if found else None
