"""Charts as inline SVG. Colours come from the page's style sheet, so that they follow light, dark and print."""

from __future__ import annotations

from html import escape

from mlops_cli.core.reports.blocks import Heatmap, Overlay
from mlops_cli.core.reports.numbers import number, share, ticks

WIDTH, HEIGHT = 360, 176
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 8, 10, 22
_ROW = 19  # height of one category


def overlay(chart: Overlay, legend: tuple[str, str]) -> str:
    """Both samples over one axis: bars of the reference, the window as an outline (numbers) or a second bar."""
    return _numbers(chart, legend) if chart.edges else _categories(chart, legend)


def _svg(width: int, height: int, label: str, inner: list[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}" '
        f'preserveAspectRatio="xMidYMid meet">{"".join(inner)}</svg>'
    )


def _numbers(chart: Overlay, legend: tuple[str, str]) -> str:
    bins = len(chart.reference)  # the first and last lie outside the edges
    top = max(*chart.reference, *chart.current, 1e-9)
    inner_width, inner_height = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
    step = inner_width / bins

    def x(place: float) -> float:
        return _LEFT + place * step

    def y(value: float) -> float:
        return _TOP + inner_height * (1 - value / top)

    base = y(0)
    drawn = []
    for value in (top, top / 2):
        drawn.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{_f(y(value))}" y2="{_f(y(value))}"/>')
        drawn.append(
            f'<text class="tick" x="{_LEFT - 4}" y="{_f(y(value) + 3)}" text-anchor="end">{share(value)}</text>'
        )
    for place, value in enumerate(chart.reference):
        if value > 0:
            drawn.append(_bar("reference", x(place) + 0.5, y(value), step - 1, base - y(value)))
    outline = [f"M{_f(x(0))} {_f(base)}"]
    for place, value in enumerate(chart.current):
        outline.append(f"L{_f(x(place))} {_f(y(value))}L{_f(x(place + 1))} {_f(y(value))}")
    outline.append(f"L{_f(x(bins))} {_f(base)}")
    drawn.append(f'<path class="window" d="{"".join(outline)}"/>')
    drawn.append(f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{_f(base)}" y2="{_f(base)}"/>')
    low, high = chart.edges[0], chart.edges[-1]
    for value in ticks(low, high):
        where = 1 + (value - low) / (high - low) * (bins - 2) if high > low else bins / 2
        drawn.append(
            f'<text class="tick" x="{_f(x(where))}" y="{HEIGHT - 6}" text-anchor="middle">{number(value)}</text>'
        )
    under, over = chart.current[0], chart.current[-1]
    label = (
        f"{chart.title}: shares of rows by value, {legend[0]} against {legend[1]}, from {number(low)} to "
        f"{number(high)}; {share(under)} of the {legend[1]} below, {share(over)} above"
    )
    return _svg(WIDTH, HEIGHT, label, drawn)


def _categories(chart: Overlay, legend: tuple[str, str]) -> str:
    top = max(*chart.reference, *chart.current, 1e-9)
    left, height = 96, _TOP + _ROW * len(chart.labels) + 4
    width = WIDTH - left - 46
    drawn = []
    for place, (name, before, now) in enumerate(zip(chart.labels, chart.reference, chart.current, strict=True)):
        y = _TOP + place * _ROW
        shown = name if len(name) <= 15 else f"{name[:14]}…"
        drawn.append(f'<text class="tick" x="{left - 6}" y="{y + 11}" text-anchor="end">{escape(shown)}</text>')
        drawn.append(_bar("reference", left, y + 1, width * before / top, 7))
        drawn.append(_bar("window solid", left, y + 8.5, width * now / top, 6))
        drawn.append(
            f'<text class="tick" x="{_f(left + width * max(before, now) / top + 5)}" y="{y + 11}">{share(now)}</text>'
        )
    biggest = max(range(len(chart.labels)), key=lambda at: abs(chart.current[at] - chart.reference[at]))
    label = (
        f"{chart.title}: shares of rows by category; the largest change is {chart.labels[biggest]}, "
        f"{share(chart.reference[biggest])} in the {legend[0]}, {share(chart.current[biggest])} in the {legend[1]}"
    )
    return _svg(WIDTH, height, label, drawn)


def _bar(kind: str, x: float, y: float, width: float, height: float) -> str:
    return (
        f'<rect class="{kind}" x="{_f(x)}" y="{_f(y)}" width="{_f(max(0.0, width))}" height="{_f(max(0.0, height))}"/>'
    )


def heatmap(chart: Heatmap) -> str:
    """A table whose cells are shaded by their value; it stays a table for those who cannot see shades."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in chart.columns)
    body = []
    for name, values, texts in zip(chart.rows, chart.values, chart.texts, strict=True):
        cells = "".join(
            '<td class="none"></td>'
            if value is None
            else f'<td style="--heat:{round(100 * min(1.0, max(0.0, value)))}%">{escape(text)}</td>'
            for value, text in zip(values, texts, strict=True)
        )
        body.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    return (
        f'<div class="scroll"><table class="heat"><caption>{escape(chart.caption)}</caption>'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _f(value: float) -> str:
    """Coordinates with one decimal: small files, and the same bytes on every machine."""
    return f"{value:.1f}"
