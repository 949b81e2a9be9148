"""Page-Hinkley: a cumulative sum of the losses above their own mean."""

from __future__ import annotations

from typing import ClassVar

from mlops_cli.core.drift.detectors.protocol import Sequential, within


class PageHinkley(Sequential, kw_only=True, tag="page_hinkley"):
    """With the running mean m(t), U(t) = fading U(t - 1) + x(t) - m(t) - delta; a change is U - min U > threshold.

    `delta` is the rise of the mean that is tolerated and `threshold` the sum that is not, both in units of the loss;
    nothing is said in the first `warm_up` - 1 rows. `both` looks for a fall as well, as River does. No level of false
    alarms is promised: the threshold does not know the losses' variance.
    Sources: Page, Biometrika 41 (1954) 100; Mouss et al., Asian Control Conference (2004) 815; `fading` after
    Gama, Sebastiao, Rodrigues, Machine Learning 90 (2013) 317.
    """

    name: ClassVar[str] = "page_hinkley"

    delta: float = 0.005
    threshold: float = 50.0
    warm_up: int = 30
    fading: float = 0.9999
    both: bool = True

    rows: int = 0
    mean: float = 0.0
    rise: float = 0.0
    lowest: float = 0.0
    fall: float = 0.0
    highest: float = 0.0

    def __post_init__(self) -> None:
        within("threshold", self.threshold, 0, float("inf"))
        within("delta", self.delta, -1e-300, float("inf"))
        within("fading", self.fading, 0, 1 + 1e-15)
        within("warm_up", self.warm_up, 0, float("inf"))

    def start_anew(self) -> None:
        self.rows, self.mean = 0, 0.0
        self.rise = self.lowest = self.fall = self.highest = 0.0

    def _see(self, loss: float) -> bool:
        self.rows += 1
        self.mean += (loss - self.mean) / self.rows
        above = loss - self.mean
        self.rise = self.fading * self.rise + above - self.delta
        self.fall = self.fading * self.fall + above + self.delta
        # The first row is a minimum and a maximum of its own.
        self.lowest = self.rise if self.rows == 1 else min(self.lowest, self.rise)
        self.highest = self.fall if self.rows == 1 else max(self.highest, self.fall)
        if self.rows < self.warm_up:
            return False
        seen = self.rise - self.lowest > self.threshold or (self.both and self.highest - self.fall > self.threshold)
        if seen:
            self.start_anew()
        return seen
