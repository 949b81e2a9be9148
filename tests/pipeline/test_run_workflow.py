"""A run from mlo.yaml to its record: what is left, restored or run, and what the work tree holds afterwards."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pipeline_kit import CHAIN, Notes, chain, run, statuses, workspace, write_project
from tiny_project import git

from mlops_cli.core.base.digest import Digest
from mlops_cli.core.errors import (
    Locked,
    MloError,
    NotFound,
    ProjectError,
    Refused,
    StageFailed,
    UsageError,
    WouldOverwrite,
)
from mlops_cli.core.pipeline.errors import StageBroke
from mlops_cli.core.pipeline.metrics import MetricNotANumber
from mlops_cli.core.pipeline.results import ResultCache
from mlops_cli.core.project.lock import read_lock
from mlops_cli.core.workflows.dag import describe_dag
from mlops_cli.core.workflows.data import add_paths
from mlops_cli.core.workflows.plan import why_stage, worktree_holds
from mlops_cli.core.workflows.run import run_pipeline
from mlops_cli.core.workflows.transfer import pull_project, push_project

RAN, UP, BACK = "ran", "cached", "restored"


def one(folder: Path, cmd: str | list[str], **fields: Any) -> None:
    write_project(folder, {"one": {"cmd": cmd, **fields}}, {"x": 1})


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.glob("*.txt"))}


def test_every_stage_runs_once_and_then_nothing_does(here: Path) -> None:
    chain(here)
    assert statuses(run(here)) == {"a": RAN, "b": RAN, "c": RAN}
    before = contents(here), (here / "mlo.lock").read_bytes()
    assert statuses(run(here)) == {"a": UP, "b": UP, "c": UP}
    assert (contents(here), (here / "mlo.lock").read_bytes()) == before


def test_only_what_reads_a_change_runs_again(here: Path) -> None:
    chain(here)
    run(here)
    write_project(here, CHAIN, {"x": 2, "unread": 3})
    # c counts bytes, and 2 takes as many as 1: its input changed, its output did not.
    assert statuses(run(here)) == {"a": UP, "b": RAN, "c": RAN}
    (here / "in.txt").write_text("other\n")
    assert statuses(run(here)) == {"a": RAN, "b": RAN, "c": RAN}


def test_an_output_that_came_out_the_same_spares_what_follows(here: Path) -> None:
    stages = {**CHAIN, "a": {**CHAIN["a"], "cmd": "head -c 1 in.txt > a.txt"}}
    (here / "in.txt").write_text("first")
    write_project(here, stages, {"x": 1})
    run(here)
    (here / "in.txt").write_text("fourth")
    assert statuses(run(here)) == {"a": RAN, "b": UP, "c": UP}


def test_going_back_to_earlier_inputs_restores_instead_of_running(here: Path) -> None:
    chain(here)
    run(here)
    first = contents(here)
    (here / "in.txt").write_text("second and longer\n")
    run(here)
    (here / "in.txt").write_text("first\n")
    assert statuses(run(here)) == {"a": BACK, "b": BACK, "c": BACK}
    assert contents(here) == first


def test_a_deleted_output_comes_back_without_running(here: Path) -> None:
    chain(here)
    run(here)
    (here / "b.txt").unlink()
    assert statuses(run(here)) == {"a": UP, "b": BACK, "c": UP}


def test_a_stage_runs_again_when_its_result_is_lost(here: Path) -> None:
    chain(here)
    run(here)
    shutil.rmtree(here / ".mlo" / "cache")
    (here / "b.txt").unlink()
    assert statuses(run(here)) == {"a": UP, "b": RAN, "c": UP}


def test_a_damaged_result_is_no_result(here: Path) -> None:
    chain(here)
    run(here)
    key = read_lock(here / "mlo.lock").stages["b"].key
    path = ResultCache(here / ".mlo" / "cache").path_of(key)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    (here / "mlo.lock").unlink()
    (here / "b.txt").unlink()
    assert statuses(run(here))["b"] == RAN


def test_a_lost_lock_is_written_anew_from_the_run_cache(here: Path) -> None:
    chain(here)
    run(here)
    lock = (here / "mlo.lock").read_bytes()
    (here / "mlo.lock").unlink()
    assert statuses(run(here)) == {"a": UP, "b": UP, "c": UP}
    assert (here / "mlo.lock").read_bytes() == lock


def test_renaming_a_stage_or_its_timeout_runs_nothing(here: Path) -> None:
    chain(here)
    run(here)
    stages = {"z": {**CHAIN["a"], "timeout": "5m", "retries": 3}, "b": CHAIN["b"], "c": CHAIN["c"]}
    write_project(here, stages, {"x": 1})
    assert statuses(run(here)) == {"z": UP, "b": UP, "c": UP}
    assert sorted(read_lock(here / "mlo.lock").stages) == ["b", "c", "z"]


def test_a_clone_with_the_lock_and_the_cache_restores(here: Path, tmp_path: Path) -> None:
    chain(here)
    run(here)
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("mlo.yaml", "mlo.lock", "in.txt"):
        shutil.copy(here / name, clone)
    shutil.copytree(here / ".mlo" / "cache" / "objects", clone / ".mlo" / "cache" / "objects")
    assert statuses(run(clone)) == {"a": BACK, "b": BACK, "c": BACK}
    assert contents(clone) == contents(here)


def test_folders_are_outputs_too_and_are_replaced_whole(here: Path) -> None:
    (here / "in.txt").write_text("a b")
    one(
        here, "mkdir -p out/deep; for n in $(cat in.txt); do echo $n > out/deep/$n; done", deps=["in.txt"], outs=["out"]
    )
    run(here)
    (here / "in.txt").write_text("c")
    run(here)
    assert [path.name for path in (here / "out" / "deep").iterdir()] == ["c"]
    (here / "in.txt").write_text("a b")
    assert statuses(run(here)) == {"one": BACK}
    assert sorted(path.name for path in (here / "out" / "deep").iterdir()) == ["a", "b"]


def test_the_folder_of_an_output_is_made(here: Path) -> None:
    one(here, "echo 1 > deep/er/out.txt", outs=["deep/er/out.txt"])
    assert statuses(run(here)) == {"one": RAN}


def test_a_stage_without_anything_to_compare_always_runs(here: Path) -> None:
    one(here, "echo said")
    assert statuses(run(here)) == statuses(run(here)) == {"one": RAN}


def test_only_the_named_stages_and_their_upstream_run(here: Path) -> None:
    chain(here)
    assert statuses(run(here, "b")) == {"a": RAN, "b": RAN}
    assert not (here / "c.txt").exists()


def test_force_runs_the_named_stages_or_all(here: Path) -> None:
    chain(here)
    run(here)
    assert statuses(run(here, "b", force=True)) == {"a": UP, "b": RAN}
    assert statuses(run(here, force=True)) == {"a": RAN, "b": RAN, "c": RAN}


def test_bytecode_in_a_folder_of_source_is_no_change(here: Path) -> None:
    (here / "src" / "deep").mkdir(parents=True)
    (here / "src" / "deep" / "code.py").write_text("x = 1")
    one(
        here,
        "mkdir -p src/deep/__pycache__; echo $$ > src/deep/__pycache__/code.pyc; echo 1 > o",
        deps=["src"],
        outs=["o"],
    )
    assert statuses(run(here)) == {"one": RAN}
    assert statuses(run(here)) == {"one": UP}
    (here / "src" / "deep" / "code.py").write_text("x = 2")
    assert statuses(run(here)) == {"one": RAN}


# -- what the user's own bytes may expect ------------------------------------------------------------------


def test_an_output_that_is_in_no_cache_is_not_overwritten(here: Path) -> None:
    one(here, "echo made > out.txt", outs=["out.txt"])
    (here / "out.txt").write_text("mine")
    with pytest.raises(WouldOverwrite, match=r"out\.txt"):
        run(here)
    assert (here / "out.txt").read_text() == "mine"
    assert statuses(run(here, force=True)) == {"one": RAN}
    assert (here / "out.txt").read_text() == "made\n"


def test_an_edited_output_is_not_restored_over(here: Path) -> None:
    chain(here)
    run(here)
    (here / "b.txt").write_text("edited by hand")
    with pytest.raises(WouldOverwrite):
        run(here)
    assert (here / "b.txt").read_text() == "edited by hand"
    assert statuses(run(here, "c", force=True))["b"] == BACK


def test_a_file_added_to_an_output_folder_is_not_lost(here: Path) -> None:
    (here / "in.txt").write_text("1")
    one(here, "mkdir -p out; cp in.txt out", deps=["in.txt"], outs=["out"])
    run(here)
    (here / "out" / "notes").write_text("mine")
    (here / "in.txt").write_text("2")
    with pytest.raises(WouldOverwrite):
        run(here)
    assert (here / "out" / "notes").read_text() == "mine"


def test_deleting_from_an_output_folder_loses_nothing_and_stops_nothing(here: Path) -> None:
    one(here, "mkdir -p out; echo 1 > out/1; echo 2 > out/2", params=["x"], outs=["out"])
    run(here)
    (here / "out" / "1").unlink()
    assert statuses(run(here)) == {"one": BACK}


def test_what_force_overwrote_comes_back_when_the_stage_fails(here: Path) -> None:
    one(here, "echo half > out.txt; exit 1", outs=["out.txt"])
    (here / "out.txt").write_text("mine")
    with pytest.raises(StageFailed):
        run(here, force=True)
    assert (here / "out.txt").read_text() == "mine"


# -- failures ----------------------------------------------------------------------------------------------


def test_a_failed_stage_leaves_the_lock_and_the_previous_outputs(here: Path) -> None:
    chain(here)
    run(here)
    before = contents(here), (here / "mlo.lock").read_bytes()
    stages = {**CHAIN, "b": {**CHAIN["b"], "cmd": "echo half > b.txt; echo why >&2; exit 3"}}
    write_project(here, stages, {"x": 1})
    with pytest.raises(StageBroke) as caught:
        run(here)
    assert (contents(here), (here / "mlo.lock").read_bytes()) == before
    error = caught.value
    assert "stage b failed with exit code 3" in error.message
    assert "  | why" in error.message
    assert (here / ".mlo" / "failed" / error.run / "b.txt").read_text() == "half\n"
    assert error.log is not None
    assert (here / error.log).read_text() == "why\n"
    assert error.log in (error.hint or "")
    record = workspace(here).runs.get(error.run)
    assert (record.status, [stage.status for stage in record.stages]) == ("failed", [UP, "failed"])
    assert "logs/b.log" in record.artifacts


def test_only_the_last_lines_are_shown(here: Path) -> None:
    one(here, "seq 100; exit 1")
    with pytest.raises(StageFailed) as caught:
        run(here)
    assert caught.value.message.count("\n") == 20
    assert caught.value.message.endswith("| 100")


def test_stages_before_the_failed_one_are_kept(here: Path) -> None:
    chain(here)
    write_project(here, {**CHAIN, "c": {**CHAIN["c"], "cmd": "exit 1"}}, {"x": 1})
    with pytest.raises(StageFailed):
        run(here)
    assert sorted(read_lock(here / "mlo.lock").stages) == ["a", "b"]
    write_project(here, CHAIN, {"x": 1})
    assert statuses(run(here)) == {"a": UP, "b": UP, "c": RAN}


def test_an_output_that_was_not_written_is_a_failure(here: Path) -> None:
    one(here, "echo 1 > this.txt", outs=["this.txt", "that.txt"])
    with pytest.raises(StageBroke, match=r"did not write that\.txt"):
        run(here)
    assert not (here / "this.txt").exists()


def test_a_stage_may_not_write_what_it_reads(here: Path) -> None:
    (here / "in.txt").write_text("1")
    one(here, "cp in.txt out.txt; echo more >> in.txt", deps=["in.txt"], outs=["out.txt"])
    with pytest.raises(StageBroke, match=r"in\.txt changed while stage one"):
        run(here)


def test_a_metric_that_is_not_a_number_fails_the_stage(here: Path) -> None:
    one(here, """echo '{"auc": "high"}' > m.json""", metrics=["m.json"])
    with pytest.raises(MetricNotANumber, match=r"m\.json: auc is"):
        run(here)
    assert not (here / "m.json").exists()
    assert not (here / "mlo.lock").exists()


def test_an_output_of_no_ordinary_kind_is_refused_and_put_aside(here: Path) -> None:
    one(here, "mkfifo out", outs=["out"])
    with pytest.raises(MloError, match="FIFO"):
        run(here)
    assert not (here / "out").exists()


def test_a_retry_starts_clean_and_the_last_attempt_counts(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cmd = "echo x >> tries; test -e out.txt && exit 1; echo $(wc -l < tries) > out.txt; test $(wc -l < tries) = 3"
    one(here, cmd, outs=["out.txt"], retries=2)
    monkeypatch.setattr("mlops_cli.core.pipeline.stage.RETRY_S", 0.0)
    space = workspace(here)
    assert statuses(run_pipeline(space)) == {"one": RAN}
    assert (here / "out.txt").read_text().strip() == "3"
    assert isinstance(space.progress, Notes)
    assert sum("retry" in line for line in space.progress.lines) == 2


def test_a_timeout_fails_the_stage_and_says_so(here: Path) -> None:
    one(here, "echo before; sleep 1000", timeout="50ms")
    with pytest.raises(StageBroke, match="timeout of 50ms") as caught:
        run(here)
    assert "| before" in caught.value.message


def test_an_interrupted_run_is_marked_killed_and_restores(here: Path) -> None:
    chain(here)
    run(here)
    before = contents(here)
    stages = {**CHAIN, "b": {**CHAIN["b"], "cmd": f"echo half > b.txt; kill -INT {os.getpid()}; sleep 1000"}}
    write_project(here, stages, {"x": 1})
    with pytest.raises(KeyboardInterrupt):
        run(here)
    assert contents(here) == before
    assert workspace(here).runs.list(limit=1)[0].status == "killed"


def test_being_terminated_is_being_interrupted(here: Path) -> None:
    one(here, f"kill -TERM {os.getpid()}; sleep 1000")
    with pytest.raises(KeyboardInterrupt):
        run(here)


# -- other parameters --------------------------------------------------------------------------------------


def test_a_run_with_overrides_leaves_the_lock_and_says_what_the_work_tree_holds(here: Path) -> None:
    chain(here)
    run(here)
    plain, lock = contents(here), (here / "mlo.lock").read_bytes()
    tried = run(here, overrides={"x": "5"})
    assert statuses(tried) == {"a": UP, "b": RAN, "c": RAN}
    assert tried.overrides == {"x": 5}
    assert '"x":5' in (here / "b.txt").read_text()
    assert (here / "mlo.lock").read_bytes() == lock
    marker = worktree_holds(workspace(here))
    assert marker is not None
    assert (marker.run, marker.stages) == (tried.run, ("b",))  # c counted the same bytes
    assert marker.text == f"run {tried.run[:8]} (x=5)"
    assert statuses(run(here)) == {"a": UP, "b": BACK, "c": UP}
    assert (contents(here), worktree_holds(workspace(here))) == (plain, None)


def test_a_plain_run_of_some_stages_leaves_the_marker_for_the_others(here: Path) -> None:
    chain(here)
    run(here)
    run(here, overrides={"x": "555"})
    run(here, "b")
    marker = worktree_holds(workspace(here))
    assert marker is not None
    assert marker.stages == ("c",)
    run(here)
    assert worktree_holds(workspace(here)) is None


def test_overrides_that_change_nothing_leave_no_marker(here: Path) -> None:
    chain(here)
    run(here)
    assert statuses(run(here, overrides={"x": "1"})) == {"a": UP, "b": UP, "c": UP}
    assert worktree_holds(workspace(here)) is None


def test_a_first_run_with_overrides_writes_no_lock_but_fills_the_cache(here: Path) -> None:
    chain(here)
    run(here, overrides={"x": "5"})
    assert not (here / "mlo.lock").exists()
    assert statuses(run(here, overrides={"x": "5"})) == {"a": UP, "b": UP, "c": UP}


@pytest.mark.parametrize("overrides", [{"y": "1"}, {"x": "one"}])
def test_a_wrong_override_stops_before_anything_happens(here: Path, overrides: dict[str, str]) -> None:
    chain(here)
    with pytest.raises(UsageError):
        run(here, overrides=overrides)
    assert not (here / "a.txt").exists()


# -- what is wrong before anything runs --------------------------------------------------------------------


def test_every_missing_dep_is_named_at_once_before_anything_runs(here: Path) -> None:
    stages = {
        "one": {"cmd": "touch one", "outs": ["one"]},
        "two": {"cmd": "true", "deps": ["gone.txt"]},
        "three": {"cmd": "true", "deps": ["lost.txt", "one"]},
    }
    write_project(here, stages)
    with pytest.raises(NotFound) as caught:
        run(here)
    assert "stage two reads gone.txt" in caught.value.message
    assert "stage three reads lost.txt" in caught.value.message
    assert not (here / "one").exists()


def test_a_dep_that_its_maker_did_not_make_is_named_when_its_turn_comes(here: Path) -> None:
    stages = {
        "one": {"cmd": "mkdir out; touch out/a", "outs": ["out"]},
        "two": {"cmd": "true", "deps": ["out/b"], "outs": ["x"]},
    }
    write_project(here, stages)
    with pytest.raises(NotFound, match="stage two reads out/b"):
        run(here)


def test_no_stages_and_an_unknown_parameter_are_errors_of_the_project(here: Path) -> None:
    (here / "mlo.yaml").write_text("name: empty\n")
    with pytest.raises(ProjectError, match="no stages"):
        run(here)
    one(here, "true", params=["y"])
    with pytest.raises(ProjectError, match="parameter y"):
        run(here)


def test_a_second_run_waits_or_is_refused_with_the_holders_name(here: Path) -> None:
    chain(here)
    holder = workspace(here)
    with (
        holder.holding_for_stage(["a.txt"], [], wait=True, given_up=lambda: False),
        pytest.raises(Locked, match=f"a.txt is held by `mlo run` .process {os.getpid()}"),
    ):
        run(here, wait=False)
    with holder.exclusive(), pytest.raises(Locked, match=f"project is held by `mlo run` .process {os.getpid()}"):
        run(here, wait=False)


# -- planning ----------------------------------------------------------------------------------------------


def files(folder: Path) -> set[Path]:
    """All but SQLite's own, which come and go with its connections."""
    return {path for path in folder.rglob("*") if not path.name.startswith("mlo.db")}


