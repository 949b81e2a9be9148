"""DDM: an error rate that rises three standard deviations above its best."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import ClassVar

from mlops_cli.core.drift.detectors.protocol import Sequential, finite, within
from mlops_cli.core.errors import UsageError


class Ddm(Sequential, kw_only=True, tag="ddm"):
    """With the error rate p of the rows so far and s = sqrt(p (1 - p) / rows), the smallest p + s is remembered with
    its parts; p + s > p_min + `drift` s_min is a change, and `warning` says whether it passed `warn` s_min.

    For losses of 0 and 1 only; others raise UsageError. Looks only from row `warm_up` + 1 on. The best of many looks is
    taken for the truth, so without any change it alarms on about half of all long streams.
    Source: Gama, Medas, Castillo, Rodrigues, SBIA (2004) 286.
    """

    name: ClassVar[str] = "ddm"

    warn: float = 2.0
    drift: float = 3.0
    warm_up: int = 30

    rows: int = 0
    rate: float = 0.0
    best_rate: float = 0.0
    best_deviation: float | None = None
    warning: bool = False

    def __post_init__(self) -> None:
        within("warn", self.warn, 0, math.inf)
        within("drift", self.drift, 0, math.inf)
        within("warm_up", self.warm_up, 0, math.inf)

    def start_anew(self) -> None:
        self.rows, self.rate, self.best_rate, self.best_deviation, self.warning = 0, 0.0, 0.0, None, False

    def update_many(self, losses: Iterable[float]) -> list[int]:
        checked = [finite(loss) for loss in losses]
        for loss in checked:
            _right_or_wrong(loss)
        return super().update_many(checked)

    def _see(self, loss: float) -> bool:
        _right_or_wrong(loss)
        self.rows += 1
        self.rate += (loss - self.rate) / self.rows
        if self.rows <= self.warm_up:
            return False
        deviation = math.sqrt(max(0.0, self.rate * (1 - self.rate)) / self.rows)
        reached = self.rate + deviation
        if self.best_deviation is None or reached <= self.best_rate + self.best_deviation:
            self.best_rate, self.best_deviation = self.rate, deviation
        seen = reached > self.best_rate + self.drift * self.best_deviation
        self.warning = not seen and reached > self.best_rate + self.warn * self.best_deviation
        if seen:
            self.start_anew()
        return seen


def _right_or_wrong(loss: float) -> None:
    if loss not in (0.0, 1.0):
        raise UsageError(f"DDM takes losses of 0 and 1, not {loss}", hint="adwin takes losses between 0 and 1")
