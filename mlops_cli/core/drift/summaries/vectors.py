"""What a profile keeps of a column of vectors (embeddings): components, and the moments of random features."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.drift import columns as arrow
from mlops_cli.core.drift.summaries.packing import pack, pack_signed, unpack, unpack_signed
from mlops_cli.core.drift.summaries.sketch import Sketch, sketch
from mlops_cli.core.drift.summaries.sketch import add as add_sketches
from mlops_cli.core.drift.summaries.sketch import count_like as count_sketch
from mlops_cli.core.drift.summaries.sketch import frame_of as frame_of_sketch
from mlops_cli.core.stats.dependence import autocorrelation_time
from mlops_cli.core.stats.kernel import (
    CHUNK,
    PIECE_BITS,
    exact_products,
    feature_codes,
    feature_step,
    frequencies,
    median_bandwidth,
    power_of_two,
)

if TYPE_CHECKING:
    import pyarrow as pa

Array = NDArray[np.float64]
Rows = NDArray[np.float32]
Order = NDArray[np.int64]

ALL_COMPONENTS = 24  # dimensions up to which each is tested; over that, as many projections
COMPONENT_EDGES = 64
FREQUENCIES = 48
ONE = 32  # the code of a feature of cos 1
BUCKETS = 512  # of a hash of whole vectors
_SIGNS_SEED = 0x666F6C64  # of the projections; another one would be another test, so it never changes
LOOKED_AT = 1024  # rows, evenly chosen, that give the bandwidth
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
    """Vectors of `width` numbers. `components` are sketches of each dimension, or of `projections` (c) of the rows on
    directions drawn once; 0 where they are the dimensions.

    Of the 2 x `frequencies` features at `bandwidth`, as integers from -`one` to `one` (kernel.py): `sums` (k,), and
    `products` (k (k + 1) / 2), the sums of products of two, the upper triangle by rows; both packed. `buckets`, packed:
    rows by a hash of the vector, so that none is that of more rows than its bucket holds. `time` is the features'
    autocorrelation time, in rows. Profiles of versions 1 and 2 have no buckets, and may have directions of their own,
    `projection` float32[width, c]; in those of version 1 `mean` float64[k] and `covariance` float32[k (k + 1) / 2]
    stand for the sums.
    """

    width: int
    components: tuple[Sketch, ...] = ()
    projections: int = 0
    projection: bytes = b""
    bandwidth: float = 1.0
    frequencies: int = 64
    one: int = 1024
    buckets: bytes = b""
    sums: bytes = b""
    products: bytes = b""
    mean: bytes = b""
    covariance: bytes = b""
    n: int = 0
    time: float = 1.0

    def moments(self) -> tuple[Array, Array]:
        """mean (k,), covariance (k, k)."""
        if not self.sums:
            mean = np.frombuffer(self.mean, "<f8").astype(np.float64)
            return mean, _square(np.frombuffer(self.covariance, "<f4").astype(np.float64), len(mean))
        step, n = feature_step(self.frequencies, self.one), max(1, self.n)
        mean = unpack_signed(self.sums) / n
        second = _square(unpack_signed(self.products) / n, len(mean))
        return mean * step, (second - np.outer(mean, mean)) * step**2

    def projected(self, values: Rows) -> Array:
        """The components (n, c) of vectors (n, width). Each depends on its row alone, to the last bit."""
        if not self.projected_on:
            return values.astype(np.float64)
        directions = self._directions()
        scale = power_of_two(self.bandwidth)
        parts = []
        for at in _starts(len(values)):
            high, low = exact_products(values[at : at + CHUNK].astype(np.float64), directions, scale)
            parts.append((high * 2.0**PIECE_BITS + low) * (scale * 2.0**-PIECE_BITS))
        return np.concatenate(parts) / (math.sqrt(self.width) if self.projections else 2.0**PIECE_BITS)

    @property
    def projected_on(self) -> bool:
        """Whether the components are projections, not the dimensions."""
        return bool(self.projections or self.projection)

    def _directions(self) -> Array:
        """Integers (width, c): what a component adds up of each dimension."""
        if self.projections:
            return signs(self.width, self.projections)
        axes = np.frombuffer(self.projection, "<f4").reshape(self.width, -1).astype(np.float64)
        return np.asarray(np.rint(axes * 2.0**PIECE_BITS))

    def most_rows(self, values: Rows) -> NDArray[np.int64] | None:
        """As how many rows each of some vectors (n, width) may have, at most; None where no bucket says."""
        return unpack(self.buckets)[_bucket(values)] if self.buckets else None

    def codes(self, values: Rows) -> NDArray[np.int16]:
        """The random features (n, k) of vectors (n, width), as integers."""
        drawn = frequencies(self.width, self.frequencies)
        parts = [
            feature_codes(values[at : at + CHUNK].astype(np.float64), drawn, self.bandwidth, self.one)
            for at in _starts(len(values))
        ]
        return np.concatenate(parts)

    def features(self, values: Rows) -> Array:
        """The random features (n, k) of vectors (n, width)."""
        return self.codes(values).astype(np.float64) * feature_step(self.frequencies, self.one)


def _square(triangle: Array, k: int) -> Array:
    """The symmetric matrix (k, k) of an upper triangle by rows."""
    full = np.zeros((k, k))
    full[np.triu_indices(k)] = triangle
    return full + np.triu(full, 1).T


def _sums(codes: NDArray[np.int16]) -> dict[str, bytes]:
    """Sums and sums of products of codes (n, k) under 2^11, n < 2^40: exact, since those of a chunk are under 2^53."""
    k = codes.shape[1]
    products = np.zeros((k, k), np.int64)
    for at in _starts(len(codes)):
        chunk = codes[at : at + CHUNK].astype(np.float64)
        products += (chunk.T @ chunk).astype(np.int64)
    sums = codes.sum(axis=0, dtype=np.int64)
    return {"sums": pack_signed(sums), "products": pack_signed(products[np.triu_indices(k)])}


def _bucket(values: Rows) -> NDArray[np.int64]:
    """The bucket of each vector (n, width): XXH3 (64 bits, seed 0) of its float32, -0.0 as 0.0, modulo 512."""
    import xxhash

    whole = np.ascontiguousarray(values + np.float32(0.0), "<f4").tobytes()
    size = 4 * values.shape[1]
    hashes = (xxhash.xxh3_64_intdigest(whole[at : at + size]) % BUCKETS for at in range(0, len(whole), size))
    return np.fromiter(hashes, np.int64, len(values))


def _buckets(values: Rows) -> bytes:
    return pack(np.bincount(_bucket(values), minlength=BUCKETS))


def signs(width: int, count: int) -> Array:
    """`count` random directions (width, count) of 1 and -1, the same everywhere: the top bits of raw words of PCG64.

    Divided by sqrt(width), they keep lengths on average, as normal directions do. They know nothing of the reference:
    directions of its most variance are of its own noise, too, which other rows do not share.
    Source: Achlioptas, Journal of Computer and System Sciences 66 (2003) 671.
    """
    words = np.random.PCG64(_SIGNS_SEED).random_raw(width * count)
    return np.where(words >> np.uint64(63), 1.0, -1.0).reshape(width, count)


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
    known = Vector(
        width=width,
        projections=ALL_COMPONENTS if width > ALL_COMPONENTS else 0,
        bandwidth=median_bandwidth(looked),
        frequencies=FREQUENCIES,
        one=ONE,
        buckets=_buckets(values),
        n=len(values),
    )
    codes = known.codes(values)
    components = known.projected(values)
    places = arrow.in_time(np.arange(len(values)), taken.present, order) if order is not None else None
    return msgspec.structs.replace(
        known,
        components=tuple(
            sketch(one, one[places] if places is not None else None, COMPONENT_EDGES) for one in components.T
        ),
        **_sums(codes),
        time=features_time(codes, places),
    )


def features_time(found: NDArray[Any], places: Order | None) -> float:
    """The autocorrelation time of features (n, k), pooled over some of them; 1 without order."""
    if places is None:
        return 1.0
    step = max(1, found.shape[1] // TIMED)
    return autocorrelation_time(
        *(found[places, column].astype(np.float64) for column in range(0, found.shape[1], step))
    )


def count_like(known: Vector, taken: Vectors) -> Vector:
    """Other vectors in the frame of `known`: its projection, edges, bandwidth. Counting parts and adding them gives the
    same bytes. A frame without a vector has no edges, and nothing is counted on it."""
    if not known.components:
        return known
    projected = known.projected(taken.values)
    return msgspec.structs.replace(
        known,
        n=len(taken.values),
        components=tuple(
            count_sketch(sketched, one) for sketched, one in zip(known.components, projected.T, strict=True)
        ),
        **_sums(known.codes(taken.values)),
        buckets=_buckets(taken.values) if known.buckets else b"",
        mean=b"",
        covariance=b"",
    )


def frame_of(known: Vector) -> tuple[object, ...]:
    """What one reference decided, and others are counted on."""
    components = tuple(frame_of_sketch(one) for one in known.components)
    drawn = known.bandwidth, known.frequencies, known.one
    return known.width, known.projections, known.projection, drawn, bool(known.buckets), components, known.time


def add(a: Vector, b: Vector) -> Vector:
    """Both as one, exactly. Raises ValueError if their frames differ."""
    if frame_of(a) != frame_of(b):
        raise ValueError("vectors counted in other frames do not add")
    return msgspec.structs.replace(
        a,
        n=a.n + b.n,
        components=tuple(add_sketches(x, y) for x, y in zip(a.components, b.components, strict=True)),
        sums=_added(a.sums, b.sums),
        products=_added(a.products, b.products),
        buckets=pack(unpack(a.buckets) + unpack(b.buckets)),
    )


def _added(a: bytes, b: bytes) -> bytes:
    return pack_signed(unpack_signed(a) + unpack_signed(b))
