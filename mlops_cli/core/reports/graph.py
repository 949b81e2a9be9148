"""A graph of boxes as one self-contained SVG file, which follows the reader's light or dark."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Literal

from mlops_cli.core.reports.layered import Layout, Place, lay_out

Tone = Literal["plain", "calm", "due", "back", "faint"]

_MARGIN, _GAP, _BETWEEN = 24, 28, 46  # pixels: around, between boxes, between layers
_TITLE, _LINE, _PADDING = 22, 16, 12  # pixels: heights of the two kinds of text, and the space around them
_WIDE, _NARROW = 9.0, 7.2  # pixels: how wide a letter of a title and of a line is
_LETTERS = 34  # of a line; what is longer loses its middle
_STYLE = """
svg{--paper:#fff;--ink:#1b1f24;--soft:#59636e;--edge:#8c959f;--box:#f6f8fa;--line:#d0d7de;
--calm:#1a7f37;--due:#bc4c00;--back:#0969da;--faint:#8c959f;background:var(--paper)}
@media (prefers-color-scheme:dark){svg{--paper:#12161b;--ink:#e8ebef;--soft:#a1abb6;--edge:#6e7781;--box:#1a2027;
--line:#313942;--calm:#57c878;--due:#ffa657;--back:#79b8ff;--faint:#6e7781}}
text{font-family:system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:var(--ink)}
.title{font-size:14px;font-weight:600}.line{font-size:12px;fill:var(--soft)}.state{font-size:11.5px;font-weight:600}
.box{fill:var(--box);stroke:var(--line)}.edge{fill:none;stroke:var(--edge);stroke-width:1.4}.head{fill:var(--edge)}
.plain .bar{fill:var(--line)}.calm .bar{fill:var(--calm)}.due .bar{fill:var(--due)}.back .bar{fill:var(--back)}
.faint .bar{fill:var(--faint)}.calm .state{fill:var(--calm)}.due .state{fill:var(--due)}.back .state{fill:var(--back)}
.faint .state{fill:var(--faint)}.faint .box{stroke-dasharray:4 3}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """`lines` stand below the name; `state` is a word or two in the colour of `tone`. `stacked` stands for many."""

    name: str
    title: str
    lines: tuple[str, ...] = ()
    state: str = ""
    tone: Tone = "plain"
    stacked: bool = False


def draw_graph(boxes: Sequence[Box], edges: Sequence[tuple[str, str]], title: str) -> str:
    """The boxes, each after those that lead to it, and the edges (from, to) by name, as an SVG document."""
    layout = lay_out({box.name: _width(box) for box in boxes}, edges, _GAP)
    tops, height = _tops(boxes, layout)
    drawn = [_edge(layout, tops, boxes, edge) for edge in dict.fromkeys(edges)]
    drawn += [_box(box, layout.places[box.name], tops) for box in boxes]
    width = layout.width + 2 * _MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(title)}">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n"
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
        '<path class="head" d="M0 1L10 5L0 9z"/></marker></defs>\n' + "\n".join(drawn) + "\n</svg>\n"
    )


def _height(box: Box) -> float:
    return 2 * _PADDING + _TITLE + _LINE * (len(box.lines) + bool(box.state)) - 6


def _width(box: Box) -> float:
    lines = [_columns(_short(line)) * _NARROW for line in (*box.lines, box.state)]
    return max(90.0, _columns(box.title) * _WIDE, *lines) + 2 * _PADDING + 6


def _tops(boxes: Sequence[Box], layout: Layout) -> tuple[list[float], float]:
    """Where each layer begins, and where the last one ends."""
    heights = [0.0] * layout.layers
    for box in boxes:
        layer = layout.places[box.name][1]
        heights[layer] = max(heights[layer], _height(box))
    tops, top = [], float(_MARGIN)
    for height in heights:
        tops.append(top)
        top += height + _BETWEEN
    return tops, max(top - _BETWEEN + _MARGIN, 2.0 * _MARGIN)


def _box(box: Box, place: Place, tops: Sequence[float]) -> str:
    width, height = _width(box), _height(box)
    x, y = place[0] + _MARGIN - width / 2, tops[place[1]]
    parts = [f'<g class="{box.tone}">']
    if box.stacked:
        parts += [
            f'<rect class="box" x="{x + by:.1f}" y="{y + by:.1f}" width="{width:.1f}" height="{height:.1f}" rx="7"/>'
            for by in (8, 4)
        ]
    parts.append(f'<rect class="box" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="7"/>')
    parts.append(f'<rect class="bar" x="{x:.1f}" y="{y + 7:.1f}" width="4" height="{height - 14:.1f}" rx="2"/>')
    left, base = x + _PADDING + 4, y + _PADDING + 12
    parts.append(f'<text class="title" x="{left:.1f}" y="{base:.1f}">{_escaped(box.title)}</text>')
    for number, line in enumerate(box.lines):
        at = base + 4 + _LINE * (number + 1)
        parts.append(f'<text class="line" x="{left:.1f}" y="{at:.1f}">{_escaped(_short(line))}</text>')
    if box.state:
        at = base + 4 + _LINE * (len(box.lines) + 1)
        parts.append(f'<text class="state" x="{left:.1f}" y="{at:.1f}">{_escaped(box.state)}</text>')
    return "".join((*parts, "</g>"))


def _edge(layout: Layout, tops: Sequence[float], boxes: Sequence[Box], edge: tuple[str, str]) -> str:
    heights = {box.name: _height(box) for box in boxes if box.name in edge}
    (x, layer), (end, last) = layout.places[edge[0]], layout.places[edge[1]]
    points = [(x, tops[layer] + heights[edge[0]])]
    for bend, number in layout.bends[edge]:
        # Straight through the layer that it passes, so that it crosses no box there.
        points += [(bend, tops[number]), (bend, tops[number + 1] - _BETWEEN)]
    points.append((end, tops[last]))
    path = [f"M{points[0][0] + _MARGIN:.1f} {points[0][1]:.1f}"]
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (y0 + y1) / 2
        path.append(
            f"C{x0 + _MARGIN:.1f} {middle:.1f} {x1 + _MARGIN:.1f} {middle:.1f} {x1 + _MARGIN:.1f} {y1:.1f}"
            if abs(x0 - x1) > 1
            else f"L{x1 + _MARGIN:.1f} {y1:.1f}"
        )
    return f'<path class="edge" d="{"".join(path)}" marker-end="url(#head)"/>'


def _short(text: str) -> str:
    if len(text) <= _LETTERS:
        return text
    half = (_LETTERS - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def _escaped(text: str) -> str:
    """As it may stand in XML, which has no word for control characters and lone surrogates."""
    return escape("".join(letter if letter.isprintable() else "\ufffd" for letter in text))


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
