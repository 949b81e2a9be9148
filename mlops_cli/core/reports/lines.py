"""Values over windows, with the bands of their intervals."""

from __future__ import annotations

from collections.abc import Callable

from mlops_cli.core.reports.blocks import Line, LineChart, Point
from mlops_cli.core.reports.numbers import number
from mlops_cli.core.reports.svg import HEIGHT, LETTER, WIDTH, Frame, dot, line, path, picture, sparse, words
from mlops_cli.core.reports.texts import columns, cut


def line_chart(chart: LineChart) -> str:
    """Each line with its band; the level it is compared with; changes as upright lines with a flag."""
    frame = _frame(chart)
    count = len(chart.labels)

    def x(place: float) -> float:
        # A single window stands in the middle; of several the first and the last stand clear of the frame.
        return frame.left + frame.width * ((place + 0.5) / count if count < 2 else 0.04 + 0.92 * place / (count - 1))

    parts = frame.grid()
    parts.append(line("axis", frame.left, frame.bottom, frame.right, frame.bottom))
    for place in chart.changes:
        parts.append(line("change", x(place), frame.top - 4, x(place), frame.bottom))
        parts.append(path("flag", [(x(place), frame.top - 6), (x(place) + 8, frame.top - 2), (x(place), frame.top + 2)],
                          closed=True))  # fmt: skip
    for one in chart.lines:
        parts += _drawn(one, x, frame)
    if chart.level is not None:
        parts.append(line("level", frame.left, frame.y(chart.level), frame.right, frame.y(chart.level)))
    parts += _labels(chart, x, frame)
    return picture(WIDTH, HEIGHT, finding(chart), parts)


def finding(chart: LineChart) -> str:
    """What the picture shows, in words."""
    said = []
    for one in chart.lines:
        points = [(label, point) for label, point in zip(chart.labels, one.points, strict=True) if point is not None]
        if not points:
            continue
        label, latest = points[-1]
        text = f"{one.name} {_interval(latest)} at {label}"
        if len(points) > 1:
            low, high = min(point.value for _, point in points), max(point.value for _, point in points)
            text += f", {number(low)} to {number(high)} over {len(points)} windows"
        said.append(text)
    if chart.level is not None:
        said.append(f"{chart.level_name} {number(chart.level)}")
    if chart.changes:
        said.append(f"{chart.change_name}: {len(chart.changes)}")
    return f"{chart.title}: {'; '.join(said) if said else 'no values'}"


def _interval(point: Point) -> str:
    if point.lower is None and point.upper is None:
        return number(point.value)
    return f"{number(point.value)} ({number(point.lower)} to {number(point.upper)})"


def _frame(chart: LineChart) -> Frame:
    """Upwards as far as values and intervals reach, and a little more."""
    points = [point for one in chart.lines for point in one.points if point is not None]
    ends = [end for point in points for end in (*point.ends, point.value)]
    ends += [chart.level] if chart.level is not None else []
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    slack = 0.06 * (high - low) or 0.05 * (abs(high) or 1.0)
    return Frame(low=low - slack, high=high + slack, top=14)


def _drawn(one: Line, x: Callable[[float], float], frame: Frame) -> list[str]:
    """The band and the line of each unbroken stretch, and its points with whiskers where it is a single one."""
    dashed = " dashed" if one.dashed else ""
    parts = []
    for start, stretch in _stretches(one.points):
        places = [x(start + place) for place in range(len(stretch))]
        if len(stretch) > 1:
            above = [(place, frame.y(point.ends[1])) for place, point in zip(places, stretch, strict=True)]
            below = [(place, frame.y(point.ends[0])) for place, point in zip(places, stretch, strict=True)]
            parts.append(path(f"band{dashed}", [*above, *below[::-1]], closed=True))
            values = [(place, frame.y(point.value)) for place, point in zip(places, stretch, strict=True)]
            parts.append(path(f"line{dashed}", values))
        else:
            parts.append(
                line("whisker", places[0], frame.y(stretch[0].ends[0]), places[0], frame.y(stretch[0].ends[1]))
            )
        parts += [
            dot(f"dot{dashed}", place, frame.y(point.value), 2.8)
            for place, point in zip(places, stretch, strict=True)
            if len(one.points) <= 40 or len(stretch) == 1
        ]
    return parts


def _stretches(points: tuple[Point | None, ...]) -> list[tuple[int, list[Point]]]:
    """Neighbouring points, with the place of the first."""
    found: list[tuple[int, list[Point]]] = []
    for place, point in enumerate(points):
        if point is None:
            continue
        if found and found[-1][0] + len(found[-1][1]) == place:
            found[-1][1].append(point)
        else:
            found.append((place, [point]))
    return found


def _labels(chart: LineChart, x: Callable[[float], float], frame: Frame) -> list[str]:
    names = [cut(label, 16) for label in chart.labels]
    longest = max(map(columns, names), default=1) * LETTER + 12
    parts = []
    for place in sparse(len(chart.labels), max(1, int(frame.width // longest))):
        half = columns(names[place]) * LETTER / 2
        where = min(max(x(place), half), WIDTH - half)
        parts.append(words(names[place], where, frame.bottom + 16))
    return parts