def plan(folder: Path, *stages: str, **options: Any) -> dict[str, tuple[str, list[str]]]:
    result = run(folder, *stages, dry=True, **options)
    return {it.stage: (it.action, [reason.text for reason in it.reasons]) for it in result.plan}


def test_a_dry_run_says_why_and_changes_nothing(here: Path) -> None:
    chain(here)
    assert plan(here) == {
        "a": ("run", ["it never ran"]),
        "b": ("run", ["it never ran", "a will run first"]),
        "c": ("run", ["it never ran", "b will run first"]),
    }
    assert sorted(path.name for path in here.iterdir()) == ["in.txt", "mlo.yaml"]
    run(here)
    assert {stage: action for stage, (action, _) in plan(here).items()} == dict.fromkeys("abc", "cached")
    before = files(here)
    write_project(here, {**CHAIN, "c": {**CHAIN["c"], "cmd": "wc -l < b.txt > c.txt"}}, {"x": 2})
    (here / "a.txt").unlink()
    assert plan(here) == {
        "a": ("restored", ["output a.txt is missing"]),
        "b": ("run", ["param x: 1 -> 2"]),
        "c": ("run", ["the command changed", "b will run first"]),
    }
    assert plan(here, "b", force=True)["b"] == ("run", ["forced"])
    assert files(here) == before - {here / "a.txt"}


