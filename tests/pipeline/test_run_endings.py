"""What is said of a run that failed, was interrupted or had nothing to do; and what a skipped stage leaves."""

from __future__ import annotations

import signal
from pathlib import Path

from command_line import Mlo
from pipeline_kit import run, statuses, workspace, write_project

from mlops_cli.core.workflows.apply import apply_run

FAILING = {
    "a": {"cmd": "echo x > a", "outs": ["a"]},
    "b": {"cmd": "exit 3", "deps": ["a"], "outs": ["b"]},
    "c": {"cmd": "exit 4", "deps": ["a"], "outs": ["c"]},
    "d": {"cmd": "cat b > d", "deps": ["b"], "outs": ["d"]},
}
GATED = {
    "a": {"cmd": 'echo $MLO_PARAMS > a; echo "{\\"m\\": $(cat m)}" > a.json', "deps": ["m"], "metrics": ["a.json"]},
    "b": {"cmd": "cat a.json > b; echo $MLO_PARAMS >> b", "deps": ["a.json"], "params": ["x"], "outs": ["b"]},
}


def test_the_plan_foresees_a_folder_that_restored_stages_write_into(here: Path) -> None:
    stages = {
        "prepare": {
            "cmd": "mkdir -p data/deep; echo $MLO_PARAMS > data/deep/p",
            "params": ["x"],
            "outs": ["data/deep/p"],
        },
        "evaluate": {"cmd": "cat data/deep/p data/q > e", "deps": ["data"], "outs": ["e"]},
    }
    (here / "data").mkdir()
    (here / "data" / "q").write_text("q")
    (here / "data" / "__pycache__").mkdir()
    write_project(here, stages, {"x": 1})
    run(here)
    other = run(here, overrides={"x": "2"}).run
    run(here)
    apply_run(workspace(here), other)
    plan = run(here, dry=True).plan
    assert {it.stage: it.action for it in plan} == statuses(run(here)) == dict.fromkeys(stages, "restored")
    (here / "data" / "deep" / "p").unlink()
    (here / "data" / "deep").rmdir()
    plan = run(here, dry=True).plan
    assert {it.stage: it.action for it in plan} == statuses(run(here)) == {"prepare": "restored", "evaluate": "cached"}


def gated(here: Path) -> Path:
    """b stands as -P x=2 made it, and is skipped without."""
    (here / "m").write_text("1")
    write_project(here, {"a": GATED["a"], "b": {**GATED["b"], "when": "x > 1"}}, {"x": 1})
    run(here, overrides={"x": "2"})
    marker = here / ".mlo" / "worktree.json"
    assert (here / "b").exists()
    assert marker.exists()
    return marker


def test_a_skipped_stage_lets_go_of_what_another_run_made(here: Path) -> None:
    marker = gated(here)
    result = run(here)
    assert statuses(result)["b"] == "skipped"
    assert not result.worktree
    assert not marker.exists()
    assert not (here / "b").exists()


def test_a_skipped_stage_has_what_the_lock_says_again(here: Path) -> None:
    (here / "m").write_text("1")
    write_project(here, GATED, {"x": 1})
    run(here)
    first = (here / "b").read_text()
    run(here, overrides={"x": "2"})
    assert (here / "b").read_text() != first
    write_project(here, {"a": GATED["a"], "b": {**GATED["b"], "when": "x > 1"}}, {"x": 1})
    assert not run(here).worktree
    assert (here / "b").read_text() == first


def test_a_skipped_stage_leaves_what_nobody_has_a_copy_of(here: Path, mlo: Mlo) -> None:
    marker = gated(here)
    (here / "b").write_text("mine")
    answer = mlo("run")
    assert "b: skipped, but b of another run stands there" in answer.stderr
    assert (here / "b").read_text() == "mine"
    assert marker.exists()


def test_a_run_that_fails_shows_its_stages_and_its_id(here: Path, mlo: Mlo) -> None:
    write_project(here, FAILING)
    answer = mlo("run", "-k", "-j", "2", exit_code=9)
    rows = dict(line.split()[:2] for line in answer.stdout.splitlines()[1:5])
    assert rows == {"a": "ran", "b": "failed", "c": "failed", "d": "not"}
    said = workspace(here).runs.list(limit=1)[0]
    assert f"run {said.id[:8]} ({said.name}) failed in" in answer.stdout
    assert "1 more failed" in answer.stderr
    assert mlo("run", "--json", exit_code=9).stdout == ""
    assert mlo("run", "--quiet", exit_code=9).stdout == ""


def test_an_interrupted_run_says_what_is_kept(here: Path, mlo: Mlo) -> None:
    cmd = f"kill -{int(signal.SIGINT)} $PPID; sleep 60"
    write_project(here, {"a": FAILING["a"], "b": {**FAILING["b"], "cmd": cmd}, "d": FAILING["d"]})
    answer = mlo("run", exit_code=130)
    said = workspace(here).runs.list(limit=1)[0]
    assert f"run {said.id[:8]} interrupted: 1 of 3 stages is done and kept; mlo run goes on from there" in answer.stderr


def test_what_was_skipped_or_accepted_is_counted_as_that(here: Path, mlo: Mlo) -> None:
    (here / "m").write_text("1")
    write_project(here, {"a": GATED["a"], "b": {**GATED["b"], "when": "x > 1"}}, {"x": 1})
    mlo("run")
    assert mlo("run").stdout.startswith("Nothing to do: 1 stage up to date, 1 skipped.")
    (here / "m").write_text("2")
    rows = [line.split() for line in mlo("run", "--accept", "a").stdout.splitlines()[1:3]]
    assert rows == [["a", "accepted"], ["b", "skipped"]]
