"""A report as one HTML file: style and pictures inside, no script, no network, the same bytes for the same blocks."""

from __future__ import annotations

from mlops_cli.core.reports.blocks import (
    Block,
    Chart,
    Facts,
    Fold,
    Gallery,
    Heading,
    Heatmap,
    LineChart,
    Listing,
    Overlay,
    Paragraph,
    Report,
    Table,
    Verdict,
)
from mlops_cli.core.reports.lines import line_chart
from mlops_cli.core.reports.overlays import overlay
from mlops_cli.core.reports.reliability import reliability
from mlops_cli.core.reports.style import CSS
from mlops_cli.core.reports.tables import heatmap, table
from mlops_cli.core.reports.texts import escaped

# Nothing may be fetched or run, whatever a column is called: a second wall behind escaping.
GENERATOR = b'<meta name="generator" content="mlo">'  # by which a page is known as one that may be replaced
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def render(report: Report) -> bytes:
    """The page, UTF-8. What is no UTF-8, as a file's name may be, is spelled out."""
    body = "\n".join(_block(block) for block in report.blocks)
    subtitle = f'<p class="subtitle">{escaped(report.subtitle)}</p>' if report.subtitle else ""
    footer = f"<footer>{escaped(report.footer)}</footer>" if report.footer else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
{GENERATOR.decode()}
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{escaped(report.title)}</title>
<style>{CSS}</style>
</head>
<body>
<main>
<header><h1>{escaped(report.title)}</h1>{subtitle}</header>
{body}
{footer}
</main>
</body>
</html>
""".encode(errors="backslashreplace")


def _block(block: Block) -> str:  # noqa: PLR0911 - one for each kind
    match block:
        case Verdict():
            text = f"<p>{escaped(block.text)}</p>" if block.text else ""
            return f'<section class="verdict {block.tone}"><h2>{escaped(block.headline)}</h2>{text}</section>'
        case Facts():
            pairs = "".join(
                f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd></div>" for name, value in block.items
            )
            return f'<dl class="facts">{pairs}</dl>'
        case Heading():
            return f"<h2{_anchor(block.anchor)}>{escaped(block.text)}</h2>"
        case Paragraph():
            return f'<p class="{block.tone}">{escaped(block.text)}</p>'
        case Listing():
            return f"<ul>{''.join(f'<li>{escaped(item)}</li>' for item in block.items)}</ul>"
        case Table():
            return table(block)
        case Heatmap():
            return heatmap(block)
        case Gallery():
            return _gallery(block)
        case Fold():
            inner = "\n".join(map(_block, block.blocks))
            return f"<details><summary>{escaped(block.summary)}</summary>{inner}</details>"


def _anchor(name: str) -> str:
    return f' id="{escaped(name)}"' if name else ""


def _gallery(gallery: Gallery) -> str:
    legend = ""
    if gallery.legend is not None:
        reference, window = gallery.legend
        legend = (
            f'<p class="legend"><span><b class="key reference"></b>{escaped(reference)}</span>'
            f'<span><b class="key window"></b>{escaped(window)}</span></p>'
        )
    names = gallery.legend or ("reference", "window")
    return f'{legend}<div class="gallery">{"".join(_figure(chart, names) for chart in gallery.pictures)}</div>'


def _figure(chart: Chart, legend: tuple[str, str]) -> str:
    mark = f'<span class="mark {chart.tone}">{escaped(chart.mark)}</span>' if chart.mark else ""
    note = f"<p>{escaped(chart.note)}</p>" if chart.note else ""
    return (
        f"<figure{_anchor(chart.anchor)}><figcaption><b>{escaped(chart.title)}</b>{mark}</figcaption>"
        f"{_picture(chart, legend)}{note}</figure>"
    )


def _picture(chart: Chart, legend: tuple[str, str]) -> str:
    match chart:
        case Overlay():
            return overlay(chart, legend)
        case LineChart():
            return line_chart(chart) + _lines(chart)
        case _:
            return reliability(chart)


def _lines(chart: LineChart) -> str:
    """What each kind of line stands for."""
    keys = [("line dashed" if one.dashed else "line", one.name) for one in chart.lines if any(one.points)]
    keys += [("level", chart.level_name)] if chart.level is not None else []
    keys += [("change", chart.change_name)] if chart.changes else []
    spans = "".join(f'<span><b class="key {kind}"></b>{escaped(name)}</span>' for kind, name in keys)
    return f'<p class="legend">{spans}</p>'
