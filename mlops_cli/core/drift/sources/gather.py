"""Rows that come in blocks, made readable by column, each column in the type that all of its values fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from mlops_cli.core.drift.sources.spool import IN_MEMORY, Spool
from mlops_cli.core.drift.sources.types import as_type, joined
from mlops_cli.core.drift.window import Window

if TYPE_CHECKING:
    import pyarrow as pa

Block = tuple[int, Mapping[str, "pa.Array"]]


class Source(Protocol):
    """Rows in blocks: how many, and their columns, each in the narrowest type that its values in the block fit.

    `texts` come as texts. `only`: the columns wanted, all if None. The same rows in the same blocks at every call.
    """

    def blocks(self, texts: frozenset[str], only: frozenset[str] | None = None) -> Iterator[Block]: ...


def gather(source: Source, *, texts: frozenset[str] = frozenset(), in_memory: int = IN_MEMORY) -> Window:
    """Read all rows once, and those columns once more of which only a later block tells that they are texts.

    A column that `source` does not give in a block is null there. Raises what `source` raises, and MachineError.
    """
    gathered = _Gathered(Spool(in_memory))
    for rows, columns in source.blocks(texts):
        gathered.add(rows, columns)
    if lost := gathered.lost():
        again = _Gathered(gathered.spool)
        for name in lost:
            gathered.spool.forget(name)
        for rows, columns in source.blocks(texts | lost, lost):
            again.add(rows, columns)
        gathered.types |= again.types
        gathered.starts |= again.starts
    return gathered.window()


class _Gathered:
    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.types: dict[str, pa.DataType] = {}
        self.starts: dict[str, int] = {}  # rows before a column first came
        self.rows = 0
        self._lost: set[str] = set()

    def add(self, rows: int, columns: Mapping[str, pa.Array]) -> None:
        import pyarrow as pa

        for name, piece in columns.items():
            if name not in self.types:
                self.types[name], self.starts[name] = piece.type, self.rows
            elif self.types[name] != piece.type:
                both = joined(self.types[name], piece.type)
                if both is None:
                    self._lost.add(name)
                else:
                    self.types[name] = both
            if name not in self._lost:
                self.spool.append(name, piece)
        for name in self.types.keys() - columns.keys() - self._lost:
            self.spool.append(name, pa.nulls(rows))
        self.rows += rows
        self.spool.settle()

    def lost(self) -> frozenset[str]:
        """Columns to be read again, as texts: their values fit no other type together."""
        import pyarrow as pa

        for name, kind in self.types.items():
            if name not in self._lost and pa.types.is_timestamp(kind) and kind.unit == "ns":
                try:
                    for piece in self.spool.read(name):
                        as_type(piece, kind)
                except pa.ArrowInvalid:  # a year that nanoseconds since 1970 do not reach
                    self._lost.add(name)
        return frozenset(self._lost)

    def window(self) -> Window:
        import pyarrow as pa

        types, starts, spool = dict(self.types), dict(self.starts), self.spool

        def read(name: str) -> pa.ChunkedArray:
            kind = types[name]
            head = [pa.nulls(starts[name], kind)] if starts[name] else []
            return pa.chunked_array([*head, *(as_type(piece, kind) for piece in spool.read(name))], kind)

        return Window(pa.schema(list(types.items())), self.rows, read)
