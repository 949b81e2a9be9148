"""The same check within each value of a column. "Segments" in RULE.md says which, and how they are corrected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.base.records import Column
from mlops_cli.core.drift import columns as arrow
from mlops_cli.core.drift.calendar import calendar_of
from mlops_cli.core.drift.check import Measurement, conclude
from mlops_cli.core.drift.measure import measure
from mlops_cli.core.drift.measures.measured import Measured
from mlops_cli.core.drift.periods import Period
from mlops_cli.core.drift.profile import ColumnProfile, Profile
from mlops_cli.core.drift.profiling import profile_column
from mlops_cli.core.drift.records import Rules, Segment, Segments
from mlops_cli.core.drift.window import Window
from mlops_cli.core.errors import ProjectError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

Rows = NDArray[np.int64]

LEAST_ROWS = 50  # on either side: 50 rows among many show a distance of 0.35 at the very best
MOST_SEGMENTS = 20
FEW_NUMBERS = 20  # distinct numbers in the reference up to which each is a segment, and beyond which quartiles are
NAMED = 5  # new values that are named
MISSING = "(missing)"


@dataclass(frozen=True, slots=True)
class Cut:
    """Rows of both samples, cut alike: segment -> row numbers in order of time (of the reference, of the window).

    `others` counts the values left out; `fresh` are values that the reference never had, with their rows.
    """

    column: str
    rows: dict[str, tuple[Rows, Rows]]
    others: int = 0
    fresh: tuple[tuple[str, int], ...] = ()
    fresh_values: int = 0


def cut(column: str, profile: Profile, reference: Window, window: Window) -> Cut:
    """Cut both samples by a column: by its values, or by the reference's quartiles for more than 20 numbers.

    Values with under 50 rows on either side are left out, and all but the 20 with most rows in the window. Raises
    UsageError for a column that either side lacks, holds as a time or a list, or in another kind than the other.
    """
    for side, rows in (("window", window), ("reference", reference)):
        if column not in rows:
            raise UsageError(
                f"the {side} has no column {column} to cut segments by",
                hint=f"it has {', '.join(name for name in rows.schema.names if not name.startswith('_'))[:300]}",
            )
    values = reference.read(column), window.read(column)
    groups = tuple(arrow.group_of(side.type) for side in values)
    if not set(groups) <= {"numeric", "boolean", "string", "null"}:
        raise UsageError(
            f"{column} holds {values[0].type} in the reference and {values[1].type} in the window, which make no "
            "segments",
            hint="name a column of texts, booleans or numbers",
        )
    if "string" in groups and "numeric" in groups:
        raise UsageError(
            f"{column} holds {values[0].type} in the reference and {values[1].type} in the window",
            hint="give rows whose values are of one kind",
        )
    numeric = groups[0] == "numeric" or (groups[0] == "null" and groups[1] == "numeric")
    codes, names = _numeric_codes(values) if numeric else _text_codes(values)
    return _chosen(column, names, codes, _orders(profile, reference, window))


def measure_segments(
    cut: Cut, profile: Profile, reference: Window, window: Window, rules: Rules, period: Period | None = None
) -> list[Measurement]:
    """Every test of every segment, a column at a time, none adjusted yet; in the order of `cut.rows`.

    A segment's reference is profiled on the fly: its own counts, its own dependence; importances are the version's.
    Columns that the check of the whole names as a change of schema are left out, and so is the segmenting one.
    """
    known = [it for it in profile.columns if it.name != cut.column and it.name in window and it.name in reference]
    measured: dict[str, list[Measured]] = {segment: [] for segment in cut.rows}
    name = profile.time or profile.time_missing
    times = [side.read(name) if name is not None and name in side else None for side in (reference, window)]
    for column in known:
        before, now = _whole(reference.read(column.name)), _whole(window.read(column.name))
        for segment, (rows, current) in cut.rows.items():
            one = _measure(column, (before, rows), (now, current), times, profile, rules, period)
            if one is not None:
                measured[segment].append(one)
    # The version's columns, for their importances: what is important in the whole is so in a part.
    return [
        Measurement(msgspec.structs.replace(profile, rows=len(rows)), len(current), [], measured[segment])
        for segment, (rows, current) in cut.rows.items()
    ]


def conclude_segments(cut: Cut, measured: Sequence[Measurement], level: float, rules: Rules) -> Segments:
    """What the adjusted tests say of each segment; level: what one of its p-values must beat first."""
    found = []
    for value, one in zip(cut.rows, measured, strict=True):
        result = conclude(one, level, rules)
        found.append(
            Segment(
                value=value,
                verdict=result.verdict,
                rows=result.rows,
                rows_reference=result.rows_reference,
                columns=result.columns,
            )
        )
    ranked = sorted(found, key=lambda segment: (not segment.alarms, -segment.rows, segment.value))
    return Segments(
        column=cut.column,
        segments=tuple(ranked),
        others=cut.others,
        fresh=cut.fresh,
        tests=sum(len(tests) for one in measured for tests in one.tests),
        level=level,
        note="; ".join(_notes(cut)),
    )


def _notes(cut: Cut) -> list[str]:
    notes = ["only the inputs are compared within segments: the reference's rows have no predictions"]
    if cut.fresh_values:
        named = ", ".join(f"{value} ({rows:,})" for value, rows in cut.fresh)
        more = f" and {cut.fresh_values - len(cut.fresh)} more" if cut.fresh_values > len(cut.fresh) else ""
        notes.append(f"new in the window: {named}{more}")
    return notes


# -- cutting -------------------------------------------------------------------------------------------------


def _text_codes(values: tuple[pa.ChunkedArray, pa.ChunkedArray]) -> tuple[list[Rows], list[str]]:
    """Codes (rows,) of both sides into one list of names; missing rows are a value of their own."""
    codes: dict[str, int] = {}
    parts = []
    for side in values:
        taken = arrow.categories(side)
        own = np.array([codes.setdefault(value, len(codes)) for value in taken.values] or [0], dtype=np.int64)
        whole = np.full(taken.rows, -1, dtype=np.int64)
        whole[slice(None) if taken.present is None else taken.present] = own[taken.codes]
        parts.append(whole)
    return _with_missing(parts, list(codes))


def _numeric_codes(values: tuple[pa.ChunkedArray, pa.ChunkedArray]) -> tuple[list[Rows], list[str]]:
    before, now = (_filled(side) for side in values)
    known = np.unique(before[~np.isnan(before)])
    if len(known) <= FEW_NUMBERS:
        every = np.unique(np.concatenate((known, now[~np.isnan(now)])))
        names = [f"{value:.12g}" for value in every.tolist()]
        codes = [np.searchsorted(every, side).astype(np.int64) for side in (before, now)]
    else:
        ordered = np.sort(before[~np.isnan(before)])
        cuts = np.unique(ordered[[round(len(ordered) * share) for share in (0.25, 0.5, 0.75)]])
        texts = [f"{value:.6g}" for value in cuts.tolist()]
        between = [f"{low} to {high}" for low, high in pairwise(texts)]
        names = [f"under {texts[0]}", *between, f"{texts[-1]} and over"]
        codes = [np.searchsorted(cuts, side, side="right").astype(np.int64) for side in (before, now)]
    for side, own in zip((before, now), codes, strict=True):
        own[np.isnan(side)] = -1
    return _with_missing(codes, names)


def _filled(side: pa.ChunkedArray) -> NDArray[np.float64]:
    taken = arrow.numbers(side)
    if taken.present is None:
        return taken.values
    whole = np.full(taken.rows, np.nan)
    whole[taken.present] = taken.values
    return whole


def _with_missing(codes: list[Rows], names: list[str]) -> tuple[list[Rows], list[str]]:
    for own in codes:
        own[own < 0] = len(names)
    return codes, [*names, MISSING]


def _orders(profile: Profile, reference: Window, window: Window) -> list[Rows]:
    """Both samples' rows in order of time, in their own where nothing orders them."""
    name = profile.time
    found = []
    for side in (reference, window):
        order = arrow.time_order(side.read(name)) if name is not None and name in side else None
        found.append(np.arange(side.rows) if order is None else order)
    return found


