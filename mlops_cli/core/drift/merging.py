"""Profiles of shards and days, counted on one frame and added. FORMAT.md says what a frame is."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from mlops_cli.core.base.digest import digest_bytes
from mlops_cli.core.drift import columns as arrow
from mlops_cli.core.drift.profile import ColumnProfile, Profile
from mlops_cli.core.drift.profiling import places_of
from mlops_cli.core.drift.summaries import categories, numbers, text, times, vectors
from mlops_cli.core.drift.window import Window
from mlops_cli.core.errors import ProjectError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa


def profile_like(frame: Profile, rows: pa.Table | Window) -> Profile:
    """Rows counted on the frame of another profile. Empty rows are fine.

    Raises ProjectError if they lack a column of the frame, or hold it in another kind.
    """
    window = rows if isinstance(rows, Window) else Window.of_table(rows)
    clock = window.read(frame.time) if frame.time is not None and frame.time in window else None
    if frame.bounds and clock is None:
        raise ProjectError(
            f"the rows have no {frame.time}, by which the profile they are to be counted like is cut into blocks",
            hint="give rows with that column, or a profile made without --time",
        )
    places = places_of(clock, frame.bounds)
    return msgspec.structs.replace(
        frame,
        rows=window.rows,
        columns=tuple(_column_like(column, window, clock, places) for column in frame.columns),
        answers=tuple(_column_like(column, window, clock, None) for column in frame.answers if column.name in window),
        span=arrow.span(clock) if clock is not None else None,
        framed=True,
    )


def merge(profiles: Sequence[Profile]) -> Profile:
    """Several profiles as one of all their rows; in any order and grouping the bytes are the same.

    They add if they were counted on one frame. Without a frame they do if every column holds few enough values to list
    them all, and nothing ordered their rows. Raises UsageError, naming what differs.
    """
    if not profiles:
        raise UsageError("there is no profile to merge", hint="give two or more")
    if len(profiles) == 1:
        return profiles[0]
    for column in (column for profile in profiles for column in (*profile.columns, *profile.answers)):
        if not _adds(column):
            raise UsageError(
                f"{column.name} comes from a profile of version 1, which does not add", hint="make the profile again"
            )
    if len({frame_digest(profile) for profile in profiles}) == 1 and any(profile.framed for profile in profiles):
        return functools.reduce(_add, [_framed(profile) for profile in profiles])
    if not any(profile.framed for profile in profiles):
        return functools.reduce(_join, profiles)
    raise UsageError(
        f"these profiles were counted on different frames: {_differing(profiles)}",
        hint="count all rows like one profile: mlo drift profile ROWS --like PROFILE",
    )


def frame_digest(profile: Profile) -> str:
    """Names what one reference decided and others are counted on; profiles with the same one can be added."""
    return str(digest_bytes(msgspec.msgpack.encode(_frame(profile), order="deterministic"), "xxh128"))


def _frame(profile: Profile) -> tuple[Any, ...]:
    columns = tuple(_column_frame(column) for column in (*profile.columns, *profile.answers))
    facts = profile.answers_from, profile.time, profile.time_missing, profile.others, profile.bounds
    return columns, facts


def _column_frame(column: ColumnProfile) -> tuple[Any, ...]:
    inner: tuple[Any, ...] = ()
    if column.numeric is not None:
        inner = numbers.frame_of(column.numeric)
    elif column.categorical is not None:
        inner = categories.frame_of(column.categorical)
    elif column.text is not None:
        inner = text.frame_of(column.text)
    elif column.vector is not None:
        inner = vectors.frame_of(column.vector)
    elif column.times is not None:
        inner = times.frame_of(column.times)
    facts = column.name, column.kind, column.held, column.missing_time, column.importance
    return facts, inner


def _differing(profiles: Sequence[Profile]) -> str:
    first = _frame(profiles[0])
    names = [column.name for column in (*profiles[0].columns, *profiles[0].answers)]
    for other in map(_frame, profiles[1:]):
        if len(other[0]) != len(first[0]):
            return "they have other columns"
        for name, one, two in zip(names, first[0], other[0], strict=True):
            if one != two:
                return f"that of {name} is another"
    return "they have other times or other columns besides"


# -- counting ------------------------------------------------------------------------------------------------


def _column_like(
    known: ColumnProfile, window: Window, clock: pa.ChunkedArray | None, places: numbers.Places | None
) -> ColumnProfile:
    import pyarrow as pa

    if known.name not in window:
        raise ProjectError(
            f"the rows have no column {known.name}, which the profile knows",
            hint="count rows like a profile with the same columns",
        )
    values = window.read(known.name)
    try:
        return _counted(known, values, clock, places)
    except (pa.ArrowException, vectors.OtherWidth):
        raise ProjectError(
            f"the rows hold {values.type} in {known.name}, the profile {known.kind}s",
            hint="count rows like a profile with the same kinds of columns",
        ) from None


def _counted(
    known: ColumnProfile, values: pa.ChunkedArray, clock: pa.ChunkedArray | None, places: numbers.Places | None
) -> ColumnProfile:
    rows = len(values)
    changed: dict[str, Any] = {"rows": rows, "missing": values.null_count}
    if known.numeric is not None:
        taken = arrow.numbers(values)
        changed |= {"missing": taken.missing, "numeric": numbers.count_like(known.numeric, taken, places)}
    elif known.categorical is not None:
        found = arrow.categories(arrow.as_group(values, arrow.GROUPS[known.kind]))
        changed |= {"missing": found.missing, "categorical": categories.count_like(known.categorical, found)}
    elif known.text is not None:
        changed |= {"text": text.count_like(known.text, values)}
    elif known.vector is not None:
        lists = vectors.vectors(values, known.vector.width)
        changed |= {"missing": lists.missing, "vector": vectors.count_like(known.vector, lists)}
    elif known.times is not None:
        changed |= {"times": times.count_like(known.times, values, clock), "span": arrow.span(values)}
    return msgspec.structs.replace(known, **changed)


# -- adding --------------------------------------------------------------------------------------------------


def _adds(column: ColumnProfile) -> bool:
    """Whether a column has what adds exactly; those of version 1 have not."""
    prose, vector, when = column.text, column.vector, column.times
    return (
        (column.numeric is None or bool(column.numeric.counts))
        and (prose is None or bool(prose.buckets))
        and (vector is None or vector.n == 0 or bool(vector.sums))
        and (when is None or (when.hour is None and when.age_s is None and not when.why))
    )


def _framed(profile: Profile) -> Profile:
    if profile.framed:
        return profile
    columns, answers = (
        tuple(
            msgspec.structs.replace(
                column,
                numeric=numbers.framed(column.numeric) if column.numeric else None,
                text=text.framed(column.text) if column.text else None,
            )
            for column in group
        )
        for group in (profile.columns, profile.answers)
    )
    return msgspec.structs.replace(profile, columns=columns, answers=answers, framed=True)


def _add(a: Profile, b: Profile) -> Profile:
    return msgspec.structs.replace(
        a,
        rows=a.rows + b.rows,
        columns=tuple(_add_columns(one, two) for one, two in zip(a.columns, b.columns, strict=True)),
        answers=tuple(_add_columns(one, two) for one, two in zip(a.answers, b.answers, strict=True)),
        span=_span(a.span, b.span),
    )


def _add_columns(a: ColumnProfile, b: ColumnProfile) -> ColumnProfile:
    changed: dict[str, Any] = {"rows": a.rows + b.rows, "missing": a.missing + b.missing, "span": _span(a.span, b.span)}
    if a.numeric is not None and b.numeric is not None:
        changed["numeric"] = numbers.add(a.numeric, b.numeric)
    elif a.categorical is not None and b.categorical is not None:
        changed["categorical"] = categories.add(a.categorical, b.categorical)
    elif a.text is not None and b.text is not None:
        changed["text"] = text.add(a.text, b.text)
    elif a.vector is not None and b.vector is not None:
        changed["vector"] = vectors.add(a.vector, b.vector)
    elif a.times is not None and b.times is not None:
        changed["times"] = times.add(a.times, b.times)
    return msgspec.structs.replace(a, **changed)


def _join(a: Profile, b: Profile) -> Profile:
    if [column.name for column in (*a.columns, *a.answers)] != [column.name for column in (*b.columns, *b.answers)]:
        raise UsageError("these profiles have other columns", hint="merge profiles of the same columns")
    return msgspec.structs.replace(
        a,
        rows=a.rows + b.rows,
        columns=tuple(_join_columns(one, two) for one, two in zip(a.columns, b.columns, strict=True)),
        answers=tuple(_join_columns(one, two) for one, two in zip(a.answers, b.answers, strict=True)),
        span=_span(a.span, b.span),
    )


def _join_columns(a: ColumnProfile, b: ColumnProfile) -> ColumnProfile:
    changed: dict[str, Any] = {"rows": a.rows + b.rows, "missing": a.missing + b.missing, "span": _span(a.span, b.span)}
    joined: object = None
    if a.numeric is not None and b.numeric is not None:
        joined = changed["numeric"] = numbers.join(a.numeric, b.numeric)
    elif a.categorical is not None and b.categorical is not None:
        joined = changed["categorical"] = categories.join(a.categorical, b.categorical)
    elif a.text is None and b.text is None and a.vector is None and b.vector is None and a.kind == b.kind:
        joined = True
        if a.times is not None and b.times is not None:
            joined = changed["times"] = times.join(a.times, b.times)
    if joined is None or (a.missing_time, b.missing_time) != (1.0, 1.0):
        raise UsageError(
            f"{a.name} was counted on other edges, or other values were listed, so the counts do not add",
            hint="count all rows like one of the profiles: mlo drift profile ROWS --like PROFILE",
        )
    return msgspec.structs.replace(a, **changed)


def _span(a: tuple[str, str] | None, b: tuple[str, str] | None) -> tuple[str, str] | None:
    if a is None or b is None:
        return a or b
    return min(a[0], b[0]), max(a[1], b[1])