def test_each_kind_of_difference_has_its_reason(here: Path) -> None:
    chain(here)
    run(here)
    (here / "other.txt").write_text("")
    stages = {
        "a": {"cmd": "cat in.txt > a.txt ", "deps": ["in.txt"], "outs": ["a.txt"]},
        "b": {**CHAIN["b"], "deps": ["a.txt", "other.txt"], "params": ["unread"]},
        "c": {**CHAIN["c"], "outs": ["c.txt", "d.txt"], "pass_env": ["HOME"]},
    }
    write_project(here, stages, {"x": 1, "unread": 2})
    assert [reason.kind for reason in why_stage(workspace(here), "a").reasons] == ["command"]
    stages["a"] = dict(CHAIN["a"])
    write_project(here, stages, {"x": 1, "unread": 2})
    found = why_stage(workspace(here), "b")
    assert [reason.text for reason in found.reasons] == [
        "other.txt is a new dep",
        "param unread is new",
        "param x is no longer read",
    ]
    stages["b"] = dict(CHAIN["b"])
    write_project(here, stages, {"x": 1, "unread": 2})
    assert [reason.text for reason in why_stage(workspace(here), "c").reasons] == ["its outputs changed: d.txt"]
    stages["c"] = {**CHAIN["c"], "pass_env": ["HOME"]}
    write_project(here, stages, {"x": 1, "unread": 2})
    found = why_stage(workspace(here), "c")
    assert [reason.kind for reason in found.reasons] == ["environment"]
    assert found.deps.keys() == {"b.txt"}
    assert found.run


