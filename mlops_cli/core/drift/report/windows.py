"""Effects over time: which column left its reference when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlops_cli.core.drift.records import Bounds, ColumnResult, DriftAnswer
from mlops_cli.core.drift.report.words import TONES, title_of
from mlops_cli.core.reports.blocks import Block, Fold, Heading, HeatCell, Heatmap, Paragraph
from mlops_cli.core.reports.numbers import number

OPEN_ROWS = 25
KEY = (
    HeatCell(text="drift", heat=0.8, tone="alarm"),
    HeatCell(text="drift of a column of no importance", heat=0.8, tone="warn"),
    HeatCell(text="an effect that noise may make", heat=0.6),
    HeatCell(text="under the floor", heat=0.0),
)


def windows(answer: DriftAnswer, history: Sequence[DriftAnswer], anchors: Mapping[str, str]) -> list[Block]:
    """Effects by column and window, the checked window last."""
    earlier = [one for one in history if one.window is not None and one.window != answer.window]
    found = [*answer.answers, *answer.columns]
    if not earlier or not found:
        return []
    shown = [*earlier, answer]
    # The columns of the page, in its order; what only earlier windows alarmed of stands with the alarms.
    alarmed = {column.column for one in shown for column in (*one.answers, *one.columns) if column.alarm}
    found.sort(key=lambda column: column.column not in alarmed)
    first, rest = found[:OPEN_ROWS], found[OPEN_ROWS:]
    blocks: list[Block] = [Heading(text="Window by window"), Paragraph(text=_said(earlier), tone="faint")]
    blocks.append(_map(first, shown, anchors, "Effect by column and window; the checked rows last", KEY))
    if rest:
        blocks.append(
            Fold(summary=f"{len(rest)} more columns", blocks=(_map(rest, shown, anchors, "The other columns", ()),))
        )
    return blocks


def _said(earlier: Sequence[DriftAnswer]) -> str:
    drifted = sum(one.verdict == "drift" for one in earlier)
    empty = sum(one.rows == 0 for one in earlier)
    text = f"{drifted} of the {len(earlier)} windows beside the checked rows show drift"
    return f"{text}, {empty} had no rows." if empty else f"{text}."


def _map(
    found: Sequence[ColumnResult],
    shown: Sequence[DriftAnswer],
    anchors: Mapping[str, str],
    caption: str,
    key: tuple[HeatCell, ...],
) -> Heatmap:
    by_window = [{column.column: column for column in (*one.answers, *one.columns)} for one in shown]
    return Heatmap(
        caption=caption,
        rows=tuple(title_of(column) for column in found),
        columns=(*(_header(one) for one in shown[:-1]), "checked\nrows"),
        cells=tuple(tuple(shade(known.get(column.column)) for known in by_window) for column in found),
        links=tuple(anchors.get(column.column, "") for column in found),
        emphasis=len(shown) - 1,
        key=key,
    )


def _header(answer: DriftAnswer) -> str:
    assert answer.window is not None  # noqa: S101 - only such answers are shown
    return label_of(answer.window).replace(" ", "\n")


def label_of(bounds: Bounds) -> str:
    """A window by its start: `04-23`, or `04-23 06:00` where days are not enough."""
    start = bounds.start
    return start[5:10] if start[11:16] == "00:00" else f"{start[5:10]} {start[11:16]}"


def shade(column: ColumnResult | None) -> HeatCell | None:
    """An effect against its floor: nothing under it, half way at three times, full from ten times on."""
    if column is None or not column.tests:
        return None
    leading = column.leading
    floor = leading.floor if leading is not None else 0.0
    times = column.effect / floor if floor else 0.0
    heat = 0.0 if times < 1 else min(1.0, 0.25 + 0.75 * (times - 1) / 9)
    tone = TONES[column.status] if column.alarm else "plain"
    return HeatCell(text=short(column.effect), heat=heat, tone=tone)


def short(effect: float) -> str:
    """Two digits and no zero before the point: columns of a phone are narrow."""
    return f"{effect:.2f}".lstrip("0") if effect < 0.995 else number(effect, 2)
