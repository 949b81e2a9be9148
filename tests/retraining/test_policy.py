"""The decision to retrain: what fires, what holds it back, and the laws it keeps."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.core.errors import ProjectError
from mlops_cli.core.project.schema import Drift, Retrain
from mlops_cli.core.retraining.policy import (
    Decision,
    Facts,
    LabelledWindow,
    Performance,
    Rules,
    WindowFinding,
    decide,
)

NOW = datetime(2013, 5, 1, 6, tzinfo=UTC)
DAY_S = 86400.0
RULES = Rules(triggers=("drift",), alarms=1, windows=1, cooldown_s=7 * DAY_S)
FACTS = Facts(champion="flights@1", registered=datetime(2013, 4, 1, tzinfo=UTC))


def window(verdict: str, day: int = 30, **more: object) -> WindowFinding:
    start = datetime(2013, 4, day, tzinfo=UTC)
    times = [f"{time:%Y-%m-%d}T00:00:00.000000Z" for time in (start, start + timedelta(days=1))]
    facts = {"start": times[0], "end": times[1], "verdict": verdict, "rows": 4000, **more}
    return msgspec.convert(facts, WindowFinding)


def labelled(verdict: str, day: int = 30, *, now: float | None = 0.61) -> LabelledWindow:
    whole = window("quiet", day)
    facts = {"start": whole.start, "end": whole.end, "verdict": verdict, "metric": "auc", "labelled": 900, "event": 9}
    return msgspec.convert({**facts, "then": 0.70, "now": now}, LabelledWindow)


def with_facts(**changes: object) -> Facts:
    return msgspec.structs.replace(FACTS, **changes)


def with_rules(**changes: object) -> Rules:
    return msgspec.structs.replace(RULES, **changes)


def test_no_window_means_nothing_is_due() -> None:
    decision = decide(NOW, FACTS, RULES)
    assert (decision.due, decision.reasons, decision.held_by) == (False, (), None)
    assert decision.notes == ("drift: no window has enough rows to decide",)


def test_drift_is_due_and_names_columns_window_and_event() -> None:
    decision = decide(NOW, with_facts(windows=(window("drift", columns=["temp", "dewp"], event=7),)), RULES)
    assert decision.due
    assert decision.reasons[0].text == "drift of temp, dewp in the window 2013-04-30 to 2013-05-01"
    assert decision.reasons[0].event == 7


@pytest.mark.parametrize(
    ("verdicts", "due"),
    [
        ("d", False),
        ("dd", True),
        ("dqd", True),
        ("ddq", True),
        ("ddqq", False),
        ("qqd", False),
        ("dtttd", True),
        ("ttt", False),
        ("dqqd", False),
    ],
)
def test_two_of_the_last_three_decided_windows(verdicts: str, due: bool) -> None:
    names = {"d": "drift", "q": "quiet", "t": "too_little"}
    windows = tuple(window(names[letter], 10 + day) for day, letter in enumerate(verdicts))
    assert decide(NOW, with_facts(windows=windows), with_rules(alarms=2, windows=3)).due is due


def test_the_cooldown_holds_and_says_until_when() -> None:
    facts = with_facts(windows=(window("drift"),), last=NOW - timedelta(days=6))
    decision = decide(NOW, facts, RULES)
    assert (decision.due, decision.held_by, decision.until) == (False, "cooldown", "2013-05-02T06:00:00.000000Z")
    assert decide(NOW + timedelta(days=1), facts, RULES).due
    assert decide(NOW, facts, RULES, force=True).due


def test_failed_checks_hold_even_what_is_forced() -> None:
    facts = with_facts(windows=(window("drift"),), failed_checks=("raw.yaml:3:5: temp between",))
    assert decide(NOW, facts, RULES).held_by == "checks"
    assert decide(NOW, facts, RULES, force=True).held_by == "checks"


def test_a_drop_is_due_only_when_chance_is_ruled_out() -> None:
    rules = with_rules(triggers=("performance",))
    drop = Performance(metric="auc", then=0.70, now=0.66, change=-0.04, upper=-0.01, rows=4000)
    assert decide(NOW, with_facts(performance=drop), rules).reasons[0].trigger == "performance"
    maybe = msgspec.structs.replace(drop, upper=0.001)
    decision = decide(NOW, with_facts(performance=maybe), rules)
    assert not decision.due
    assert "may be chance" in decision.notes[0]
    assert "no labelled rows" in decide(NOW, FACTS, rules).notes[0]


def test_feedback_decides_where_a_window_has_enough_of_it() -> None:
    rules = with_rules(triggers=("performance",))
    drop = Performance(metric="auc", then=0.70, now=0.66, change=-0.04, upper=-0.01, rows=4000)
    breach = decide(NOW, with_facts(feedback=(labelled("breach"),)), rules)
    assert breach.due
    assert breach.reasons[0].event == 9
    assert breach.reasons[0].text == (
        "auc 0.7000 when registered, 0.6100 on 900 rows with feedback in the window 2013-04-30 to 2013-05-01"
    )
    quiet = decide(NOW, with_facts(feedback=(labelled("quiet"),), performance=drop), rules)
    assert not quiet.due
    assert "0 of the last 1 windows with enough labels are worse than the margin allows" in quiet.notes[0]
    few = decide(NOW, with_facts(feedback=(labelled("too_little", now=None),), performance=drop), rules)
    assert few.due
    assert "newest rows of the holdout" in few.reasons[0].text


@pytest.mark.parametrize(
    ("verdicts", "due"), [("bq", False), ("bb", True), ("btb", True), ("bbq", True), ("bqq", False)]
)
def test_feedback_is_as_persistent_as_drift_has_to_be(verdicts: str, due: bool) -> None:
    rules = with_rules(triggers=("performance",), alarms=2, windows=3)
    names = {"b": "breach", "q": "quiet", "t": "too_little"}
    windows = tuple(labelled(names[verdict], 20 + place) for place, verdict in enumerate(verdicts))
    decision = decide(NOW, with_facts(feedback=windows), rules)
    assert decision.due is due
    assert decide(NOW, with_facts(feedback=windows[1:]), rules).key != decision.key


def test_age_is_due_past_its_limit() -> None:
    rules = with_rules(triggers=("age",), max_age_s=30 * DAY_S)
    assert decide(NOW, FACTS, rules).due
    assert not decide(NOW - timedelta(days=1), FACTS, rules).due


def test_only_the_triggers_of_the_rules_fire() -> None:
    facts = with_facts(windows=(window("drift"),))
    assert not decide(NOW, facts, with_rules(triggers=("age",), max_age_s=1000 * DAY_S)).due


def test_rules_come_from_the_settings() -> None:
    rules = Rules.of(Retrain(triggers=("drift", "age"), max_age="30d", cooldown="12h"), Drift(persistence="2/3"))
    assert rules == Rules(triggers=("drift", "age"), alarms=2, windows=3, cooldown_s=43200.0, max_age_s=30 * DAY_S)


@pytest.mark.parametrize(
    ("retrain", "drift"), [(Retrain(triggers=("age",)), Drift()), (Retrain(), Drift(persistence="3/2"))]
)
def test_settings_that_contradict_each_other_are_refused(retrain: Retrain, drift: Drift) -> None:
    with pytest.raises(ProjectError):
        Rules.of(retrain, drift)


verdicts = st.sampled_from(["drift", "quiet", "too_little"])
windows_lists = st.lists(st.builds(window, verdicts, st.integers(1, 29)), max_size=6).map(tuple)
all_facts = st.builds(
    Facts,
    champion=st.sampled_from(["flights@1", "flights@2"]),
    registered=st.just(datetime(2013, 4, 1, tzinfo=UTC)),
    last=st.none() | st.datetimes(datetime(2013, 4, 1), datetime(2013, 6, 1), timezones=st.just(UTC)),
    windows=windows_lists,
    failed_checks=st.sampled_from([(), ("a",)]),
    material=st.dictionaries(st.sampled_from(["data/raw", "train.py"]), st.sampled_from(["a", "b"])),
)
all_rules = st.tuples(st.integers(1, 3), st.integers(1, 3), st.floats(1, 30)).map(
    lambda drawn: with_rules(alarms=min(drawn[:2]), windows=max(drawn[:2]), cooldown_s=drawn[2] * DAY_S)
)


@given(all_facts, all_rules)
def test_a_due_retraining_has_a_reason_and_nothing_against_it(facts: Facts, rules: Rules) -> None:
    decision = decide(NOW, facts, rules)
    if decision.due:
        assert decision.reasons
        assert not facts.failed_checks
        assert decision.held_by is None
    assert (decision.held_by is not None) <= bool(decision.reasons)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(0.1, 200), windows_lists), max_size=30), all_rules)
def test_two_retrainings_never_lie_closer_than_the_cooldown(
    calls: list[tuple[float, tuple[WindowFinding, ...]]], rules: Rules
) -> None:
    now, ran = NOW, []
    for hours, windows in calls:
        now += timedelta(hours=hours)
        last = ran[-1] if ran else None
        if decide(now, with_facts(windows=windows, last=last), rules).due:
            ran.append(now)
    assert all((later - earlier).total_seconds() >= rules.cooldown_s for earlier, later in itertools.pairwise(ran))


@given(all_facts, all_rules, st.floats(0, 1000))
def test_the_time_of_asking_is_not_in_the_key(facts: Facts, rules: Rules, hours: float) -> None:
    first, second = decide(NOW, facts, rules), decide(NOW + timedelta(hours=hours), facts, rules)
    assert first.key == second.key
    assert first.reasons == second.reasons


def test_windows_that_decide_nothing_do_not_change_the_key() -> None:
    facts = with_facts(windows=(window("drift", 10),))
    later = with_facts(windows=(window("drift", 10), window("too_little", 11)))
    assert decide(NOW, facts, RULES).key == decide(NOW, later, RULES).key


@given(all_facts, all_facts, all_rules)
def test_one_key_means_one_situation(one: Facts, other: Facts, rules: Rules) -> None:
    def situation(facts: Facts) -> object:
        decided = [window for window in facts.windows if window.verdict != "too_little"]
        return facts.champion, decided[-rules.windows :], facts.material

    same = situation(one) == situation(other)
    assert (decide(NOW, one, rules).key == decide(NOW, other, rules).key) is same


@given(all_facts, all_rules)
def test_deciding_twice_gives_the_same_decision(facts: Facts, rules: Rules) -> None:
    first = decide(NOW, facts, rules)
    assert decide(NOW, msgspec.convert(msgspec.to_builtins(facts), Facts), rules) == first
    assert isinstance(first, Decision)


@given(all_facts, all_rules)
def test_forcing_is_due_unless_a_check_failed(facts: Facts, rules: Rules) -> None:
    assert decide(NOW, facts, rules, force=True).due is not bool(facts.failed_checks)