def test_a_restored_stage_upstream_is_looked_through(here: Path) -> None:
    stages = {
        "one": {"cmd": "mkdir out; echo 1 > out/a", "outs": ["out"]},
        "two": {"cmd": "cat out/a > b.txt", "deps": ["out/a"], "outs": ["b.txt"]},
    }
    write_project(here, stages)
    run(here)
    shutil.rmtree(here / "out")
    assert plan(here) == {"one": ("restored", ["output out is missing"]), "two": ("cached", [])}


def test_a_dry_run_says_what_it_would_not_overwrite(here: Path) -> None:
    chain(here)
    (here / "b.txt").write_text("mine")
    found = run(here, dry=True).plan
    assert {it.stage: it.would_overwrite for it in found} == {"a": (), "b": ("b.txt",), "c": ()}


def test_the_picture_has_every_edge(here: Path) -> None:
    chain(here)
    assert [(stage.name, stage.upstream) for stage in describe_dag(workspace(here)).stages] == [
        ("a", ()),
        ("b", ("a",)),
        ("c", ("b",)),
    ]


# -- the environment and the record ------------------------------------------------------------------------


def test_a_stage_gets_its_place_and_its_parameters_and_no_secrets(here: Path) -> None:
    write_project(
        here,
        {"one": {"cmd": "env > env.out", "params": ["model.depth"], "outs": ["env.out"], "pass_env": ["TOKEN"]}},
        {"model": {"depth": 3, "width": 4}},
        model={"name": "kit", "path": "fitted"},
    )
    result = run_pipeline(workspace(here, SECRET="s", TOKEN="t"))
    seen = dict(line.partition("=")[::2] for line in (here / "env.out").read_text().splitlines())
    assert {
        "MLO_RUN_ID": result.run,
        "MLO_STAGE": "one",
        "MLO_ROOT": str(here),
        "MLO_SPOOL": str(here / ".mlo" / "spool" / result.run / "one"),
        "MLO_MODEL_PATH": "fitted",
        "TOKEN": "t",
    }.items() <= seen.items()
    assert json.loads(seen["MLO_PARAMS"]) == {"model": {"depth": 3}}
    assert "SECRET" not in seen
    assert statuses(run_pipeline(workspace(here, TOKEN="t"))) == {"one": UP}
    assert statuses(run_pipeline(workspace(here, TOKEN="u"))) == {"one": RAN}


