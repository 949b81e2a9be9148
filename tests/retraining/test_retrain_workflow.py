"""`retrain` from the finding to the alias: what it does, what it refuses, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from retrain_world import World, month

from mlops_cli.core.base.files import FileLock
from mlops_cli.core.errors import Locked, NotFound, ProjectError, StageFailed, TooLittleData
from mlops_cli.core.models.errors import WrongInputs
from mlops_cli.core.workflows.holdout import HoldoutOverlaps
from mlops_cli.core.workflows.retrain import RetrainAnswer, retrain


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.build(tmp_path_factory.mktemp("template") / "world")


@pytest.fixture
def world(template: World, tmp_path: Path) -> World:
    return template.copy(tmp_path / "world")


def run(world: World, *, now: str = "2013-05-01T06:00:00Z", **options: object) -> RetrainAnswer:
    return retrain(world.workspace(now=now), **options)


def test_without_cause_nothing_is_done_or_recorded(world: World) -> None:
    world.learnable()
    before = world.state()
    answer = run(world)
    assert (answer.outcome, answer.exit_code) == ("nothing_due", 0)
    assert answer.notes == ("drift: no window has enough rows to decide",)
    assert world.state() == before


def test_an_alarm_makes_a_better_challenger_that_takes_the_alias(world: World) -> None:
    world.learnable()
    alarm = world.alarm()
    answer = run(world, now="2013-08-01T06:00:00Z")
    assert (answer.outcome, answer.exit_code, answer.challenger) == ("promoted", 0, "world@2")
    assert world.production() == 2
    gain = answer.comparison
    assert gain is not None
    assert gain.method == "DeLong"
    assert gain.challenger - gain.champion == pytest.approx(gain.gain)
    assert 0 < gain.lower < gain.gain
    event = world.events("retrain")[0]
    assert event.subject == "world@2"
    assert event.data["drift"] == alarm.seq
    assert event.data["scores"] == {"champion": gain.champion, "challenger": gain.challenger}
    assert (event.data["decision"], event.data["triggers"]) == ("promoted", ["drift"])
    assert event.data["holdout"]["path"] == "holdout.parquet"


def test_after_a_promotion_nothing_is_due(world: World) -> None:
    world.learnable()
    world.alarm()
    run(world)
    again = run(world)
    assert (again.outcome, again.champion, again.replayed) == ("nothing_due", "world@2", False)
    assert len(world.events("retrain")) == 1


def test_a_challenger_that_is_no_better_is_rejected_and_stays_registered(world: World) -> None:
    world.useless()
    world.alarm()
    answer = run(world)
    assert (answer.outcome, answer.exit_code) == ("rejected", 3)
    assert "may be chance" in answer.why
    assert world.production() == 1
    assert len(world.workspace().registry.versions("world")) == 2


def test_the_same_situation_is_answered_with_the_recorded_answer(world: World) -> None:
    world.useless()
    world.alarm()
    first = run(world)
    before = world.state()
    second = run(world, now="2013-05-20T06:00:00Z")
    assert second.replayed
    assert (second.outcome, second.exit_code, second.comparison) == ("rejected", 3, first.comparison)
    assert (second.key, second.event) == (first.key, first.event)
    assert world.state() == before


def test_new_data_is_a_new_situation_that_waits_for_the_cooldown(world: World) -> None:
    world.useless()
    world.alarm()
    run(world)
    world.learnable()
    held = run(world, now="2013-05-05T06:00:00Z")
    assert (held.outcome, held.exit_code, held.held_by) == ("held", 0, "cooldown")
    assert held.until == "2013-05-08T06:00:00.000000Z"
    assert len(world.events("retrain")) == 1
    later = run(world, now="2013-05-09T06:00:00Z")
    assert (later.outcome, later.challenger, later.looks) == ("promoted", "world@3", 2)


def test_quiet_windows_after_the_alarm_clear_it(world: World) -> None:
    world.alarm("2013-04-28")
    world.alarm("2013-04-29", "quiet")
    assert run(world).outcome == "nothing_due"


def test_windows_that_overlap_raise_one_alarm(world: World) -> None:
    world.configure("persistence: 1/1", "persistence: 2/3")
    world.alarm("2013-04-29")
    first = run(world)
    assert first.outcome == "nothing_due"
    # Half a day later the same rows are looked at again: still one alarm.
    data = {
        "verdict": "drift",
        "window": {"start": "2013-04-29T12:00:00.000000Z", "end": "2013-04-30T12:00:00.000000Z"},
        "rows": 4000,
        "alarms": ["x"],
    }
    world.workspace().registry.record("drift", "world@1", data)
    assert run(world).outcome == "nothing_due"
    world.alarm("2013-04-30")
    world.learnable()
    assert run(world, dry=True).outcome == "would_retrain"


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(world: World) -> None:
    world.learnable()
    world.alarm()
    before = world.state()
    answer = run(world, dry=True)
    assert (answer.outcome, answer.exit_code, answer.labels) == ("would_retrain", 0, 400)
    assert answer.steps == (
        "run the pipeline: train (run)",
        "register the new model as world@2",
        "compare it with world@1 by auc on 400 rows of holdout.parquet",
        "promote it to production if it is better and its gates hold",
    )
    assert world.state() == before


def test_unchanged_data_makes_the_same_model_which_is_rejected(world: World) -> None:
    world.alarm()
    answer = run(world)
    assert (answer.outcome, answer.exit_code) == ("rejected", 3)
    assert "the very model that serves as world@1" in answer.why
    assert answer.challenger is None
    assert len(world.workspace().registry.versions("world")) == 1
    assert world.events("retrain")[0].subject == "world"


def test_a_comparison_that_cannot_be_made_leaves_one_version_however_often_cron_tries(world: World) -> None:
    world.learnable()
    world.alarm()
    world.add("2013-07-01", 1.0, seed=99)  # the holdout's own month goes into training
    for _ in range(2):
        with pytest.raises(HoldoutOverlaps, match="world@2 was trained on"):
            run(world)
    assert len(world.workspace().registry.versions("world")) == 2
    month("2013-08-01", 1.0, seed=6).to_parquet(world.root / "holdout.parquet")
    answer = run(world)
    assert (answer.outcome, answer.challenger) == ("promoted", "world@2")


def test_a_model_to_be_scored_on_other_rows_is_another_version(world: World) -> None:
    world.alarm()
    world.configure("evaluate: {data: test.parquet", "evaluate: {data: train.parquet")
    answer = run(world)
    assert (answer.outcome, answer.challenger) == ("rejected", "world@2")


@pytest.mark.parametrize("dry", [False, True])
def test_rows_that_no_champion_can_be_judged_by_are_refused_before_anything_runs(world: World, dry: bool) -> None:
    world.learnable()
    world.alarm()
    rows = month("2013-07-01", 1.0, seed=6)
    rows.assign(y=1).to_parquet(world.root / "holdout.parquet")
    with pytest.raises(TooLittleData, match="auc has no value on these 400 rows"):
        run(world, dry=dry)
    rows.drop(columns="x").to_parquet(world.root / "holdout.parquet")
    with pytest.raises(WrongInputs, match="no column x"):
        run(world, dry=dry)
    assert len(world.workspace().runs.list(limit=10)) == 1


def test_rows_the_model_was_trained_on_are_refused_before_anything_runs(world: World) -> None:
    world.learnable()
    world.alarm()
    seen = pd.read_parquet(world.root / "train.parquet").head(50)
    pd.concat([month("2013-07-01", 1.0, seed=99), seen]).to_parquet(world.root / "holdout.parquet")
    with pytest.raises(
        HoldoutOverlaps, match=r"50 of 450 rows of holdout\.parquet are rows that world@1 was trained on"
    ):
        run(world)
    assert world.events("retrain") == []
    assert len(world.workspace().runs.list(limit=10)) == 1


def test_rows_of_the_challengers_training_are_refused_as_well(world: World) -> None:
    world.learnable()
    world.alarm()
    world.add("2013-07-01", 1.0, seed=99)  # the holdout's own month goes into training
    with pytest.raises(HoldoutOverlaps, match="world@2 was trained on"):
        run(world)
    assert world.production() == 1


def test_rows_older_than_the_training_data_do_not_count(world: World) -> None:
    world.learnable()
    world.alarm()
    old, new = month("2012-07-01", 1.0, seed=5), month("2013-07-01", 1.0, seed=6, count=250)
    pd.concat([old, new]).to_parquet(world.root / "holdout.parquet")
    answer = run(world)
    assert answer.outcome == "promoted"
    assert answer.labels == 250


@pytest.mark.parametrize("unlabelled", [False, True])
def test_too_few_labels_exit_4_before_anything_runs(world: World, unlabelled: bool) -> None:
    world.learnable()
    world.alarm()
    rows = month("2013-07-01", 1.0, seed=6, count=300 if unlabelled else 150)
    if unlabelled:
        rows["y"] = rows["y"].astype("float64").where(rows.index < 150)  # the labels of the rest are not there yet
    rows.to_parquet(world.root / "holdout.parquet")
    answer = run(world)
    assert (answer.outcome, answer.exit_code, answer.labels) == ("too_few_labels", 4, 150)
    assert world.events("retrain") == []
    world.hold_out("2013-07-01", 1.0)
    assert run(world).outcome == "promoted"  # too few labels starts no cooldown


def test_without_promotion_the_better_model_waits(world: World) -> None:
    world.configure("cooldown: 7d", "cooldown: 7d, promote: false")
    world.learnable()
    world.alarm()
    answer = run(world)
    assert (answer.outcome, answer.exit_code) == ("registered", 0)
    assert "mlo promote world@2 production" in answer.why
    assert world.production() == 1


def test_a_better_model_still_needs_its_gates(world: World) -> None:
    world.configure("auc >= 0.3", "auc >= 0.99")
    world.learnable()
    world.alarm()
    answer = run(world)
    assert (answer.outcome, answer.exit_code) == ("rejected", 3)
    assert "auc >= 0.99" in answer.why
    assert answer.promotion is not None
    assert answer.promotion.gates[0].comparisons[0].left == pytest.approx(0.73, abs=0.1)
    assert world.production() == 1


def test_force_needs_no_cause_and_no_cooldown_but_is_judged_all_the_same(world: World) -> None:
    world.useless()
    world.alarm()
    run(world)
    world.learnable()
    answer = run(world, force=True)
    assert answer.outcome == "promoted"
    assert [reason.trigger for reason in answer.reasons] == ["drift", "forced"]


def test_bad_data_makes_no_model(world: World) -> None:
    (world.root / "checks").mkdir()
    (world.root / "checks" / "raw.yaml").write_text("data: raw\nchecks: [{column: x, between: [-1, 1]}]\n")
    world.learnable()
    world.alarm()
    answer = run(world, force=True)
    assert (answer.outcome, answer.exit_code, answer.held_by) == ("held", 3, "checks")
    assert answer.failed_checks[0].startswith("raw.yaml:2:")
    assert len(world.workspace().runs.list(limit=10)) == 1


def test_a_drop_in_performance_is_a_trigger(world: World) -> None:
    world.learnable()
    world.alarm()
    run(world)
    world.configure("triggers: [drift]", "triggers: [performance]")
    world.hold_out("2013-08-01", 1.0)
    assert run(world, now="2013-10-01T00:00:00Z").outcome == "nothing_due"
    world.hold_out("2013-09-01", -1.0)  # the pattern turns round
    answer = run(world, now="2013-10-01T00:00:00Z", dry=True)
    assert answer.reasons[0].trigger == "performance"
    assert answer.performance is not None
    assert answer.performance.now < 0.3 < 0.7 < answer.performance.then


def test_feedback_on_what_was_served_is_asked_before_the_holdout(world: World) -> None:
    world.configure("triggers: [drift]", "triggers: [performance]")
    world.learnable()
    world.answered(wrong=False)
    quiet = run(world)
    assert (quiet.outcome, quiet.performance) == ("nothing_due", None)
    assert [found.verdict for found in quiet.feedback] == ["quiet"]
    assert "on 300 rows with feedback" in quiet.notes[0]


def test_bad_feedback_makes_a_better_challenger_that_takes_the_alias(world: World) -> None:
    world.configure("triggers: [drift]", "triggers: [performance]")
    world.learnable()
    world.answered(wrong=True)
    before = world.state()
    assert run(world, dry=True).outcome == "would_retrain"
    assert world.state() == before
    answer = run(world)
    assert (answer.outcome, answer.reasons[0].trigger) == ("promoted", "performance")
    assert answer.reasons[0].event == world.events("performance")[0].seq
    assert world.production() == 2


def test_where_feedback_is_scarce_the_holdout_is_asked(world: World) -> None:
    world.configure("triggers: [drift]", "triggers: [performance]")
    world.answered(wrong=True, labels=20)
    answer = run(world, dry=True)
    assert [(found.verdict, found.labelled) for found in answer.feedback] == [("too_little", 20)]
    assert answer.performance is not None
    assert answer.performance.rows == 400


def test_age_is_a_trigger(world: World) -> None:
    world.configure("triggers: [drift]", "triggers: [age], max_age: 30d")
    world.learnable()
    assert run(world, now="2013-04-15T00:00:00Z", dry=True).outcome == "nothing_due"
    assert run(world, now="2013-05-02T00:00:00Z", dry=True).outcome == "would_retrain"


def test_a_stage_that_fails_leaves_champion_and_log_alone(world: World) -> None:
    world.alarm()
    (world.root / "train.py").write_text("raise SystemExit('no')\n")
    with pytest.raises(StageFailed):
        run(world)
    assert world.production() == 1
    assert world.events("retrain") == []


def test_two_never_run_at_once(world: World) -> None:
    with FileLock(world.root / ".mlo" / "locks" / "retrain", command="mlo retrain").held(), pytest.raises(Locked):
        run(world, wait=False)


def test_what_is_missing_is_named(world: World) -> None:
    world.alarm()
    world.learnable()
    (world.root / "holdout.parquet").unlink()
    with pytest.raises(NotFound, match=r"there is no holdout file holdout\.parquet"):
        run(world)
    with pytest.raises(NotFound, match=r"there is no holdout file .*other\.parquet"):
        run(world, holdout=world.root / "other.parquet")
    world.configure("holdout: holdout.parquet, ", "")
    with pytest.raises(ProjectError, match="needs newer labelled rows"):
        run(world)


def test_a_holdout_without_target_or_time_is_refused(world: World) -> None:
    world.alarm()
    rows = month("2013-07-01", 1.0, seed=6)
    for column in ("y", "at"):
        rows.drop(columns=column).to_parquet(world.root / "holdout.parquet")
        with pytest.raises(ProjectError, match=f"has no column {column}"):
            run(world)
    (world.root / "holdout.parquet").write_text("not parquet")
    with pytest.raises(ProjectError, match="does not read as rows"):
        run(world)


def test_a_holdout_that_cannot_be_read_as_the_training_rows_is_explained(world: World) -> None:
    world.alarm()
    rows = month("2013-07-01", 1.0, seed=6)
    rows.assign(at="soon").to_parquet(world.root / "holdout.parquet")
    with pytest.raises(ProjectError, match=r"at of holdout\.parquet does not read as timestamp"):
        run(world)
    (world.root / "twice.csv").write_text("at,x,y,x\n2013-07-01,1,0,1\n")
    with pytest.raises(ProjectError, match=r"twice\.csv has two columns named x"):
        run(world, holdout=world.root / "twice.csv")
    with pytest.raises(ProjectError, match="raw is a folder"):
        run(world, holdout=world.root / "raw")
