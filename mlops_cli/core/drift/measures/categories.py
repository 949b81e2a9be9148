"""The tests of a categorical column: chi-square over the profile's values, and values never seen."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mlops_cli.core.drift import columns as arrow
from mlops_cli.core.drift.measures.measured import Array, Measured, Order, Sizes, judge_missing
from mlops_cli.core.drift.records import Histogram, Rules, Test
from mlops_cli.core.drift.summaries.categories import POOLED_VALUES, Categorical, category_time
from mlops_cli.core.drift.summaries.missing import missing_time
from mlops_cli.core.stats import distances
from mlops_cli.core.stats.contingency import chi_square
from mlops_cli.core.stats.unseen import missing_mass_upper, unseen_p_value

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN_VALUES = 12
NEW_VALUES = 5


def measure_categories(
    measured: Measured, known: Categorical, values: pa.ChunkedArray, order: Order, rules: Rules, ordered_reference: bool
) -> None:
    column = arrow.as_group(values, arrow.GROUPS[measured.profile.kind])
    taken = arrow.categories(column, known.values)
    n, m = measured.profile.present, len(taken.codes)
    measured.n = m
    judge_missing(measured, taken.missing, taken.rows, missing_time(taken.present, order), rules)
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
