"""How a profile of files looks in a terminal."""

from __future__ import annotations

from mlops_cli.cli.output import Output, human_bytes, plural
from mlops_cli.core.drift.contents import ColumnContents
from mlops_cli.core.drift.report.words import named
from mlops_cli.core.reports.numbers import number
from mlops_cli.core.workflows.drift_profiles import Profiled

_HEADERS = ("column", "kind", "rows", "missing", "distinct", "values", "time", "bytes")
_RIGHT = ("rows", "missing", "distinct", "time", "bytes")


def show_profile(made: Profiled, output: Output) -> None:
    """The rows, a line for each column, the frame, and what else to know."""
    whose = made.parts[0].name if len(made.parts) == 1 else plural(len(made.parts), "file")
    when = f", {made.span[0][:10]} to {made.span[1][:10]}" if made.span is not None else ""
    output.line(f"{whose}: {plural(made.rows, 'row')}, {plural(len(made.columns), 'column')}{when}", style="bold")
    output.line()
    headers = [header for header in _HEADERS if header != "time" or made.time is not None]
    rows = [_row(column) for column in made.columns]
    output.table(headers, [[row[header] for header in headers] for row in rows], right=_RIGHT)
    output.line()
    if made.time is not None:
        output.line(f"time: rows in a row, by {made.time}, that are worth one", style="dim")
    output.line(f"frame: {made.frame}")
    for note in made.notes:
        output.line(f"note: {note}", style="dim")
    if made.path is not None:
        output.line(f"written to {made.path}, {human_bytes(made.bytes)}")
    else:
        output.line(f"{human_bytes(made.bytes)}, not written: -o FILE writes it", style="dim")


def _row(column: ColumnContents) -> dict[str, str]:
    return {
        "column": named(column.column),
        "kind": column.kind,
        "rows": f"{column.rows:,}",
        "missing": _share(column.missing, column.rows),
        "distinct": _distinct(column),
        "values": _values(column),
        "time": number(column.time, 2) if column.time is not None else "–",
        "bytes": human_bytes(column.bytes),
    }


def _share(part: int, whole: int) -> str:
    if part == 0:
        return "–"
    share = part / whole
    return f"{share:.1%}" if share >= 0.001 else "< 0.1%"


def _distinct(column: ColumnContents) -> str:
    """`12`, `≈ 51,200` from a sample, or of numbers that are too many to count how many of them fill 1% each."""
    if column.distinct is not None:
        return f"≈ {column.distinct:,}" if column.estimated else f"{column.distinct:,}"
    return plural(column.atoms, "atom") if column.atoms else "–"


def _values(column: ColumnContents) -> str:
    """What the values are, in a few words."""
    if column.holds == "numbers" and column.mean is not None:
        spread = f"{number(column.mean)} ± {number(column.deviation)}"
        if column.low is not None and column.high is not None:
            spread += f", {number(column.low)} to {number(column.high)}"
        return spread if column.distinct is not None else ", ".join([spread, *_top(column)])
    if column.holds == "prose" and column.mean is not None:
        return f"{number(column.mean)} ± {number(column.deviation)} words"
    if column.holds == "vectors":
        return f"{column.width} numbers each"
    if column.holds == "times" and column.span is not None:
        return f"{column.span[0][:16]} to {column.span[1][:16]}"
    return ", ".join(_top(column)) or "–"


def _top(column: ColumnContents) -> list[str]:
    present = max(1, column.rows - column.missing)
    return [f"{named(one.value)} {_share(one.rows, present)}" for one in column.top]