def test_a_run_is_recorded_with_what_it_read_and_wrote(here: Path) -> None:
    chain(here)
    result = run(here)
    record = workspace(here).runs.get(result.run)
    assert (record.status, record.name, record.command) == ("finished", result.name, "mlo run")
    assert record.params == {"x": 1}
    assert record.inputs.keys() == {"in.txt"}
    assert record.outputs == {path: entry for stage in result.stages for path, entry in stage.outs.items()}
    assert record.environment["python"]
    assert record.actor == "Ada <ada@example.org>"
    assert [stage.run for stage in record.stages] == [result.run] * 3
    assert not (here / ".mlo" / "spool" / result.run).exists()


def test_a_cached_stage_gives_back_metrics_parameters_and_its_log(here: Path) -> None:
    script = "import mlops_cli as mlo; mlo.log_metric('loss', 0.5, step=1); mlo.log_param('leaves', 31); print('said')"
    (here / "s.py").write_text(script)
    one(here, """python s.py; echo '{"auc": 0.75}' > m.json""", deps=["s.py"], params=["x"], metrics=["m.json"])
    first = run(here)
    assert first.metrics == {"loss": 0.5, "auc": 0.75}
    second = run(here)
    assert statuses(second) == {"one": UP}
    assert (second.metrics, second.params) == (first.metrics, first.params)
    assert first.params == {"x": 1, "leaves": 31}
    runs = workspace(here).runs
    assert runs.get(second.run).artifacts == runs.get(first.run).artifacts
    assert "logs/one.log" in runs.get(first.run).artifacts
    assert runs.get(second.run).stages[0].run == first.run


