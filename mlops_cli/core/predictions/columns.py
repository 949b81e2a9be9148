"""Answered requests turned into columns, in few steps of the interpreter: thousands come in, of one row each.

Whoever answers requests shares the interpreter, so that a row must cost little here: small requests are laid out row
by row in one list, of which every k-th value is a column, and large ones are taken a column at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, repeat
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from mlops_cli.core.base.one_row import are_alike

if TYPE_CHECKING:
    from mlops_cli.core.predictions.segment import Answered

RUN_ROWS = 512  # in one record batch: as long as one step of the interpreter lasts a fraction of a millisecond
LARGE_ROWS = 256  # a request of so many rows is a record batch of its own


def runs(batches: list[Answered]) -> Iterator[list[Answered]]:
    """Consecutive requests that make a record batch each: a large one alone, small ones up to 512 rows together.

    They are taken from the list, so that their memory is given back bit by bit: that of thousands of requests at once
    would hold up whoever shares the interpreter.
    """
    taken: list[Answered] = []
    rows = 0
    batches.reverse()
    while batches:
        own = len(batches[-1].predictions)
        if taken and (own >= LARGE_ROWS or rows + own > RUN_ROWS):
            yield taken
            taken, rows = [], 0
        taken.append(batches.pop())
        rows += own
        if own >= LARGE_ROWS:
            yield taken
            taken, rows = [], 0
    if taken:
        yield taken


class Way:
    """How the requests of a run become rows."""

    def __init__(self, run: Sequence[Answered]) -> None:
        self.sizes = list(map(len, map(attrgetter("predictions"), run)))
        self.rows = sum(self.sizes)
        self.is_single = self.rows == len(run)  # one row each: a request without rows is never logged

    def spread(self, values: Sequence[Any]) -> Sequence[Any]:
        """A value a request, once for each of its rows."""
        return values if self.is_single else list(chain.from_iterable(map(repeat, values, self.sizes)))

    def places(self) -> Sequence[int]:
        return [0] * self.rows if self.is_single else list(chain.from_iterable(map(range, self.sizes)))

    def chained(self, run: Sequence[Answered], field: str) -> Iterable[Any]:
        """The rows' values; None for the rows of a request that has none."""
        found = map(attrgetter(field), run)
        return chain.from_iterable(
            repeat(None, size) if values is None else values for values, size in zip(found, self.sizes, strict=True)
        )


def rows_of(run: Sequence[Answered], names: Sequence[str], way: Way) -> Mapping[str, Sequence[Any]]:
    """The inputs by name. Raises KeyError, ValueError for a request whose columns are not there or differ in length."""
    if len(run) == 1:
        return {name: run[0].columns[name] for name in names}  # type: ignore[misc]
    if len(names) == 1:
        return {names[0]: list(chain.from_iterable(batch.columns[names[0]] for batch in run))}
    if not names:
        return {}
    tables = [batch.columns for batch in run]
    if are_alike(tables) and list(tables[0].places) == list(names):
        rows = chain.from_iterable(one.row for one in tables)
        return _apart(list(rows), names, way)
    if any(isinstance(run[0].columns[name], np.ndarray) for name in names):
        return {name: _joined([batch.columns[name] for batch in run]) for name in names}
    requests = map(itemgetter(*names), map(attrgetter("columns"), run))
    if way.is_single:
        flat = list(chain.from_iterable(chain.from_iterable(requests)))
    else:
        rows = chain.from_iterable(zip(*columns, strict=True) for columns in requests)
        flat = list(chain.from_iterable(rows))
    return _apart(flat, names, way)


def _apart(flat: list[Any], names: Sequence[str], way: Way) -> Mapping[str, Sequence[Any]]:
    """Rows that were laid out one after another, by column. Raises ValueError."""
    width = len(names)
    if len(flat) != width * way.rows:
        raise ValueError("a request has more values in one column than in another")
    return {name: flat[place::width] for place, name in enumerate(names)}


def _joined(parts: Sequence[Any]) -> Sequence[Any]:
    """One column's values of many requests, arrays or lists."""
    if set(map(type, parts)) == {np.ndarray}:
        return np.concatenate(parts)  # type: ignore[return-value]
    return list(chain.from_iterable(parts))


def array_of(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """The values as an array; None and NaN are null. Raises ArrowException for values of another kind."""
    return pa.array(values, kind, from_pandas=True)


def repeated(value: Any, rows: int, kind: pa.DataType) -> pa.Array:
    return pa.repeat(pa.scalar(value, kind), rows)


def all_scores_of(run: Sequence[Answered], kind: pa.FixedSizeListType) -> pa.Array:
    """A row's probabilities of all classes; null for the rows of a request that has none."""
    only: Any = run[0].all_scores if len(run) == 1 else None
    if isinstance(only, np.ndarray):
        values = np.ascontiguousarray(only, dtype=float).reshape(-1)
        return pa.FixedSizeListArray.from_arrays(pa.array(values), type=kind)
    if any(batch.all_scores is None for batch in run):
        rows = [
            row for batch in run for row in (batch.all_scores if batch.all_scores is not None else [None] * batch.rows)
        ]
        return pa.array([None if row is None else list(row) for row in rows], kind)
    flat = list(chain.from_iterable(chain.from_iterable(map(attrgetter("all_scores"), run))))
    return pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float64()), type=kind)
