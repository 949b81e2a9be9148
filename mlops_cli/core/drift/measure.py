"""The tests of one column against its profile: p-values before any correction, and effects."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.drift import columns as arrow
from mlops_cli.core.drift.profile import ColumnProfile, missing_time
from mlops_cli.core.drift.records import Histogram, Rules, Test
from mlops_cli.core.drift.summary import POOLED_VALUES, Categorical, Numeric, Tails, category_time, display_counts
from mlops_cli.core.stats import distances
from mlops_cli.core.stats.atoms import atom_p_value
from mlops_cli.core.stats.contingency import chi_square
from mlops_cli.core.stats.dependence import autocorrelation_time, score_series, spells
from mlops_cli.core.stats.detectable import detectable_distance, detectable_variation
from mlops_cli.core.stats.proportions import effective_fisher
from mlops_cli.core.stats.ranks import beyond_p_value
from mlops_cli.core.stats.two_sample import ks_on_edges, ks_p_value
from mlops_cli.core.stats.unseen import missing_mass_upper, unseen_p_value

if TYPE_CHECKING:
    import pyarrow as pa

Array = NDArray[np.float64]
Order = NDArray[np.int64] | None

RARE = 0.001  # share of the reference up to which a value may be called a new atom
SHOWN_VALUES = 12
NEW_VALUES = 5


@dataclass(slots=True)
class Measured:
    """A column's tests, and what its result says besides. `facts` are fields of ColumnResult."""

    profile: ColumnProfile
    tests: list[Test] = field(default_factory=list)
    n: int = 0
    sizes: Sizes | None = None
    cells: int = 0  # of a categorical column's table
    facts: dict[str, Any] = field(default_factory=dict)
    note: str = ""

    def detectable(self, level: float) -> float | None:
        """The smallest distance found with probability 0.8 by a test at `level`; None if none is tested."""
        if self.sizes is None:
            return None
        if self.cells:
            return detectable_variation(level, self.sizes.n, self.sizes.m, self.cells)
        return detectable_distance(level, self.sizes.n, self.sizes.m)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Effective rows of the reference (n) and the window (m), and how many rows of each are worth one."""

    n: float
    m: float
    time_n: float
    time_m: float

    @classmethod
    def of(cls, n: int, m: int, reference: float | None, current: float | None) -> Sizes:
        """reference, current: autocorrelation times in rows, None where nothing orders the rows.

        A window is shorter than the reference, so its own time comes out too small: the larger of both counts.
        A reference without order is taken to depend as the window does.
        """
        time_n = reference if reference is not None else (current or 1.0)
        time_m = max(time_n, current or 1.0)
        return cls(max(1.0, n / time_n), max(1.0, m / time_m), time_n, time_m)


def measure(
    profile: ColumnProfile, values: pa.ChunkedArray, order: Order, rules: Rules, *, ordered_reference: bool
) -> Measured | None:
    """All tests of one column; None if the window holds it in a kind that the reference does not.

    order: the window's rows in time, or None. ordered_reference: whether the profile knows its dependence.
    """
    import pyarrow as pa

    group, held = arrow.GROUPS[profile.kind], arrow.group_of(values.type)
    if held not in (group, profile.held, "null") or held == "other":
        return None
    measured = Measured(profile)
    try:
        if profile.numeric is not None:
            _measure_numbers(measured, profile.numeric, arrow.numbers(values), order, rules, ordered_reference)
        elif profile.categorical is not None:
            _measure_categories(measured, profile.categorical, values, order, rules, ordered_reference)
        else:
            _measure_dates(measured, values, order, rules)
    except pa.ArrowException:
        return None
    return measured


# -- numbers -------------------------------------------------------------------------------------------------


def _measure_numbers(
    measured: Measured, known: Numeric, taken: arrow.Numbers, order: Order, rules: Rules, ordered_reference: bool
) -> None:
    n, m = measured.profile.present, len(taken.values)
    measured.n = m
    _missing(measured, taken.missing, taken.rows, missing_time(taken.present, order), rules)
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
    beyond, k = below + above, min(2 * tails.k, n)
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
        detail=f"{best:.6g} fills {share / m:.1%} of the window, {_percent(seen / n)} of the reference"
        if share
        else "",
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
    finite, whole = ordered[np.isfinite(ordered)], np.isfinite(edges)
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


# -- categories ----------------------------------------------------------------------------------------------


def _measure_categories(
    measured: Measured, known: Categorical, values: pa.ChunkedArray, order: Order, rules: Rules, ordered_reference: bool
) -> None:
    column = arrow.as_group(values, arrow.GROUPS[measured.profile.kind])
    taken = arrow.categories(column, known.values)
    n, m = measured.profile.present, len(taken.codes)
    measured.n = m
    _missing(measured, taken.missing, taken.rows, missing_time(taken.present, order), rules)
    if n == 0 or m == 0:
        measured.note = "the reference has no value" if n == 0 else "the window has no value"
        return
    current = (
        category_time(taken, list(range(min(POOLED_VALUES, len(known.values)))), order) if order is not None else None
    )
    sizes = measured.sizes = Sizes.of(n, m, known.time if ordered_reference else None, current)
    before = np.array(known.counts, dtype=float)
    now = np.bincount(taken.codes[taken.codes >= 0], minlength=len(known.values)).astype(float)
    strange = m - int(now.sum())
    found = chi_square(
        before / sizes.time_n, now / sizes.time_m, (known.rest_rows / sizes.time_n, strange / sizes.time_m)
    )
    measured.cells = found.cells
    if found.cells < 2:
        # One value alone is known well: another would be seen. Values that hardly repeat are an id, and say nothing.
        measured.cells = 2
        if known.singletons + known.rest_rows > n / 2:
            measured.sizes, measured.note = (
                None,
                "nearly every value occurs once, as in an id: only missing rows are tested",
            )
            return
    measured.tests.append(
        Test(
            part="distribution",
            method="chi-square",
            statistic=found.statistic,
            effect=found.distance,
            floor=rules.floor,
            p_value=found.p_value,
        )
    )
    fresh = arrow.unseen_values(column, known.values, NEW_VALUES) if strange and not known.rest_rows else []
    measured.tests.append(_unseen_test(known, n, m, strange, fresh, sizes, rules))
    _describe_categories(measured, known, before, now, strange, fresh)


def _unseen_test(
    known: Categorical, n: int, m: int, strange: int, fresh: list[tuple[str, int]], sizes: Sizes, rules: Rules
) -> Test:
    # Where only the most frequent values are known, rows with any other are as expected as those of the reference.
    singletons = float(known.singletons + known.rest_rows)
    bound = missing_mass_upper(singletons, known.doubletons, sizes.n)
    named = ", ".join(f"{value} ({count:,})" for value, count in fresh[:3])
    return Test(
        part="unseen",
        method="Good-Turing",
        statistic=float(strange),
        effect=max(0.0, strange / m - bound),
        floor=rules.unseen,
        p_value=unseen_p_value(
            math.floor(strange / sizes.time_m), math.floor(sizes.m), singletons, known.doubletons, sizes.n
        ),
        detail=f"{strange / m:.1%} of rows hold values the reference never had: {named}" if named else "",
    )


def _describe_categories(
    measured: Measured, known: Categorical, before: Array, now: Array, strange: int, fresh: list[tuple[str, int]]
) -> None:
    reference, current = np.append(before, known.rest_rows), np.append(now, strange)
    facts = measured.facts
    facts["psi"] = distances.psi(reference, current)
    facts["jensen_shannon"] = distances.jensen_shannon(reference, current)
    facts["new_values"] = tuple(fresh)
    shown = min(SHOWN_VALUES, len(before))
    facts["histogram"] = Histogram(
        labels=(*known.values[:shown], "others"),
        reference=(*(int(count) for count in before[:shown]), int(reference[shown:].sum())),
        current=(*(int(count) for count in now[:shown]), int(current[shown:].sum())),
    )


# -- dates and missing rows ----------------------------------------------------------------------------------


def _measure_dates(measured: Measured, values: pa.ChunkedArray, order: Order, rules: Rules) -> None:
    present = arrow.valid(values) if values.null_count else None
    measured.n = len(values) - values.null_count
    _missing(measured, values.null_count, len(values), missing_time(present, order), rules)
    found, before = arrow.span(values), measured.profile.span
    measured.note = "a time is reported, never tested: a later window always differs"
    if found and before:
        measured.note += f"; the reference ends {before[1]}, the window {found[1]}"


def _missing(measured: Measured, missing: int, rows: int, current: float, rules: Rules) -> None:
    """Is the share of missing rows another? No row missing on either side, or all on both: nothing to test."""
    profile = measured.profile
    before, now = profile.missing / profile.rows, missing / rows
    measured.facts["missing_reference"], measured.facts["missing"] = before, now
    if missing + profile.missing in (0, rows + profile.rows):
        return
    time_m = max(profile.missing_time, current)
    p = effective_fisher(profile.missing, profile.rows, missing, rows, time_a=profile.missing_time, time_b=time_m)
    measured.tests.append(
        Test(
            part="missing",
            method="Fisher",
            statistic=now - before,
            effect=abs(now - before),
            floor=rules.missing,
            p_value=p,
            detail=f"missing in {_percent(before)} of the reference, {_percent(now)} of the window",
        )
    )


def _percent(share: float) -> str:
    return f"{share:.2%}" if 0 < share < 0.001 else f"{share:.1%}" if share else "none"
