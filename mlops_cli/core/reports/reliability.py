"""Are probabilities what they say? Predicted against observed, with intervals."""

from __future__ import annotations

from mlops_cli.core.reports.blocks import Reliability
from mlops_cli.core.reports.numbers import share, ticks
from mlops_cli.core.reports.svg import WIDTH, Frame, bar, dot, line, picture, words

_HEIGHT = 250


def reliability(chart: Reliability) -> str:
    """Points by bin, whiskers over their intervals, the diagonal they should lie on; below, the rows of each."""
    reach = max((end for one in chart.bins for end in (one.predicted, one.upper, one.observed)), default=1.0)
    top = next(end for end in (0.1, 0.2, 0.4, 0.6, 0.8, 1.0) if end >= min(reach, 1.0))
    frame = Frame(low=0.0, high=top, bottom=_HEIGHT - 64)

    def x(value: float) -> float:
        return frame.left + frame.width * min(value, top) / top

    parts = frame.grid(4, as_shares=True)
    parts.append(line("level", x(0), frame.y(0), x(top), frame.y(top)))
    parts.append(line("axis", frame.left, frame.bottom, frame.right, frame.bottom))
    for value in ticks(0.0, top):
        where = min(x(value), WIDTH - 18)
        parts.append(words(f"{100 * value:.3g}%", where, frame.bottom + 16))
    most = max((one.n for one in chart.bins), default=1) or 1
    for one in chart.bins:
        where = x(one.predicted)
        parts.append(line("whisker", where, frame.y(one.lower), where, frame.y(one.upper)))
        parts.append(dot("dot", where, frame.y(one.observed), 3.4))
        tall = 22 * one.n / most
        parts.append(bar("reference", where - 4, _HEIGHT - 18 - tall, 8, tall))
    parts.append(words("predicted; bars: rows", (frame.left + frame.right) / 2, _HEIGHT - 4))
    return picture(WIDTH, _HEIGHT, finding(chart), parts)


def finding(chart: Reliability) -> str:
    """What the picture shows, in words."""
    if not chart.bins:
        return f"{chart.title}: no rows"
    off = [one for one in chart.bins if not one.lower <= one.predicted <= one.upper]
    worst = max(chart.bins, key=lambda one: abs(one.observed - one.predicted))
    return (
        f"{chart.title}: {len(chart.bins) - len(off)} of {len(chart.bins)} bins hold what was predicted within their "
        f"interval; the farthest predicted {share(worst.predicted)} and observed {share(worst.observed)}"
    )
