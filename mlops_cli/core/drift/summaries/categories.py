"""What a profile keeps of a categorical column: its most frequent values, and a sample of the others."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.drift.columns import Categories, in_time
from mlops_cli.core.drift.summaries.packing import pack, unpack
from mlops_cli.core.stats.dependence import autocorrelation_time

Order = NDArray[np.int64]
Counts = NDArray[np.int64]
Hashes = NDArray[np.uint64]

TOP_VALUES = 10_000
LISTED_BYTES = 56 * 1024  # of the listed values and their counts
SAMPLED = 512  # values of the rest that are kept, by hash
POOLED_VALUES = 8  # most frequent values whose indicators give a categorical column its autocorrelation time


class Sample(msgspec.Struct, frozen=True):
    """Of the values that are not listed, those whose hash is under 2^(64 - level): `hashes` uint64[k], `counts` packed.

    The level is the lowest at which at most 512 are left (Wegman's adaptive sampling), so it depends on the set of
    values alone and on no order.
    """

    level: int = 0
    hashes: bytes = b""
    counts: bytes = b""

    def arrays(self) -> tuple[Hashes, Counts]:
        return np.frombuffer(self.hashes, "<u8").astype(np.uint64), unpack(self.counts)

    def holding(self, rows: int) -> int:
        """About how many of the values are held by so many rows; exact at level 0."""
        return int(np.sum(self.arrays()[1] == rows)) << self.level

    @property
    def values(self) -> int:
        """About how many there are; exact at level 0."""
        return (len(self.hashes) // 8) << self.level


class Categorical(msgspec.Struct, frozen=True, kw_only=True):
    """Texts. `values` are the most frequent, ties by value, with `counts`; `rest_rows` rows hold others.

    At most 10,000 are listed, and at most 56 KiB. `rest` is a sample of the others, by which `rest_values`, and
    `singletons` and `doubletons` (how many values one and two rows hold) are estimated where there are more than 512.
    `time` as in Numeric.
    """

    values: tuple[str, ...]
    counts: tuple[int, ...]
    rest_rows: int = 0
    rest_values: int = 0
    singletons: int = 0
    doubletons: int = 0
    rest: Sample = Sample()
    time: float = 1.0


def summarize_categories(taken: Categories, order: Order | None) -> Categorical:
    """Everything that is kept of a categorical column."""
    counts = np.bincount(taken.codes, minlength=len(taken.values))
    listed, others = _listed(taken.values, counts)
    return _made(
        tuple(taken.values[code] for code in listed),
        counts[listed],
        _sampled(hashes_of([taken.values[code] for code in others]), counts[others]),
        rest_rows=int(counts[others].sum()),
        time=category_time(taken, listed[:POOLED_VALUES], order),
    )


def count_like(known: Categorical, taken: Categories) -> Categorical:
    """Values (all that occur, as codes) counted on the frame of another column: its listed values and its time."""
    places = {value: place for place, value in enumerate(known.values)}
    found = np.bincount(taken.codes, minlength=len(taken.values))
    listed = np.zeros(len(known.values), dtype=np.int64)
    others = []
    for code, value in enumerate(taken.values):
        if (place := places.get(value)) is not None:
            listed[place] = found[code]
        elif found[code]:
            others.append(code)
    sample = _sampled(hashes_of([taken.values[code] for code in others]), found[others])
    return _made(known.values, listed, sample, rest_rows=int(found[others].sum()), time=known.time)


def frame_of(known: Categorical) -> tuple[object, ...]:
    """What one reference decided, and others are counted on."""
    return known.values, known.time


def add(a: Categorical, b: Categorical) -> Categorical:
    """Two columns counted on one frame, together. Exact: in any order and grouping the bytes are the same."""
    counts = np.array(a.counts, dtype=np.int64) + np.array(b.counts, dtype=np.int64)
    return _made(a.values, counts, _merged(a.rest, b.rest), rest_rows=a.rest_rows + b.rest_rows, time=a.time)


def join(a: Categorical, b: Categorical) -> Categorical | None:
    """Two columns that list all their values, without a frame: as one pass over both would make.

    None if they are more together than are listed, or if an order in time went into either.
    """
    if a.rest_rows or b.rest_rows or (a.time, b.time) != (1.0, 1.0):
        return None
    together = dict(zip(a.values, a.counts, strict=True))
    for value, count in zip(b.values, b.counts, strict=True):
        together[value] = together.get(value, 0) + count
    values, counts = list(together), np.array(list(together.values()), dtype=np.int64)
    listed, others = _listed(values, counts)
    if others:
        return None
    return _made(tuple(values[code] for code in listed), counts[listed], Sample(), rest_rows=0, time=1.0)


def _listed(names: Sequence[str], counts: Counts) -> tuple[list[int], list[int]]:
    """Codes of the most frequent values that fit, by falling count, then by value; and those of all others."""
    ranked = sorted(np.flatnonzero(counts).tolist(), key=lambda code: (-int(counts[code]), names[code]))
    # As MessagePack writes them, with room for the counts of merged profiles, up to 2^32.
    sizes = [len(names[code].encode()) + 2 + 5 for code in ranked[:TOP_VALUES]]
    fit = int(np.searchsorted(np.cumsum(sizes), LISTED_BYTES, side="right"))
    return ranked[:fit], ranked[fit:]


def _made(values: tuple[str, ...], counts: Counts, rest: Sample, *, rest_rows: int, time: float) -> Categorical:
    return Categorical(
        values=values,
        counts=tuple(counts.tolist()),
        rest_rows=rest_rows,
        rest_values=rest.values,
        singletons=int(np.sum(counts == 1)) + rest.holding(1),
        doubletons=int(np.sum(counts == 2)) + rest.holding(2),
        rest=rest,
        time=time,
    )


# -- the others ----------------------------------------------------------------------------------------------


def hashes_of(values: list[str]) -> Hashes:
    """64-bit hashes (n,): XXH3, seed 0."""
    import xxhash

    return np.array([xxhash.xxh3_64_intdigest(value.encode()) for value in values], dtype=np.uint64)


def _merged(a: Sample, b: Sample) -> Sample:
    (left, here), (right, there) = a.arrays(), b.arrays()
    hashes, places = np.unique(np.concatenate((left, right)), return_inverse=True)
    counts = np.zeros(len(hashes), dtype=np.int64)
    np.add.at(counts, places, np.concatenate((here, there)))
    return _sampled(hashes, counts, max(a.level, b.level))


def _sampled(hashes: Hashes, counts: Counts, level: int = 0) -> Sample:
    """The sample of distinct values, given those whose hash is under 2^(64 - level)."""
    order = np.argsort(hashes)
    hashes, counts = hashes[order], counts[order]
    while (kept := _under(hashes, level)) > SAMPLED:
        level += 1
    return Sample(level, hashes[:kept].astype("<u8").tobytes(), pack(counts[:kept]))


def _under(ordered: Hashes, level: int) -> int:
    if level == 0:
        return len(ordered)
    return int(np.searchsorted(ordered, np.uint64(1 << (64 - level)), side="left"))


def category_time(taken: Categories, codes: list[int], order: Order | None) -> float:
    """The autocorrelation time, in rows, of the indicators of some values, pooled."""
    if order is None or not codes:
        return 1.0
    series = in_time(taken.codes, taken.present, order)
    return autocorrelation_time(*(series == code for code in codes))
