"""The whole answer as one family of tests: the check of all rows, of the segments, and of all columns together.

Each has a share of alpha, as "One family" in RULE.md says, so that the chance of any false alarm anywhere stays alpha.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from mlops_cli.core.drift import segments as parts
from mlops_cli.core.drift.check import Group, Measurement, adjust, conclude, important_columns, measure_window
from mlops_cli.core.drift.multivariate import Joint, compare_jointly, effect_floor, listed
from mlops_cli.core.drift.periods import Period
from mlops_cli.core.drift.profile import Profile
from mlops_cli.core.drift.records import DriftResult, Multivariate, Rules, Segments, Test
from mlops_cli.core.drift.window import Window

if TYPE_CHECKING:
    import pyarrow as pa

# Shares of alpha. Fixed beforehand, so that more segments cost the check of all rows nothing.
WHOLE, SEGMENTS, JOINT = 5.0, 4.0, 1.0


@dataclass(frozen=True, slots=True)
class Family:
    """The check of all rows, whose verdict is that of everything, and what else was asked for."""

    result: DriftResult
    segments: Segments | None = None
    multivariate: Multivariate | None = None


def check_family(
    profile: Profile,
    current: pa.Table | Window,
    reference: Callable[[], Window],
    *,
    rules: Rules | None = None,
    answers: pa.Table | Window | None = None,
    period: Period | None = None,
    segments: str | None = None,
    multivariate: bool = False,
) -> Family:
    """Check a window as `check` does, and besides within each value of the column `segments`, and all columns together.

    reference: opens the rows that `profile` was made from; called once, if either is asked for. The verdict is drift if
    any of them says so. Raises as `check` and `cut` do, and as `reference` does.
    """
    rules = rules or Rules()
    window = current if isinstance(current, Window) else Window.of_table(current)
    whole = measure_window(profile, window, rules=rules, answers=answers, period=period)
    raw = reference() if segments is not None or multivariate else None
    found_cut, within = None, list[Measurement]()
    if segments is not None and raw is not None:
        found_cut = parts.cut(segments, profile, raw, window)
        within = parts.measure_segments(found_cut, profile, raw, window, rules, period)
    joint, tests = None, list[Test]()
    if multivariate and raw is not None:
        share = JOINT / (WHOLE + JOINT + (SEGMENTS if segments is not None else 0.0))
        joint = _compare(whole, raw, window, rules, share * rules.alpha)
        tests = [] if joint.untold else [_test(joint, rules)]
    levels = adjust(
        rules,
        Group(WHOLE, whole.tests),
        Group(SEGMENTS, [tests for one in within for tests in one.tests]),
        Group(JOINT, [tests]),
    )
    result = conclude(whole, levels[0], rules)
    cut_result = parts.conclude_segments(found_cut, within, levels[1], rules) if found_cut is not None else None
    together = _concluded(joint, tests[0], levels[2]) if joint is not None and tests else None
    if joint is not None and joint.untold:
        result = msgspec.structs.replace(
            result, notes=(*result.notes, f"all columns together were not compared: {joint.untold}")
        )
    if (together is not None and together.alarm) or _any_drifts(cut_result):
        result = msgspec.structs.replace(result, verdict="drift")
    return Family(result, cut_result, together)


def _any_drifts(found: Segments | None) -> bool:
    return found is not None and any(segment.verdict == "drift" for segment in found.segments)


def _compare(whole: Measurement, reference: Window, window: Window, rules: Rules, level: float) -> Joint:
    """Only the columns that decide take part: what merely warns by itself must not decide through the classifier."""
    important = important_columns(whole.profile, rules)
    used = [column for column in whole.columns if column.profile.name in important]
    times = [column.sizes.time_m for column in used if column.sizes is not None]
    times += [column.profile.missing_time for column in used if column.profile.missing]
    joint = compare_jointly(
        whole.profile,
        reference,
        window,
        columns=[column.profile.name for column in used],
        time=max(times, default=1.0),
        level=level,
        explain=(rules.alpha, effect_floor(rules.floor)),
    )
    unimportant = [column.profile.name for column in whole.columns if column.profile.name not in important]
    return joint.noting(f"left out, as of no importance: {listed(unimportant)}") if unimportant else joint


def _test(joint: Joint, rules: Rules) -> Test:
    return Test(
        part="joint",
        method="domain classifier",
        statistic=joint.auc,
        effect=joint.effect,
        floor=effect_floor(rules.floor),
        p_value=joint.p_value,
    )


def _concluded(joint: Joint, test: Test, level: float) -> Multivariate:
    return Multivariate(
        auc=joint.auc,
        bound=joint.bound,
        p_value=joint.p_value,
        p_adjusted=test.p_adjusted,
        level=level,
        effect=test.effect,
        floor=test.floor,
        alarm=test.alarm,
        n_reference=joint.n_reference,
        n=joint.n,
        columns=joint.columns,
        note="; ".join(joint.notes),
    )
