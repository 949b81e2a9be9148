"""`mlo retrain`: exit codes for cron, words for people, one object for programs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from retrain_world import World


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.build(tmp_path_factory.mktemp("template") / "world")


@pytest.fixture
def world(template: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = template.copy(tmp_path / "world")
    monkeypatch.chdir(world.root)
    monkeypatch.setenv("MLO_NOW", "2013-08-01T06:00:00Z")
    return world


def test_nothing_due_exits_0(world: World, mlo: Any) -> None:
    answer = mlo("retrain")
    assert answer.stdout.startswith("nothing is due: world@1 stays\n")
    assert "drift: no window has enough rows to decide" in answer.stdout


def test_a_missing_holdout_is_told_before_anything_is_due(world: World, mlo: Any) -> None:
    (world.root / "holdout.parquet").unlink()
    for arguments in ((), ("--dry-run",)):
        out = mlo("retrain", *arguments).stdout
        assert out.startswith("nothing is due: world@1 stays\n")
        assert "holdout: there is no file holdout.parquet" in out
    world.alarm()
    for arguments in ((), ("--dry-run",)):
        assert "there is no holdout file" in mlo("retrain", *arguments, exit_code=6).stderr


def test_a_retraining_that_was_asked_for_says_by_request(world: World, mlo: Any) -> None:
    world.useless()
    mlo("retrain", "--force", exit_code=3)
    assert "retrained world@1 by request and made world@2: rejected" in mlo("models", "show", "world@2").stdout


def test_a_promotion_shows_the_comparison_and_exits_0(world: World, mlo: Any) -> None:
    world.alarm()
    world.learnable()
    dry = mlo("retrain", "--dry-run").stdout
    assert "would run the pipeline: train (run)" in dry
    assert "dry run: nothing was changed" in dry
    text = mlo("retrain", "--holdout", "holdout.parquet").stdout
    assert "due  drift of x in the window 2013-04-30 to 2013-05-01" in text
    assert "auc on 400 rows of holdout.parquet" in text
    assert "DeLong" in text
    assert "world@2 promoted: the gain in auc is at least +" in text
    assert "because  retrained world@1 for drift and made world@2" in mlo("why", "world@production").stdout


def test_a_rejection_exits_3_and_again_3_without_work(world: World, mlo: Any) -> None:
    world.alarm()
    world.useless()
    first = mlo("retrain", "--json", exit_code=3).json
    assert (first["outcome"], first["challenger"], first["replayed"]) == ("rejected", "world@2", False)
    again = mlo("retrain", exit_code=3).stdout
    assert "answered before, as event" in again
    assert "world@2 rejected: the gain in auc may be chance" in again
    assert len(world.events("retrain")) == 1


def test_too_few_labels_exit_4(world: World, mlo: Any) -> None:
    world.alarm()
    world.hold_out("2013-07-01", 1.0, count=50)
    text = mlo("retrain", exit_code=4).stdout
    assert "too few labels: holdout.parquet has 50 labelled rows newer than all training rows, of 200 needed" in text


def test_a_holdout_is_found_from_the_folder_the_command_was_typed_in(world: World, mlo: Any) -> None:
    world.alarm()
    os.chdir("raw")
    assert "there is no holdout file" in mlo("retrain", "--holdout", "holdout.parquet", exit_code=6).stderr
    assert mlo("retrain", "--holdout", "../holdout.parquet", "--dry-run", "--json").json["labels"] == 400


def test_without_a_champion_there_is_nothing_to_beat(here: Path, mlo: Any) -> None:
    (here / "mlo.yaml").write_text("name: tiny\n")
    assert "no model section" in mlo("retrain", exit_code=5).stderr
    (here / "mlo.yaml").write_text("name: tiny\nmodel: {name: tiny}\n")
    assert "no model is registered" in mlo("retrain", exit_code=6).stderr


def test_settings_that_contradict_each_other_are_refused(world: World, mlo: Any) -> None:
    world.configure("persistence: 1/1", "persistence: 3/2")
    assert "more alarms than windows" in mlo("retrain", exit_code=5).stderr
