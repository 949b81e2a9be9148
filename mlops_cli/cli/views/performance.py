"""How performance looks in a terminal."""

from __future__ import annotations

from mlops_cli.cli.output import Output, plural
from mlops_cli.core.drift.performance.records import (
    CalibrationBin,
    Estimate,
    PerformanceAnswer,
    PerformanceVerdict,
    PerformanceWindow,
)
from mlops_cli.core.reports.numbers import number

_STYLES: dict[PerformanceVerdict, str] = {"breach": "bold red", "quiet": "bold green", "too_little": "bold yellow"}
_WORDS: dict[PerformanceVerdict, str] = {"breach": "breach", "quiet": "quiet", "too_little": "too few labels"}
BAR = 20


def show_performance(answer: PerformanceAnswer, output: Output) -> None:
    """The verdict, a table of windows x metrics under the training values, changes, calibration, caveats."""
    output.line(headline(answer), style=_STYLES[answer.verdict])
    output.line()
    metrics = [name for name in answer.metrics if _shows(answer, name)]
    headers = ("window", "rows", "labels", "verdict", *metrics)
    training = ("at registration", "", "", "", *(number(answer.training.get(name)) for name in metrics))
    rows = [training, *(_row(window, metrics) for window in answer.windows)]
    output.table(headers, rows, right=headers[1:3])
    if any(window.estimated for window in answer.windows):
        output.line("≈ estimated without labels", style="dim")
    for time in answer.changes:
        output.line(f"change: {answer.detector} saw the losses change at {time}", style="red")
    if answer.calibration and answer.calibration_error is not None:
        output.line()
        output.line(f"calibration, expected error {number(answer.calibration_error, 2)}:")
        output.table(("score", "rows", "predicted", "observed", "95%", ""), [_bin(one) for one in answer.calibration])
    for note in answer.notes:
        output.line(f"note: {note}", style="dim")
    if answer.unknown:
        output.line(f"note: {plural(answer.unknown, 'label')} of rows that are not in these windows", style="dim")


def headline(answer: PerformanceAnswer) -> str:
    """`breach: auc of flights@1 is 0.61 (0.58 to 0.64), 0.74 at registration`."""
    decided = [window for window in answer.windows if window.verdict != "too_little"]
    if not decided:
        return f"too few labels to tell how well {answer.model} does"
    now, then = decided[-1].metrics[answer.metric], answer.training[answer.metric]
    return (
        f"{answer.verdict}: {answer.metric} of {answer.model} is {_interval(now)} in the window to "
        f"{_day(decided[-1].end)}, {number(then)} at registration"
    )


def _shows(answer: PerformanceAnswer, name: str) -> bool:
    return any(name in window.metrics or name in window.estimated for window in answer.windows)


def _row(window: PerformanceWindow, metrics: list[str]) -> tuple[str, ...]:
    cells = []
    for name in metrics:
        if name in window.metrics:
            mark = " !" if name in window.breaches else ""
            cells.append(_interval(window.metrics[name]) + mark)
        else:
            guess = window.estimated.get(name)
            cells.append("–" if guess is None else f"≈ {_interval(guess)}")
    verdict = _WORDS[window.verdict] if window.rows else "no rows"
    return (f"{_day(window.start)} to {_day(window.end)}", f"{window.rows:,}", f"{window.labelled:,}", verdict, *cells)


def _bin(one: CalibrationBin) -> tuple[str, ...]:
    return (
        f"{one.low:.2f} to {one.high:.2f}",
        f"{one.n:,}",
        f"{one.predicted:.3f}",
        f"{one.observed:.3f}",
        f"{one.lower:.2f} to {one.upper:.2f}",
        bar(one),
    )


def bar(one: CalibrationBin) -> str:
    """The observed share as a bar, its interval as a line behind it, and the prediction as a mark."""
    cells = [" "] * (BAR + 1)
    for place in range(round(one.lower * BAR), round(one.upper * BAR) + 1):
        cells[place] = "─"
    cells[round(one.observed * BAR)] = "●"
    cells[round(one.predicted * BAR)] = "◉" if round(one.observed * BAR) == round(one.predicted * BAR) else "○"
    return "".join(cells).rstrip()


def _interval(one: Estimate) -> str:
    if one.lower is None or one.upper is None:
        return number(one.value)
    return f"{number(one.value)} ({number(one.lower)} to {number(one.upper)})"


def _day(time: str) -> str:
    return time.removesuffix("T00:00:00.000000Z").replace(".000000Z", "Z")
