"""A report as one HTML file: style and pictures inside, no script, no network, the same bytes for the same blocks."""

from __future__ import annotations

from html import escape

from mlops_cli.core.reports import charts
from mlops_cli.core.reports.blocks import (
    Block,
    Cell,
    Facts,
    Gallery,
    Heading,
    Heatmap,
    Listing,
    Overlay,
    Paragraph,
    Report,
    Table,
    Verdict,
)
from mlops_cli.core.reports.style import CSS

# Nothing may be fetched or run, whatever a column is called: a second wall behind escaping.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def render(report: Report) -> bytes:
    """The page, UTF-8."""
    body = "\n".join(_block(block) for block in report.blocks)
    subtitle = f'<p class="subtitle">{escape(report.subtitle)}</p>' if report.subtitle else ""
    footer = f"<footer>{escape(report.footer)}</footer>" if report.footer else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{escape(report.title)}</title>
<style>{CSS}</style>
</head>
<body>
<main>
<header><h1>{escape(report.title)}</h1>{subtitle}</header>
{body}
{footer}
</main>
</body>
</html>
""".encode()


def _block(block: Block) -> str:
    match block:
        case Verdict():
            text = f"<p>{escape(block.text)}</p>" if block.text else ""
            return f'<section class="verdict {block.tone}"><h2>{escape(block.headline)}</h2>{text}</section>'
        case Facts():
            pairs = "".join(
                f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in block.items
            )
            return f'<dl class="facts">{pairs}</dl>'
        case Heading():
            return f"<h2{_anchor(block.anchor)}>{escape(block.text)}</h2>"
        case Paragraph():
            return f'<p class="{block.tone}">{escape(block.text)}</p>'
        case Listing():
            return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in block.items)}</ul>"
        case Table():
            return _table(block)
        case Heatmap():
            return charts.heatmap(block)
        case Gallery():
            return _gallery(block)


def _anchor(name: str) -> str:
    return f' id="{escape(name)}"' if name else ""


def _table(table: Table) -> str:
    right = [header in table.right for header in table.headers]
    head = "".join(
        f'<th scope="col"{_right(at_right)}>{escape(header)}</th>'
        for header, at_right in zip(table.headers, right, strict=True)
    )
    rows = "".join(
        "<tr>" + "".join(_cell(cell, at_right) for cell, at_right in zip(row, right, strict=True)) + "</tr>"
        for row in table.rows
    )
    return (
        f'<div class="scroll"><table><caption>{escape(table.caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _right(at_right: bool) -> str:
    return ' class="right"' if at_right else ""


def _cell(cell: Cell, at_right: bool) -> str:
    classes = " ".join(
        name for name in ("right" if at_right else "", cell.tone if cell.tone != "plain" else "") if name
    )
    text = escape(cell.text)
    if cell.link:
        text = f'<a href="#{escape(cell.link)}">{text}</a>'
    if cell.bar is not None:
        part = f"{min(1.0, max(0.0, cell.bar)):.0%}"
        text = f'<span class="barred"><span class="bar" style="--part:{part}"></span>{text}</span>'
    detail = f"<small>{escape(cell.detail)}</small>" if cell.detail else ""
    return f'<td class="{classes}">{text}{detail}</td>' if classes else f"<td>{text}{detail}</td>"


def _gallery(gallery: Gallery) -> str:
    reference, window = gallery.legend
    legend = (
        f'<p class="legend"><span class="key reference"></span>{escape(reference)}'
        f'<span class="key window"></span>{escape(window)}</p>'
    )
    return f'{legend}<div class="gallery">{"".join(_figure(chart, gallery.legend) for chart in gallery.pictures)}</div>'


def _figure(chart: Overlay, legend: tuple[str, str]) -> str:
    mark = f'<span class="mark {chart.tone}">{escape(chart.mark)}</span>' if chart.mark else ""
    note = f"<p>{escape(chart.note)}</p>" if chart.note else ""
    return (
        f"<figure{_anchor(chart.anchor)}><figcaption><b>{escape(chart.title)}</b>{mark}</figcaption>"
        f"{charts.overlay(chart, legend)}{note}</figure>"
    )
