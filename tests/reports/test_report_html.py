"""Reports: one file, the same bytes, nothing fetched, nothing run, whatever the data says."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlops_cli.core.reports.blocks import (
    Bin,
    Cell,
    Facts,
    Fold,
    Gallery,
    Heading,
    HeatCell,
    Heatmap,
    Line,
    LineChart,
    Listing,
    Overlay,
    Paragraph,
    Point,
    Reliability,
    Report,
    Table,
    Verdict,
)
from mlops_cli.core.reports.html import render
from mlops_cli.core.reports.numbers import number, p_value, share, ticks
from mlops_cli.core.reports.style import CSS


def report(text: str = "temp", value: float = 0.25) -> Report:
    """Every kind of block, with `text` wherever a text goes."""
    numbers = Overlay(
        title=text, reference=(0.0, 0.5, 0.5, 0.0), current=(0.1, value, 0.3, 0.35), edges=(0.0, 1.0, 2.0), mark=text
    )
    words = Overlay(title=text, reference=(0.5, 0.5), current=(1.0, 0.0), labels=(text, "b"), note=text, anchor=text)
    points = (Point(value, 0.1, 0.9), None, Point(0.5))
    lines = LineChart(
        title=text,
        labels=("a", "b", "c"),
        lines=(Line(name=text, points=points), Line(name=text, points=points[::-1], dashed=True)),
        level=0.4,
        level_name=text,
        changes=(1.0,),
        change_name=text,
    )
    bin_ = Bin(n=5, predicted=0.2, observed=value, lower=0.1, upper=0.6)
    return Report(
        title=text,
        subtitle=text,
        blocks=(
            Verdict(tone="alarm", headline=text, text=text),
            Facts(items=((text, text),)),
            Heading(text=text, anchor=text),
            Paragraph(text=text),
            Listing(items=(text, text)),
            Table(
                caption=text,
                headers=(text, "effect"),
                rows=((Cell(text=text, link=text, detail=text), Cell(text="1", bar=value, tone="warn")),),
                right=("effect",),
            ),
            Heatmap(
                caption=text,
                rows=(text,),
                columns=("a", text),
                cells=((HeatCell(text=text, heat=value, tone="alarm"), None),),
                links=(text,),
                emphasis=1,
                key=(HeatCell(text=text, heat=value),),
            ),
            Gallery(pictures=(numbers, words), legend=(text, "window")),
            Gallery(pictures=(lines, Reliability(title=text, bins=(bin_,), note=text)), legend=None),
            Fold(summary=text, blocks=(Listing(items=(text,)),)),
        ),
        footer=text,
    )


class Page(HTMLParser):
    """What a browser would see: tags that balance, attributes, texts."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(data.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_same_blocks_are_the_same_bytes() -> None:
    assert render(report()) == render(report())


@given(st.text(min_size=1, max_size=30))
def test_texts_stay_texts(text: str) -> None:
    page, plain = Page(render(report(text))), Page(render(report("plain")))
    # A line break in a header of a heatmap parts its lines.
    assert [tag for tag, _ in page.tags if tag != "br"] == [tag for tag, _ in plain.tags]
    assert not page.open


def test_a_column_named_like_an_attack_is_shown_and_does_nothing() -> None:
    name = "\"><script>alert(1)</script><img src=x onerror=alert(1)>'"
    page = Page(render(report(name)))
    assert not {"script", "img", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert not any(attribute.startswith("on") for _, attributes in page.tags for attribute in attributes)
    assert name in page.texts


def test_nothing_is_fetched() -> None:
    data = render(report()).decode()
    assert not re.search(r"https?:|url\(|@import|src=", data)
    links = [attributes["href"] for tag, attributes in Page(data.encode()).tags if "href" in attributes]
    assert all(link is not None and link.startswith(("#", "data:,")) for link in links)
    assert "default-src 'none'" in data


def test_pictures_have_words_and_tables_have_headers() -> None:
    page = Page(render(report("temp")))
    pictures = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(pictures) == 4
    assert all(attributes["role"] == "img" and "temp" in (attributes["aria-label"] or "") for attributes in pictures)
    assert sum(tag == "caption" for tag, _ in page.tags) == sum(tag == "table" for tag, _ in page.tags)
    assert ("html", {"lang": "en"}) in page.tags


def luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    digits = "".join(digit * 2 for digit in digits) if len(digits) == 3 else digits
    channels = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1])
@pytest.mark.parametrize(
    ("text", "behind"),
    [("ink", "paper"), ("soft", "paper"), ("soft", "card")]
    + [(name, "paper") for name in ("alarm", "warn", "calm")]
    + [(name, f"{name}-bg") for name in ("alarm", "warn", "calm", "unsure")],
)
def test_texts_can_be_read_in_light_and_dark(scheme: int, text: str, behind: str) -> None:
    colours = dict(re.findall(r"--([\w-]+):(#\w+)", CSS.split(":root{")[1 + scheme].partition("}")[0]))
    light, dark = sorted((luminance(colours[text]), luminance(colours[behind])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_numbers_read_as_people_write_them() -> None:
    assert [number(x) for x in (0.63312, 12_000.0, 1018.4, -999.0, 1.2e9, None, float("inf"))] == [
        "0.633", "12,000", "1,018", "−999", "1.2e+09", "–", "∞",
    ]  # fmt: skip
    assert [share(x) for x in (0.0, 0.0001, 0.123, 1.0)] == ["0%", "<0.1%", "12.3%", "100%"]
    assert [p_value(x) for x in (None, 1.0, 0.0123, 3.2e-17, 0.0)] == ["–", "1", "0.012", "3e-17", "<1e-300"]


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
@example(-939851607.5385845, 1e-06)
def test_ticks_lie_in_their_range(low: float, span: float) -> None:
    high = low + span
    found = ticks(low, high)
    assert 1 <= len(found) <= 12
    assert all(low - span * 1e-6 <= tick <= high + span * 1e-6 for tick in found)
