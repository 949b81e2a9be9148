"""Parts of the rows, and all columns at once."""

from __future__ import annotations

from mlops_cli.core.drift.records import ColumnResult, DriftAnswer, Segment
from mlops_cli.core.drift.report.windows import KEY, shade
from mlops_cli.core.drift.report.words import multivariate_line, named
from mlops_cli.core.reports.blocks import Block, Cell, Heading, Heatmap, Listing, Paragraph, Table, Tone

MOST_SEGMENTS = 12  # of the heatmap: more columns than that nobody reads
MOST_COLUMNS = 15
_TONES: dict[str, Tone] = {"drift": "alarm", "quiet": "calm", "too_little": "unsure"}
_WORDS = {"drift": "drift", "quiet": "quiet", "too_little": "too few rows"}


def segments(answer: DriftAnswer) -> list[Block]:
    """A table of the segments, and the effects by column and segment."""
    found = answer.segments
    if found is None:
        return []
    blocks: list[Block] = [Heading(text=f"By {named(found.column)}")]
    if found.segments:
        headers = ("Segment", "Verdict", "Rows", "Reference rows", "Alarms")
        blocks.append(
            Table(
                caption="Every test of every segment is corrected for all of them",
                headers=headers,
                rows=tuple(_row(segment) for segment in found.segments),
                right=("Rows", "Reference rows"),
            )
        )
        heat = _heat(found.segments)
        if heat is not None:
            blocks.append(heat)
    notes = [f"{found.others:,} rarer values are left out"] if found.others else []
    notes += [found.note] if found.note else []
    if notes:
        blocks.append(Listing(items=tuple(notes)))
    return blocks


def _row(segment: Segment) -> tuple[Cell, ...]:
    alarms = [named(name) for name in segment.alarms]
    more = f" and {len(alarms) - 6} more" if len(alarms) > 6 else ""
    return (
        Cell(text=named(segment.value)),
        Cell(text=_WORDS[segment.verdict], tone=_TONES[segment.verdict]),
        Cell(text=f"{segment.rows:,}"),
        Cell(text=f"{segment.rows_reference:,}"),
        Cell(text=", ".join(alarms[:6]) + more if alarms else "–"),
    )


def _heat(found: tuple[Segment, ...]) -> Heatmap | None:
    shown = found[:MOST_SEGMENTS]
    known = [{column.column: column for column in segment.columns} for segment in shown]
    worst: dict[str, tuple[bool, float]] = {}
    for columns in known:
        for name, column in columns.items():
            worst[name] = max(worst.get(name, (False, 0.0)), _weight(column))
    names = sorted(worst, key=lambda name: (worst[name], name), reverse=True)[:MOST_COLUMNS]
    if not names:
        return None
    more = f", the first {MOST_SEGMENTS} of {len(found)} segments" if len(found) > MOST_SEGMENTS else ""
    return Heatmap(
        caption=f"Effect by column and segment, the largest first{more}",
        rows=tuple(named(name) for name in names),
        columns=tuple(named(segment.value) for segment in shown),
        cells=tuple(tuple(shade(columns.get(name)) for columns in known) for name in names),
        key=KEY,
    )


def _weight(column: ColumnResult) -> tuple[bool, float]:
    return column.alarm, column.effect


def multivariate(answer: DriftAnswer) -> list[Block]:
    """One line: can a classifier tell the window's rows from the reference's?"""
    found = answer.multivariate
    if found is None:
        return []
    text = multivariate_line(found)
    return [
        Heading(text="All columns together"),
        Paragraph(text=f"{text[0].upper()}{text[1:]}.", tone="alarm" if found.alarm else "plain"),
    ]