def test_what_a_failed_stage_logged_is_kept(here: Path) -> None:
    (here / "s.py").write_text("import mlops_cli as mlo; mlo.log_metric('loss', 0.5); raise SystemExit(4)")
    one(here, "python s.py", deps=["s.py"], outs=["x"])
    with pytest.raises(StageBroke) as caught:
        run(here)
    assert workspace(here).runs.get(caught.value.run).metrics == {"loss": 0.5}


def test_commit_and_diff_are_noted(tiny: Path) -> None:
    write_project(tiny, {"one": {"cmd": "true", "deps": ["train.py"]}})
    result = run(tiny)
    space = workspace(tiny)
    record = space.runs.get(result.run)
    assert record.commit == git(tiny, "rev-parse", "HEAD").strip()
    assert (record.branch, record.dirty) == ("main", True)
    assert b"+name: kit" in space.store.read(Digest.parse(str(record.diff)))


def test_the_result_is_one_document(here: Path) -> None:
    chain(here)
    document = msgspec.to_builtins(run(here))
    assert document["status"] == "finished"
    assert document["stages"][0]["outs"]["a.txt"]["digest"].startswith("xxh128:")


# -- checks ------------------------------------------------------------------------------------------------


def checked(folder: Path, limit: int) -> None:
    (folder / "checks.yaml").write_text(f"data: t.csv\nchecks: [{{column: a, between: [0, {limit}]}}]\n")
    (folder / "in.txt").write_text("a\n1\n5\n")
    one(folder, "cp in.txt t.csv", deps=["in.txt"], outs=["t.csv"], checks=["checks.yaml"])


