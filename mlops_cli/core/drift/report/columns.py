"""Columns by importance x effect, and their histograms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlops_cli.core.drift.records import ColumnResult, DriftAnswer
from mlops_cli.core.drift.report.words import (
    TONES,
    WORDS,
    detectable,
    effect,
    effective,
    remark,
    statistic_of,
    test_of,
    title_of,
)
from mlops_cli.core.reports.blocks import Block, Cell, Fold, Gallery, Heading, Overlay, Table
from mlops_cli.core.reports.numbers import number, p_value, share
from mlops_cli.core.reports.texts import middle_cut, visible

PICTURES = 12  # columns that get a picture: the alarmed ones, then the most important
MOST_PICTURES = 24
OPEN_ROWS = 15  # columns in the table besides alarmed ones; the rest is folded
_HEADERS = (
    "Column",
    "Verdict",
    "Effect",
    "Test",
    "Statistic",
    "p, adjusted",
    "Rows",
    "Effective rows",
    "Detectable from",
    "Importance",
)


def anchors_of(answer: DriftAnswer) -> dict[str, str]:
    """Where the picture of a column stands, for those that have one. Names are no anchors: they may hold anything."""
    return {column.column: f"column-{place}" for place, column in enumerate(_pictured(answer), 1)}


def columns(answer: DriftAnswer, anchors: Mapping[str, str]) -> list[Block]:
    """The predictions, then the inputs: all alarms and the first others in sight, the rest folded."""
    blocks: list[Block] = []
    if answer.answers:
        blocks += [
            Heading(text="What the model answers"),
            _table(answer.answers, anchors, "Predictions, tested first"),
        ]
    if answer.columns:
        alarms = sum(column.alarm for column in answer.columns)
        shown = alarms + OPEN_ROWS
        # Folding away a handful would only hide it.
        shown = len(answer.columns) if len(answer.columns) <= shown + 3 else shown
        first, rest = answer.columns[:shown], answer.columns[shown:]
        blocks += [
            Heading(text="What the model sees"),
            _table(first, anchors, "Alarms first, then by importance × effect"),
        ]
        if rest:
            blocks.append(Fold(summary=f"{len(rest)} more columns", blocks=(_table(rest, anchors, "The others"),)))
    return blocks


def _table(found: Sequence[ColumnResult], anchors: Mapping[str, str], caption: str) -> Table:
    # A profile without importances has none in any row: the column would hold dashes only.
    shown = len(_HEADERS) if any(column.importance is not None for column in found) else len(_HEADERS) - 1
    return Table(
        caption=caption,
        headers=_HEADERS[:shown],
        rows=tuple(_row(column, anchors)[:shown] for column in found),
        right=_HEADERS[4:],
    )


def _row(column: ColumnResult, anchors: Mapping[str, str]) -> tuple[Cell, ...]:
    return (
        Cell(text=title_of(column), link=anchors.get(column.column, ""), detail=remark(column)),
        Cell(text=WORDS[column.status], tone=TONES[column.status]),
        Cell(text=effect(column), bar=column.effect if column.tests else None),
        Cell(text=test_of(column)),
        Cell(text=statistic_of(column)),
        Cell(text=p_value(column.p_adjusted)),
        Cell(text=f"{column.n:,}"),
        Cell(text=effective(column)),
        Cell(text=detectable(column)),
        Cell(text=number(column.importance, 2)),
    )


def _pictured(answer: DriftAnswer) -> list[ColumnResult]:
    everything = [column for column in (*answer.answers, *answer.columns) if column.histogram is not None]
    alarmed = [column for column in everything if column.alarm][:MOST_PICTURES]
    rest = sorted((column for column in everything if not column.alarm), key=lambda one: -(one.importance or 0.0))
    return (alarmed + rest)[: max(PICTURES, len(alarmed))]


def histograms(answer: DriftAnswer, anchors: Mapping[str, str]) -> list[Block]:
    """Both samples of the alarmed and the most important columns over each other."""
    shown = _pictured(answer)
    if not shown:
        return []
    return [
        Heading(text="Before and now"),
        Gallery(
            pictures=tuple(_picture(column, anchors[column.column]) for column in shown), legend=("reference", "window")
        ),
    ]


def _picture(column: ColumnResult, anchor: str) -> Overlay:
    histogram = column.histogram
    assert histogram is not None  # noqa: S101 - only such columns are shown
    missing = ""
    if column.missing or column.missing_reference:
        missing = f"missing: {share(column.missing_reference)} before, {share(column.missing)} now"
    return Overlay(
        title=title_of(column),
        reference=_shares(histogram.reference),
        current=_shares(histogram.current),
        edges=histogram.edges,
        labels=tuple(middle_cut(visible(label), 60) for label in histogram.labels),
        mark=f"{WORDS[column.status]} {number(column.effect, 2)}" if column.alarm else WORDS[column.status],
        tone=TONES[column.status] if column.alarm else "plain",
        note=missing,
        anchor=anchor,
    )


def _shares(counts: Sequence[int]) -> tuple[float, ...]:
    whole = max(1, sum(counts))
    return tuple(count / whole for count in counts)
