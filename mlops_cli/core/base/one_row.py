"""The columns of a table of one row, without a list for each: a server keeps thousands of them at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard


class OneRow(Mapping[str, Any]):
    """Reads as columns by name, each a list of one value. `places` says where in `row` each name's value stands, in
    order; all rows of one kind share it."""

    __slots__ = ("places", "row")

    def __init__(self, places: Mapping[str, int], row: tuple[Any, ...]) -> None:
        self.places = places
        self.row = row

    def __getitem__(self, name: str) -> list[Any]:
        return [self.row[self.places[name]]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


def are_alike(tables: Sequence[object]) -> TypeGuard[Sequence[OneRow]]:
    """Whether all are of one row each, with the same columns."""
    first = tables[0]
    return type(first) is OneRow and all(type(one) is OneRow and one.places is first.places for one in tables)