def test_a_failed_check_refuses_the_result(here: Path) -> None:
    checked(here, 3)
    with pytest.raises(Refused) as caught:
        run(here)
    assert ".mlo/failed/" in (caught.value.hint or "")
    assert not (here / "t.csv").exists()
    assert not (here / "mlo.lock").exists()
    assert workspace(here).runs.list(limit=1)[0].status == "failed"


def test_changed_checks_are_run_again_without_the_stage(here: Path) -> None:
    checked(here, 9)
    assert statuses(run(here)) == {"one": RAN}
    checked(here, 8)
    assert statuses(run(here)) == {"one": UP}
    checked(here, 3)
    with pytest.raises(Refused):
        run(here)
    assert (here / "t.csv").exists()


def test_outputs_are_kept_out_of_git_and_let_go_again(here: Path) -> None:
    chain(here)
    (here / ".gitignore").write_text("mine\n")
    run(here, overrides={"x": "2"})
    assert (here / ".gitignore").read_text() == "mine\n"
    run(here)
    lines = (here / ".gitignore").read_text().splitlines()
    assert lines[0] == "mine"
    assert {"/a.txt", "/b.txt", "/c.txt"} <= set(lines)
    write_project(here, {"a": CHAIN["a"]}, {"x": 1})
    run(here)
    assert "/b.txt" not in (here / ".gitignore").read_text()


def test_a_clone_that_pulls_has_what_the_stages_logged_without_running_them(here: Path, tmp_path: Path) -> None:
    (here / "s.py").write_text("import mlops_cli as mlo; mlo.log_metric('loss', 0.5); open('o', 'w').write('1')")
    stages = {"one": {"cmd": "python s.py", "deps": ["s.py"], "outs": ["o"]}}
    (tmp_path / "remote").mkdir()
    write_project(here, stages, remotes={"origin": str(tmp_path / "remote")})
    first = run(here)
    push_project(workspace(here))
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("mlo.yaml", "mlo.lock", "s.py"):
        shutil.copy(here / name, clone)
    pull_project(workspace(clone))
    second = run(clone)
    assert statuses(second) == {"one": UP}
    assert second.metrics == {"loss": 0.5}
    assert second.stages[0].run == first.run


def test_a_result_that_only_the_lock_knows_is_traced_to_the_run_that_made_it(here: Path) -> None:
    chain(here)
    first = run(here)
    shutil.rmtree(here / ".mlo" / "cache" / "results")
    second = run(here)
    assert statuses(second) == {"a": UP, "b": UP, "c": UP}
    assert {stage.run for stage in second.stages} == {first.run}


def test_a_dep_that_is_a_link_is_what_it_leads_to(here: Path) -> None:
    (here / "real.txt").write_text("1")
    (here / "in.txt").symlink_to("real.txt")
    one(here, "cat in.txt > o", deps=["in.txt"], outs=["o"])
    assert statuses(run(here)) == {"one": RAN}
    assert statuses(run(here)) == {"one": UP}
    (here / "real.txt").write_text("2")
    assert statuses(run(here)) == {"one": RAN}
    (here / "real.txt").unlink()
    with pytest.raises(NotFound, match=r"in\.txt"):
        run(here)


