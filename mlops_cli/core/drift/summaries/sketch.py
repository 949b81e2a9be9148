"""What is kept of a number that is measured of each row (the length of a text, a component of a vector)."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.drift.summaries.numbers import Display, choose_edges, display_counts, display_of
from mlops_cli.core.drift.summaries.packing import pack, unpack
from mlops_cli.core.stats.dependence import autocorrelation_time, score_series
from mlops_cli.core.stats.exact_sums import Exact, exact_sum, exact_sum_of_squares, mean_and_deviation

Array = NDArray[np.float64]
Counts = NDArray[np.int64]

SKETCH_EDGES = 256
LARGEST = float(np.finfo(np.float32).max)


class Sketch(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers rounded to float32, of `n` rows. `edges` float32[k] and `counts` (2 k + 1,), packed: as in Numeric.

    `total` and `squares` are exact sums, which mean and deviation are rounded from; profiles of version 1 lack them.
    `below` and `upto`, uint32[k]: in place of the counts, in profiles of versions 1 and 2.
    """

    n: int
    edges: bytes
    counts: bytes = b""
    below: bytes = b""
    upto: bytes = b""
    mean: float
    deviation: float
    total: Exact = Exact()
    squares: Exact = Exact()
    time: float = 1.0
    display: Display | None = None

    def arrays(self) -> tuple[Array, Counts, Counts]:
        """edges, and the rows below and up to each."""
        edges = np.frombuffer(self.edges, "<f4").astype(np.float64)
        if self.counts:
            rows = np.cumsum(unpack(self.counts))
            return edges, rows[0:-1:2], rows[1::2]
        below, upto = (np.frombuffer(data, "<u4").astype(np.int64) for data in (self.below, self.upto))
        return edges, below, upto


def sketch(values: Array, series: Array | None, most_edges: int = SKETCH_EDGES) -> Sketch:
    """The sketch of finite values (n,); `series` are the same in order of time, or None."""
    ordered = np.sort(rounded(values))
    edges, _ = choose_edges(ordered, most_edges)
    return Sketch(
        n=len(ordered),
        edges=edges.astype("<f4").tobytes(),
        counts=_counted(ordered, edges),
        **_moments(len(ordered), exact_sum(ordered), exact_sum_of_squares(ordered)),
        time=autocorrelation_time(score_series(rounded(series), ordered)) if series is not None else 1.0,
        display=display_of(ordered),
    )


def count_like(known: Sketch, values: Array) -> Sketch:
    """Finite values (n,) counted at the edges of `known`. Counting parts and adding them gives the same bytes."""
    ordered = np.sort(rounded(values))
    edges = known.arrays()[0]
    shown = known.display
    if shown is not None:
        shown = Display(shown.edges, tuple(display_counts(ordered, np.array(shown.edges)).tolist()))
    moments = _moments(len(ordered), exact_sum(ordered), exact_sum_of_squares(ordered))
    return msgspec.structs.replace(
        known, n=len(ordered), counts=_counted(ordered, edges), below=b"", upto=b"", display=shown, **moments
    )


def frame_of(known: Sketch) -> tuple[object, ...]:
    """What one reference decided, and others are counted on."""
    return known.edges, known.display.edges if known.display else None, known.time


def add(a: Sketch, b: Sketch) -> Sketch:
    """Both samples as one. Raises ValueError if their edges differ."""
    if a.edges != b.edges:
        raise ValueError("sketches with other edges do not add")
    n = a.n + b.n
    (_, below, upto), (_, more_below, more_upto) = a.arrays(), b.arrays()
    shown = a.display
    if shown is not None and b.display is not None:
        shown = Display(shown.edges, tuple(x + y for x, y in zip(shown.counts, b.display.counts, strict=True)))
    return msgspec.structs.replace(
        a,
        n=n,
        counts=_packed(below + more_below, upto + more_upto, n),
        below=b"",
        upto=b"",
        display=shown,
        **_moments(n, a.total + b.total, a.squares + b.squares),
    )


def _counted(ordered: Array, edges: Array) -> bytes:
    """Sorted rows (n,) between and at edges (k,), packed (2 k + 1,)."""
    below, upto = np.searchsorted(ordered, edges, side="left"), np.searchsorted(ordered, edges, side="right")
    return _packed(below, upto, len(ordered))


def _packed(below: Counts, upto: Counts, n: int) -> bytes:
    return pack(np.diff(np.stack((below, upto), axis=1).ravel(), prepend=0, append=n))


def _moments(n: int, total: Exact, squares: Exact) -> dict[str, Any]:
    mean, deviation = mean_and_deviation(n, total, squares) if n else (0.0, 0.0)
    return {"total": total, "squares": squares, "mean": mean, "deviation": deviation}


def rounded(values: Array) -> Array:
    """To float32 and back, so that both sides of a comparison are rounded alike; beyond its range, to the ends of it.

    -0.0 becomes 0.0: which of the two came first must not show.
    """
    return np.clip(values, -LARGEST, LARGEST).astype(np.float32).astype(np.float64) + 0.0
