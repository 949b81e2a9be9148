"""Reports in a real browser: drawn on a phone, on a desk and on paper, with no complaint and nothing fetched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium_pipe import Browser

from mlops_cli.core.reports.blocks import (
    Bin,
    Block,
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

pytestmark = pytest.mark.chromium
HOSTILE = "</title></script><script>document.title='mine'</script>\"'><img src=x onerror=alert(1)> "
HOSTILE += "\u202eevil\u202c \U0001f4a5 שם"
NAMES = (HOSTILE, "x" * 10_000, "temp", "日本語" * 30)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every kind of block, with names that break pages."""
    blocks: list[Block] = [Verdict(tone="alarm", headline=HOSTILE, text=HOSTILE), Facts(items=((HOSTILE, NAMES[1]),))]
    points = tuple(Point(0.7 - place / 100, 0.65, 0.75) for place in range(8))
    bins = tuple(Bin(n=9, predicted=at / 10, observed=at / 10, lower=0.0, upper=1.0) for at in range(10))
    for name in NAMES:
        shares = (0.0, 0.5, 0.5, 0.0)
        cell = HeatCell(text=".63", heat=0.6, tone="alarm")
        headers = (name, *(f"number {place}" for place in range(9)))
        table = Table(
            caption=name,
            headers=headers,
            rows=((Cell(text=name, detail=name), *(Cell(text="1,234.5", bar=0.5) for _ in range(9))),),
            right=headers[1:],
        )
        blocks += [
            Heading(text=name, anchor=name),
            Paragraph(text=name, tone="warn"),
            Listing(items=(name,)),
            table,
            Gallery(
                pictures=(
                    Overlay(
                        title=name, reference=shares, current=shares[::-1], edges=(0.0, 1.0, 2.0), mark="drift 0.6"
                    ),
                    Overlay(title=name, reference=(0.5, 0.5), current=(0.9, 0.1), labels=(name, "b"), note=name),
                    LineChart(
                        title=name, labels=(name, *"abcdefg"), lines=(Line(name=name, points=points),), level=0.7
                    ),
                    Reliability(title=name, bins=bins, note=name),
                )
            ),
            Heatmap(caption=name, rows=(name,), columns=(name,) * 9, cells=((cell,) * 9,), key=(cell,)),
            Fold(summary=name, blocks=(table,)),
        ]
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_bytes(render(Report(title=HOSTILE, subtitle=HOSTILE, blocks=tuple(blocks), footer=HOSTILE)))
    return path


@pytest.mark.parametrize("width", [390, 1200])
def test_nothing_is_wider_than_the_screen_fetched_or_complained_of(browser: Browser, page: Path, width: int) -> None:
    browser.open(page, width=width)
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.requests == [page.as_uri()]
    assert browser.complaints == []
    assert browser.value("document.title") != "mine"
    drawn = "[...document.querySelectorAll('svg')].map(it => it.getBoundingClientRect()).filter(it => it.width > 200)"
    assert browser.value(f"{drawn}.length") == 4 * len(NAMES)
    assert browser.screenshot().startswith(b"\x89PNG")


def test_texts_of_a_picture_stay_inside_of_it(browser: Browser, page: Path) -> None:
    browser.open(page, width=390)
    outside = """[...document.querySelectorAll('svg text')].filter(it => {
        const [inner, outer] = [it.getBoundingClientRect(), it.ownerSVGElement.getBoundingClientRect()];
        return inner.left < outer.left - 1 || inner.right > outer.right + 1;
    }).map(it => it.textContent)"""
    assert browser.value(outside) == []


def test_dark_is_dark_and_light_is_light(browser: Browser, page: Path) -> None:
    behind = "getComputedStyle(document.body).backgroundColor"
    browser.open(page, width=1200, dark=True)
    dark = browser.value(behind)
    browser.open(page, width=1200)
    assert (dark, browser.value(behind)) == ("rgb(18, 22, 27)", "rgb(255, 255, 255)")


def test_it_prints(browser: Browser, page: Path) -> None:
    browser.open(page, width=1200)
    printed = browser.pdf()
    assert printed.startswith(b"%PDF")
    assert browser.requests == [page.as_uri()]


def test_a_table_of_ten_columns_fits_on_paper_and_what_is_folded_is_open_there(
    browser: Browser, tmp_path: Path
) -> None:
    headers = ("Column", "Verdict", "Effect", "Test", "Statistic", "p, adjusted", "Rows", "Effective rows",
               "Detectable from", "Importance")  # fmt: skip
    texts = ("sched_dep_time", "too few rows", "0.027", "chi-square", "0.0114", "2e-21", "4,000", "3,647", "0.059")
    row = (*(Cell(text=text, bar=0.5 if text == "0.027" else None) for text in texts), Cell(text="0.00027"))
    table = Table(caption="Columns", headers=headers, rows=(row,) * 3, right=headers[4:])
    path = tmp_path / "table.html"
    path.write_bytes(render(Report(title="t", blocks=(table, Fold(summary="more", blocks=(table,))))))
    browser.open(path, width=720)
    browser.ask("Emulation.setEmulatedMedia", media="print")
    assert browser.value("document.documentElement.scrollWidth") <= 720
    assert browser.value("document.querySelector('details table').getBoundingClientRect().height") > 20
    browser.ask("Emulation.setEmulatedMedia", media="")
