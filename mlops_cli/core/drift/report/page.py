"""A drift check as a page, from the verdict to the method."""

from __future__ import annotations

from collections.abc import Sequence

from mlops_cli.core.drift.records import DriftAnswer
from mlops_cli.core.drift.report.columns import anchors_of, columns, histograms
from mlops_cli.core.drift.report.method import method
from mlops_cli.core.drift.report.performance import calibration, performance
from mlops_cli.core.drift.report.segments import multivariate, segments
from mlops_cli.core.drift.report.values import values
from mlops_cli.core.drift.report.windows import windows
from mlops_cli.core.drift.report.words import against, explanation, headline, named, period
from mlops_cli.core.reports.blocks import Block, Cell, Facts, Heading, Report, Table, Tone, Verdict


def drift_report(answer: DriftAnswer, history: Sequence[DriftAnswer] = ()) -> Report:
    """The page of one check. `history` are checks of other windows, oldest first."""
    anchors = anchors_of(answer)
    blocks: list[Block] = [
        _verdict(answer),
        _facts(answer),
        *_schema(answer),
        *columns(answer, anchors),
        *histograms(answer, anchors),
        *windows(answer, history, anchors),
        *performance(answer.performance),
        *calibration(answer.performance),
        *values(answer),
        *segments(answer),
        *multivariate(answer),
        *method(answer),
    ]
    return Report(
        title=f"Drift of {answer.model or answer.source}",
        subtitle=f"{period(answer)} against {against(answer)}",
        blocks=tuple(blocks),
        footer=f"Made by mlo from {answer.source}" + (f"; profile {answer.profile}." if answer.profile else "."),
    )


def _verdict(answer: DriftAnswer) -> Verdict:
    tones: dict[str, Tone] = {"drift": "alarm", "quiet": "calm", "too_little": "unsure"}
    text = headline(answer)
    return Verdict(tone=tones[answer.verdict], headline=text[0].upper() + text[1:], text=explanation(answer))


def _facts(answer: DriftAnswer) -> Facts:
    items = [("Model", answer.model)] if answer.model else []
    items += [("Window", period(answer)), ("Rows", f"{answer.rows:,}")]
    items.append(("Reference", "training data" if answer.reference == "training" else against(answer)))
    items.append(("Reference rows", f"{answer.rows_reference:,}"))
    if answer.window is not None:
        items.append(("Read from", answer.source))
    return Facts(items=tuple(items))


def _schema(answer: DriftAnswer) -> list[Block]:
    """Columns that came, went or changed their kind: a finding of its own, before any statistics."""
    if not answer.schema:
        return []
    rows = tuple(
        (
            Cell(text=named(change.column)),
            Cell(text=change.change, tone="alarm"),
            Cell(text=change.before or "–"),
            Cell(text=change.now or "–"),
        )
        for change in answer.schema
    )
    count = f"{len(rows)} column{'s' if len(rows) > 1 else ''}"
    return [
        Heading(text="Changes of schema"),
        Table(
            caption=f"{count} that came, went or hold another kind of values; no test is needed, nor made",
            headers=("Column", "Change", "Reference", "Window"),
            rows=rows,
        ),
    ]
