"""The default detector: a rise of the mean loss, weighed by how many independent rows the rows are worth."""

from __future__ import annotations

import math
from typing import ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.drift.detectors.protocol import Sequential, within
from mlops_cli.core.stats.dependence import autocorrelation_time

Rates = NDArray[np.float64]

BLOCK = 8  # rows; a change is looked for when a block is full
KEPT = 4096  # blocks; of older rows only the total is kept
# How many of the newest blocks are held against all rows before: every length up to 8, then 8 lengths an octave.
LENGTHS = sorted({*range(1, 9), *(int(8 * 2 ** (step / 8)) for step in range(1, 73))})
WORTH = 200.0  # how many independent rows the older ones must be worth: fewer know too little of the bursts
FEWEST = 5  # pieces whose means tell a variance
SURE = 1.5  # standard errors beyond 1 from which such a variance counts as dependence
MARGIN = 6.0  # standard errors put on top of tau, where there is any dependence


class Effective(Sequential, kw_only=True, tag="effective"):
    """Of n rows the newest n1, with a mean d above that of the n0 before, are a change if

        n0 n1 / (n tau) d^2 / (2 (v + b d / 3))  >  ln(n / n1) + ln(log2(n)) + ln(1 / delta)

    v is the variance of the n rows, b the largest loss less the mean of the older rows, and tau the rows that are worth
    one, estimated on the rows before the cut. The left side is Bernstein's exponent; where all losses are 0 and 1, the
    exact log likelihood ratio of two rates against one, over tau, stands in its place. The right side is a union bound
    over the about n / n1 separate windows of n1 rows and the log2(n) lengths. Only a rise is a change; a single
    outlier, however large, is none. Nothing is said before n0 is `warm_up` and 200 tau. DETECTORS.md derives it.
    """

    name: ClassVar[str] = "effective"

    delta: float = 0.007
    warm_up: int = 3000

    rows: int = 0  # in full blocks
    total: float = 0.0
    squares: float = 0.0
    largest: float = -math.inf
    binary: bool = True  # every loss so far was 0 or 1
    time: float = 1.0  # the last estimate of tau, and how many rows it was made at
    time_at: int = 0
    pending: list[float] = msgspec.field(default_factory=list)  # the block that is not full yet
    totals: list[float] = msgspec.field(default_factory=list)  # of all rows, at the end of each kept block

    def __post_init__(self) -> None:
        within("delta", self.delta, 0, 1)
        within("warm_up", self.warm_up, 0, math.inf)

    def start_anew(self) -> None:
        self.rows, self.total, self.squares, self.largest = 0, 0.0, 0.0, -math.inf
        self.time, self.time_at, self.pending, self.totals, self.binary = 1.0, 0, [], [], True

    def _see(self, loss: float) -> bool:
        self.pending.append(loss)
        if len(self.pending) < BLOCK:
            return False
        block, self.pending = self.pending, []
        self.rows += BLOCK
        self.total += math.fsum(block)
        self.squares += math.fsum(one * one for one in block)
        self.binary = self.binary and all(one in (0.0, 1.0) for one in block)
        self.largest = max(self.largest, *block)
        self.totals.append(self.total)
        if len(self.totals) > 2 * KEPT:
            del self.totals[:KEPT]
        if self.rows < self.warm_up + BLOCK or not self._risen():
            return False
        self.start_anew()
        return True

    def _risen(self) -> bool:
        n = self.rows
        lengths = _LENGTHS[: np.searchsorted(_LENGTHS, len(self.totals) - 1, side="right")]
        new = lengths * BLOCK
        lengths = lengths[: np.searchsorted(new, n - self.warm_up, side="right")]
        new = lengths * BLOCK
        old = n - new
        before = np.array([self.totals[-1 - length] for length in lengths.tolist()])
        mean = before / old
        late = (self.total - before) / new
        variance = max(self.squares / n - (self.total / n) ** 2, 0.0)
        if self.binary:
            weight = old * _divergence(mean, self.total / n) + new * _divergence(late, self.total / n)
        else:
            spread = variance + np.maximum(self.largest - mean, 0) * np.maximum(late - mean, 0) / 3
            weight = old * new / n * (late - mean) ** 2 / (2 * np.where(spread > 0, spread, np.inf))
        weight = np.where(late > mean, weight, 0.0)
        bound = np.log(n / new) + math.log(math.log2(n) / self.delta)
        fresh = n < self.time_at * 17 / 16
        # A time is at least 1 and changes slowly: most rows need no new estimate.
        if not (weight > bound * (self.time if fresh else 1.0)).any():
            return False
        place = int(np.argmax(weight - bound * self.time))
        self.time, self.time_at = self._estimated(int(lengths[place]), variance), n
        enough = old >= max(self.warm_up, WORTH * self.time)
        return bool((enough & (weight > bound * self.time)).any())

    def _estimated(self, newest: int, variance: float) -> float:
        """tau of the rows before the newest blocks, with its own error on top where there is any dependence."""
        sums = np.diff(np.array(self.totals[: len(self.totals) - newest]))
        if len(sums) < 2 * FEWEST or variance <= 0:
            return 1.0
        # In one piece: cut in 20, as elsewhere, a short history has pieces no longer than its bursts, and tau is 1.
        time = max(1.0, autocorrelation_time(sums, blocks=1) * float(sums.var()) / (BLOCK * variance))
        count = len(sums) // 2
        while count >= FEWEST:
            length = len(sums) // count
            pieces = sums[-count * length :].reshape(count, length).sum(axis=1)
            found = float(pieces.var(ddof=1)) / (length * BLOCK * variance)
            if found > 1 + SURE * math.sqrt(2 / (count - 1)):
                time = max(time, found)
            count //= 2
        error = math.sqrt(2 * (10 * time + 1) / (len(sums) * BLOCK))
        return time * (1 + MARGIN * (1 - 1 / time) * error)


def _divergence(rate: Rates, pooled: float) -> Rates:
    """Kullback-Leibler, in nats, of error rates from the pooled one; 0 where all losses are the same."""
    if not 0 < pooled < 1:
        return np.zeros_like(rate)
    wrong = rate * np.log(np.where(rate > 0, rate, 1) / pooled)
    right = (1 - rate) * np.log(np.where(rate < 1, 1 - rate, 1) / (1 - pooled))
    return np.asarray(wrong + right)


_LENGTHS = np.array(LENGTHS)
