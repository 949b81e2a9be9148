"""How well the model does, by window, and whether its probabilities are what they say."""

from __future__ import annotations

from mlops_cli.core.drift.performance.records import Estimate, PerformanceAnswer, PerformanceWindow
from mlops_cli.core.drift.records import Bounds
from mlops_cli.core.drift.report.windows import label_of
from mlops_cli.core.reports.blocks import (
    Bin,
    Block,
    Cell,
    Fold,
    Gallery,
    Heading,
    Line,
    LineChart,
    Listing,
    Paragraph,
    Point,
    Reliability,
    Table,
    Tone,
)
from mlops_cli.core.reports.numbers import number, share

CAVEAT = (
    "Dashed values are estimated without labels, from the model's own scores: they hold only as long as the scores are "
    "calibrated, and cannot see that the same inputs now lead to other outcomes."
)
_TONES: dict[str, Tone] = {"breach": "alarm", "quiet": "calm", "too_little": "unsure"}
_WORDS = {"breach": "worse than in training", "quiet": "as in training", "too_little": "too few labels"}


def performance(measured: PerformanceAnswer | None) -> list[Block]:
    """A chart a metric: measured and estimated values with their intervals, the training value, changes."""
    if measured is None or not measured.windows:
        return []
    charts = tuple(chart for metric in measured.metrics if (chart := _chart(measured, metric)) is not None)
    labelled = sum(window.labelled for window in measured.windows)
    rows = sum(window.rows for window in measured.windows)
    blocks: list[Block] = [
        Heading(text="How well it does"),
        Paragraph(text=f"{_said(measured)} Labels are known of {labelled:,} of {rows:,} rows."),
    ]
    if charts:
        blocks.append(Gallery(pictures=charts, legend=None))
    if any(window.estimated for window in measured.windows):
        blocks.append(Paragraph(text=CAVEAT, tone="faint"))
    blocks.append(Fold(summary="The figures", blocks=(_table(measured),)))
    if measured.notes:
        blocks.append(Listing(items=measured.notes))
    return blocks


def _said(measured: PerformanceAnswer) -> str:
    known = [window for window in measured.windows if window.metrics]
    text = (
        f"Performance is {_WORDS[measured.verdict]}." if measured.verdict != "too_little" else "Too few labels to tell."
    )
    metric = measured.metric or (measured.metrics[0] if measured.metrics else "")
    if known and metric in known[-1].metrics:
        text += f" The newest labelled window has {metric} {interval(known[-1].metrics[metric])}"
        trained = measured.training.get(metric)
        text += f", training had {number(trained)}." if trained is not None else "."
    if measured.changes:
        times = ", ".join(when[:16].replace("T", " ") for when in measured.changes[:5])
        text += f" {measured.detector or 'The detector'} saw the errors change at {times}."
    return text


def interval(estimate: Estimate) -> str:
    """`0.71 (0.68 to 0.74)`."""
    if estimate.lower is None and estimate.upper is None:
        return number(estimate.value)
    return f"{number(estimate.value)} ({number(estimate.lower)} to {number(estimate.upper)})"


def _chart(measured: PerformanceAnswer, metric: str) -> LineChart | None:
    lines = []
    for name, dashed in (("measured, with 95% interval", False), ("estimated without labels", True)):
        found = [window.estimated if dashed else window.metrics for window in measured.windows]
        points = tuple(_point(known.get(metric)) for known in found)
        if any(point is not None for point in points):
            lines.append(Line(name=name, points=points, dashed=dashed))
    if not lines:
        return None
    breached = any(metric in window.breaches for window in measured.windows)
    return LineChart(
        title=metric,
        labels=tuple(label_of(Bounds(window.start, window.end)) for window in measured.windows),
        lines=tuple(lines),
        level=measured.training.get(metric),
        level_name="training",
        changes=tuple(place for when in measured.changes if (place := _place(measured.windows, when)) is not None),
        change_name=f"change seen by {measured.detector or 'the detector'}",
        mark="worse than in training" if breached else "",
        tone="alarm" if breached else "plain",
    )


def _point(estimate: Estimate | None) -> Point | None:
    return None if estimate is None else Point(estimate.value, estimate.lower, estimate.upper)


def _place(windows: tuple[PerformanceWindow, ...], when: str) -> float | None:
    """Which window a time lies in; times are written in one way, so that they compare as texts."""
    return next((float(place) for place, one in enumerate(windows) if one.start <= when < one.end), None)


def _table(measured: PerformanceAnswer) -> Table:
    metrics = measured.metrics
    estimated = [name for name in metrics if any(name in window.estimated for window in measured.windows)]
    headers = ("Window", "Verdict", "Rows", "Labelled", *metrics, *(f"{name}, estimated" for name in estimated))
    rows = tuple(
        (
            Cell(text=label_of(Bounds(window.start, window.end)), detail=f"until {window.end[:16].replace('T', ' ')}"),
            Cell(text=_WORDS[window.verdict], tone=_TONES[window.verdict]),
            Cell(text=f"{window.rows:,}"),
            Cell(text=f"{window.labelled:,}"),
            *(Cell(text=_shown(window.metrics.get(name))) for name in metrics),
            *(Cell(text=_shown(window.estimated.get(name))) for name in estimated),
        )
        for window in measured.windows
    )
    return Table(caption="Values with their 95% intervals", headers=headers, rows=rows, right=headers[2:])


def _shown(estimate: Estimate | None) -> str:
    return "–" if estimate is None else interval(estimate)


def calibration(measured: PerformanceAnswer | None) -> list[Block]:
    """The reliability diagram, and its figures."""
    if measured is None or not measured.calibration:
        return []
    error = measured.calibration_error
    bins = tuple(
        Bin(n=one.n, predicted=one.predicted, observed=one.observed, lower=one.lower, upper=one.upper)
        for one in measured.calibration
    )
    off = sum(not one.lower <= one.predicted <= one.upper for one in bins)
    headers = ("Scores", "Rows", "Predicted", "Observed", "95% interval")
    rows = tuple(
        (
            Cell(text=f"{share(one.low)} to {share(one.high)}"),
            Cell(text=f"{one.n:,}"),
            Cell(text=share(one.predicted)),
            Cell(text=share(one.observed)),
            Cell(text=f"{share(one.lower)} to {share(one.upper)}"),
        )
        for one in measured.calibration
    )
    return [
        Heading(text="Are its probabilities what they say?"),
        Gallery(
            pictures=(
                Reliability(
                    title="Calibration",
                    bins=bins,
                    mark=f"error {number(error, 2)}" if error is not None else "",
                    note=f"{len(bins) - off} of {len(bins)} bins meet the diagonal within their 95% interval.",
                ),
            ),
            legend=None,
        ),
        Fold(summary="The figures", blocks=(Table(caption="By bin of the score", headers=headers, rows=rows,
                                                   right=headers[1:]),)),
    ]  # fmt: skip
