"""How drift looks in a terminal."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence

from mlops_cli.cli.output import SHORT_WIDTH, Output
from mlops_cli.core.drift.records import ColumnResult, DriftAnswer, Segments, Verdict
from mlops_cli.core.drift.report.words import (
    WORDS,
    detectable,
    effect,
    effective,
    explanation,
    headline,
    multivariate_line,
    named,
    remark,
    statistic_of,
    subject,
    test_of,
    title_of,
)
from mlops_cli.core.reports.numbers import number, p_value
from mlops_cli.core.workflows.drift_report import DriftReport

_STYLES: dict[Verdict, str] = {"drift": "bold red", "quiet": "bold green", "too_little": "bold yellow"}
SHOWN = 15  # inputs that are shown without an alarm, unless all are asked for
# What is said of a column, and in which order that is given up where the terminal is narrow (0: never).
_SAID: tuple[tuple[str, int, Callable[[ColumnResult], str]], ...] = (
    ("column", 0, title_of),
    ("verdict", 0, lambda column: WORDS[column.status]),
    ("effect", 0, effect),
    ("test", 5, test_of),
    ("statistic", 4, statistic_of),
    ("p", 0, lambda column: p_value(column.p_adjusted)),
    ("rows", 6, lambda column: f"{column.n:,}"),
    ("effective", 3, effective),
    ("detects", 0, detectable),
    ("importance", 2, lambda column: number(column.importance, 2)),
    ("remark", 1, remark),
)
_TEXTS = ("column", "verdict", "test", "remark")


def show_drift(answer: DriftAnswer, output: Output, *, everything: bool = False) -> None:
    """The verdict, then the predictions, then the inputs, alarms first; unless `everything`, the first quiet ones."""
    output.line(headline(answer), style=_STYLES[answer.verdict])
    output.line(f"{subject(answer)}: {explanation(answer)}")
    for change in answer.schema:
        output.line(f"schema: {change.text}", style="red")
    shown = len(answer.columns) if everything else SHOWN + sum(column.alarm for column in answer.columns)
    columns = [*answer.answers, *answer.columns[:shown]]
    if columns:
        output.line()
        width = shutil.get_terminal_size().columns if output.is_terminal else None
        headers, rows = _table(columns, width)
        output.table(headers, rows, right=[header for header in headers if header not in _TEXTS])
    if len(answer.columns) > shown:
        output.line(f"{len(answer.columns) - shown} more columns without an alarm: --all shows them", style="dim")
    if answer.multivariate is not None:
        output.line(multivariate_line(answer.multivariate), style="red" if answer.multivariate.alarm else None)
    if answer.segments is not None:
        _show_segments(answer.segments, output)
    if columns:
        output.line("detects: the smallest effect that these rows would have shown; below it, silence says nothing",
                    style="dim")  # fmt: skip
    for note in answer.notes:
        output.line(f"note: {note}", style="dim")
    for step in _next(answer):
        output.line(step, style="dim")


def _next(answer: DriftAnswer) -> list[str]:
    """What to do about it."""
    if answer.verdict == "quiet":
        return []
    steps = ["a picture: mlo drift report -o drift.html"] if answer.window is not None else []
    if answer.verdict == "too_little" and not answer.model:
        return ["more rows: on either side", *steps]
    if answer.verdict == "too_little":
        return ["more rows: a longer --window, or drift.min_rows in mlo.yaml", *steps]
    if answer.schema:
        steps.append("a change of schema: look at what makes the rows before anything else")
    if not answer.model:
        return steps
    return [*steps, "if the change is real and here to stay: mlo retrain"]


def _table(columns: Sequence[ColumnResult], width: int | None) -> tuple[list[str], list[list[str]]]:
    """As many of the columns of the table as fit; all of them where nothing limits the width."""
    said = [one for one in _SAID if one[0] != "importance" or any(column.importance is not None for column in columns)]
    while True:
        headers = [header for header, _, _ in said]
        rows = [[say(column) for _, _, say in said] for column in columns]
        widths = [max(map(len, cells)) for cells in zip(headers, *rows, strict=True)]
        room = [
            min(needed, SHORT_WIDTH) if header in _TEXTS else needed
            for header, needed in zip(headers, widths, strict=True)
        ]
        given_up = min((order for _, order, _ in said if order), default=None)
        if width is None or given_up is None or sum(room) + 2 * len(room) <= width:
            return headers, rows
        said = [one for one in said if one[1] != given_up]


def _show_segments(found: Segments, output: Output) -> None:
    """A row for each segment, alarms first."""
    if found.segments:
        output.line()
        output.table(
            (found.column, "verdict", "rows", "reference", "alarms"),
            [
                (
                    named(one.value),
                    "too few rows" if one.verdict == "too_little" else one.verdict,
                    f"{one.rows:,}",
                    f"{one.rows_reference:,}",
                    ", ".join(named(name) for name in one.alarms[:6]) or "–",
                )
                for one in found.segments
            ],
            right=("rows", "reference"),
        )
    if found.others:
        output.line(f"{found.others:,} rarer values of {named(found.column)} are left out", style="dim")
    if found.note:
        output.line(f"note: {found.note}", style="dim")


def show_report(made: DriftReport, output: Output) -> None:
    output.line(f"{made.path}: {headline(made.answer)}")
