"""What a profile keeps of the evaluation rows: the registered metrics with intervals, and what the scores meant."""

from __future__ import annotations

import msgspec

from mlops_cli.core.drift.performance.calibration import CalibrationMap
from mlops_cli.core.drift.performance.records import Estimate


class Evaluated(msgspec.Struct, frozen=True, kw_only=True):
    """`rows` were labelled; `metrics` have 95% intervals; `calibration` maps the score of two classes, `calibrations`
    those of each of more."""

    rows: int
    metrics: dict[str, Estimate] = {}
    calibration: CalibrationMap | None = None
    calibrations: tuple[CalibrationMap, ...] = ()
