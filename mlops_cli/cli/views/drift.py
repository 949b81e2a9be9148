"""How drift looks in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from mlops_cli.cli.output import Output
from mlops_cli.core.drift.records import ColumnResult, DriftAnswer, Segments, Verdict
from mlops_cli.core.drift.report.words import (
    WORDS,
    detectable,
    explanation,
    headline,
    multivariate_line,
    named,
    period,
    remark,
    title_of,
)
from mlops_cli.core.reports.numbers import number, p_value
from mlops_cli.core.workflows.drift_report import DriftReport

_STYLES: dict[Verdict, str] = {"drift": "bold red", "quiet": "bold green", "too_little": "bold yellow"}
_HEADERS = ("column", "verdict", "effect", "p", "rows", "effective", "detectable", "importance", "remark")


def show_drift(answer: DriftAnswer, output: Output) -> None:
    """The verdict, then the predictions, then the inputs, alarms first."""
    output.line(headline(answer), style=_STYLES[answer.verdict])
    output.line(f"{answer.model}, {period(answer)}: {explanation(answer)}")
    for change in answer.schema:
        output.line(f"schema: {change.text}", style="red")
    if answer.answers or answer.columns:
        output.line()
        output.table(_HEADERS, _rows([*answer.answers, *answer.columns]), right=_HEADERS[2:8])
    if answer.multivariate is not None:
        output.line(multivariate_line(answer.multivariate), style="red" if answer.multivariate.alarm else None)
    if answer.segments is not None:
        _show_segments(answer.segments, output)
    for note in answer.notes:
        output.line(f"note: {note}", style="dim")
    if answer.verdict != "quiet" and answer.window is not None:
        output.line("a picture: mlo drift report -o drift.html", style="dim")


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
    output.line(f"note: {found.note}", style="dim")


def _rows(columns: Sequence[ColumnResult]) -> list[tuple[str, ...]]:
    return [
        (
            title_of(column),
            WORDS[column.status],
            number(column.effect, 2) if column.tests else "–",
            p_value(column.p_adjusted),
            f"{column.n:,}",
            f"{column.n_effective:,.0f}" if column.n_effective else "–",
            detectable(column),
            number(column.importance, 2),
            remark(column),
        )
        for column in columns
    ]


def show_report(made: DriftReport, output: Output) -> None:
    output.line(f"{made.path}: {headline(made.answer)}")
