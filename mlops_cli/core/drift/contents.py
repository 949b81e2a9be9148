"""What a profile knows of its columns, as plain values to look at."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np

from mlops_cli.core.drift.profile import ColumnProfile
from mlops_cli.core.drift.summaries.categories import Categorical
from mlops_cli.core.drift.summaries.numbers import Numeric
from mlops_cli.core.drift.summaries.text import Text

ATOM_SHARE = 0.01  # of the rows with a value, from which a number is listed as one that many rows share
TOP = 3

Holds = Literal["numbers", "categories", "prose", "vectors", "times", "nothing"]


class Common(msgspec.Struct, frozen=True):
    """A value that many rows share."""

    value: str
    rows: int


class ColumnContents(msgspec.Struct, frozen=True, kw_only=True):
    """A column of a profile.

    `distinct` is None where it is not known: numbers of more than 4,096 values; `estimated` says that it comes from a
    sample. `atoms` are the numbers that 1% of the rows share, `top` the most frequent texts, or numbers among the
    atoms. `mean` and `deviation` are of finite numbers, or of a text's words; `time` the autocorrelation time in rows;
    `bytes` what the column takes in the profile.
    """

    column: str
    kind: str
    holds: Holds
    rows: int
    missing: int
    bytes: int
    distinct: int | None = None
    estimated: bool = False
    atoms: int | None = None
    top: tuple[Common, ...] = ()
    mean: float | None = None
    deviation: float | None = None
    low: float | None = None
    high: float | None = None
    width: int | None = None
    span: tuple[str, str] | None = None
    time: float | None = None
    importance: float | None = None


def contents_of(column: ColumnProfile) -> ColumnContents:
    """The contents of one column."""
    known = ColumnContents(
        column=column.name,
        kind=column.kind,
        holds="nothing",
        rows=column.rows,
        missing=column.missing,
        bytes=len(msgspec.msgpack.encode(column)),
        importance=column.importance,
    )
    if column.numeric is not None:
        return _numbers(known, column.numeric)
    if column.categorical is not None:
        return _categories(known, column.categorical)
    if column.text is not None:
        return _prose(known, column.text)
    if column.vector is not None:
        vector = column.vector
        return msgspec.structs.replace(known, holds="vectors", width=vector.width, time=vector.time)
    if column.times is not None or column.span is not None:
        return msgspec.structs.replace(known, holds="times", span=column.span)
    return known


def _numbers(known: ColumnContents, numeric: Numeric) -> ColumnContents:
    edges, below, upto = numeric.arrays()
    at, n = upto - below, numeric.rows
    atoms = np.flatnonzero((at >= ATOM_SHARE * n) & (at > 1))
    first = atoms[np.argsort(-at[atoms], kind="stable")][:TOP].tolist()
    held = np.flatnonzero(at)
    # On another's frame rows may lie beyond the edges: what the ends are is then not known.
    inside = len(held) > 0 and below[held[0]] == 0 and upto[held[-1]] == n
    finite = n > numeric.infinite
    return msgspec.structs.replace(
        known,
        holds="numbers",
        distinct=len(held) if numeric.exact else None,
        atoms=len(atoms),
        top=tuple(Common(f"{edges[place]:.6g}", int(at[place])) for place in first),
        mean=numeric.mean if finite else None,
        deviation=numeric.deviation if finite else None,
        low=float(edges[held[0]]) if inside else None,
        high=float(edges[held[-1]]) if inside else None,
        time=numeric.time,
    )


def _categories(known: ColumnContents, categorical: Categorical) -> ColumnContents:
    listed = [
        Common(value, count) for value, count in zip(categorical.values, categorical.counts, strict=True) if count
    ]
    listed.sort(key=lambda one: (-one.rows, one.value))
    return msgspec.structs.replace(
        known,
        holds="categories",
        distinct=len(listed) + categorical.rest_values,
        estimated=categorical.rest.level > 0,
        top=tuple(listed[:TOP]),
        time=categorical.time,
    )


def _prose(known: ColumnContents, text: Text) -> ColumnContents:
    words = text.parts["words"]
    shared = [Common(value, count) for value, count in zip(text.values, text.counts, strict=True) if count]
    return msgspec.structs.replace(
        known,
        holds="prose",
        top=tuple(sorted(shared, key=lambda one: (-one.rows, one.value))[:TOP]),
        mean=words.mean,
        deviation=words.deviation,
        time=max(part.time for part in text.parts.values()),
    )
