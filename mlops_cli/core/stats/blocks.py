"""Permutation of whole blocks: a two-sample test for rows that depend on their neighbours."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
AT_ONCE = 4_000_000  # random keys held at a time


@dataclass(frozen=True, slots=True)
class BlockTest:
    """`auc` of the scores, what it must exceed at the level asked for, and the permutation p-value."""

    auc: float
    bound: float
    p_value: float


def block_auc_test(
    scores: Array, second: NDArray[np.bool_], level: float, permutations: int, generator: np.random.Generator
) -> BlockTest:
    """Do the blocks of the second sample score higher? One-sided, by permuting which blocks are the second sample.

    scores (blocks, rows) of blocks of one length, none of which went into the scoring rule; second (blocks,). Blocks
    that are exchangeable given the rule stay so under any relabelling, and the pooled ranks do not change with it, so
    a permutation only sums other rows: p = (1 + how many of `permutations` reach the sum seen) / (1 + permutations),
    valid at any number of them. `bound` is the AUC at which p would stop being <= level; 1 where no AUC gets there.
    Raises ValueError unless both samples have a block.
    Source: Lehmann, Romano, Testing Statistical Hypotheses (2005), 15.2; Phipson, Smyth, SAGMB 9 (2010) 39.
    """
    blocks, rows = scores.shape
    chosen = int(second.sum())
    if not 0 < chosen < blocks:
        raise ValueError("both samples need a block")
    sums = _midranks(scores.reshape(-1)).reshape(blocks, rows).sum(axis=1)
    n, m = (blocks - chosen) * rows, chosen * rows

    def auc(ranks: float) -> float:
        return float((ranks - m * (m + 1) / 2) / (n * m))

    seen = float(sums[second].sum())
    drawn = np.sort(_drawn_sums(sums, chosen, permutations, generator))
    reached = permutations - int(np.searchsorted(drawn, seen, side="left"))
    allowed = math.floor(level * (permutations + 1) * (1 + 1e-12)) - 1
    bound = auc(float(drawn[permutations - 1 - allowed])) if 0 <= allowed < permutations else 1.0
    return BlockTest(auc(seen), bound, (1 + reached) / (1 + permutations))


def arrangements(blocks: int, chosen: int) -> float:
    """How many ways there are to choose the second sample's blocks; inf where a double cannot say."""
    log = math.lgamma(blocks + 1) - math.lgamma(chosen + 1) - math.lgamma(blocks - chosen + 1)
    return math.exp(log) if log < 700 else math.inf


def _drawn_sums(sums: Array, chosen: int, permutations: int, generator: np.random.Generator) -> Array:
    """Sums (permutations,) of `chosen` different ones of `sums` (blocks,): multiples of 1/2, so exact."""
    fewer = min(chosen, len(sums) - chosen)
    step = max(1, AT_ONCE // len(sums))
    parts = []
    for start in range(0, permutations, step):
        keys = generator.random((min(step, permutations - start), len(sums)))
        places = np.argpartition(keys, fewer - 1, axis=1)[:, :fewer]
        parts.append(sums[places].sum(axis=1))
    drawn = np.concatenate(parts)
    return drawn if fewer == chosen else sums.sum() - drawn


def _midranks(values: Array) -> Array:
    """Ranks from 1 on, tied values sharing the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse])
