"""What a report is made of: plain data, drawn by `html.render`. Every text is a text; none is HTML."""

from __future__ import annotations

from typing import Literal

import msgspec

Tone = Literal["plain", "alarm", "warn", "calm", "unsure", "faint"]


class Verdict(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The answer, first and large. `tone` colours it; `headline` says it without the colour."""

    tone: Tone
    headline: str
    text: str = ""


class Facts(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Short labels with their values, such as the window and its rows."""

    items: tuple[tuple[str, str], ...]


class Heading(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Begins a section. `anchor` lets other blocks link to it."""

    text: str
    anchor: str = ""


class Paragraph(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    text: str
    tone: Tone = "plain"


class Listing(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Short remarks, one below the other."""

    items: tuple[str, ...]


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of a table. `bar`, 0..1, draws how much; `detail` is smaller print below; `link` leads to an anchor."""

    text: str
    tone: Tone = "plain"
    bar: float | None = None
    detail: str = ""
    link: str = ""


class Table(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Rows of cells below `headers`; the columns named in `right` hold numbers. `caption` says what it shows."""

    caption: str
    headers: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    right: tuple[str, ...] = ()


class Overlay(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Two samples over one set of bins, as shares of each (adding up to 1).

    `edges` (b + 1,) cut numbers: then both samples hold b + 2 shares, of the rows under, in and over the edges. Else
    `labels` name b categories. `marks` are remarks on the right of the title.
    """

    title: str
    reference: tuple[float, ...]
    current: tuple[float, ...]
    edges: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()
    mark: str = ""
    tone: Tone = "plain"
    note: str = ""
    anchor: str = ""


class Heatmap(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Values 0..1 by row and column; None where there is none. `texts` stand in the cells."""

    caption: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    texts: tuple[tuple[str, ...], ...]


class Gallery(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Pictures side by side where there is room. `legend` names the two samples."""

    pictures: tuple[Overlay, ...]
    legend: tuple[str, str] = ("reference", "window")


Block = Verdict | Facts | Heading | Paragraph | Listing | Table | Heatmap | Gallery


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One page. `subtitle` stands below the title; `footer` says what made it."""

    title: str
    subtitle: str = ""
    blocks: tuple[Block, ...] = ()
    footer: str = ""
