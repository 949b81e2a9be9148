"""When to retrain: a pure decision from what is known. RULE.md beside this file says the same in prose.

Nothing here reads a clock, a file or the registry. The same facts give the same decision and the same key.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from mlops_cli.core.base.clock import format_time, parse_duration
from mlops_cli.core.base.digest import key_of
from mlops_cli.core.errors import ProjectError
from mlops_cli.core.project.schema import Drift, Retrain

Trigger = Literal["drift", "performance", "age", "forced"]
Verdict = Literal["drift", "quiet", "too_little"]


class WindowFinding(msgspec.Struct, frozen=True, kw_only=True):
    """What the drift check said of one closed window. `columns` are those that raised the alarm, worst first.

    `rows` is how many rows it held; `event` the number of the drift event that holds the finding, if there is one.
    """

    start: str
    end: str
    verdict: Verdict
    columns: tuple[str, ...] = ()
    rows: int = 0
    event: int | None = None


class Performance(msgspec.Struct, frozen=True, kw_only=True):
    """The champion on the newest labelled rows against the rows it was registered with, more being better.

    `change` is new minus old in units of the metric; `upper` its one-sided 97.5% upper bound.
    """

    metric: str
    then: float
    now: float
    change: float
    upper: float
    rows: int


class LabelledWindow(msgspec.Struct, frozen=True, kw_only=True):
    """What `mlo drift performance` said of one closed window of the champion's log. `labelled` rows have a label.

    `now` is None where the window gives the metric no value; `then` is the registered one, None where there is none.
    """

    start: str
    end: str
    verdict: Literal["breach", "quiet", "too_little"]
    metric: str
    now: float | None
    then: float | None
    labelled: int
    event: int | None = None


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """`retrain:` and the persistence of `drift:` in mlo.yaml, with units."""

    triggers: tuple[str, ...]
    alarms: int  # of the last `windows` windows that could be decided, so many must be drift
    windows: int
    cooldown_s: float
    max_age_s: float | None = None

    @classmethod
    def of(cls, retrain: Retrain, drift: Drift) -> Rules:
        """Raises ProjectError for settings that contradict each other."""
        alarms, _, windows = drift.persistence.partition("/")
        if int(alarms) > int(windows):
            raise ProjectError(
                f"drift.persistence: {drift.persistence} asks for more alarms than windows",
                hint="write alarms/windows, as in 2/3",
            )
        if "age" in retrain.triggers and retrain.max_age is None:
            raise ProjectError("retrain.triggers holds age, but retrain.max_age is not set", hint="add max_age: 30d")
        return cls(
            triggers=retrain.triggers,
            alarms=int(alarms),
            windows=int(windows),
            cooldown_s=parse_duration(retrain.cooldown),
            max_age_s=parse_duration(retrain.max_age) if retrain.max_age else None,
        )


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """All that the decision may depend on.

    champion        the version that serves, as `flights@1`
    registered      when it was registered
    last            when a retraining of this model last ran, whatever came of it
    windows         findings about closed windows, oldest first
    feedback        the log's closed windows with the labels given so far, oldest first
    performance     on the holdout, which is asked where `feedback` decides nothing; None where there are no such rows
    failed_checks   failed checks of severity error on data that no stage makes
    material        digests of what a retraining would read (data, code, parameters, holdout): part of the key only
    """

    champion: str
    registered: datetime
    last: datetime | None = None
    windows: tuple[WindowFinding, ...] = ()
    feedback: tuple[LabelledWindow, ...] = ()
    performance: Performance | None = None
    failed_checks: tuple[str, ...] = ()
    material: dict[str, Any] = {}


class Reason(msgspec.Struct, frozen=True):
    """Why a retraining is due. `event` is the number of the drift event behind it."""

    trigger: Trigger
    text: str
    event: int | None = None


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """`due` and why; or not due and, in `held_by`, what held back a trigger that fired.

    `key` names the situation: findings, champion, rules and material, but not the time of asking. Two calls with
    one key would do the same work, so the second is answered with what the first one found.
    """

    due: bool
    reasons: tuple[Reason, ...]
    key: str
    held_by: Literal["cooldown", "checks"] | None = None
    until: str | None = None  # the end of the cooldown
    notes: tuple[str, ...] = ()


def decide(now: datetime, facts: Facts, rules: Rules, *, force: bool = False) -> Decision:
    """Whether to retrain now.

    Due if a trigger fired, no check on data failed and the cooldown is over. `force` stands for a trigger and ends
    the cooldown, but never overrules a failed check: a model made from bad data helps nobody.
    """
    reasons, notes = _fired(now, facts, rules)
    if force:
        reasons = (*reasons, Reason("forced", "asked for with --force"))
    key = situation_key(facts, rules, reasons)
    if not reasons:
        return Decision(due=False, reasons=(), key=key, notes=notes)
    if facts.failed_checks:
        return Decision(due=False, reasons=reasons, key=key, held_by="checks", notes=notes)
    over = cooldown_over(facts.last, rules)
    if over is not None and now < over and not force:
        return Decision(due=False, reasons=reasons, key=key, held_by="cooldown", until=format_time(over), notes=notes)
    return Decision(due=True, reasons=reasons, key=key, notes=notes)


def cooldown_over(last: datetime | None, rules: Rules) -> datetime | None:
    """When the cooldown after the last retraining ends; None before the first one."""
    return None if last is None else last + timedelta(seconds=rules.cooldown_s)


def situation_key(facts: Facts, rules: Rules, reasons: tuple[Reason, ...]) -> str:
    """sha256 of everything the outcome depends on. An age is in it as the trigger it fired, not in seconds."""
    document = {
        "version": 1,
        "champion": facts.champion,
        "windows": [
            (window.start, window.end, window.verdict, window.columns, window.rows) for window in _decided(facts, rules)
        ],
        "feedback": [
            (window.start, window.end, window.verdict, window.labelled) for window in decided_labels(facts.feedback)
        ],
        "performance": facts.performance,
        "triggers": [reason.trigger for reason in reasons],
        "rules": rules,
        "material": facts.material,
    }
    return key_of(msgspec.to_builtins(document))


def _fired(now: datetime, facts: Facts, rules: Rules) -> tuple[tuple[Reason, ...], tuple[str, ...]]:
    reasons: list[Reason] = []
    notes: list[str] = []
    for trigger in dict.fromkeys(rules.triggers):
        if trigger == "drift":
            _drift(facts, rules, reasons, notes)
        elif trigger == "performance":
            _performance(facts, rules, reasons, notes)
        else:
            _age(now, facts, rules, reasons, notes)
    return tuple(reasons), tuple(notes)


def _decided(facts: Facts, rules: Rules) -> list[WindowFinding]:
    return [window for window in facts.windows if window.verdict != "too_little"][-rules.windows :]


def _drift(facts: Facts, rules: Rules, reasons: list[Reason], notes: list[str]) -> None:
    """`alarms` of the last `windows` decided windows. One with too little data is evidence of nothing, either way."""
    decided = _decided(facts, rules)
    alarms = [window for window in decided if window.verdict == "drift"]
    counted = f"{len(alarms)} of the last {len(decided)} windows with enough rows show drift"
    if not decided:
        notes.append("drift: no window has enough rows to decide")
    elif len(alarms) >= rules.alarms:
        latest = alarms[-1]
        columns = ", ".join(latest.columns[:5]) + (", ..." if len(latest.columns) > 5 else "")
        text = f"drift of {columns or 'the predictions'} in the window {span(latest)}"
        reasons.append(Reason("drift", text if rules.windows == 1 else f"{text}: {counted}", latest.event))
    else:
        notes.append(f"drift: {counted}, {rules.alarms} are needed")


def decided_labels(windows: tuple[LabelledWindow, ...]) -> list[LabelledWindow]:
    """The windows with labels enough for a verdict."""
    return [window for window in windows if window.verdict != "too_little"]


def _performance(facts: Facts, rules: Rules, reasons: list[Reason], notes: list[str]) -> None:
    """Labels of the log decide where any window has enough of them: they are of the rows that were served."""
    decided = decided_labels(facts.feedback)[-rules.windows :]
    if decided:
        _feedback(decided, rules, reasons, notes)
        return
    measured = facts.performance
    if measured is None:
        notes.append("performance: there are no labelled rows to judge it by, neither feedback nor a holdout")
        return
    text = (
        f"{measured.metric} {measured.then:.4f} when registered, {measured.now:.4f} on {measured.rows:,} newest rows "
        f"of the holdout: a change of {measured.change:+.4f}, at most {measured.upper:+.4f}"
    )
    if measured.upper < 0:
        reasons.append(Reason("performance", text))
    else:
        notes.append(f"performance: {text}, which may be chance")


def _feedback(decided: list[LabelledWindow], rules: Rules, reasons: list[Reason], notes: list[str]) -> None:
    breaches = [window for window in decided if window.verdict == "breach"]
    latest = (breaches or decided)[-1]
    text = (
        f"{latest.metric} {latest.then:.4f} when registered, {latest.now:.4f} on {latest.labelled:,} rows with "
        f"feedback in the window {span(latest)}"
    )
    counted = f"{len(breaches)} of the last {len(decided)} windows with enough labels are worse than the margin allows"
    if len(breaches) >= rules.alarms:
        reasons.append(Reason("performance", text if rules.windows == 1 else f"{text}: {counted}", latest.event))
    else:
        notes.append(f"performance: {text}: {counted}, {rules.alarms} are needed")


def _age(now: datetime, facts: Facts, rules: Rules, reasons: list[Reason], notes: list[str]) -> None:
    if rules.max_age_s is None:
        return
    age_s = (now - facts.registered).total_seconds()
    text = f"{facts.champion} is {age_s / 86400:.1f} days old, retrain.max_age is {rules.max_age_s / 86400:.1f}"
    if age_s > rules.max_age_s:
        reasons.append(Reason("age", text))
    else:
        notes.append(f"age: {text}")


def span(window: WindowFinding | LabelledWindow) -> str:
    """`2013-04-30 to 2013-05-01`: whole days without the clock."""
    start, end = (text.removesuffix("T00:00:00.000000Z") for text in (window.start, window.end))
    return f"{start} to {end}"
