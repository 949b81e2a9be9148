"""The tests of a numeric column: Kolmogorov-Smirnov on the profile's edges, tails, atoms."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.drift import columns as arrow
from mlops_cli.core.drift.measures.measured import Array, Measured, Order, Sizes, judge_missing, percent
from mlops_cli.core.drift.records import Histogram, Rules, Test
from mlops_cli.core.drift.summaries.missing import missing_time
from mlops_cli.core.drift.summaries.numbers import Numeric, Tails, display_counts
from mlops_cli.core.stats import distances
from mlops_cli.core.stats.atoms import atom_p_value
from mlops_cli.core.stats.dependence import autocorrelation_time, score_series, spells
from mlops_cli.core.stats.ranks import beyond_p_value
from mlops_cli.core.stats.two_sample import ks_on_edges, ks_p_value

RARE = 0.001  # share of the reference up to which a value may be called a new atom


def measure_numbers(
    measured: Measured, known: Numeric, taken: arrow.Numbers, order: Order, rules: Rules, ordered_reference: bool
) -> None:
    n, m = measured.profile.present, len(taken.values)
    measured.n = m
    judge_missing(measured, taken.missing, taken.rows, missing_time(taken.present, order), rules)
    if known.counter:
        measured.note = "only ever grows or falls with time, so every later window differs: not tested"
        return
    if n == 0 or m == 0:
        measured.note = "the reference has no value" if n == 0 else "the window has no value"
        return
    ordered = np.sort(taken.values)
    series = arrow.in_time(taken.values, taken.present, order) if order is not None else None
    current = autocorrelation_time(score_series(series, ordered)) if series is not None else None
    sizes = measured.sizes = Sizes.of(n, m, known.time if ordered_reference else None, current)
    edges, below, upto = known.arrays()
    distance = ks_on_edges(below, upto, n, ordered, edges)
    measured.tests.append(
        Test(
            part="distribution",
            method="Kolmogorov-Smirnov",
            statistic=distance,
            effect=distance,
            floor=rules.floor,
            p_value=ks_p_value(distance, sizes.n, sizes.m),
        )
    )
    measured.tests += [
        _tail_test(known, n, ordered, series, sizes, rules),
        _atom_test(edges, below, upto, n, ordered, sizes, rules),
    ]
    _describe_numbers(measured, known, edges, upto, ordered)


def _tail_test(known: Numeric, n: int, ordered: Array, series: Array | None, sizes: Sizes, rules: Rules) -> Test:
    tails, m = known.tails, len(ordered)
    assert tails is not None  # noqa: S101 - a column with values has tails
    below = int(np.searchsorted(ordered, tails.low, side="left"))
    above = m - int(np.searchsorted(ordered, tails.high, side="right"))
    beyond, k = below + above, min(tails.rows, n)
    expected = k / (n + 1)
    events = math.floor(beyond / sizes.time_m)
    if series is not None:
        events = min(events, spells((series < tails.low) | (series > tails.high), sizes.time_m))
    p = beyond_p_value(events, math.floor(sizes.m), k / sizes.time_n, n / sizes.time_n)
    return Test(
        part="tails",
        method="ranks",
        statistic=float(beyond),
        effect=max(0.0, beyond / m - expected),
        floor=rules.tails,
        p_value=p,
        detail=_beyond(below, above, tails),
    )


def _beyond(below: int, above: int, tails: Tails) -> str:
    parts = [f"{below:,} rows below {tails.low:.6g}"] if below else []
    parts += [f"{above:,} rows above {tails.high:.6g}"] if above else []
    return ", ".join(parts)


def _atom_test(
    edges: Array, below: NDArray[np.int64], upto: NDArray[np.int64], n: int, ordered: Array, sizes: Sizes, rules: Rules
) -> Test:
    """The value, rare in the reference, that fills the largest share of the window.

    A value with a share >= s stands at one of the places 0, s m, 2 s m ... of the sorted window; only shares that
    reach the floor are looked for.
    """
    m = len(ordered)
    step = max(1, math.floor(rules.atoms * m))
    best, share, seen = math.nan, 0, 0
    for value in np.unique(ordered[::step]):
        count = int(np.searchsorted(ordered, value, side="right") - np.searchsorted(ordered, value, side="left"))
        if count <= share or count < rules.atoms * m:
            continue
        before = _rows_of(float(value), edges, below, upto, n)
        if before <= RARE * n:
            best, share, seen = float(value), count, before
    p = 1.0
    if share:
        p = atom_p_value(
            math.floor(share / sizes.time_m),
            max(1, math.floor(sizes.m)),
            min(math.ceil(seen / sizes.time_n), math.floor(sizes.n)),
            math.floor(sizes.n),
        )
    return Test(
        part="atom",
        method="hypergeometric",
        statistic=float(share),
        effect=max(0.0, share / m - seen / n),
        floor=rules.atoms,
        p_value=p,
        detail=f"{best:.6g} fills {share / m:.1%} of the window, {percent(seen / n)} of the reference" if share else "",
    )


def _rows_of(value: float, edges: Array, below: NDArray[np.int64], upto: NDArray[np.int64], n: int) -> int:
    """The reference's rows with a value: exact at an edge, else all rows strictly between the edges around it."""
    place = int(np.searchsorted(edges, value))
    if place < len(edges) and edges[place] == value:
        return int(upto[place] - below[place])
    return int((below[place] if place < len(edges) else n) - (upto[place - 1] if place else 0))


def _describe_numbers(
    measured: Measured, known: Numeric, edges: Array, upto: NDArray[np.int64], ordered: Array
) -> None:
    """The distances that are only reported, the means and the histogram."""
    n, m, facts = measured.profile.present, len(ordered), measured.facts
    cuts = np.unique(np.searchsorted(upto, np.arange(1, 10) * n / 10))
    cuts = cuts[cuts < len(edges) - 1]
    reference = np.diff(np.concatenate(([0], upto[cuts], [n]))).astype(float)
    current = np.diff(np.concatenate(([0], np.searchsorted(ordered, edges[cuts], side="right"), [m]))).astype(float)
    facts["psi"] = distances.psi(reference, current)
    facts["jensen_shannon"] = distances.jensen_shannon(reference, current)
    # Infinities lie at the ends of what is sorted: a slice, no copy.
    ends = np.searchsorted(ordered, -np.inf, side="right"), np.searchsorted(ordered, np.inf, side="left")
    finite, whole = ordered[ends[0] : ends[1]], np.isfinite(edges)
    if len(finite) and whole.any() and known.infinite == 0:
        with np.errstate(over="ignore", invalid="ignore"):  # sums of values near 1e308, which one row can bring
            moved = distances.wasserstein(upto[whole], n, finite, edges[whole])
            facts["mean_reference"], facts["mean"] = known.mean, _finite(float(np.mean(finite)))
        facts["wasserstein"] = _finite(moved / known.deviation) if known.deviation > 0 else None
    if known.display is not None:
        counts = display_counts(ordered, np.array(known.display.edges))
        facts["histogram"] = Histogram(
            edges=known.display.edges, reference=known.display.counts, current=tuple(counts.tolist())
        )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
