"""The chi-square test of two samples over categories, with thin categories pooled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

THIN = 5.0  # expected rows under which a category is pooled with the rest


@dataclass(frozen=True, slots=True)
class ChiSquare:
    """statistic and p over `cells` pooled categories (df = cells - 1); distance is their total variation."""

    statistic: float
    p_value: float
    cells: int
    distance: float


def pool_thin(reference: Array, current: Array, rest: tuple[float, float] = (0.0, 0.0)) -> tuple[Array, Array]:
    """Pool every category expected under 5 rows in either sample into one; if that is thin, add the next smallest.

    reference, current (k,) counts of the same categories; `rest` counts rows of any others, and is pooled from the
    start: which categories are listed may have been chosen for being frequent in one sample. What is expected
    depends on the two totals of each category and sample only, so pooling favours neither sample.
    """
    totals = reference + current
    whole = float(totals.sum()) + sum(rest)
    if whole == 0:
        return reference[:0], current[:0]
    lesser = min(float(reference.sum()) + rest[0], float(current.sum()) + rest[1]) / whole
    order = np.argsort(totals, kind="stable")
    reference, current, expected = reference[order], current[order], totals[order] * lesser
    thin = int(np.searchsorted(expected, THIN, side="left"))
    others = sum(rest) * lesser
    if thin or others:
        while thin < len(expected) and others + expected[:thin].sum() < THIN:
            thin += 1
        reference = np.append(reference[thin:], reference[:thin].sum() + rest[0])
        current = np.append(current[thin:], current[:thin].sum() + rest[1])
    return reference, current


def chi_square(reference: Array, current: Array, rest: tuple[float, float] = (0.0, 0.0)) -> ChiSquare:
    """Are both samples drawn from one distribution over categories? Neither is taken as exact.

    reference, current (k,) counts, or effective counts, of the same categories (0 where absent); `rest` those of
    all others. Pearson's statistic over the 2 x cells table after `pool_thin`. Fewer than two cells after
    pooling: statistic 0, p 1, distance 0. Raises ValueError on shapes that differ or negative counts.
    Source: Pearson, Philosophical Magazine 50 (1900) 157; Cochran, Biometrics 10 (1954) 417 for the 5.
    """
    from scipy import special

    reference, current = np.asarray(reference, dtype=float), np.asarray(current, dtype=float)
    if reference.shape != current.shape or (reference < 0).any() or (current < 0).any():
        raise ValueError(f"counts of the same categories are compared, not {reference.shape} and {current.shape}")
    reference, current = pool_thin(reference, current, rest)
    cells, n, m = len(reference), reference.sum(), current.sum()
    if cells < 2 or n == 0 or m == 0:
        return ChiSquare(0.0, 1.0, cells, 0.0)
    gap = reference / n - current / m
    shared = (reference + current) / (n + m)
    statistic = float(n * m / (n + m) * np.sum(gap * gap / shared))
    return ChiSquare(statistic, float(special.chdtrc(cells - 1, statistic)), cells, float(np.abs(gap).sum() / 2))
