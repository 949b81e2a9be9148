"""Compare a window of rows with a profile, by the rule of RULE.md beside this file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from mlops_cli.core.drift import columns as arrow
from mlops_cli.core.drift.calendar import calendar_of
from mlops_cli.core.drift.measure import measure
from mlops_cli.core.drift.measures.measured import Measured
from mlops_cli.core.drift.periods import Period
from mlops_cli.core.drift.profile import ColumnProfile, Profile
from mlops_cli.core.drift.records import (
    RARE_PARTS,
    ColumnResult,
    DriftResult,
    Rules,
    SchemaChange,
    Status,
    Test,
    Verdict,
)
from mlops_cli.core.drift.window import Window
from mlops_cli.core.errors import UsageError
from mlops_cli.core.stats.multiplicity import holm

if TYPE_CHECKING:
    import pyarrow as pa

NO_CLOCK = "model.time is not set"
NO_PREDICTIONS = "the profile knows no predictions: only the inputs are compared"


def check(
    profile: Profile,
    current: pa.Table | Window,
    *,
    rules: Rules | None = None,
    answers: pa.Table | Window | None = None,
    period: Period | None = None,
) -> DriftResult:
    """The verdict on a window of rows, and each column's part in it.

    current: the inputs, whichever version answered them; a column that the reference did not have is a finding.
    answers: rows with `_prediction` (and `_score`) of the profile's own version; `current` itself if it has them. Rows
    are put in order by the profile's time column where they have it. period: the bounds that made the window, if any
    did; hours and weekdays are compared between whole days and weeks only. Raises UsageError if the window has none of
    the model's columns.
    """
    rules = rules or Rules()
    measured = measure_window(profile, current, rules=rules, answers=answers, period=period)
    (level,) = adjust(rules, Group(1.0, measured.tests))
    return conclude(measured, level, rules)


@dataclass(frozen=True, slots=True)
class Measurement:
    """A window as measured: every test has its p-value, none is adjusted yet."""

    profile: Profile
    rows: int
    answers: list[Measured]
    columns: list[Measured]
    schema: tuple[SchemaChange, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def tests(self) -> list[list[Test]]:
        """The tests of each column, in place: `adjust` replaces them there."""
        return [column.tests for column in (*self.answers, *self.columns)]


@dataclass(frozen=True, slots=True)
class Group:
    """Tests that share a part of alpha evenly; the groups of one family divide it by their `share`s."""

    share: float
    tests: Sequence[list[Test]]

    @property
    def count(self) -> int:
        return sum(len(tests) for tests in self.tests)


def measure_window(
    profile: Profile,
    current: pa.Table | Window,
    *,
    rules: Rules,
    answers: pa.Table | Window | None = None,
    period: Period | None = None,
) -> Measurement:
    """The first step: every test of a window, as `check` takes it. Raises as `check` does."""
    window = _window(current)
    replies = _window(answers) if answers is not None else window
    _refuse_other_rows(profile, window)
    notes = _notes(profile, window, replies)
    # The predictions first: a change of what the model sees matters most where its answers change with it.
    measured_answers, retyped = _measure_all(profile.answers, replies, profile, rules, period, required=False)
    measured, changed = _measure_all(profile.columns, window, profile, rules, period, required=True)
    schema = (*retyped, *changed, *_new_columns(profile, window))
    return Measurement(profile, window.rows, measured_answers, measured, schema, tuple(notes))


def adjust(rules: Rules, *groups: Group) -> tuple[float, ...]:
    """The second step: Holm over the tests of all groups as one family, in place; an alarm is then a small adjusted p
    and an effect of its floor. Returns what a single p-value of each group must beat first.

    A group without tests leaves its share to the others. Shares must not depend on the p-values.
    """
    filled = [group for group in groups if group.count]
    whole = sum(group.share for group in filled)
    p_values = [test.p_value or 0.0 for group in filled for tests in group.tests for test in tests]
    weights = [group.share / whole / group.count for group in filled for _ in range(group.count)]
    adjusted = iter(holm(p_values, weights if len(filled) > 1 else None).tolist())
    for group in filled:
        for tests in group.tests:
            for place, test in enumerate(tests):
                p = next(adjusted)
                alarm = p <= rules.alpha and test.effect >= test.floor
                tests[place] = msgspec.structs.replace(test, p_adjusted=p, alarm=alarm)
    return tuple(rules.alpha * (group.share / whole if group.count else 1.0) / max(1, group.count) for group in groups)


def conclude(measured: Measurement, level: float, rules: Rules) -> DriftResult:
    """The third step: what the adjusted tests say of each column and of the window. level: what `adjust` returned."""
    profile, important = measured.profile, important_columns(measured.profile, rules)
    replied = [_result(column, level, rules, important=True) for column in measured.answers]
    results = [_result(column, level, rules, important=column.profile.name in important) for column in measured.columns]
    return DriftResult(
        verdict="drift" if measured.schema else _verdict(replied, results, important),
        columns=tuple(sorted(results, key=lambda column: _rank(column, profile))),
        answers=tuple(replied),
        schema=measured.schema,
        rows=measured.rows,
        rows_reference=profile.rows,
        tests=sum(len(tests) for tests in measured.tests),
        level=level,
        rules=rules,
        notes=measured.notes,
    )


def _window(rows: pa.Table | Window) -> Window:
    return rows if isinstance(rows, Window) else Window.of_table(rows)


def _refuse_other_rows(profile: Profile, window: Window) -> None:
    names = [column.name for column in profile.columns]
    if names and not any(name in window for name in names):
        raise UsageError(
            "the window has none of the reference's columns; it has "
            + (", ".join(window.schema.names[:8]) or "none at all"),
            hint=f"give rows with {', '.join(names[:8])}",
        )


def _notes(profile: Profile, window: Window, replies: Window) -> list[str]:
    notes = []
    if profile.time is None:
        which = f"{profile.time_missing} orders no rows of the reference" if profile.time_missing else NO_CLOCK
        notes.append(f"{which}: rows are taken as independent, and dependent ones raise false alarms")
    elif profile.time not in window:
        notes.append(f"the window has no {profile.time}: its dependence is taken from the reference")
    if not profile.answers:
        notes.append(NO_PREDICTIONS)
    elif not any(column.name in replies for column in profile.answers):
        notes.append("the window holds no predictions: only the inputs are compared")
    if profile.answers and profile.answers_from == "reference":
        notes.append(
            "predictions are compared with those on training rows, which a model knows too well: set model.evaluate"
        )
    return notes


def _measure_all(
    columns: Sequence[ColumnProfile],
    window: Window,
    profile: Profile,
    rules: Rules,
    period: Period | None,
    *,
    required: bool,
) -> tuple[list[Measured], list[SchemaChange]]:
    """The tests of each column, and those that are missing or of another kind."""
    name = profile.time or profile.time_missing
    times = window.read(name) if name is not None and name in window else None
    order = arrow.time_order(times) if times is not None else None
    calendar = None
    measured: list[Measured] = []
    changed: list[SchemaChange] = []
    for column in columns:
        if column.name not in window:
            if required:
                changed.append(SchemaChange(column=column.name, change="missing", before=column.kind))
            continue
        if window.rows == 0:
            measured.append(Measured(column, note="the window has no rows"))
            continue
        values = window.read(column.name)
        if column.times is not None and calendar is None:
            calendar = calendar_of(period, times)
        one = measure(column, values, order, rules, ordered_reference=profile.time is not None, calendar=calendar)
        if one is None:
            now = str(window.schema.field(column.name).type)  # texts may come as a dictionary
            changed.append(SchemaChange(column=column.name, change="retyped", before=column.kind, now=now))
        else:
            measured.append(one)
    return measured, changed


def _new_columns(profile: Profile, window: Window) -> list[SchemaChange]:
    known = {column.name for column in (*profile.columns, *profile.answers)} | set(profile.others)
    known |= {profile.time or profile.time_missing or ""}
    return [
        SchemaChange(column=field.name, change="new", now=str(field.type))
        for field in window.schema
        if field.name not in known and not field.name.startswith("_")
    ]


def important_columns(profile: Profile, rules: Rules) -> frozenset[str]:
    """Columns that decide; all of them where no importances are known."""
    known = {column.name: max(0.0, column.importance or 0.0) for column in profile.columns}
    whole = sum(known.values())
    return frozenset(name for name, share in known.items() if whole == 0 or share >= rules.important * whole)


def _result(measured: Measured, level: float, rules: Rules, *, important: bool) -> ColumnResult:
    profile, tests, sizes = measured.profile, tuple(measured.tests), measured.sizes
    alarmed = [test for test in tests if test.alarm]
    shown = alarmed or [test for test in tests if test.part not in RARE_PARTS]
    detectable = measured.detectable(level)
    status: Status = "drift" if important else "warning"
    if not alarmed:
        status = "quiet" if detectable is not None and detectable <= rules.detect else "too_little"
        if sizes is None and measured.n > 0 and measured.note:
            status = "not_tested"
    return ColumnResult(
        column=profile.name,
        kind=profile.kind,
        status=status,
        effect=max((test.effect for test in shown), default=0.0),
        p_adjusted=min((test.p_adjusted for test in tests if test.p_adjusted is not None), default=None),
        importance=profile.importance,
        n_reference=profile.present,
        n=measured.n,
        n_effective=sizes.m if sizes else 0.0,
        time=sizes.time_m if sizes else None,
        smallest_detectable=max(rules.floor, detectable) if detectable is not None else None,
        tests=tests,
        note=measured.note,
        **measured.facts,
    )


def _verdict(answers: list[ColumnResult], columns: list[ColumnResult], important: frozenset[str]) -> Verdict:
    if any(column.status == "drift" for column in (*answers, *columns)):
        return "drift"
    deciding = [*answers, *(column for column in columns if column.column in important)]
    return "quiet" if any(column.status == "quiet" for column in deciding) else "too_little"


def _rank(column: ColumnResult, profile: Profile) -> tuple[bool, float, float, str]:
    """Alarms first, then importance x effect, the largest first. Without importances all are equal."""
    weighted = any(one.importance for one in profile.columns)
    importance = max(0.0, column.importance or 0.0) if weighted else 1.0
    return (not column.alarm, -importance * column.effect, -column.effect, column.column)
