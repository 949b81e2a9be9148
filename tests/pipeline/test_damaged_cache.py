"""Runs over a cache that lost objects or holds damaged ones: nothing good is given up, and no run is stuck."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pipeline_kit import Notes, run, statuses, workspace, write_project

from mlops_cli.core.errors import StageFailed
from mlops_cli.core.pipeline.journal import Journal
from mlops_cli.core.store.fsck import fsck
from mlops_cli.core.workflows.plan import why_stage
from mlops_cli.core.workflows.run import run_pipeline

COPY = {"one": {"cmd": "cat in > out; ! grep bad in", "deps": ["in"], "outs": ["out"]}}
FOLDER = {
    "one": {"cmd": "mkdir -p d && cp in d/x", "deps": ["in"], "outs": ["d"]},
    "two": {"cmd": "cp d/x e", "deps": ["d/x"], "outs": ["e"]},
}


def lay_out(folder: Path, stages: dict[str, dict[str, object]]) -> None:
    (folder / "in").write_text("first\n")
    write_project(folder, stages)
    run(folder)


def damage(folder: Path, text: bytes) -> None:
    """Flip bytes of every cached object that holds `text`."""
    for path in (folder / ".mlo/cache/objects").rglob("*"):
        if path.is_file() and path.read_bytes() == text:
            path.chmod(0o644)
            path.write_bytes(text.swapcase())


def test_a_failing_stage_does_not_cost_the_output_whose_cached_object_was_damaged(here: Path) -> None:
    lay_out(here, COPY)
    damage(here, b"first\n")
    (here / "in").write_text("bad\n")
    with pytest.raises(StageFailed):
        run(here)
    assert (here / "out").read_text() == "first\n"
    assert fsck(workspace(here).store, workspace(here).read_lock().entries).ok


def test_restoring_over_an_output_first_mends_the_damaged_object_of_it(here: Path) -> None:
    lay_out(here, COPY)
    (here / "in").write_text("second\n")
    run(here)
    damage(here, b"second\n")
    (here / "in").write_text("first\n")
    assert statuses(run(here)) == {"one": "restored"}
    (here / "in").write_text("second\n")
    assert statuses(run(here)) == {"one": "restored"}
    assert (here / "out").read_text() == "second\n"


def test_a_killed_run_whose_previous_outputs_left_the_cache_stops_no_later_run(here: Path) -> None:
    lay_out(here, COPY)
    previous = workspace(here).read_lock().stages["one"].outs
    Journal(here / ".mlo/running", "ab" * 16).begin("one", "cd" * 32, dict(previous))
    (here / "out").write_text("half")
    shutil.rmtree(here / ".mlo/cache")
    (here / "in").write_text("second\n")
    opened = workspace(here)
    assert statuses(run_pipeline(opened)) == {"one": "ran"}
    assert isinstance(opened.progress, Notes)
    assert any("out is not as before" in line for line in opened.progress.lines)
    assert (here / ".mlo/failed" / ("ab" * 16) / "out").read_text() == "half"
    assert not list((here / ".mlo/running").iterdir())


def test_outputs_that_stand_as_they_should_go_back_into_a_lost_cache(here: Path) -> None:
    lay_out(here, FOLDER)
    shutil.rmtree(here / ".mlo/cache")
    assert statuses(run(here)) == {"one": "cached", "two": "cached"}
    shutil.rmtree(here / "d")
    (here / "e").unlink()
    # The results are gone with the cache, but mlo.lock names the outputs.
    assert statuses(run(here)) == {"one": "restored", "two": "restored"}
    assert (here / "e").read_text() == "first\n"


def test_a_plan_needs_no_cache_where_the_work_tree_stands(here: Path) -> None:
    lay_out(here, FOLDER)
    shutil.rmtree(here / ".mlo/cache")
    assert [decision.action for decision in run(here, dry=True).plan] == ["cached", "cached"]
    assert why_stage(workspace(here), "two").action == "cached"
