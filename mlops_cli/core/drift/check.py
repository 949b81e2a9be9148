"""Compare a window of rows with a profile, by the rule of RULE.md beside this file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from mlops_cli.core.drift import columns as arrow
from mlops_cli.core.drift.measure import measure
from mlops_cli.core.drift.measures.measured import Measured
from mlops_cli.core.drift.profile import ColumnProfile, Profile
from mlops_cli.core.drift.records import ColumnResult, DriftResult, Rules, SchemaChange, Status, Verdict
from mlops_cli.core.drift.window import Window
from mlops_cli.core.errors import UsageError
from mlops_cli.core.stats.multiplicity import holm

if TYPE_CHECKING:
    import pyarrow as pa


def check(
    profile: Profile,
    current: pa.Table | Window,
    *,
    rules: Rules | None = None,
    answers: pa.Table | Window | None = None,
) -> DriftResult:
    """The verdict on a window of rows, and each column's part in it.

    current: the inputs, whichever version answered them; a column that the reference did not have is a finding.
    answers: rows with `_prediction` (and `_score`) of the profile's own version; `current` itself if it has them. Rows
    are put in order by the profile's time column where they have it. Raises UsageError if the window has none of
    the model's columns.
    """
    rules = rules or Rules()
    window = _window(current)
    replies = _window(answers) if answers is not None else window
    _refuse_other_rows(profile, window)
    notes = _notes(profile, window, replies)
    # The predictions first: a change of what the model sees matters most where its answers change with it.
    measured_answers, retyped = _measure_all(profile.answers, replies, profile, rules, required=False)
    measured, changed = _measure_all(profile.columns, window, profile, rules, required=True)
    schema = (*retyped, *changed, *_new_columns(profile, window))
    everything = [*measured_answers, *measured]
    _adjust(everything, rules)
    tests = sum(len(column.tests) for column in everything)
    level = rules.alpha / max(1, tests)
    important = _important(profile, rules)
    replied = [_result(column, level, rules, important=True) for column in measured_answers]
    results = [_result(column, level, rules, important=column.profile.name in important) for column in measured]
    return DriftResult(
        verdict="drift" if schema else _verdict(replied, results, important),
        columns=tuple(sorted(results, key=lambda column: _rank(column, profile))),
        answers=tuple(replied),
        schema=schema,
        rows=window.rows,
        rows_reference=profile.rows,
        tests=tests,
        level=level,
        rules=rules,
        notes=tuple(notes),
    )


def _window(rows: pa.Table | Window) -> Window:
    return rows if isinstance(rows, Window) else Window.of_table(rows)


def _refuse_other_rows(profile: Profile, window: Window) -> None:
    names = [column.name for column in profile.columns]
    if names and not any(name in window for name in names):
        raise UsageError(
            f"the window has none of the model's columns; it has {', '.join(window.schema.names[:8]) or 'none at all'}",
            hint=f"give rows with {', '.join(names[:8])}",
        )


def _notes(profile: Profile, window: Window, replies: Window) -> list[str]:
    notes = []
    if profile.time is None:
        which = (
            f"{profile.time_missing} orders no rows of the reference"
            if profile.time_missing
            else "model.time is not set"
        )
        notes.append(f"{which}: rows are taken as independent, and dependent ones raise false alarms")
    elif profile.time not in window:
        notes.append(f"the window has no {profile.time}: its dependence is taken from the reference")
    if not profile.answers:
        notes.append("the profile knows no predictions: only the inputs are compared")
    elif not any(column.name in replies for column in profile.answers):
        notes.append("the window holds no predictions: only the inputs are compared")
    if profile.answers and profile.answers_from == "reference":
        notes.append(
            "predictions are compared with those on training rows, which a model knows too well: set model.evaluate"
        )
    return notes


def _measure_all(
    columns: Sequence[ColumnProfile], window: Window, profile: Profile, rules: Rules, *, required: bool
) -> tuple[list[Measured], list[SchemaChange]]:
    """The tests of each column, and those that are missing or of another kind."""
    name = profile.time or profile.time_missing
    order = arrow.time_order(window.read(name)) if name is not None and name in window else None
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
        one = measure(column, values, order, rules, ordered_reference=profile.time is not None)
        if one is None:
            changed.append(SchemaChange(column=column.name, change="retyped", before=column.kind, now=str(values.type)))
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


def _adjust(measured: list[Measured], rules: Rules) -> None:
    """Holm over every test of the check; then an alarm is a small adjusted p and an effect of its floor."""
    adjusted = iter(holm([test.p_value or 0.0 for column in measured for test in column.tests]).tolist())
    for column in measured:
        for place, test in enumerate(column.tests):
            p = next(adjusted)
            alarm = p <= rules.alpha and test.effect >= test.floor
            column.tests[place] = msgspec.structs.replace(test, p_adjusted=p, alarm=alarm)


def _important(profile: Profile, rules: Rules) -> frozenset[str]:
    """Columns that decide; all of them where no importances are known."""
    known = {column.name: max(0.0, column.importance or 0.0) for column in profile.columns}
    whole = sum(known.values())
    return frozenset(name for name, share in known.items() if whole == 0 or share >= rules.important * whole)


def _result(measured: Measured, level: float, rules: Rules, *, important: bool) -> ColumnResult:
    profile, tests, sizes = measured.profile, tuple(measured.tests), measured.sizes
    alarmed = [test for test in tests if test.alarm]
    shown = alarmed or [test for test in tests if test.part == "distribution"]
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
