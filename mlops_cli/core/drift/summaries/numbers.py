"""What a profile keeps of a numeric column: edges with exact counts, atoms, tails, dependence."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.drift.columns import Numbers, in_time
from mlops_cli.core.drift.summaries.packing import pack, unpack
from mlops_cli.core.stats.dependence import autocorrelation_time, score_series
from mlops_cli.core.stats.exact_sums import Exact, exact_sum, exact_sum_of_squares, mean_and_deviation

Array = NDArray[np.float64]
Counts = NDArray[np.int64]
Order = NDArray[np.int64]

EDGES = 4096
DISPLAY_BINS = 20
TAIL_SHARE = 0.001  # of the reference's rows, at either end
COUNTER_VALUES = 20  # distinct values above which a column that only ever grows is a counter


class Tails(msgspec.Struct, frozen=True):
    """`low` and `high` are the `k`-th values from either end; `below` and `above` rows lie strictly beyond them.

    k is 0 where the bounds are those of another profile's frame.
    """

    k: int
    low: float
    high: float
    below: int
    above: int

    @property
    def rows(self) -> int:
        """As how many of the outermost rows the tail test may take those outside: 2 k, or one more at either end."""
        return 2 * self.k or self.below + self.above + 2


class Block(msgspec.Struct, frozen=True):
    """The finite values of one block in time."""

    rows: int
    total: Exact


@dataclass(frozen=True, slots=True)
class Places:
    """The block in time of each row, `block` (rows,), -1 for rows without a time; there are `blocks` of them."""

    block: Counts
    blocks: int


class Display(msgspec.Struct, frozen=True):
    """For pictures: `edges` (b + 1,) between the 0.5% and 99.5% quantiles, `counts` (b + 2,) with both outsides."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


