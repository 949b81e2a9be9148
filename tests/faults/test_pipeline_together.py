"""Several mlo at work on one project, or on one cache, at once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pipeline_faults import (
    Fifo,
    end,
    hear_note,
    left_over,
    open_workspace,
    run,
    start_mlo,
    statuses,
    under_way,
    write_project,
)

from mlops_cli.core.data.ignore import edit_ignored
from mlops_cli.core.errors import Locked
from mlops_cli.core.workflows.fsck import verify_cache
from mlops_cli.core.workflows.gc import collect_garbage


def test_a_second_run_of_the_same_stage_waits_and_finds_it_done(here: Path) -> None:
    ready, let = Fifo(here.parent / "ready"), Fifo(here.parent / "let")
    cmd = "echo run >> ../count; echo half > o; echo ready > ../ready; read x < ../let; echo whole > o"
    write_project(here, {"slow": {"cmd": cmd, "outs": ["o"]}, "next": {"cmd": "cp o p", "deps": ["o"], "outs": ["p"]}})
    first = start_mlo(here, "run", "-j", "2")
    ready.hear()
    second = start_mlo(here, "run", "-j", "2")
    hear_note(second, "which holds o\n")
    let.say()
    assert end(first)[0] == end(second)[0] == 0
    assert (here.parent / "count").read_text() == "run\n"
    assert set(statuses(run(here)).values()) == {"cached"}
    assert under_way(here) == []


def test_a_second_run_that_shall_not_wait_is_locked(here: Path) -> None:
    ready, let = Fifo(here.parent / "ready"), Fifo(here.parent / "let")
    write_project(here, {"slow": {"cmd": "echo ready > ../ready; read x < ../let; echo > o", "outs": ["o"]}})
    first = start_mlo(here, "run")
    ready.hear()
    with pytest.raises(Locked, match="o is held by `mlo run`"):
        run(here, wait=False)
    let.say()
    assert end(first)[0] == 0
    assert statuses(run(here, wait=False)) == {"slow": "cached"}


def test_the_stage_of_a_run_that_is_killed_goes_to_the_one_that_waits(here: Path) -> None:
    ready, let = Fifo(here.parent / "ready"), Fifo(here.parent / "let")
    cmd = "echo half > o; echo $$ > ../ready; read x < ../let; echo whole > o"
    write_project(here, {"slow": {"cmd": cmd, "outs": ["o"]}})
    first = start_mlo(here, "run")
    ready.hear()
    second = start_mlo(here, "run")
    hear_note(second, "which holds o\n")
    first.kill()
    end(first)
    ready.hear()
    let.say()
    code, said = end(second)
    assert code == 0
    assert "was killed while stage slow ran" in said
    assert (here / "o").read_text() == "whole\n"
    assert left_over(here) == []
    assert under_way(here) == []


def test_runs_of_different_stages_go_side_by_side_and_both_are_in_the_lock(here: Path) -> None:
    Fifo(here.parent / "a"), Fifo(here.parent / "b")
    meet = "echo here > ../{0}; read x < ../{1}; echo done > {0}.txt"  # each waits until the other is there
    write_project(
        here,
        {
            "one": {"cmd": meet.format("a", "b"), "outs": ["a.txt"]},
            "two": {"cmd": meet.format("b", "a"), "outs": ["b.txt"]},
        },
    )
    runs = [start_mlo(here, "run", name) for name in ("one", "two")]
    assert [end(process)[0] for process in runs] == [0, 0]
    assert set(open_workspace(here).read_lock().stages) == {"one", "two"}
    assert {"/a.txt", "/b.txt"} <= set((here / ".gitignore").read_text().split())
    assert statuses(run(here)) == {"one": "cached", "two": "cached"}


def test_data_added_while_stages_run_stays_in_the_lock(here: Path) -> None:
    ready, let = Fifo(here.parent / "ready"), Fifo(here.parent / "let")
    cmd = "echo ready > ../ready; read x < ../let; echo > {0}"
    write_project(here, {name: {"cmd": cmd.format(name), "outs": [name]} for name in ("o", "p")})
    (here / "raw").write_text("rows")
    mlo = start_mlo(here, "run", "-j", "2")
    ready.hear(2)
    assert end(start_mlo(here, "data", "add", "raw"))[0] == 0
    let.say(2)
    assert end(mlo)[0] == 0
    lock = open_workspace(here).read_lock()
    assert set(lock.data) == {"raw"}
    assert set(lock.stages) == {"o", "p"}
    assert {"/o", "/p", "/raw"} <= set((here / ".gitignore").read_text().split())


def test_data_added_between_the_plan_and_the_start_of_a_run_stays_ignored(here: Path) -> None:
    write_project(here, {"one": {"cmd": "echo > o", "outs": ["o"]}})
    (here / "raw").write_text("rows")
    workspace = open_workspace(here)
    with workspace.exclusive():
        mlo = start_mlo(here, "run")
        hear_note(mlo, "which holds project\n")
        assert end(add_raw_elsewhere(here))[0] == 0
    assert end(mlo)[0] == 0
    assert {"/o", "/raw"} <= set((here / ".gitignore").read_text().split())
    assert set(open_workspace(here).read_lock().data) == {"raw"}


def add_raw_elsewhere(here: Path) -> subprocess.Popen[str]:
    """What `mlo data add raw` writes, by somebody who need not ask for the lock."""
    code = (
        "import os; from pathlib import Path; from mlops_cli.core.workflows.workspace import Workspace\n"
        "import contextlib; from mlops_cli.core.workflows.data import add_paths\n"
        "it = Workspace.find(Path('.'), dict(os.environ)); it.exclusive = lambda *_, **__: contextlib.nullcontext()\n"
        "add_paths(it, [Path('raw')])\n"
    )
    return subprocess.Popen([sys.executable, "-c", code], cwd=here, stderr=subprocess.PIPE, text=True)


def test_a_stage_does_not_keep_others_from_recording_while_somebody_waits_for_its_data(here: Path) -> None:
    """A checkout holds mlo.lock while it waits for what a stage reads; the run of that stage goes on all the same."""
    ready, let = Fifo(here.parent / "ready"), Fifo(here.parent / "let")
    (here / "raw").write_text("rows")
    write_project(here, {})
    assert end(start_mlo(here, "data", "add", "raw"))[0] == 0
    stages: dict[str, Any] = {
        "slow": {"cmd": "echo ready > ../ready; read x < ../let; echo > s", "deps": ["raw"], "outs": ["s"]},
        "a": {"cmd": "read x < ../let; echo > a", "outs": ["a"]},
        "b": {"cmd": "cp a b; echo ready > ../ready", "deps": ["a"], "outs": ["b"]},
    }
    write_project(here, stages)
    mlo = start_mlo(here, "run", "-j", "2")
    ready.hear()
    (here / "raw").write_text("other")
    checkout = start_mlo(here, "data", "checkout", "raw", "--force")
    hear_note(checkout, "which holds raw\n")
    (here / "raw").write_text("rows")
    let.say()  # to either; the other one is still waited for
    let.say()
    ready.hear()  # b ran, though mlo.lock could not be written after a
    assert end(mlo)[0] == 0
    assert end(checkout)[0] == 0
    assert set(open_workspace(here).read_lock().stages) == {"slow", "a", "b"}


@pytest.mark.parametrize("grace_s", [86_400.0, 0.0])
def test_a_collection_of_garbage_beside_a_run_takes_nothing_it_needs(here: Path, grace_s: float) -> None:
    ready, let = Fifo(here.parent / "ready"), Fifo(here.parent / "let")
    stages: dict[str, Any] = {
        "one": {"cmd": "cat in > o", "deps": ["in"], "outs": ["o"]},
        "two": {"cmd": "echo ready > ../ready; read x < ../let; cat o in > p", "deps": ["o", "in"], "outs": ["p"]},
    }
    write_project(here, stages)
    (here / "in").write_text("1\n")
    mlo = start_mlo(here, "run")
    ready.hear()
    collect_garbage(open_workspace(here), delete=True, grace_s=grace_s)
    let.say()
    assert end(mlo)[0] == 0
    assert statuses(run(here)) == {"one": "cached", "two": "cached"}
    for name in ("o", "p"):
        (here / name).unlink()
    assert statuses(run(here)) == {"one": "restored", "two": "restored"}
    assert (here / "p").read_text() == "1\n1\n"
    assert verify_cache(open_workspace(here)).ok


def two_copies(here: Path, cmd: str) -> tuple[Path, Path]:
    """Two clones of one project that share a cache."""
    write_project(here, {"slow": {"cmd": cmd, "outs": ["o"]}}, cache={"dir": "../shared"})
    other = here.with_name("other")
    shutil.copytree(here, other)
    return here, other


def test_one_result_is_computed_once_by_two_copies_that_share_a_cache(here: Path) -> None:
    ready, let = Fifo(here.parent / "ready"), Fifo(here.parent / "let")
    mine, other = two_copies(here, "echo run >> ../count; echo ready > ../ready; read x < ../let; echo whole > o")
    first = start_mlo(mine)
    ready.hear()
    second = start_mlo(other)
    hear_note(second, "the same result is being made by `mlo run`")
    let.say()
    assert end(first)[0] == end(second)[0] == 0
    assert (here.parent / "count").read_text() == "run\n"
    assert (other / "o").read_text() == "whole\n"
    assert list((here.parent / "shared" / "running").iterdir()) == []


def test_who_is_killed_over_a_result_lets_the_other_copy_compute_it(here: Path) -> None:
    ready, let = Fifo(here.parent / "ready"), Fifo(here.parent / "let")
    mine, other = two_copies(here, "echo half > o; echo ready > ../ready; read x < ../let; echo whole > o")
    first = start_mlo(mine)
    ready.hear()
    second = start_mlo(other)
    hear_note(second, "the same result is being made")
    first.kill()
    end(first)
    ready.hear()
    let.say(2)  # one for the stage that outlived its mlo
    assert end(second)[0] == 0
    assert (other / "o").read_text() == "whole\n"
    let.say()
    assert statuses(run(mine)) == {"slow": "restored"}
    assert (mine / "o").read_text() == "whole\n"
    assert left_over(mine) == left_over(other) == []


def test_the_outputs_that_another_run_writes_right_now_are_no_reason_to_fail(here: Path) -> None:
    """While one run has a stage's output half-written, another asks for what reads it, and for that alone."""
    ready, let = Fifo(here.parent / "ready"), Fifo(here.parent / "let")
    stages: dict[str, Any] = {
        "make": {"cmd": "echo ready > ../ready; read x < ../let; echo whole > o", "outs": ["o"]},
        "read": {"cmd": "cp o p", "deps": ["o"], "outs": ["p"]},
    }
    write_project(here, stages)
    first = start_mlo(here, "run", "make")
    ready.hear()
    (here / "o").write_text("half")
    second = start_mlo(here, "run", "--single", "read")
    hear_note(second, "which holds o\n")
    let.say()
    assert end(first)[0] == end(second)[0] == 0
    assert (here / "p").read_text() == "whole\n"


def test_ignored_lines_of_two_runs_of_different_versions_of_the_project_are_kept(here: Path) -> None:
    write_project(here, {"one": {"cmd": "echo > o", "outs": ["o"]}})
    run(here)
    edit_ignored(here, add=["kept"])
    write_project(here, {"one": {"cmd": "echo > o", "outs": ["o"]}, "two": {"cmd": "echo > kept", "outs": ["kept"]}})
    run(here)
    assert {"/o", "/kept"} <= set((here / ".gitignore").read_text().split())
