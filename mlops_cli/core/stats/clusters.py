"""Counts of categories in whole clusters (days, weeks): are both samples alike, given how clusters differ?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.stats.contingency import THIN
from mlops_cli.core.stats.kernel import weighted_chi_square_tail

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Clustered:
    """`statistic` is Pearson's; `distance` the total variation over `cells` cells; `worth_n`, `worth_m` how many rows
    of the reference and the window are worth one."""

    statistic: float
    p_value: float
    cells: int
    distance: float
    worth_n: float
    worth_m: float


def clustered_chi_square(
    products: Array, counts: Array, clusters: int, current: Array, current_clusters: int
) -> Clustered:
    """Pearson's statistic of two samples over k categories whose rows come in clusters.

    counts (k,) of the reference in `clusters` clusters, products (k, k) the sum over them of c c', c being a cluster's
    counts; current (k,) of the window, in `current_clusters`. The covariance of the reference's shares is that of the
    clusters' residuals c - |c| p. Standardised by the shares it has eigenvalues, the design effects: 1 each if rows are
    independent. A window with more rows a cluster has larger ones: d becomes 1 + (d - 1) (s' - 1) / (s - 1), s the
    size of the cluster that a row lies in. The statistic is then a sum of chi-squares weighted by the design effects
    over rows of both. Their sum is held at k - 1 at least: rows are never worth more than one. Categories expected
    under 5 rows in either sample are pooled. Under 2 clusters or 2 cells: p 1.
    Source: Rao, Scott, Annals of Statistics 12 (1984) 46; for the cluster's covariance Cochran, Sampling Techniques
    (1977), section 9A.
    """
    n, m = float(counts.sum()), float(current.sum())
    gather = _cells(counts, current)
    products, before, now = gather @ products @ gather.T, gather @ counts, gather @ current
    cells = len(before)
    if cells < 2 or clusters < 2 or n == 0 or m == 0:
        return Clustered(0.0, 1.0, cells, 0.0, 1.0, 1.0)
    shares = before / n
    centre = np.eye(cells) - np.outer(shares, np.ones(cells))
    residual = clusters / (clusters - 1) * (centre @ products @ centre.T) / n  # n x the covariance of the shares
    pooled = (before + now) / (n + m)
    scale = 1 / np.sqrt(pooled)
    effects = np.maximum(0.0, np.linalg.eigvalsh(residual * np.outer(scale, scale)))[1:]
    effects *= max(1.0, (cells - 1) / max(float(effects.sum()), 1e-300))
    size, size_now = float(products.sum()) / n, m / max(1, current_clusters)
    ratio = max(0.0, size_now - 1) / max(1e-9, size - 1) if size > 1 else 1.0
    effects_now = np.maximum(0.0, 1 + (effects - 1) * ratio)
    effects_now *= max(1.0, (cells - 1) / max(float(effects_now.sum()), 1e-300))
    gap = before / n - now / m
    statistic = float(np.sum(gap * gap / pooled))
    weights = effects / n + effects_now / m
    return Clustered(
        statistic=statistic * n * m / (n + m),
        p_value=weighted_chi_square_tail(statistic, weights),
        cells=cells,
        distance=float(np.abs(gap).sum() / 2),
        worth_n=float(effects.sum()) / (cells - 1),
        worth_m=float(effects_now.sum()) / (cells - 1),
    )


def _cells(counts: Array, current: Array) -> Array:
    """Which categories make which cell, as rows of ones: a thin one is pooled with the next smallest."""
    totals = counts + current
    whole = float(totals.sum())
    if whole == 0:
        return np.zeros((0, len(totals)))
    lesser = min(float(counts.sum()), float(current.sum())) / whole
    order = np.argsort(totals, kind="stable")
    expected = np.cumsum(totals[order] * lesser)
    each = totals[order] * lesser
    thin = int(np.searchsorted(each, THIN, side="left"))
    if thin:
        while thin < len(order) and expected[thin - 1] < THIN:
            thin += 1
    rows = [np.isin(np.arange(len(totals)), order[:thin])] if thin and expected[thin - 1] > 0 else []
    rows += [np.arange(len(totals)) == place for place in order[thin:]]
    return np.array(rows, dtype=float).reshape(len(rows), len(totals))
