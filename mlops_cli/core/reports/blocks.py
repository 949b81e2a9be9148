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
    """Rows of cells below `headers`; the columns named in `right` hold numbers. `caption` says what it shows.

    The first cell names its row. Where the page is narrow a row becomes a card of its own, headers beside values.
    """

    caption: str
    headers: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    right: tuple[str, ...] = ()


class Overlay(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Two samples over one set of bins, as shares of each (adding up to 1).

    `edges` (b + 1,) cut numbers: then both samples hold b + 2 shares, of the rows under, in and over the edges. Else
    `labels` name b categories. `mark` is a remark on the right of the title.
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


class Point(msgspec.Struct, frozen=True):
    """A value with its interval; an end that is not known is None."""

    value: float
    lower: float | None = None
    upper: float | None = None

    @property
    def ends(self) -> tuple[float, float]:
        """The interval, the value itself standing in for an end that is not known."""
        return (
            self.value if self.lower is None else self.lower,
            self.value if self.upper is None else self.upper,
        )


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One value by window, None where there is none. `dashed` for what is only estimated."""

    name: str
    points: tuple[Point | None, ...]
    dashed: bool = False


class LineChart(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Lines with bands of their intervals over `labels`. `level`, named `level_name`, is what they are compared with;
    `changes` are places (0 for the first label) at which something named `change_name` is marked."""

    title: str
    labels: tuple[str, ...]
    lines: tuple[Line, ...]
    level: float | None = None
    level_name: str = ""
    changes: tuple[float, ...] = ()
    change_name: str = ""
    mark: str = ""
    tone: Tone = "plain"
    note: str = ""
    anchor: str = ""


class Bin(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that were given about the same probability: how often it then happened, with an interval."""

    n: int
    predicted: float
    observed: float
    lower: float
    upper: float


class Reliability(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Predicted probabilities against what happened; on the diagonal they are what they say."""

    title: str
    bins: tuple[Bin, ...]
    mark: str = ""
    tone: Tone = "plain"
    note: str = ""
    anchor: str = ""


class HeatCell(msgspec.Struct, frozen=True, kw_only=True):
    """A cell shaded by `heat`, 0..1. Its tone colours it, and `alarm` and `warn` also carry a mark."""

    text: str
    heat: float
    tone: Tone = "plain"


class Heatmap(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Cells by row and column; None where there is nothing. A header may have several lines. `links` are anchors of the
    rows; `emphasis` is the place of a column that is set apart; `key` explains the shades."""

    caption: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[HeatCell | None, ...], ...]
    links: tuple[str, ...] = ()
    emphasis: int | None = None
    key: tuple[HeatCell, ...] = ()


Chart = Overlay | LineChart | Reliability


class Gallery(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Pictures side by side where there is room. `legend` names the two samples of overlays; empty: none is shown."""

    pictures: tuple[Chart, ...]
    legend: tuple[str, str] | None = ("reference", "window")


class Fold(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What is there for who asks: closed on a screen, open in print."""

    summary: str
    blocks: tuple[Table | Listing | Heatmap | Gallery, ...]


Block = Verdict | Facts | Heading | Paragraph | Listing | Table | Heatmap | Gallery | Fold


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One page. `subtitle` stands below the title; `footer` says what made it."""

    title: str
    subtitle: str = ""
    blocks: tuple[Block, ...] = ()
    footer: str = ""
