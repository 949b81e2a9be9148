"""Two samples in one picture: histograms laid over each other, or bars by category."""

from __future__ import annotations

import math
from collections.abc import Callable

from mlops_cli.core.reports.blocks import Overlay
from mlops_cli.core.reports.numbers import number, share, ticks
from mlops_cli.core.reports.svg import LETTER, WIDTH, Frame, at, bar, line, picture, words
from mlops_cli.core.reports.texts import columns, cut

_ROW = 24  # height of one category, in pixels
_LETTERS = 17  # of a category's name


def overlay(chart: Overlay, legend: tuple[str, str]) -> str:
    """Both samples over one axis: bars of the reference, the window as an outline (numbers) or a second bar."""
    return _numbers(chart, legend) if chart.edges else _categories(chart, legend)


def _numbers(chart: Overlay, legend: tuple[str, str]) -> str:
    under = chart.reference[0] > 0 or chart.current[0] > 0
    over = chart.reference[-1] > 0 or chart.current[-1] > 0
    inner = len(chart.edges) - 1
    first, last = (0 if under else 1), (len(chart.reference) if over else len(chart.reference) - 1)
    shown = range(first, last)
    frame = Frame(low=0.0, high=max(*chart.reference, *chart.current, 1e-9))
    step = frame.width / max(1, len(shown))
    base = frame.y(0)

    def x(place: float) -> float:
        """Of the left side of a share, counted as in the samples: 1 is where the first edge lies."""
        return frame.left + (place - first) * step

    parts = frame.grid(as_shares=True)
    parts += [
        bar("reference", x(place) + 0.5, frame.y(chart.reference[place]), step - 1, base - frame.y(value))
        for place in shown
        if (value := chart.reference[place]) > 0
    ]
    outline = [f"M{at(x(first))} {at(base)}"]
    for place in shown:
        height = at(frame.y(chart.current[place]))
        outline.append(f"L{at(x(place))} {height}L{at(x(place + 1))} {height}")
    outline.append(f"L{at(x(last))} {at(base)}")
    parts.append(f'<path class="window" d="{"".join(outline)}"/>')
    parts.append(line("axis", frame.left, base, frame.right, base))
    low, high = chart.edges[0], chart.edges[-1]
    parts += [line("edge", x(place), frame.top, x(place), base) for place in _ends(under, over, inner)]
    parts += _axis(chart, x, inner, base, step if under else 0.0, step if over else 0.0)
    label = (
        f"{chart.title}: shares of rows by value, {legend[0]} against {legend[1]}, from {number(low)} to "
        f"{number(high)}; below that {share(chart.reference[0])} of the {legend[0]} and {share(chart.current[0])} of "
        f"the {legend[1]}, above {share(chart.reference[-1])} and {share(chart.current[-1])}"
    )
    return picture(WIDTH, base + 24, label, parts)


def _ends(under: bool, over: bool, inner: int) -> list[int]:
    """Places that part what lies outside of the edges from what lies inside."""
    return [place for place, there in ((1, under), (inner + 1, over)) if there]


def _axis(chart: Overlay, x: Callable[[float], float], inner: int, base: float, under: float, over: float) -> list[str]:
    """Round values below the axis, none over another, and `<` and `>` below what lies outside of the edges."""
    low, high = chart.edges[0], chart.edges[-1]
    parts, taken = [], -math.inf
    if under:
        parts.append(words("<", x(0) + under / 2, base + 15))
        taken = x(0) + under / 2 + LETTER
    limit = x(inner + 1) - LETTER / 2 if over else WIDTH
    for value in ticks(low, high):
        text = number(value)
        half = len(text) * LETTER / 2
        where = x(1 + (value - low) / (high - low) * inner) if high > low else x(1 + inner / 2)
        where = min(where, WIDTH - half)
        if where - half > taken + 4 and where + half <= limit + half * (not over):
            parts.append(words(text, where, base + 15))
            taken = where + half
    if over:
        parts.append(words(">", x(inner + 1) + over / 2, base + 15))
    return parts


def _categories(chart: Overlay, legend: tuple[str, str]) -> str:
    top = max(*chart.reference, *chart.current, 1e-9)
    # The rest of the categories, which nearly always comes last, often is empty.
    everything = zip((cut(name, _LETTERS) for name in chart.labels), chart.reference, chart.current, strict=True)
    shown = [one for one in everything if one[1] or one[2]]
    names = [name for name, _, _ in shown]
    left = max(44.0, 10 + LETTER * max(map(columns, names), default=0))
    height, width = 8 + _ROW * max(1, len(shown)), WIDTH - left - 48
    parts = []
    for place, (name, before, now) in enumerate(shown):
        y = 4 + place * _ROW
        parts.append(words(name, left - 6, y + 14, "end"))
        parts.append(bar("reference", left, y + 1, width * before / top, 9))
        parts.append(bar("window solid", left, y + 11, width * now / top, 7))
        parts.append(words(share(now), left + width * max(before, now) / top + 5, y + 14, "start"))
    biggest = max(range(len(chart.labels)), key=lambda place: abs(chart.current[place] - chart.reference[place]))
    label = (
        f"{chart.title}: shares of rows by category; the largest change is {chart.labels[biggest]}, "
        f"{share(chart.reference[biggest])} in the {legend[0]}, {share(chart.current[biggest])} in the {legend[1]}"
    )
    return picture(WIDTH, height, label, parts)
