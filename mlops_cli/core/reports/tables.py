"""Tables, and tables whose cells are shaded: readable by eye, by voice, and on a phone."""

from __future__ import annotations

from mlops_cli.core.reports.blocks import Cell, HeatCell, Heatmap, Table
from mlops_cli.core.reports.texts import cut, escaped

_MARKS = {"alarm": "▲", "warn": "△"}
_BRIEF = 18  # letters of a cell that is never broken into lines
_SAID = {"alarm": "alarm", "warn": "warning"}


def table(block: Table) -> str:
    """Roles are said aloud: on a phone rows are drawn as cards, and a browser then forgets that it is a table."""
    right = [header in block.right for header in block.headers]
    head = "".join(
        f'<th scope="col" role="columnheader"{_class("right" if at_right else "")}>{escaped(header)}</th>'
        for header, at_right in zip(block.headers, right, strict=True)
    )
    rows = "".join(f'<tr role="row">{_row(row, block.headers, right)}</tr>' for row in block.rows)
    return (
        f'<div class="scroll"><table role="table" class="cards"><caption>{escaped(block.caption)}</caption>'
        f'<thead><tr role="row">{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _row(row: tuple[Cell, ...], headers: tuple[str, ...], right: list[bool]) -> str:
    drawn = []
    for place, (cell, header, at_right) in enumerate(zip(row, headers, right, strict=True)):
        brief = not at_right and len(cell.text) <= _BRIEF
        classes = _class("right" if at_right else "brief" if brief else "", cell.tone if cell.tone != "plain" else "")
        if place == 0:
            drawn.append(f'<th scope="row" role="rowheader"{classes}>{_inner(cell)}</th>')
        else:
            drawn.append(f'<td role="cell" data-of="{escaped(header)}"{classes}>{_inner(cell)}</td>')
    return "".join(drawn)


def _class(*names: str) -> str:
    held = " ".join(name for name in names if name)
    return f' class="{held}"' if held else ""


def _inner(cell: Cell) -> str:
    text = escaped(cell.text)
    if cell.link:
        text = f'<a href="#{escaped(cell.link)}">{text}</a>'
    if cell.bar is not None:
        part = f"{min(1.0, max(0.0, cell.bar)):.0%}"
        text = f'<span class="barred"><span class="bar" style="--part:{part}"></span>{text}</span>'
    detail = f"<small>{escaped(cell.detail)}</small>" if cell.detail else ""
    return f"<span>{text}{detail}</span>"


def heatmap(block: Heatmap) -> str:
    """A table whose cells are shaded; it stays a table for those who cannot see shades."""
    head = "".join(
        f'<th scope="col"{_class("now" if place == block.emphasis else "")}>{_lines(name)}</th>'
        for place, name in enumerate(block.columns)
    )
    links = block.links or ("",) * len(block.rows)
    body = []
    for name, link, cells in zip(block.rows, links, block.cells, strict=True):
        shown = escaped(cut(name, 24))
        named = f'<a href="#{escaped(link)}">{shown}</a>' if link else shown
        drawn = "".join(_shaded(cell, now=place == block.emphasis) for place, cell in enumerate(cells))
        body.append(f'<tr><th scope="row">{named}</th>{drawn}</tr>')
    key = "".join(f"<li>{_key(cell)}</li>" for cell in block.key)
    return (
        f'<div class="scroll"><table class="heat"><caption>{escaped(block.caption)}</caption>'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
        + (f'<ul class="key">{key}</ul>' if key else "")
    )


def _lines(name: str) -> str:
    """A header whose parts stand one below the other, so that columns stay narrow."""
    return "<br>".join(escaped(cut(part, 12)) for part in name.split("\n")[:3])


def _shaded(cell: HeatCell | None, *, now: bool) -> str:
    if cell is None:
        return f"<td{_class('none', 'now' if now else '')}></td>"
    classes = _class(cell.tone if cell.tone in _MARKS else "", "now" if now else "")
    mark = f'<i role="img" aria-label="{_SAID[cell.tone]}">{_MARKS[cell.tone]}</i>' if cell.tone in _MARKS else ""
    return f'<td{classes} style="--h:{_percent(cell.heat)}">{mark}{escaped(cell.text)}</td>'


def _key(cell: HeatCell) -> str:
    mark = _MARKS.get(cell.tone, "")
    tone = _class("shade", cell.tone if mark else "")
    return f'<span{tone} style="--h:{_percent(cell.heat)}">{mark or "&nbsp;"}</span>{escaped(cell.text)}'


def _percent(heat: float) -> str:
    return f"{round(100 * min(1.0, max(0.0, heat)))}%"