class Numeric(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers. `edges` are little-endian doubles (k,); `counts` the rows between and at them, packed (2 k + 1,): those
    under the first edge, at it, between it and the second, ... over the last.

    The edges are all distinct values if there are up to 4,096, else values at equal steps of mass; every value that
    fills 1/4096 of the rows (an atom) is one of them either way. `total` and `squares` are the exact sums of the finite
    values, which mean and deviation are rounded from. `time` is the autocorrelation time in rows; `blocks` what the
    blocks in time hold. `below` and `upto`, uint32[k]: in place of the counts, in profiles of version 1.
    """

    edges: bytes
    counts: bytes = b""
    exact: bool
    total: Exact = Exact()
    squares: Exact = Exact()
    mean: float = math.nan
    deviation: float = math.nan
    infinite: int = 0
    tails: Tails | None = None
    display: Display | None = None
    time: float = 1.0
    blocks: tuple[Block, ...] = ()
    counter: bool = False
    below: bytes = b""
    upto: bytes = b""

    def values(self) -> Array:
        """The edges."""
        return np.frombuffer(self.edges, "<f8").astype(np.float64)

    def arrays(self) -> tuple[Array, Counts, Counts]:
        """edges, and the rows below and up to each."""
        if not self.counts:
            wide = len(self.below) == len(self.edges)
            below, upto = (np.frombuffer(data, "<u8" if wide else "<u4") for data in (self.below, self.upto))
            return self.values(), below.astype(np.int64), upto.astype(np.int64)
        rows = np.cumsum(unpack(self.counts))
        return self.values(), rows[0:-1:2], rows[1::2]

    @property
    def rows(self) -> int:
        """Rows with a value."""
        if self.counts:
            return int(unpack(self.counts).sum())
        return int(self.arrays()[2][-1]) if self.edges else 0


def summarize_numbers(taken: Numbers, order: Order | None, places: Places | None = None) -> Numeric:
    """Everything that is kept of a numeric column. No finite value, no moments; no value at all, no edges.

    order: the rows' order in time; places: the block of each row. Both None where nothing orders the rows.
    """
    ordered = np.sort(taken.values) + 0.0  # -0.0 becomes 0.0: which of the two came first must not show
    edges, _ = choose_edges(ordered)
    series = in_time(taken.values, taken.present, order) if order is not None else None
    return _counted(
        ordered,
        edges,
        tails=_tails(ordered),
        display=display_of(_finite(ordered)),
        time=autocorrelation_time(score_series(series, ordered)) if series is not None else 1.0,
        blocks=_blocks(taken, places),
        counter=series is not None and is_counter(series, len(edges)),
    )


def count_like(known: Numeric, taken: Numbers, places: Places | None = None) -> Numeric:
    """Values counted on the frame of another profile's column: its edges, tail bounds, bins and autocorrelation time.

    Counting shards and adding them gives the bytes of counting the whole.
    """
    ordered = np.sort(taken.values) + 0.0  # -0.0 becomes 0.0: which of the two came first must not show
    tails, display = known.tails, known.display
    if tails is not None:
        below = np.searchsorted(ordered, tails.low, side="left")
        above = len(ordered) - np.searchsorted(ordered, tails.high, side="right")
        tails = Tails(0, tails.low, tails.high, int(below), int(above))
    if display is not None:
        counts = display_counts(_finite(ordered), np.array(display.edges))
        display = Display(display.edges, tuple(counts.tolist()))
    blocks = _blocks(taken, places) if known.blocks else ()
    return _counted(
        ordered, known.values(), tails=tails, display=display, time=known.time, blocks=blocks, counter=known.counter
    )


def framed(known: Numeric) -> Numeric:
    """A column that chose its frame itself, as if it had been counted on it."""
    if known.tails is None or known.tails.k == 0:
        return known
    return msgspec.structs.replace(known, tails=msgspec.structs.replace(known.tails, k=0))


def frame_of(known: Numeric) -> tuple[object, ...]:
    """What one reference decided, and others are counted on."""
    bounds = (known.tails.low, known.tails.high) if known.tails else None
    return known.edges, bounds, known.display.edges if known.display else None, known.time, known.counter


def add(a: Numeric, b: Numeric) -> Numeric:
    """Two columns counted on one frame, together. Exact: in any order and grouping the bytes are the same."""
    n = a.rows + b.rows
    total, squares, infinite = a.total + b.total, a.squares + b.squares, a.infinite + b.infinite
    mean, deviation = mean_and_deviation(n - infinite, total, squares)
    counts = unpack(a.counts) + unpack(b.counts)
    tails = a.tails
    if a.tails is not None and b.tails is not None:
        tails = Tails(0, a.tails.low, a.tails.high, a.tails.below + b.tails.below, a.tails.above + b.tails.above)
    display = a.display
    if a.display is not None and b.display is not None:
        binned = zip(a.display.counts, b.display.counts, strict=True)
        display = Display(a.display.edges, tuple(one + other for one, other in binned))
    blocks = tuple(Block(x.rows + y.rows, x.total + y.total) for x, y in zip(a.blocks, b.blocks, strict=True))
    return msgspec.structs.replace(
        a,
        counts=pack(counts),
        exact=not counts[::2].any(),
        total=total,
        squares=squares,
        mean=mean,
        deviation=deviation,
        infinite=infinite,
        tails=tails,
        display=display,
        blocks=blocks,
    )


def join(a: Numeric, b: Numeric) -> Numeric | None:
    """Two columns whose edges are all their distinct values, without a frame: as one pass over both would make.

    None if they are more than 4,096 together, or if an order in time went into either.
    """
    if not (a.exact and b.exact) or a.blocks or b.blocks or a.counter or b.counter or (a.time, b.time) != (1.0, 1.0):
        return None
    edges = np.union1d(a.values(), b.values())
    if len(edges) > EDGES:
        return None
    at = np.zeros(len(edges), dtype=np.int64)
    for one in (a, b):
        at[np.searchsorted(edges, one.values())] += unpack(one.counts)[1::2]
    # A column of few values is known whole: its rows are written out again, in order.
    return _counted(
        (ordered := np.repeat(edges, at)), edges, tails=_tails(ordered), display=display_of(_finite(ordered))
    )


def _counted(
    ordered: Array,
    edges: Array,
    *,
    tails: Tails | None,
    display: Display | None,
    time: float = 1.0,
    blocks: tuple[Block, ...] = (),
    counter: bool = False,
) -> Numeric:
    """Sorted values (n,) counted at the edges (k,), with their moments."""
    below, upto = (np.searchsorted(ordered, edges, side=side) for side in ("left", "right"))
    reached = np.zeros(2 * len(edges) + 2, dtype=np.int64)
    reached[1:-1:2], reached[2::2], reached[-1] = below, upto, len(ordered)
    counts = np.diff(reached)
    finite = _finite(ordered)
    total, squares = exact_sum(finite), exact_sum_of_squares(finite)
    mean, deviation = mean_and_deviation(len(finite), total, squares)
    return Numeric(
        edges=edges.astype("<f8").tobytes(),
        counts=pack(counts),
        exact=not counts[::2].any(),
        total=total,
        squares=squares,
        mean=mean,
        deviation=deviation,
        infinite=len(ordered) - len(finite),
        tails=tails,
        display=display,
        time=time,
        blocks=blocks,
        counter=counter,
    )


def _finite(ordered: Array) -> Array:
    return ordered[np.isfinite(ordered)]


def choose_edges(ordered: Array, limit: int = EDGES) -> tuple[Array, bool]:
    """All distinct values of a sorted column (n,), or `limit` of them at equal steps of mass, ends included."""
    if len(ordered) == 0:
        return ordered, True
    distinct = ordered[np.concatenate(([True], ordered[1:] != ordered[:-1]))]
    if len(distinct) <= limit:
        return distinct, True
    places = np.round(np.linspace(0, len(ordered) - 1, limit)).astype(np.int64)
    return np.unique(ordered[places]), False


def _tails(ordered: Array) -> Tails | None:
    n = len(ordered)
    if n == 0:
        return None
    k = math.ceil(n * TAIL_SHARE)
    low, high = float(ordered[k - 1]), float(ordered[n - k])
    below, above = np.searchsorted(ordered, low, side="left"), n - np.searchsorted(ordered, high, side="right")
    return Tails(k, low, high, int(below), int(above))


def display_of(finite: Array) -> Display | None:
    """Bins for pictures of sorted finite values (n,); None without any."""
    n = len(finite)
    if n == 0:
        return None
    low, high = float(finite[int(0.005 * (n - 1))]), float(finite[math.ceil(0.995 * (n - 1))])
    if low == high:
        low, high = low - max(0.5, abs(low) * 1e-3), high + max(0.5, abs(high) * 1e-3)
    most = np.finfo(np.float64).max
    # Halved before they are subtracted: the distance of the two largest doubles is an infinity.
    edges = np.linspace(max(low, -most) / 2, min(high, most) / 2, DISPLAY_BINS + 1) * 2
    return Display(tuple(edges.tolist()), tuple(display_counts(finite, edges).tolist()))


def display_counts(ordered: Array, edges: Array) -> Counts:
    """Rows under, in each bin [a, b) of (the last: [a, b]), and over the edges (b + 1,) -> (b + 2,)."""
    places = np.searchsorted(ordered, edges, side="left")
    places[-1] = np.searchsorted(ordered, edges[-1], side="right")
    return np.diff(np.concatenate(([0], places, [len(ordered)])))


def _blocks(taken: Numbers, places: Places | None) -> tuple[Block, ...]:
    """Finite rows and their exact sum in each block of time; rows without a time are in none."""
    if places is None:
        return ()
    inside = places.block if taken.present is None else places.block[taken.present]
    inside = np.where(np.isfinite(taken.values), inside, -1)
    order = np.argsort(inside, kind="stable")
    cuts = np.searchsorted(inside[order], np.arange(places.blocks + 1))
    found = [taken.values[order[start:end]] for start, end in itertools.pairwise(cuts)]
    return tuple(Block(len(values), exact_sum(values)) for values in found)


def is_counter(series: Array, distinct: int) -> bool:
    """Whether a series in time order only ever grows or only ever falls, through more than 20 values.

    A row number, a version, a date as a number: every later window differs from every earlier one, so a test
    would say nothing but that time has passed.
    """
    if distinct <= COUNTER_VALUES:
        return False
    return bool(np.all(series[1:] >= series[:-1]) or np.all(series[1:] <= series[:-1]))
