"""ADWIN: a window of losses that drops its old end as soon as two parts of it differ in the mean."""

from __future__ import annotations

import math
from typing import ClassVar

import msgspec

from mlops_cli.core.drift.detectors.protocol import Sequential, within


class Adwin(Sequential, kw_only=True, tag="adwin"):
    """Keeps a window of n rows; drops its oldest bucket while some cut into n0 old and n1 new rows has

        |mean0 - mean1| > sqrt(2 v L (1/n0 + 1/n1)) + 2/3 L (1/n0 + 1/n1),   L = ln(2 ln(n) / delta)

    with v the variance of the window; a change is seen when it drops one. The window is kept as an exponential
    histogram: at most 5 buckets of each size 2^k, so log2(n) x 5 numbers. Cuts lie between buckets, are tried every
    `clock` rows, and only with 5 rows on both sides. For losses in [0, 1]; the bound takes independent rows, and on
    losses that come in bursts it does not hold. A fall is seen like a rise.
    Source: Bifet, Gavalda, SIAM Data Mining (2007) 443, section 3 and theorem 3.1's normal form of the bound.
    """

    name: ClassVar[str] = "adwin"
    BUCKETS: ClassVar[int] = 5
    SHORTEST: ClassVar[int] = 5

    delta: float = 0.002
    clock: int = 32

    rows: int = 0  # since the start, so that the clock goes on after a change
    totals: list[list[float]] = msgspec.field(default_factory=list)  # per size 2^k, oldest first
    spreads: list[list[float]] = msgspec.field(default_factory=list)  # sums of squares about each bucket's own mean

    def __post_init__(self) -> None:
        within("delta", self.delta, 0, 1)
        within("clock", self.clock, 0, math.inf)

    @property
    def warm_up(self) -> int:
        return math.ceil(2 * self.SHORTEST / self.clock) * self.clock

    def start_anew(self) -> None:
        self.rows, self.totals, self.spreads = 0, [], []

    def _see(self, loss: float) -> bool:
        self.rows += 1
        self._keep(loss)
        if self.rows % self.clock:
            return False
        seen = False
        while self._differs():
            self._drop_oldest()
            seen = True
        return seen

    def _keep(self, loss: float) -> None:
        total, spread = loss, 0.0
        for level in range(len(self.totals) + 1):
            if level == len(self.totals):
                self.totals.append([])
                self.spreads.append([])
            totals, spreads = self.totals[level], self.spreads[level]
            totals.append(total)
            spreads.append(spread)
            if len(totals) <= self.BUCKETS:
                return
            total = totals[0] + totals[1]
            spread = spreads[0] + spreads[1] + (totals[0] - totals[1]) ** 2 / 2 ** (level + 1)
            del totals[:2], spreads[:2]

    def _drop_oldest(self) -> None:
        del self.totals[-1][0], self.spreads[-1][0]
        while self.totals and not self.totals[-1]:
            self.totals.pop()
            self.spreads.pop()

    def _differs(self) -> bool:
        buckets = [
            (2.0**level, total, spread)
            for level in range(len(self.totals) - 1, -1, -1)
            for total, spread in zip(self.totals[level], self.spreads[level], strict=True)
        ]
        n, total = sum(size for size, _, _ in buckets), sum(part for _, part, _ in buckets)
        if n < 2 * self.SHORTEST:
            return False
        mean = total / n
        variance = sum(spread + size * (part / size - mean) ** 2 for size, part, spread in buckets) / n
        bound = math.log(2 * math.log(n) / self.delta)
        old_rows, old_total = 0.0, 0.0
        for size, part, _ in buckets[:-1]:
            old_rows += size
            old_total += part
            new_rows = n - old_rows
            if min(old_rows, new_rows) < self.SHORTEST:
                continue
            # River's cuts, which spare the shortest parts the more.
            share = 1 / (old_rows - self.SHORTEST + 1) + 1 / (new_rows - self.SHORTEST + 1)
            apart = abs(old_total / old_rows - (total - old_total) / new_rows)
            if apart > math.sqrt(2 * share * variance * bound) + 2 / 3 * bound * share:
                return True
        return False