def test_data_that_is_not_what_the_lock_says_is_pointed_out(here: Path) -> None:
    (here / "raw").write_text("1")
    one(here, "cat raw > o", deps=["raw"], outs=["o"])
    add_paths(workspace(here), [here / "raw"])
    (here / "raw").write_text("2")
    space = workspace(here)
    run_pipeline(space)
    assert isinstance(space.progress, Notes)
    assert space.progress.lines[-1] == (
        "raw is not what mlo.lock says: mlo data add raw records what this run read, "
        "mlo data checkout raw brings what was recorded last"
    )


def test_a_run_in_a_clone_has_what_the_pulled_run_logged_even_without_its_results(trained: Path) -> None:
    far = trained.parent / "far"
    far.mkdir()
    with (trained / "mlo.yaml").open("a") as file:
        file.write("remotes: {origin: ../far}\n")
    push_project(workspace(trained))
    made = workspace(trained).runs.latest()
    shutil.rmtree(far / "results")
    shutil.rmtree(trained / ".mlo")
    pull_project(workspace(trained))
    again = run(trained)
    assert set(statuses(again).values()) == {"cached"}
    record = workspace(trained).runs.get(again.run)
    assert (record.metrics, record.model, record.tags) == (made.metrics, made.model, made.tags)
    assert {stage.run for stage in record.stages} == {made.id}
    assert run(trained).metrics == made.metrics


@pytest.mark.parametrize(
    "cmd",
    [
        "ln -s /etc out",
        "mkfifo out",
        "mkdir out; mkfifo out/pipe",
        """echo 1 > out; echo '{"a": {"b": "text"}}' > m.json""",
        "echo 1 > out; echo nonsense > m.json",
        "echo 1 > out; rm m.json; mkdir m.json",
        ["no-such-program"],
    ],
)
def test_whatever_a_stage_did_wrong_is_a_failed_stage_that_is_named(here: Path, cmd: str | list[str]) -> None:
    one(here, f"echo '{{}}' > m.json; {cmd}" if isinstance(cmd, str) else cmd, outs=["out"], metrics=["m.json"])
    with pytest.raises(StageFailed, match=r"^stage one "):
        run(here)
    assert not (here / "out").exists()


def test_a_missing_dep_that_was_added_is_brought_by_what_can_bring_it(here: Path) -> None:
    one(here, "cp 'my raw/a' out", deps=["my raw/a"], outs=["out"])
    (here / "my raw").mkdir()
    (here / "my raw/a").write_text("1")
    add_paths(workspace(here), [here / "my raw"])
    shutil.rmtree(here / "my raw")
    with pytest.raises(NotFound) as caught:
        run(here)
    assert caught.value.hint == "mlo data checkout 'my raw/a'"
    shutil.rmtree(here / ".mlo")  # as in a fresh clone
    with pytest.raises(NotFound) as caught:
        run(here)
    assert "there is no remote to pull from" in str(caught.value.hint)
    one(here, "cp 'my raw/a' out", deps=["my raw/a"], outs=["out"])
    with (here / "mlo.yaml").open("a") as file:
        file.write("remotes: {origin: ../far}\n")
    with pytest.raises(NotFound) as caught:
        run(here)
    assert "run `mlo run --pull`, or `mlo pull`" in str(caught.value.hint)


def test_gitignore_forgets_outputs_that_never_came_to_be(here: Path) -> None:
    (here / "raw").write_text("1")
    one(here, "exit 1", outs=["misnamed"])
    add_paths(workspace(here), [here / "raw"])
    with pytest.raises(StageFailed):
        run(here)
    assert "/misnamed\n" in (here / ".gitignore").read_text()
    one(here, "echo 1 > named", outs=["named"])
    run(here)
    text = (here / ".gitignore").read_text()
    assert "/misnamed" not in text
    assert {"/raw", "/named", "/.mlo"} <= set(text.split("\n"))
    one(here, "exit 1", outs=["other"])
    (here / "more").write_text("1")
    add_paths(workspace(here), [here / "more"])  # mlo.lock still names the output of before
    assert {"/raw", "/named", "/more"} <= set((here / ".gitignore").read_text().split("\n"))
