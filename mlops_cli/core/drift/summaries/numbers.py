"""What a profile keeps of a numeric column: edges with exact counts, atoms, tails, dependence."""

from __future__ import annotations

import math

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.drift.columns import Numbers, in_time
from mlops_cli.core.stats.dependence import BLOCKS, autocorrelation_time, score_series

Array = NDArray[np.float64]
Counts = NDArray[np.int64]
Order = NDArray[np.int64]

EDGES = 4096
DISPLAY_BINS = 20
TAIL_SHARE = 0.001  # of the reference's rows, at either end
COUNTER_VALUES = 20  # distinct values above which a column that only ever grows is a counter


class Tails(msgspec.Struct, frozen=True):
    """`k` rows of the reference lie at or beyond each of `low` and `high`; `below` and `above` strictly beyond."""

    k: int
    low: float
    high: float
    below: int
    above: int


class Display(msgspec.Struct, frozen=True):
    """For pictures: `edges` (b + 1,) between the 0.5% and 99.5% quantiles, `counts` (b + 2,) with both outsides."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


class Numeric(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers. The three byte strings are little-endian arrays (k,): edges float64, below and upto uint32.

    below, upto: rows < and <= each edge (uint64 from 2^32 rows on, as their length tells). The edges are all
    distinct values if there are up to 4,096, else values at equal steps of mass; every value that fills 1/4096 of the
    rows (an atom) is one of them either way. Moments are of the finite values. `time` is the autocorrelation time in
    rows; `block_means` those of the blocks in time.
    """

    edges: bytes
    below: bytes
    upto: bytes
    exact: bool
    mean: float = math.nan
    deviation: float = math.nan
    infinite: int = 0
    tails: Tails | None = None
    display: Display | None = None
    time: float = 1.0
    block_means: tuple[float, ...] = ()
    counter: bool = False

    def arrays(self) -> tuple[Array, Counts, Counts]:
        """edges, below, upto."""
        wide = len(self.below) == len(self.edges)
        below, upto = (np.frombuffer(data, "<u8" if wide else "<u4") for data in (self.below, self.upto))
        return np.frombuffer(self.edges, "<f8").astype(np.float64), below.astype(np.int64), upto.astype(np.int64)


def summarize_numbers(taken: Numbers, order: Order | None) -> Numeric:
    """Everything that is kept of a numeric column. No finite value, no moments; no value at all, no edges."""
    ordered = np.sort(taken.values)
    edges, exact = choose_edges(ordered)
    below, upto = (np.searchsorted(ordered, edges, side=side) for side in ("left", "right"))
    count = "<u4" if len(ordered) < 1 << 32 else "<u8"
    finite = ordered[np.isfinite(ordered)]
    mean, deviation = _moments(finite)
    series = in_time(taken.values, taken.present, order) if order is not None else None
    return Numeric(
        edges=edges.astype("<f8").tobytes(),
        below=below.astype(count).tobytes(),
        upto=upto.astype(count).tobytes(),
        exact=exact,
        mean=mean,
        deviation=deviation,
        infinite=len(ordered) - len(finite),
        tails=_tails(ordered),
        display=display_of(finite),
        time=autocorrelation_time(score_series(series, ordered)) if series is not None else 1.0,
        block_means=_block_means(series) if series is not None else (),
        counter=series is not None and is_counter(series, len(edges)),
    )


def _moments(finite: Array) -> tuple[float, float]:
    """Mean and standard deviation, scaled first so that 1e308 squared is no infinity."""
    if len(finite) == 0:
        return math.nan, math.nan
    scale = float(max(abs(finite[0]), abs(finite[-1]))) or 1.0
    scaled = finite / scale
    return float(scaled.mean()) * scale, float(scaled.std()) * scale


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


def _block_means(series: Array) -> tuple[float, ...]:
    if len(series) < BLOCKS:
        return ()
    means = [_moments(np.sort(block[np.isfinite(block)]))[0] for block in np.array_split(series, BLOCKS)]
    return tuple(means)


def is_counter(series: Array, distinct: int) -> bool:
    """Whether a series in time order only ever grows or only ever falls, through more than 20 values.

    A row number, a version, a date as a number: every later window differs from every earlier one, so a test
    would say nothing but that time has passed.
    """
    if distinct <= COUNTER_VALUES:
        return False
    return bool(np.all(series[1:] >= series[:-1]) or np.all(series[1:] <= series[:-1]))