def _chosen(column: str, names: list[str], codes: list[Rows], orders: list[Rows]) -> Cut:
    before, now = (np.bincount(own, minlength=len(names)) for own in codes)
    enough = [place for place in range(len(names)) if min(before[place], now[place]) >= LEAST_ROWS]
    kept = sorted(enough, key=lambda place: (-int(now[place]), names[place]))[:MOST_SEGMENTS]
    fresh = [(names[place], int(now[place])) for place in np.flatnonzero((before == 0) & (now > 0))]
    fresh.sort(key=lambda pair: (-pair[1], pair[0]))
    left = (
        set(np.flatnonzero((before > 0) | (now > 0)).tolist()) - set(kept) - set(np.flatnonzero(before == 0).tolist())
    )
    in_time = [own[order] for own, order in zip(codes, orders, strict=True)]
    rows = {names[place]: (orders[0][in_time[0] == place], orders[1][in_time[1] == place]) for place in kept}
    return Cut(column, rows, len(left), tuple(fresh[:NAMED]), len(fresh))


# -- measuring -----------------------------------------------------------------------------------------------


def _measure(
    column: ColumnProfile,
    reference: tuple[pa.ChunkedArray, Rows],
    window: tuple[pa.ChunkedArray, Rows],
    times: list[pa.ChunkedArray | None],
    profile: Profile,
    rules: Rules,
    period: Period | None,
) -> Measured | None:
    """One column within one segment; None where the whole check says that its kind changed."""
    before, now = (_taken(values, rows) for values, rows in (reference, window))
    orders = [
        np.arange(len(rows)) if profile.time is not None and side is not None else None
        for side, (_, rows) in zip(times, (reference, window), strict=True)
    ]
    clocks: list[pa.ChunkedArray | None] = [None, None]
    if column.times is not None:
        clocks = [
            _taken(side, rows) if side is not None else None
            for side, (_, rows) in zip(times, (reference, window), strict=True)
        ]
    calendar = calendar_of(period, clocks[1]) if column.times is not None else None
    asked = Column(column.name, column.kind, True)  # type: ignore[arg-type]
    try:
        own = profile_column(before, asked, orders[0], importance=column.importance, clock=clocks[0])
    except ProjectError:
        return None
    return measure(own, now, orders[1], rules, ordered_reference=profile.time is not None, calendar=calendar)


def _whole(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """In one piece: taking rows from many chunks searches for each."""
    import pyarrow as pa

    if values.num_chunks <= 1:
        return values
    joined = values.combine_chunks()
    return joined if isinstance(joined, pa.ChunkedArray) else pa.chunked_array([joined])


def _taken(values: pa.ChunkedArray, rows: Rows) -> pa.ChunkedArray:
    """Some rows, from buffers: pa.array() would import pandas."""
    import pyarrow as pa

    places = np.ascontiguousarray(rows, dtype=np.int64)
    return values.take(pa.Int64Array.from_buffers(pa.int64(), len(places), [None, pa.py_buffer(places)]))
