"""Parts of a picture as SVG. Colours come from the page's style sheet, so that they follow light, dark and print."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mlops_cli.core.reports.numbers import number, ticks
from mlops_cli.core.reports.texts import escaped

WIDTH, HEIGHT = 360, 190
LETTER = 7.2  # how wide a letter of a tick is, about


def picture(width: float, height: float, label: str, parts: Iterable[str]) -> str:
    """A picture that says what it shows to those who cannot see it."""
    return (
        f'<svg viewBox="0 0 {at(width)} {at(height)}" role="img" aria-label="{escaped(label)}">{"".join(parts)}</svg>'
    )


def at(value: float) -> str:
    """A coordinate with at most one decimal: small files, and the same bytes on every machine."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def bar(kind: str, x: float, y: float, width: float, height: float) -> str:
    return (
        f'<rect class="{kind}" x="{at(x)}" y="{at(y)}" width="{at(max(0.0, width))}" height="{at(max(0.0, height))}"/>'
    )


def line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{at(x1)}" y1="{at(y1)}" x2="{at(x2)}" y2="{at(y2)}"/>'


def path(kind: str, points: Sequence[tuple[float, float]], *, closed: bool = False) -> str:
    lines = "L".join(f"{at(x)} {at(y)}" for x, y in points)
    return f'<path class="{kind}" d="M{lines}{"Z" if closed else ""}"/>'


def dot(kind: str, x: float, y: float, radius: float) -> str:
    return f'<circle class="{kind}" cx="{at(x)}" cy="{at(y)}" r="{at(radius)}"/>'


def words(text: str, x: float, y: float, anchor: str = "middle", kind: str = "tick") -> str:
    """A line of text; `anchor` is where in it x lies: start, middle or end."""
    return f'<text class="{kind}" x="{at(x)}" y="{at(y)}" text-anchor="{anchor}">{escaped(text)}</text>'


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The plane of a chart: `left`..`right` and `top`..`bottom` in pixels, `low`..`high` in what is drawn upwards."""

    low: float
    high: float
    left: float = 44
    right: float = WIDTH - 8
    top: float = 10
    bottom: float = HEIGHT - 24

    @property
    def width(self) -> float:
        return self.right - self.left

    def y(self, value: float) -> float:
        span = (self.high - self.low) or 1.0
        return self.bottom - (self.bottom - self.top) * (min(max(value, self.low), self.high) - self.low) / span

    def grid(self, count: int = 3, *, as_shares: bool = False) -> list[str]:
        """Horizontal lines at round values, with the values on their left."""
        parts = []
        for value in ticks(self.low, self.high, count):
            named = f"{100 * value:.3g}%" if as_shares else number(value)
            parts.append(line("grid", self.left, self.y(value), self.right, self.y(value)))
            parts.append(words(named, self.left - 5, self.y(value) + 4, "end"))
        return parts


def sparse(count: int, most: int) -> list[int]:
    """Which of `count` places carry a label, where only `most` labels have room: evenly many, the last one always."""
    if count <= most:
        return list(range(count))
    step = -(-(count - 1) // (most - 1)) if most > 1 else count
    return list(range(count - 1, -1, -step))[::-1]
