"""The tests of a datetime column, by whole days and weeks, and of a column whose values cannot be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.drift import columns as arrow
from mlops_cli.core.drift.calendar import NO_TIME, Calendar, microseconds
from mlops_cli.core.drift.measures.measured import Measured, Order, Sizes, judge_missing
from mlops_cli.core.drift.records import Histogram, Rules, Test
from mlops_cli.core.drift.summaries.missing import missing_time
from mlops_cli.core.drift.summaries.times import Cycle, Times, hours, weekdays
from mlops_cli.core.stats.clusters import clustered_chi_square

if TYPE_CHECKING:
    import pyarrow as pa

FEWEST_DAYS, FEWEST_WEEKS = 8, 5  # of the reference: fewer do not tell how much one differs from the next
UNITS = (("days", 86_400.0), ("h", 3_600.0), ("min", 60.0))
HOURS = tuple(f"{hour:02}" for hour in range(24))
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def measure_presence(measured: Measured, values: pa.ChunkedArray, order: Order, rules: Rules) -> None:
    """What is tested of a column of any type: whether its values are there."""
    _judge_missing(measured, values, order, rules)
    measured.note = f"{values.type} holds nothing that can be compared: only missing rows are tested"


def measure_times(
    measured: Measured, known: Times, values: pa.ChunkedArray, order: Order, rules: Rules, calendar: Calendar
) -> None:
    _judge_missing(measured, values, order, rules)
    taken = microseconds(values)
    if taken is None:
        taken = np.full(len(values), NO_TIME)
    present = taken[taken != NO_TIME]
    notes = [_ages(measured, known, present, calendar)]
    reasons: dict[str, list[str]] = {}
    if measured.n == 0 or not len(present) or known.newest is None:
        measured.note = "the window has no value" if known.newest is not None else "the reference has no value"
        return
    hour, weekday, unknown = known.cycles()
    for part, cycle, codes, days in (("hour", hour, hours(taken), 1), ("weekday", weekday, weekdays(taken), 7)):
        why = _untested(unknown, cycle, calendar, days)
        if why:
            reasons.setdefault(why, []).append(part)
        else:
            assert cycle is not None  # noqa: S101 - else there is a reason
            chosen = calendar.inside(len(taken), days) & (codes >= 0)
            _test_cycle(measured, part, cycle, codes[chosen], calendar.days // days, rules)
    notes += [f"{' and '.join(parts)} not tested: {why}" for why, parts in reasons.items()]
    measured.note = "; ".join(notes)


def _judge_missing(measured: Measured, values: pa.ChunkedArray, order: Order, rules: Rules) -> None:
    present = arrow.valid(values) if values.null_count else None
    measured.n = len(values) - values.null_count
    judge_missing(measured, values.null_count, len(values), missing_time(present, order), rules)


def _ages(measured: Measured, known: Times, present: NDArray[np.int64], calendar: Calendar) -> str:
    """How old the newest values are: reported, and never tested, since a later window always differs."""
    if not len(present) or calendar.end is None:
        note = "a time is reported, never tested: a later window always differs"
        ends, now = measured.profile.span, int(present.max()) if len(present) else None
        if ends and now is not None:
            note += f"; the reference ends {ends[1]}, the window {arrow.time_text(now)}"
        return note
    age = (calendar.end - int(present.max())) / 1e6
    measured.facts["age_s"], measured.facts["age_reference_s"] = age, known.age
    before = f" (the reference's: {_age(known.age)})" if known.age is not None else ""
    return f"the newest value is {_age(age)} the window's end{before}"


def _age(seconds: float) -> str:
    size = abs(seconds)
    unit, length = next((one for one in UNITS if size >= 2 * one[1]), ("s", 1.0))
    return f"{size / length:.0f} {unit} {'before' if seconds >= 0 else 'after'}"


def _untested(unknown: str, cycle: Cycle | None, calendar: Calendar, days: int) -> str:
    """Why hours (of days) or weekdays (of weeks) cannot be compared; empty if they can."""
    unit, fewest = ("days", FEWEST_DAYS) if days == 1 else ("weeks", FEWEST_WEEKS)
    if cycle is None:
        return f"in the reference, {unknown}" if unknown else "the reference's days are not known"
    if cycle.clusters < fewest or not sum(cycle.counts):
        return f"the reference covers {cycle.clusters} whole {unit}, and {fewest} tell how much they differ"
    if not calendar.days:
        return calendar.why or "the window's days are not known"
    if calendar.days < days or (calendar.row_days is None and calendar.days % days):
        return f"the window is not made of whole {unit} in UTC"
    return ""


def _test_cycle(
    measured: Measured, part: str, cycle: Cycle, codes: NDArray[np.int64], clusters: int, rules: Rules
) -> None:
    counts = np.array(cycle.counts, dtype=float)
    current = np.bincount(codes, minlength=len(counts)).astype(float)
    found = clustered_chi_square(cycle.matrix(), counts, cycle.clusters, current, clusters)
    if found.cells < 2:
        return
    n, m = float(counts.sum()), float(current.sum())
    sizes = Sizes(max(1.0, n / found.worth_n), max(1.0, m / found.worth_m), found.worth_n, found.worth_m)
    if measured.sizes is None or sizes.m < measured.sizes.m:
        measured.sizes, measured.cells = sizes, found.cells
    labels = HOURS if part == "hour" else WEEKDAYS
    most = int(np.argmax(current / m - counts / n))
    measured.tests.append(
        Test(
            part=part,
            method="chi-square",
            statistic=found.statistic,
            effect=found.distance,
            floor=rules.floor,
            p_value=found.p_value,
            detail=f"{part} {labels[most]}: {counts[most] / n:.1%} before, {current[most] / m:.1%} now",
        )
    )
    if "histogram" not in measured.facts or found.distance > max(test.effect for test in measured.tests[:-1]):
        measured.facts["pictured"] = part
        measured.facts["histogram"] = Histogram(
            labels=labels, reference=cycle.counts, current=tuple(int(count) for count in current)
        )
