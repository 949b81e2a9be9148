"""Has a window's performance left what the version was registered with? The rule stands in PERFORMANCE.md."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec
import numpy as np

from mlops_cli.core.drift.detectors.open import open_detector
from mlops_cli.core.drift.performance.metrics import LESS_IS_BETTER, Outcomes, losses
from mlops_cli.core.drift.performance.records import Estimate, PerformanceVerdict, PerformanceWindow

FEWEST = 30  # labelled rows, after dependence, under which nothing is decided
_OF_ITSELF = frozenset(
    {"log_loss", "rmse", "mae", "brier"}
)  # without a scale of their own: the margin is a share of them


def worst_allowed(metric: str, training: float, margin: float) -> float:
    """The value beyond which a metric is worse than at registration by more than the margin: absolute for shares and
    r2, relative for losses, which have units."""
    if metric in _OF_ITSELF:
        return training * (1 + margin)
    return training - margin


def is_breach(metric: str, now: Estimate, then: Estimate, margin: float) -> bool:
    """Whether the better end of the interval of the change lies beyond the margin.

    The registered value was measured on a sample, too. With its own interval the ends are joined by MOVER, else it is
    taken as exact: better end = now + sqrt((better - now)^2 + (then's worse end - then)^2), in the direction of better.
    Source: Zou, Donner, Statistics in Medicine 27 (2008) 1693.
    """
    less = metric in LESS_IS_BETTER
    better, worse = (now.lower, then.upper) if less else (now.upper, then.lower)
    if better is None:
        return False
    reach = math.hypot(better - now.value, then.value - (then.value if worse is None else worse))
    limit = worst_allowed(metric, then.value, margin)
    return now.value - reach > limit if less else now.value + reach < limit


def judged(
    window: PerformanceWindow, metric: str, training: Mapping[str, Estimate], margin: float
) -> PerformanceWindow:
    """The window with its verdict, which `metric` alone decides; `breaches` name every metric beyond its margin."""
    breaches = tuple(
        name
        for name, now in window.metrics.items()
        if name in training and is_breach(name, now, training[name], margin)
    )
    now = window.metrics.get(metric)
    verdict: PerformanceVerdict = "quiet"
    if window.effective < FEWEST or metric not in training or now is None or now.lower is None or now.upper is None:
        verdict, breaches = "too_little", ()
    elif metric in breaches:
        verdict = "breach"
    return msgspec.structs.replace(window, verdict=verdict, breaches=breaches)


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """What the detector of that name made of `rows` losses: the rows at which it saw them change.

    With fewer rows than its `warm_up` it could see none, and that it saw none says nothing.
    """

    detector: str
    changes: tuple[int, ...]
    rows: int
    warm_up: int

    @property
    def is_enough(self) -> bool:
        return self.rows >= self.warm_up

    @property
    def note(self) -> str | None:
        """`1,240 labelled rows: the detector of changes, effective, needs 3,000`; None where there are enough."""
        if self.is_enough:
            return None
        rows = f"{self.rows:,} labelled row{'s' if self.rows != 1 else ''}"
        return f"{rows}: the detector of changes, {self.detector}, needs {self.warm_up:,}"


def changes(rows: Outcomes, name: str | None, scale: float | None) -> Watched:
    """The rows at which the detector saw the losses change, or that there are too few for it to see any.

    A regression's absolute errors e become e / (e + scale), between 0 and 1 whatever the unit; scale is the registered
    mae, or the median error.
    """
    detector = open_detector(name)
    paid = losses(rows)
    if not rows.classes and len(paid):
        unit = scale or float(np.median(paid)) or 1.0
        paid = paid / (paid + unit)
    warm_up = detector.warm_up  # before it has seen a row: an option, not a state
    seen = detector.update_many(paid.tolist())
    return Watched(detector=detector.name, changes=tuple(seen), rows=len(paid), warm_up=warm_up)
