"""Missing rows, and values that the reference never had."""

from __future__ import annotations

from mlops_cli.core.drift.records import DriftAnswer
from mlops_cli.core.drift.report.words import title_of
from mlops_cli.core.reports.blocks import Block, Cell, Heading, Listing, Table
from mlops_cli.core.reports.numbers import share
from mlops_cli.core.reports.texts import middle_cut, visible

MOST = 40  # rows of a table, lines of a list
_VALUE = 40  # characters of a value that are shown
_SAID = {"tails": "{name}: {detail}, where the reference has its outermost 0.1%", "atom": "{name}: {detail}"}


def values(answer: DriftAnswer) -> list[Block]:
    """What is missing, by column; new categories; values at the ends; single values that fill the window."""
    blocks = [*_missing(answer), *_new(answer)]
    return [Heading(text="Missing, new and strange values"), *blocks] if blocks else []


def _missing(answer: DriftAnswer) -> list[Block]:
    found = [one for one in (*answer.answers, *answer.columns) if one.missing or one.missing_reference]
    if not found:
        return []
    alarmed = {one.column for one in found for test in one.tests if test.part == "missing" and test.alarm}
    found.sort(key=lambda one: (one.column not in alarmed, -abs(one.missing - one.missing_reference)))
    rows = tuple(
        (
            Cell(text=title_of(one)),
            Cell(text=share(one.missing_reference), bar=one.missing_reference),
            Cell(text=share(one.missing), bar=one.missing, tone="alarm" if one.column in alarmed else "plain"),
            Cell(
                text="drift" if one.column in alarmed else "quiet",
                tone="alarm" if one.column in alarmed else "calm",
            ),
        )
        for one in found[:MOST]
    )
    more = f"; {len(found) - MOST} more with smaller changes" if len(found) > MOST else ""
    headers = ("Column", "Missing before", "Missing now", "Verdict")
    return [Table(caption=f"Missing rows, the largest changes first{more}", headers=headers, rows=rows)]


def _new(answer: DriftAnswer) -> list[Block]:
    lines = []
    for column in (*answer.answers, *answer.columns):
        name = title_of(column)
        if column.new_values:
            new = ", ".join(f"{middle_cut(visible(value), _VALUE)} ({count:,})" for value, count in column.new_values)
            alarm = any(test.part == "unseen" and test.alarm for test in column.tests)
            lines.append((not alarm, f"{name} has values the reference never had: {new}"))
        lines += [
            (False, _SAID[test.part].format(name=name, detail=middle_cut(visible(test.detail), 160)))
            for test in column.tests
            if test.part in _SAID and test.alarm
        ]
    lines.sort(key=lambda line: line[0])
    shown = [text for _, text in lines[:MOST]]
    if len(lines) > MOST:
        shown.append(f"and {len(lines) - MOST} more")
    return [Listing(items=tuple(shown))] if shown else []
