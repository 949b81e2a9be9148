"""What a profile keeps of a column of vectors (embeddings): components, and the moments of random features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.drift import columns as arrow
from mlops_cli.core.drift.summaries.sketch import Sketch, sketch
from mlops_cli.core.drift.summaries.sketch import add as add_sketches
from mlops_cli.core.drift.summaries.sketch import count_like as count_sketch
from mlops_cli.core.drift.summaries.sketch import frame_of as frame_of_sketch
from mlops_cli.core.stats.dependence import autocorrelation_time
from mlops_cli.core.stats.kernel import CHUNK, features, frequencies, median_bandwidth

if TYPE_CHECKING:
    import pyarrow as pa

Array = NDArray[np.float64]
Rows = NDArray[np.float32]
Order = NDArray[np.int64]

ALL_COMPONENTS = 32  # dimensions up to which each is tested; over that, principal components
PRINCIPAL = 16
FREQUENCIES = 64
LOOKED_AT = 1024  # rows, evenly chosen, that give the bandwidth and the principal components
CLIPPED = 0.01  # of these, at either end of each dimension: one outlier would be the first component
TIMED = 16  # features whose dependence is that of the vectors


class OtherWidth(ValueError):
    """A list of another length than all of the reference's have."""


@dataclass(frozen=True, slots=True)
class Vectors:
    """`values` (n, width) of the rows that are there in row order; `present` (rows,) or None if all are. A row with
    a null, NaN or an infinity in it is missing."""

    values: Rows
    present: NDArray[np.bool_] | None
    rows: int

    @property
    def missing(self) -> int:
        return self.rows - len(self.values)


