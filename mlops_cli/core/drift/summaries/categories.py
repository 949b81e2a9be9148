"""What a profile keeps of a categorical column: its most frequent values, and how many are rare."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.drift.columns import Categories, in_time
from mlops_cli.core.stats.dependence import autocorrelation_time

Order = NDArray[np.int64]

TOP_VALUES = 10_000
POOLED_VALUES = 8  # most frequent values whose indicators give a categorical column its autocorrelation time


class Categorical(msgspec.Struct, frozen=True, kw_only=True):
    """Texts. `values` are the 10,000 most frequent, ties by value, with `counts`; `rest_rows` rows hold others.

    `singletons`, `doubletons`: how many values one and two rows hold. `time` as in Numeric.
    """

    values: tuple[str, ...]
    counts: tuple[int, ...]
    rest_rows: int = 0
    rest_values: int = 0
    singletons: int = 0
    doubletons: int = 0
    time: float = 1.0


def summarize_categories(taken: Categories, order: Order | None) -> Categorical:
    """Everything that is kept of a categorical column."""
    counts = np.bincount(taken.codes, minlength=len(taken.values))
    ranked = sorted(range(len(taken.values)), key=lambda code: (-int(counts[code]), taken.values[code]))
    top = ranked[:TOP_VALUES]
    rest = len(taken.codes) - int(counts[top].sum()) if top else 0
    return Categorical(
        values=tuple(taken.values[code] for code in top),
        counts=tuple(int(counts[code]) for code in top),
        rest_rows=rest,
        rest_values=len(ranked) - len(top),
        singletons=int(np.sum(counts == 1)),
        doubletons=int(np.sum(counts == 2)),
        time=category_time(taken, top[:POOLED_VALUES], order),
    )


def category_time(taken: Categories, codes: list[int], order: Order | None) -> float:
    """The autocorrelation time, in rows, of the indicators of some values, pooled."""
    if order is None or not codes:
        return 1.0
    series = in_time(taken.codes, taken.present, order)
    return autocorrelation_time(*((series == code).astype(float) for code in codes))
