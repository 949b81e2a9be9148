"""The tests of a column of prose: each part's distribution, missing rows, one text that fills the window."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mlops_cli.core.drift import columns as arrow
from mlops_cli.core.drift.measures.measured import Measured, Order, Sizes, judge_missing, percent
from mlops_cli.core.drift.measures.parts import compare_part, histogram_of, widest
from mlops_cli.core.drift.records import Rules, Test
from mlops_cli.core.drift.summaries.missing import missing_time
from mlops_cli.core.drift.summaries.text import PARTS, Text, measure_text, whole
from mlops_cli.core.stats.atoms import atom_p_value

if TYPE_CHECKING:
    import pyarrow as pa

RARE = 0.001  # share of the reference up to which a text may be called a new atom


def measure_text_column(
    measured: Measured, known: Text, values: pa.ChunkedArray, order: Order, rules: Rules, ordered_reference: bool
) -> None:
    column = whole(values)
    present = arrow.valid(column) if column.null_count else None
    taken = column.drop_null()
    n, m = measured.profile.present, len(taken)
    measured.n = m
    judge_missing(measured, column.null_count, len(column), missing_time(present, order), rules)
    if n == 0 or m == 0:
        measured.note = "the reference has no value" if n == 0 else "the window has no value"
        return
    places = arrow.in_time(np.arange(m), present, order) if order is not None else None
    found = measure_text(taken, known.vocabulary)
    tests: list[Test] = []
    sizes: list[Sizes] = []
    for part in PARTS:
        sketched, numbers = known.parts[part], found[part]
        defined = numbers[~np.isnan(numbers)]
        if not sketched.n or not len(defined):
            continue
        series = numbers[places] if places is not None else None
        if series is not None:
            series = series[~np.isnan(series)]
        test, size = compare_part(part, sketched, defined, series, rules, ordered_reference=ordered_reference)
        tests.append(test)
        sizes.append(size)
    measured.sizes = widest(sizes)
    measured.tests += tests
    # Of the reference's words one half is known, of its texts all.
    whole_texts = widest([size for test, size in zip(tests, sizes, strict=True) if test.part != "unknown_words"])
    if whole_texts is not None:
        measured.tests.append(_atom_test(known, n, values, whole_texts, rules))
    leading = max(tests, key=lambda test: test.effect, default=None)
    if leading is not None:
        numbers = found[leading.part]
        measured.facts["histogram"] = histogram_of(known.parts[leading.part], numbers[~np.isnan(numbers)])
        measured.facts["pictured"] = leading.part


def _atom_test(known: Text, n: int, values: pa.ChunkedArray, sizes: Sizes, rules: Rules) -> Test:
    """The text, rare in the reference, that most rows of the window share; as `atom` of numbers."""
    taken = arrow.categories(values)
    m = len(taken.codes)
    counts = np.bincount(taken.codes, minlength=len(taken.values))
    often = np.flatnonzero(counts >= max(2, rules.atoms * m)).tolist()
    bounds = known.most_rows([taken.values[code] for code in often])
    best, share, seen = "", 0, 0
    for code, before in zip(often, bounds, strict=True):
        count = int(counts[code])
        if count > share and before <= max(1, RARE * n):
            best, share, seen = taken.values[code], count, before
    p = 1.0
    if share:
        size_n, size_m = math.floor(sizes.n), max(1, math.floor(sizes.m))
        p = atom_p_value(
            min(math.floor(share / sizes.time_m), size_m), size_m, min(math.ceil(seen / sizes.time_n), size_n), size_n
        )
    # A text that is not listed is that of no more than so many rows, maybe of none.
    return Test(
        part="atom",
        method="hypergeometric",
        statistic=float(share),
        effect=max(0.0, share / m - seen / n),
        floor=rules.atoms,
        p_value=p,
        detail=f"“{best[:60]}” fills {share / m:.1%} of the window, at most {percent(seen / n)} of the reference"
        if share
        else "",
    )
