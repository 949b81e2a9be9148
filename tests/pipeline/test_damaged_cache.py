"""Runs over a cache that lost objects or holds damaged ones: nothing good is given up, and no run is stuck."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from pipeline_kit import Notes, run, statuses, workspace, write_project

from mlops_cli.core.errors import StageFailed, WouldOverwrite
from mlops_cli.core.pipeline.journal import Journal
from mlops_cli.core.pipeline.results import ResultCache
from mlops_cli.core.store.fsck import fsck
from mlops_cli.core.workflows.data import add_paths
from mlops_cli.core.workflows.plan import why_stage
from mlops_cli.core.workflows.run import run_pipeline

COPY = {"one": {"cmd": "cat in > out; ! grep bad in", "deps": ["in"], "outs": ["out"]}}
FOLDER = {
    "one": {"cmd": "mkdir -p d && cp in d/x", "deps": ["in"], "outs": ["d"]},
    "two": {"cmd": "cp d/x e", "deps": ["d/x"], "outs": ["e"]},
}


def lay_out(folder: Path, stages: Mapping[str, Mapping[str, object]]) -> None:
    (folder / "in").write_text("first\n")
    write_project(folder, dict(stages))
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


def test_one_output_lost_with_the_cache_does_not_put_the_others_out_of_reach(here: Path) -> None:
    lay_out(here, {"one": {"cmd": "sed s/^/x/ in > left; cp left right", "deps": ["in"], "outs": ["left", "right"]}})
    shutil.rmtree(here / ".mlo")
    (here / "left").unlink()
    assert run(here, dry=True).plan[0].would_overwrite == ()
    assert statuses(run(here)) == {"one": "ran"}
    assert (here / "left").read_text() == (here / "right").read_text() == "xfirst\n"


def test_a_changed_output_still_is_the_users_own_when_the_cache_is_lost(here: Path) -> None:
    lay_out(here, {"one": {"cmd": "sed s/^/x/ in > left; cp left right", "deps": ["in"], "outs": ["left", "right"]}})
    shutil.rmtree(here / ".mlo")
    (here / "left").unlink()
    (here / "right").write_text("edited\n")
    with pytest.raises(WouldOverwrite, match="right"):
        run(here)
    assert (here / "right").read_text() == "edited\n"


def test_an_output_that_a_failing_stage_replaced_comes_back_although_the_cache_was_lost(here: Path) -> None:
    lay_out(here, COPY)
    shutil.rmtree(here / ".mlo")
    (here / "in").write_text("bad\n")
    with pytest.raises(StageFailed):
        run(here)
    assert (here / "out").read_text() == "first\n"


def test_a_run_after_the_cache_was_lost_keeps_the_result_and_the_added_data_again(here: Path) -> None:
    (here / "raw").write_text("raw\n")
    stages = {"one": {"cmd": "wc -c < raw > out; echo '{\"bytes\": 4}' > m.json", "deps": ["raw"], "outs": ["out"]}}
    stages["one"]["metrics"] = ["m.json"]
    write_project(here, stages)
    add_paths(workspace(here), [here / "raw"])
    first = run(here)
    shutil.rmtree(here / ".mlo")
    again = run(here)
    assert (statuses(again), again.metrics) == ({"one": "cached"}, first.metrics)
    opened = workspace(here)
    assert fsck(opened.store, opened.read_lock().entries).ok
    kept = ResultCache(opened.paths.cache).get(first.stages[0].key)
    assert kept is not None
    assert (kept.outs, kept.run) == (first.stages[0].outs, "")
    assert run(here).metrics == first.metrics
