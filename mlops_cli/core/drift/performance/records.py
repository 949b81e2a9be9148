"""How well a model does, as plain records. The rules stand in PERFORMANCE.md beside this file."""

from __future__ import annotations

from typing import Literal

import msgspec

PerformanceVerdict = Literal["breach", "quiet", "too_little"]


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A metric with its two-sided 95% interval. An end that is not known is None."""

    value: float
    lower: float | None
    upper: float | None


class PerformanceWindow(msgspec.Struct, frozen=True, kw_only=True):
    """One closed window: start <= arrival < end, as text.

    `rows` were answered by this version, `labelled` of them have a label. `metrics` rest on the labels; `estimated`
    on none. `effective` is how many independent rows the labelled ones are worth; `breaches` names the metrics whose
    interval lies beyond the training value and the margin.
    """

    start: str
    end: str
    rows: int
    labelled: int
    metrics: dict[str, Estimate] = {}
    estimated: dict[str, Estimate] = {}
    effective: float = 0.0
    verdict: PerformanceVerdict = "too_little"
    breaches: tuple[str, ...] = ()


class CalibrationBin(msgspec.Struct, frozen=True, kw_only=True):
    """Labelled rows whose score lies in low..high: the mean score, and the share of positives with its interval."""

    low: float
    high: float
    n: int
    predicted: float
    observed: float
    lower: float
    upper: float


class PerformanceAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What `mlo drift performance` found. `windows` are the oldest first; `training` are the registered scores of the
    version on its evaluation rows.

    `verdict` is that of the newest window that could be decided. `changes` are times (of arrival, or of
    `model.time`) at which `detector` saw the loss of the labelled rows change; where `watched` is false, they were too
    few for it to see any change, and that there is none says nothing. `unknown` counts labels that
    belong to no logged prediction of these windows. `event` is the place of the recorded event, if one was recorded.
    """

    model: str
    metrics: tuple[str, ...]
    training: dict[str, float]
    windows: tuple[PerformanceWindow, ...]
    calibration: tuple[CalibrationBin, ...] = ()
    calibration_error: float | None = None
    brier: dict[str, float] = {}
    detector: str = ""
    changes: tuple[str, ...] = ()
    watched: bool = True
    verdict: PerformanceVerdict = "too_little"
    exit_code: int = 4
    metric: str = ""
    margin: float = 0.0
    source: str = ""
    unknown: int = 0
    notes: tuple[str, ...] = ()
    report: str | None = None
    event: int | None = None
