"""KSWIN: the newest losses against a sample of the ones just before."""

from __future__ import annotations

import math
from typing import ClassVar

import msgspec
import numpy as np

from mlops_cli.core.drift.detectors.protocol import Sequential, within
from mlops_cli.core.errors import UsageError


class Kswin(Sequential, kw_only=True, tag="kswin"):
    """Of the last `window` rows the newest `newest` (r) are compared with r drawn without replacement from the others;
    a change is a Kolmogorov-Smirnov distance > sqrt(-ln(alpha) / r).

    The draw depends on `seed` and on the number of the row alone. After a change only the newest rows are kept. On
    losses of 0 and 1 with r = 30 it takes a change of the error rate by 0.43 to be seen.
    Source: Raab, Heusinger, Schleif, Neurocomputing 416 (2020) 340, equation 6.
    """

    name: ClassVar[str] = "kswin"

    alpha: float = 0.005
    window: int = 100
    newest: int = 30
    seed: int = 0

    rows: int = 0
    losses: list[float] = msgspec.field(default_factory=list)

    def __post_init__(self) -> None:
        within("alpha", self.alpha, 0, 1)
        within("newest", self.newest, 0, math.inf)
        if self.window < 2 * self.newest:
            raise UsageError(
                f"window is {self.window}, and newest {self.newest}", hint="a window holds twice the newest rows"
            )

    @property
    def warm_up(self) -> int:
        return self.window

    def start_anew(self) -> None:
        self.rows, self.losses = 0, []

    def _see(self, loss: float) -> bool:
        self.rows += 1
        self.losses.append(loss)
        del self.losses[: -self.window]
        if len(self.losses) < self.window:
            return False
        kept = np.array(self.losses)
        drawn = np.random.default_rng([self.seed, self.rows]).choice(kept[: -self.newest], self.newest, replace=False)
        late = np.sort(kept[-self.newest :])
        values = np.concatenate([drawn, late])
        below = np.searchsorted(np.sort(drawn), values, side="right") - np.searchsorted(late, values, side="right")
        if np.abs(below).max() / self.newest <= math.sqrt(-math.log(self.alpha) / self.newest):
            return False
        self.losses = self.losses[-self.newest :]
        return True
