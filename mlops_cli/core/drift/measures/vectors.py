"""The tests of a column of vectors: its components one by one, and all of them at once by a kernel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.drift import columns as arrow
from mlops_cli.core.drift.measures.measured import Array, Measured, Order, Sizes, judge_missing, percent
from mlops_cli.core.drift.measures.parts import compare_part, histogram_of, widest
from mlops_cli.core.drift.records import Rules, Test
from mlops_cli.core.drift.summaries.missing import missing_time
from mlops_cli.core.drift.summaries.vectors import OtherWidth, Vector, Vectors, features_time, vectors
from mlops_cli.core.stats.atoms import atom_p_value
from mlops_cli.core.stats.kernel import kernel_p_value, witness_bound

if TYPE_CHECKING:
    import pyarrow as pa

RARE = 0.01  # share of the reference up to which a vector may be called a new atom


def measure_vectors(
    measured: Measured, known: Vector, values: pa.ChunkedArray, order: Order, rules: Rules, ordered_reference: bool
) -> None:
    """Raises OtherWidth for vectors of another length."""
    taken = _taken(values, known.width)
    n, m = known.n, len(taken.values)
    measured.n = m
    judge_missing(measured, taken.missing, taken.rows, missing_time(taken.present, order), rules)
    if n == 0 or m == 0:
        measured.note = "the reference has no value" if n == 0 else "the window has no value"
        return
    places = arrow.in_time(np.arange(m), taken.present, order) if order is not None else None
    sizes = _component_test(measured, known, taken, places, rules, ordered_reference)
    measured.sizes = sizes
    _kernel_test(measured, known, taken, places, rules, ordered_reference)
    measured.tests.append(_atom_test(known, taken, sizes, rules))


def _taken(values: pa.ChunkedArray, width: int) -> Vectors:
    if arrow.group_of(values.type) == "null":
        return Vectors(np.empty((0, width), np.float32), np.zeros(len(values), bool), len(values))
    try:
        return vectors(values, width)
    except OverflowError as error:
        raise OtherWidth(str(error)) from None


def _component_test(
    measured: Measured, known: Vector, taken: Vectors, places: Order, rules: Rules, ordered_reference: bool
) -> Sizes:
    """Each component by Kolmogorov and Smirnov; the one of the smallest p stands for all, at p x their number."""
    projected = known.projected(taken.values)
    found = [
        compare_part(
            "component",
            sketched,
            one,
            one[places] if places is not None else None,
            rules,
            ordered_reference=ordered_reference,
        )
        for sketched, one in zip(known.components, projected.T, strict=True)
    ]
    count = len(found)
    place = min(range(count), key=lambda at: (found[at][0].p_value or 0.0, -found[at][0].effect))
    test = found[place][0]
    name = "projection" if known.projected_on else "component"
    measured.tests.append(
        msgspec.structs.replace(
            test,
            p_value=min(1.0, count * (test.p_value or 0.0)),
            detail=f"{name} {place + 1} of {count}{test.detail.removeprefix('component')}",
        )
    )
    measured.facts["pictured"] = f"{name} {place + 1}"
    measured.facts["histogram"] = histogram_of(known.components[place], projected[:, place])
    return widest([sizes for _, sizes in found]) or found[0][1]


def _atom_test(known: Vector, taken: Vectors, sizes: Sizes, rules: Rules) -> Test:
    """One vector, rare in the reference, that fills the window (zeros where a service failed); as `atom` of numbers.

    The reference's rows with it are at most those whose vectors share its hash, and those that lie, in any component,
    between the edges around its value.
    """
    m = len(taken.values)
    whole = np.ascontiguousarray(taken.values + np.float32(0.0))  # -0.0 is 0.0
    keys = whole.view(np.dtype((np.void, whole.shape[1] * whole.itemsize))).ravel()
    _, first, counts = np.unique(keys, return_index=True, return_counts=True)
    share, seen, p = 0, known.n, 1.0
    for place in np.flatnonzero(counts >= max(2, rules.atoms * m)).tolist():
        before = _most_rows(known, taken.values[first[place] : first[place] + 1])
        if counts[place] > share and before <= RARE * known.n:
            share, seen = int(counts[place]), before
    if share:
        size_n, size_m = math.floor(sizes.n), max(1, math.floor(sizes.m))
        p = atom_p_value(
            min(math.floor(share / sizes.time_m), size_m), size_m, min(math.ceil(seen / sizes.time_n), size_n), size_n
        )
    return Test(
        part="atom",
        method="hypergeometric",
        statistic=float(share),
        effect=max(0.0, (share / m - seen / known.n) if share else 0.0),
        floor=rules.atoms,
        p_value=p,
        detail=f"one vector fills {share / m:.1%} of the window, at most {percent(seen / known.n)} of the reference"
        if share
        else "",
    )


def _most_rows(known: Vector, vector: NDArray[np.float32]) -> int:
    """An upper bound of the reference's rows with a vector (1, width); products may differ in their last digits."""
    held = known.most_rows(vector)
    bounds = held.tolist() if held is not None else []
    for sketched, value in zip(known.components, known.projected(vector)[0], strict=True):
        edges, below, upto = sketched.arrays()
        slack = 1e-5 * max(abs(float(value)), sketched.deviation)
        left = int(np.searchsorted(edges, value - slack, side="left")) - 1
        right = int(np.searchsorted(edges, value + slack, side="right"))
        bounds.append(int((below[right] if right < len(edges) else known.n) - (upto[left] if left >= 0 else 0)))
    return int(min(bounds))


def _kernel_test(
    measured: Measured, known: Vector, taken: Vectors, places: Order, rules: Rules, ordered_reference: bool
) -> None:
    mean, covariance = known.moments()
    features = known.features(taken.values)
    current = features_time(features, places) if places is not None else None
    sizes = Sizes.of(known.n, len(features), known.time if ordered_reference else None, current)
    statistic, p = kernel_p_value(features.mean(axis=0) - mean, covariance, sizes.n, sizes.m)
    first, second = _halves(features, places)
    bound = witness_bound(mean, covariance, first, second)
    measured.tests.append(
        Test(
            part="kernel",
            method="kernel two-sample",
            statistic=statistic,
            effect=bound,
            floor=rules.kernel,
            p_value=p,
            detail=f"vectors differ in at least {bound:.1%} of their mass" if bound else "",
        )
    )


def _halves(features: Array, places: Order) -> tuple[Array, Array]:
    """Two parts of the window that are as independent as can be: halves in time, or every second row."""
    if places is None:
        return features[::2], features[1::2]
    middle = len(places) // 2
    return features[places[:middle]], features[places[middle:]]
