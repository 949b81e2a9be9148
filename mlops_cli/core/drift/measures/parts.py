"""The Kolmogorov-Smirnov test of one number that is measured of each row of a column that is no number itself."""

from __future__ import annotations

import numpy as np

from mlops_cli.core.drift.measures.measured import Array, Sizes
from mlops_cli.core.drift.records import Histogram, Rules, Test
from mlops_cli.core.drift.summaries.numbers import display_counts
from mlops_cli.core.drift.summaries.sketch import Sketch, rounded
from mlops_cli.core.stats.dependence import autocorrelation_time, score_series
from mlops_cli.core.stats.two_sample import ks_on_edges, ks_p_value


def compare_part(
    part: str, known: Sketch, values: Array, series: Array | None, rules: Rules, *, ordered_reference: bool
) -> tuple[Test, Sizes]:
    """values (m,), m > 0: the window's; `series` are the same in order of time, or None. The reference has some too."""
    ordered = np.sort(rounded(values))
    current = autocorrelation_time(score_series(rounded(series), ordered)) if series is not None else None
    sizes = Sizes.of(known.n, len(ordered), known.time if ordered_reference else None, current)
    edges, below, upto = known.arrays()
    distance = ks_on_edges(below, upto, known.n, ordered, edges)
    test = Test(
        part=part,
        method="Kolmogorov-Smirnov",
        statistic=distance,
        effect=distance,
        floor=rules.floor,
        p_value=ks_p_value(distance, sizes.n, sizes.m),
        detail=f"{part.replace('_', ' ')}: mean {known.mean:.3g} before, {float(ordered.mean()):.3g} now",
    )
    return test, sizes


def histogram_of(known: Sketch, values: Array) -> Histogram | None:
    """The picture of a part."""
    if known.display is None:
        return None
    counts = display_counts(np.sort(rounded(values)), np.array(known.display.edges))
    return Histogram(edges=known.display.edges, reference=known.display.counts, current=tuple(counts.tolist()))


def widest(sizes: list[Sizes]) -> Sizes | None:
    """The sizes that say least: what a column as a whole is worth."""
    return min(sizes, key=lambda one: one.n * one.m / (one.n + one.m), default=None)