class Vector(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors of `width` numbers. `components` are sketches of each dimension, or of the rows' products with
    `projection` float32[width, c], whose columns are principal components; without one, of the dimensions.

    Of the 2 x 64 features at `bandwidth` (kernel.py): `mean` float64[k], and `covariance` float32[k (k + 1) / 2], the
    upper triangle by rows. `time` is their autocorrelation time, in rows.
    """

    width: int
    components: tuple[Sketch, ...] = ()
    projection: bytes = b""
    bandwidth: float = 1.0
    mean: bytes = b""
    covariance: bytes = b""
    n: int = 0
    time: float = 1.0

    def moments(self) -> tuple[Array, Array]:
        """mean (k,), covariance (k, k)."""
        mean = np.frombuffer(self.mean, "<f8").astype(np.float64)
        full = np.zeros((len(mean), len(mean)))
        full[np.triu_indices(len(mean))] = np.frombuffer(self.covariance, "<f4")
        return mean, full + np.triu(full, 1).T

    def projected(self, values: Rows) -> Array:
        """The components (n, c) of vectors (n, width)."""
        if not self.projection:
            return values.astype(np.float64)
        axes = np.frombuffer(self.projection, "<f4").reshape(self.width, -1).astype(np.float64)
        return np.concatenate([values[at : at + CHUNK].astype(np.float64) @ axes for at in _starts(len(values))])

    def features(self, values: Rows) -> Array:
        """The random features (n, k) of vectors (n, width)."""
        drawn = frequencies(self.width, FREQUENCIES)
        parts = [
            features(values[at : at + CHUNK].astype(np.float64), drawn, self.bandwidth) for at in _starts(len(values))
        ]
        return np.concatenate(parts)


def _starts(rows: int) -> range:
    return range(0, max(1, rows), CHUNK)


def width_of(column: pa.ChunkedArray) -> int | None:
    """The one length that all lists of a column have; None if they differ, are empty, or there are none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = arrow.plain(column)
    if pa.types.is_fixed_size_list(column.type):
        return int(column.type.list_size) or None
    found = pc.min_max(pc.list_value_length(column)).as_py()
    return int(found["max"]) if found["max"] and found["min"] == found["max"] else None


def vectors(column: pa.ChunkedArray, width: int) -> Vectors:
    """Lists of `width` numbers each. Raises OtherWidth if a list has another length."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column, rows = arrow.plain(column), len(column)
    present = arrow.valid(column) if column.null_count else None
    flat = pc.list_flatten(column.drop_null())
    values = arrow.filled(flat.cast(pa.float32(), safe=False), np.nan)
    n = rows - column.null_count
    if len(values) != n * width or (n and width_of(column) != width):
        raise OtherWidth(f"lists of {width} numbers are meant")
    values = values.reshape(n, width)
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        whole = np.ones(rows, bool) if present is None else present.copy()
        whole[whole] = finite
        values, present = values[finite], whole
    return Vectors(values, present, rows)


def summarize_vectors(taken: Vectors, width: int, order: Order | None) -> Vector:
    """Everything that is kept of a column of vectors."""
    values = taken.values
    if not len(values):
        return Vector(width=width)
    looked = values[:: max(1, -(-len(values) // LOOKED_AT))].astype(np.float64)
    axes = _principal(looked) if width > ALL_COMPONENTS else None
    known = Vector(
        width=width,
        projection=axes.astype("<f4").tobytes() if axes is not None else b"",
        bandwidth=median_bandwidth(looked),
        n=len(values),
    )
    found = known.features(values)
    mean = found.mean(axis=0)
    covariance = np.cov(found.T, bias=True)
    components = known.projected(values)
    places = arrow.in_time(np.arange(len(values)), taken.present, order) if order is not None else None
    return msgspec.structs.replace(
        known,
        components=tuple(sketch(one, one[places] if places is not None else None) for one in components.T),
        mean=mean.astype("<f8").tobytes(),
        covariance=covariance[np.triu_indices(len(mean))].astype("<f4").tobytes(),
        time=features_time(found, places),
    )


def features_time(found: Array, places: Order | None) -> float:
    """The autocorrelation time of features (n, k), pooled over some of them; 1 without order."""
    if places is None:
        return 1.0
    step = max(1, found.shape[1] // TIMED)
    return autocorrelation_time(*(found[places, column] for column in range(0, found.shape[1], step)))


def _principal(looked: Array) -> Array:
    """Directions (d, 16) of the most variance, of rows (s, d) clipped in each dimension; signs by the largest entry."""
    low, high = np.quantile(looked, [CLIPPED, 1 - CLIPPED], axis=0)
    centred = np.clip(looked, low, high)
    centred -= centred.mean(axis=0)
    _, _, turned = np.linalg.svd(centred, full_matrices=False)
    axes = turned[:PRINCIPAL].T
    largest = axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])]
    return np.asarray(axes * np.where(largest < 0, -1, 1))


def count_like(known: Vector, taken: Vectors) -> Vector:
    """Other vectors in the frame of `known`: its projection, edges, bandwidth."""
    if not len(taken.values):
        k = len(known.moments()[0])
        empty = {"mean": np.zeros(k).tobytes(), "covariance": np.zeros(k * (k + 1) // 2, "<f4").tobytes()}
        components = tuple(count_sketch(one, np.empty(0)) for one in known.components)
        return msgspec.structs.replace(known, n=0, components=components, **empty)
    found, projected = known.features(taken.values), known.projected(taken.values)
    return msgspec.structs.replace(
        known,
        n=len(taken.values),
        components=tuple(
            count_sketch(sketched, one) for sketched, one in zip(known.components, projected.T, strict=True)
        ),
        mean=found.mean(axis=0).astype("<f8").tobytes(),
        covariance=np.cov(found.T, bias=True)[np.triu_indices(found.shape[1])].astype("<f4").tobytes(),
    )


def frame_of(known: Vector) -> tuple[object, ...]:
    """What one reference decided, and others are counted on."""
    components = tuple(frame_of_sketch(one) for one in known.components)
    return known.width, known.projection, known.bandwidth, known.time, components


def add(a: Vector, b: Vector) -> Vector:
    """Both as one: counts exactly, moments up to rounding. Raises ValueError if their frames differ."""
    if (a.width, a.projection, a.bandwidth) != (b.width, b.projection, b.bandwidth):
        raise ValueError("vectors counted in other frames do not add")
    (mean_a, cov_a), (mean_b, cov_b), n = a.moments(), b.moments(), a.n + b.n
    if n == 0:
        return a
    gap, share = mean_b - mean_a, b.n / n
    mean = mean_a + share * gap
    covariance = (1 - share) * cov_a + share * cov_b + share * (1 - share) * np.outer(gap, gap)
    return msgspec.structs.replace(
        a,
        n=n,
        components=tuple(add_sketches(x, y) for x, y in zip(a.components, b.components, strict=True)),
        mean=mean.astype("<f8").tobytes(),
        covariance=covariance[np.triu_indices(len(mean))].astype("<f4").tobytes(),
    )
