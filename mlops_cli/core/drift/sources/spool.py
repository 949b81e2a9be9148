"""Columns that arrive in pieces: kept in memory while they are few, else in a temporary file that no name leads to.

The file is unlinked as soon as it is open, so nothing is left behind, whatever ends the process.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_cli.core.base.files import machine_errors

if TYPE_CHECKING:
    import pyarrow as pa

IN_MEMORY = 32 << 20  # bytes of all columns together
_DOING = "cannot keep rows in a temporary file"


@dataclass(frozen=True, slots=True)
class _Written:
    """A piece in the file: where, how many bytes, and its type."""

    offset: int
    size: int
    kind: pa.DataType


class Spool:
    """Pieces of columns, appended in turn and read back a column at a time."""

    def __init__(self, in_memory: int = IN_MEMORY) -> None:
        self._limit = in_memory
        self._pieces: dict[str, list[pa.Array | _Written]] = {}
        self._fresh: dict[str, list[pa.Array]] = {}
        self._held = 0
        self._end = 0
        self._file: int | None = None

    def append(self, name: str, piece: pa.Array) -> None:
        """Raises MachineError if the disk of temporary files is full."""
        self._fresh.setdefault(name, []).append(piece)
        self._held += piece.nbytes

    def settle(self) -> None:
        """Between blocks: write what is in memory if it is much."""
        if self._held > self._limit:
            with machine_errors(_DOING):
                for name, pieces in self._fresh.items():
                    self._pieces.setdefault(name, []).extend(self._write(piece) for piece in _joined(pieces))
            self._fresh, self._held = {}, 0

    def forget(self, name: str) -> None:
        self._pieces.pop(name, None)
        self._held -= sum(piece.nbytes for piece in self._fresh.pop(name, []))

    def read(self, name: str) -> list[pa.Array]:
        """The pieces of a column, in order, each in the type it came in."""
        with machine_errors(_DOING):
            pieces = [self._back(piece) for piece in self._pieces.get(name, [])]
        return pieces + self._fresh.get(name, [])

    def _write(self, piece: pa.Array) -> _Written:
        import pyarrow as pa

        if self._file is None:
            self._file, path = tempfile.mkstemp(prefix="mlo-rows-")
            os.unlink(path)
            weakref.finalize(self, os.close, self._file)
        data = memoryview(pa.RecordBatch.from_arrays([piece], names=[""]).serialize())
        written = _Written(self._end, len(data), piece.type)
        while data:
            count = os.pwrite(self._file, data, self._end)
            self._end, data = self._end + count, data[count:]
        return written

    def _back(self, piece: pa.Array | _Written) -> pa.Array:
        import pyarrow as pa

        if not isinstance(piece, _Written):
            return piece
        assert self._file is not None  # noqa: S101 - a written piece lies in it
        # Read, not mapped: pages of a mapping count as this process's memory until the mapping ends.
        data = bytearray(piece.size)
        view, offset = memoryview(data), piece.offset
        while view:
            count = os.preadv(self._file, [view], offset)
            view, offset = view[count:], offset + count
        return pa.ipc.read_record_batch(pa.py_buffer(data), pa.schema([("", piece.kind)])).column(0)


def _joined(pieces: list[pa.Array]) -> list[pa.Array]:
    """Neighbours of one type become one piece."""
    import pyarrow as pa

    groups: list[list[pa.Array]] = []
    for piece in pieces:
        if groups and groups[-1][0].type == piece.type:
            groups[-1].append(piece)
        else:
            groups.append([piece])
    return [pa.concat_arrays(group) if len(group) > 1 else group[0] for group in groups]
