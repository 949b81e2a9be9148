"""How it was decided: the rule, the notes, every test's effect, and distances that decide nothing."""

from __future__ import annotations

from collections.abc import Sequence

from mlops_cli.core.drift.records import ColumnResult, DriftAnswer, Rules, Test
from mlops_cli.core.drift.report.windows import short
from mlops_cli.core.drift.report.words import TONES, part_of, title_of
from mlops_cli.core.reports.blocks import Block, Cell, Fold, Heading, HeatCell, Heatmap, Listing, Paragraph, Table
from mlops_cli.core.reports.numbers import number

MOST = 200  # columns in the tables of this section
_FIRST = ("distribution", "missing", "unseen", "tails", "atom")


def method(answer: DriftAnswer) -> list[Block]:
    """The section that ends the page."""
    notes = tuple(f"{note[:1].upper()}{note[1:]}." for note in answer.notes)
    if not answer.columns:
        return [Listing(items=notes)] if notes else []
    blocks: list[Block] = [Heading(text="How this was decided"), Paragraph(text=_rule(answer.rules))]
    if notes:
        blocks.append(Listing(items=notes))
    tested = [column for column in (*answer.answers, *answer.columns) if column.tests][:MOST]
    if tested:
        blocks.append(Fold(summary="What each test saw", blocks=(_effects(tested),)))
        blocks.append(Fold(summary="Distances that are reported, never decided on", blocks=(_distances(tested),)))
    return blocks


def _rule(rules: Rules) -> str:
    return (
        f"A column alarms if a test is significant after Holm's correction over all tests (alpha {rules.alpha:.2g} "
        f"for the whole check) and its effect reaches a floor: {rules.floor:.2g} for distributions, "
        f"{rules.missing:.2g} for missing rows, {rules.unseen:.2g} for unseen values and for tails, {rules.atoms:.2g} "
        "for a single new value. Every test counts the rows that dependent rows are worth: a window stays warm for "
        "days, and its rows with it. “Detectable from” is the smallest change that this window would have shown with "
        "probability 0.8; below it, silence says nothing."
    )


def _effects(columns: Sequence[ColumnResult]) -> Heatmap:
    """What each test saw: effects, shaded by how they compare with their floor."""
    seen = {test.part: part_of(test) for column in columns for test in column.tests}
    parts = sorted(seen, key=lambda part: (_FIRST.index(part) if part in _FIRST else len(_FIRST), part))
    cells = []
    for column in columns:
        tests = {test.part: test for test in column.tests}
        cells.append(tuple(_cell(tests.get(part), column) for part in parts))
    return Heatmap(
        caption="Effect seen by each test; shaded where it reaches its floor, marked where it is significant as well",
        rows=tuple(title_of(column) for column in columns),
        columns=tuple(seen[part].replace(" ", "\n") for part in parts),
        cells=tuple(cells),
    )


def _cell(test: Test | None, column: ColumnResult) -> HeatCell | None:
    if test is None:
        return None
    heat = 0.6 if test.floor and test.effect >= test.floor else 0.0
    return HeatCell(text=short(test.effect), heat=heat, tone=TONES[column.status] if test.alarm else "plain")


def _distances(columns: Sequence[ColumnResult]) -> Table:
    headers = ("Column", "PSI", "Wasserstein, σ", "Jensen-Shannon", "Rows worth one", "Mean before", "Mean now")
    return Table(
        caption="None of these has a threshold that holds at every number of rows",
        headers=headers,
        rows=tuple(
            (
                Cell(text=title_of(column)),
                *(
                    Cell(text=number(value))
                    for value in (
                        column.psi,
                        column.wasserstein,
                        column.jensen_shannon,
                        column.time,
                        column.mean_reference,
                        column.mean,
                    )
                ),
            )
            for column in columns
        ),
        right=headers[1:],
    )
