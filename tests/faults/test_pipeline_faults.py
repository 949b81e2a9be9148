"""Stages that misbehave, clocks and disks that do, and what earlier or broken versions of mlo left."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pipeline_faults import (
    Fifo,
    end,
    left_over,
    open_workspace,
    run,
    start_mlo,
    statuses,
    under_way,
    write_project,
)

from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import MachineError, ProjectError, StageFailed
from mlops_cli.core.pipeline import stage as stage_module
from mlops_cli.core.pipeline.journal import Page
from mlops_cli.core.pipeline.watching import State, Unwatched
from mlops_cli.core.tracking.store import RunStore
from mlops_cli.core.workflows.plan import RunRequest
from mlops_cli.core.workflows.run import run_pipeline

RUN = "0123456789abcdef" * 2


# -- stages ------------------------------------------------------------------------------------------------


def test_a_stage_that_hangs_and_forks_is_ended_at_each_attempt(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_module, "RETRY_S", 0.01)
    cmd = "echo try >> ../tries; (sleep 1000 &); setsid sleep 1000 > /dev/null 2>&1 & sleep 1000"
    write_project(here, {"hangs": {"cmd": cmd, "timeout": "200ms", "retries": 2}})
    with pytest.raises(StageFailed, match="timeout"):
        run(here)
    assert (here.parent / "tries").read_text() == "try\n" * 3
    assert left_over(here) == []


def test_what_a_failed_attempt_left_running_does_not_write_beside_the_next(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_module, "RETRY_S", 0.01)
    cmd = "test -e ../again && echo whole > o && exit; touch ../again; setsid sleep 1000 > /dev/null 2>&1 & exit 1"
    write_project(here, {"flees": {"cmd": cmd, "retries": 1, "outs": ["o"]}})
    assert statuses(run(here)) == {"flees": "ran"}
    assert left_over(here) == []


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ({"cmd": "true", "outs": ["o"]}, "did not write o"),
        ({"cmd": "mkdir m.json", "metrics": ["m.json"]}, "m.json"),
        ({"cmd": "echo nonsense > m.json", "metrics": ["m.json"]}, "m.json"),
        ({"cmd": "rm in; echo > o", "deps": ["in"], "outs": ["o"]}, "in changed while stage bad"),
        ({"cmd": "echo more >> in; echo > o", "deps": ["in"], "outs": ["o"]}, "in changed while stage bad"),
        ({"cmd": "mkfifo o", "outs": ["o"]}, "o"),
    ],
)
def test_what_a_stage_must_not_do_is_its_failure_and_the_others_go_on(
    here: Path, stage: dict[str, Any], said: str
) -> None:
    (here / "in").write_text("in")
    write_project(here, {"bad": stage, "good": {"cmd": "echo > g", "outs": ["g"]}})
    for _ in range(2):  # and never a result the second time
        with pytest.raises(StageFailed, match=re.escape(said)):
            run(here, jobs=2, keep_going=True)
        (here / "in").write_text("in")
        assert statuses(open_workspace(here).runs.list(limit=1)[0])["bad"] == "failed"  # type: ignore[arg-type]
        assert statuses(open_workspace(here).runs.list(limit=1)[0])["good"] in ("ran", "cached")  # type: ignore[arg-type]
    assert set(open_workspace(here).read_lock().stages) == {"good"}
    assert under_way(here) == []


def test_a_failure_far_above_in_a_long_chain_is_told_as_any_other(here: Path) -> None:
    chain = {f"s{n}": {"cmd": "false", "deps": [f"o{n - 1}"], "outs": [f"o{n}"]} for n in range(1, 1500)}
    write_project(here, {"s0": {"cmd": "false", "outs": ["o0"]}, **chain})
    for keep_going in (False, True):
        with pytest.raises(StageFailed, match="stage s0 failed with exit code 1"):
            run(here, keep_going=keep_going)


@pytest.mark.parametrize("out", ["../outside", "/tmp/outside", "a/../../outside", ".git/hooks/x", "mlo.lock"])
def test_outputs_outside_the_project_are_refused_before_anything_runs(here: Path, out: str) -> None:
    write_project(here, {"bad": {"cmd": "touch ../ran", "outs": [out]}})
    with pytest.raises(ProjectError):
        run(here)
    assert not (here.parent / "ran").exists()


def test_outputs_of_two_stages_at_one_path_are_refused(here: Path) -> None:
    write_project(here, {"one": {"cmd": "true", "outs": ["d"]}, "two": {"cmd": "true", "outs": ["d/x"]}})
    with pytest.raises(ProjectError, match="d"):
        run(here)


def test_undeclared_files_outside_the_project_are_not_mlo_s_business(here: Path) -> None:
    write_project(here, {"one": {"cmd": "echo x > ../outside; echo > o", "outs": ["o"]}})
    run(here)
    assert (here.parent / "outside").exists()
    assert statuses(run(here)) == {"one": "cached"}


def test_an_output_that_another_running_stage_deletes_is_that_stage_s_failure_now(here: Path) -> None:
    let, gone = Fifo(here.parent / "let"), Fifo(here.parent / "gone")
    write_project(
        here,
        {
            "victim": {"cmd": "echo > o; echo go > ../let; read x < ../gone", "outs": ["o"]},
            "culprit": {"cmd": "read x < ../let; rm o; echo go > ../gone; echo > p", "outs": ["p"]},
        },
    )
    with pytest.raises(StageFailed, match="victim ended well but did not write o"):
        run(here, jobs=2)
    assert set(open_workspace(here).read_lock().stages) == {"culprit"}
    assert let is not gone


def test_a_deleted_output_of_a_finished_stage_fails_its_reader_alone_and_comes_back_next_time(here: Path) -> None:
    write_project(
        here,
        {
            "make": {"cmd": "echo > o; echo > q", "outs": ["o", "q"]},
            "thief": {"cmd": "rm o; echo > t", "deps": ["q"], "outs": ["t"]},
            "read": {"cmd": "cp o r", "deps": ["o", "t"], "outs": ["r"]},
            "free": {"cmd": "cp t f", "deps": ["t"], "outs": ["f"]},
        },
    )
    with pytest.raises(Exception, match="reads o"):
        run(here, keep_going=True)
    assert statuses(open_workspace(here).runs.list(limit=1)[0])["free"] == "ran"  # type: ignore[arg-type]
    assert statuses(run(here))["make"] == "restored"


def test_going_on_after_failures_names_all_of_them_and_stops_only_what_reads_them(here: Path) -> None:
    write_project(
        here,
        {
            "a": {"cmd": "exit 3", "outs": ["a"]},
            "b": {"cmd": "exit 4", "outs": ["b"]},
            "below": {"cmd": "cp a ba", "deps": ["a"], "outs": ["ba"]},
            "good": {"cmd": "echo > g", "outs": ["g"]},
            "after": {"cmd": "cp g h", "deps": ["g"], "outs": ["h"]},
        },
    )
    code, said = end(start_mlo(here, "run", "-j", "2", "--keep-going"))
    assert code == 9
    assert "stage a failed with exit code 3" in said
    assert "stage b failed with exit code 4" in said
    last = open_workspace(here).runs.list(limit=1)[0]
    assert statuses(last) == {"a": "failed", "b": "failed", "good": "ran", "after": "ran"}  # type: ignore[arg-type]


def test_without_going_on_what_runs_beside_a_failure_ends_and_is_recorded(here: Path) -> None:
    ready, let = Fifo(here.parent / "ready"), Fifo(here.parent / "let")

    class Freeing(Unwatched):
        """Lets the other stage go on once the first is known to have failed."""

        def turned(self, stage: str, state: State, text: str) -> None:
            if state == "failed":
                let.say()

    write_project(
        here,
        {
            "fails": {"cmd": "read x < ../ready; exit 1"},
            "runs": {"cmd": "echo go > ../ready; read x < ../let; echo > r", "outs": ["r"]},
            "never": {"cmd": "echo > n", "deps": ["r"], "outs": ["n"]},
        },
    )
    with pytest.raises(StageFailed, match="stage fails failed"):
        run_pipeline(open_workspace(here), RunRequest(jobs=2), watcher=Freeing())
    last = open_workspace(here).runs.list(limit=1)[0]
    assert statuses(last) == {"fails": "failed", "runs": "ran"}  # type: ignore[arg-type]
    assert set(open_workspace(here).read_lock().stages) == {"runs"}
    assert ready is not None


def test_eight_of_thirty_two_stages_are_under_way_together(here: Path) -> None:
    ready, let = Fifo(here.parent / "ready"), Fifo(here.parent / "let")
    names = [f"s{number}" for number in range(32)]
    cmd = "echo {0} > ../ready; read x < ../let; echo > {0}"
    write_project(here, {name: {"cmd": cmd.format(name), "outs": [name]} for name in names})
    mlo = start_mlo(here, "run", "-j", "8")
    met: list[str] = []
    for _ in range(4):
        met += ready.hear(8)  # none of them was let go before all eight were there
        let.say(8)
    assert end(mlo)[0] == 0
    assert sorted(met) == sorted(names)


@pytest.mark.slow
def test_five_hundred_stages_leave_no_thread_and_no_open_file(here: Path) -> None:
    names = [f"s{number}" for number in range(500)]
    write_project(here, {name: {"cmd": f"echo > o/{name}", "outs": [f"o/{name}"]} for name in names})
    run(here, "s0")

    def held() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    workspace = open_workspace(here)
    workspace.runs.count()
    before = held()
    run(here, jobs=4)
    workspace.database.close()
    after = held()
    assert after[1] == before[1]
    assert after[0] <= before[0] + 8  # the database of the second workspace


# -- the machine -------------------------------------------------------------------------------------------


def test_a_record_that_cannot_be_written_ends_the_stages_that_run(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = Fifo(here.parent / "ready")
    write_project(
        here,
        {
            "quick": {"cmd": "read x < ../ready; echo > q", "outs": ["q"]},
            "hangs": {"cmd": "echo half > h; echo go > ../ready; sleep 1000", "outs": ["h"]},
        },
    )

    def full(*_: Any, **__: Any) -> None:
        raise MachineError("cannot use mlo.db: database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(RunStore, "log", full)
        with pytest.raises(MachineError):
            run(here, jobs=2)
    assert left_over(here) == []
    assert under_way(here) == []
    assert not (here / "h").exists()
    assert ready is not None
    write_project(here, {"quick": {"cmd": "read x < ../ready; echo > q", "outs": ["q"]}})
    assert statuses(run(here)) == {"quick": "cached"}


def test_a_limit_on_the_size_of_files_is_an_error_of_the_machine(here: Path) -> None:
    cmd = [sys.executable, "-m", "mlops_cli", "run"]
    write_project(
        here, {"big": {"cmd": "ulimit -S -f unlimited; head -c 3000000 /dev/zero > o; echo > p", "outs": ["o"]}}
    )
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    limited = subprocess.run(
        cmd,
        check=False,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard)),
    )
    assert limited.returncode == 11, limited.stderr
    assert "ulimit -f" in limited.stderr
    assert not (here / "o").exists()
    assert statuses(run(here)) == {"big": "ran"}


def test_a_clock_that_is_set_back_and_files_of_the_future_change_nothing(here: Path) -> None:
    write_project(here, {"one": {"cmd": "cat in > o", "deps": ["in"], "outs": ["o"]}})
    (here / "in").write_text("1")
    os.utime(here / "in", (4e9, 4e9))
    for now in ("2030-01-01T00:00:00Z", "2001-01-01T00:00:00Z"):
        run_pipeline(open_workspace(here, MLO_NOW=now), RunRequest())
    (here / "in").write_text("2")  # the same size, and the same time stamp
    os.utime(here / "in", (4e9, 4e9))
    result = run_pipeline(open_workspace(here, MLO_NOW="1999-01-01T00:00:00Z"), RunRequest())
    assert statuses(result) == {"one": "ran"}
    assert (here / "o").read_text() == "2"


# -- what lies on the disk ---------------------------------------------------------------------------------


def test_a_renamed_stage_is_up_to_date_and_its_entry_moves(here: Path) -> None:
    write_project(here, {"old": {"cmd": "echo x > o", "outs": ["o"]}})
    run(here)
    write_project(here, {"new": {"cmd": "echo x > o", "outs": ["o"]}})
    assert statuses(run(here)) == {"new": "cached"}
    assert set(open_workspace(here).read_lock().stages) == {"new"}
    (here / "o").unlink()
    write_project(here, {"newer": {"cmd": "echo x > o", "outs": ["o"]}})
    assert statuses(run(here)) == {"newer": "restored"}


def test_a_lock_in_conflict_is_said_before_anything_runs(here: Path) -> None:
    write_project(here, {"one": {"cmd": "echo x >> ../ran; echo > o", "outs": ["o"]}})
    run(here)
    text = (here / "mlo.lock").read_text()
    (here / "mlo.lock").write_text(f"<<<<<<< ours\n{text}=======\n{text}>>>>>>> theirs\n")
    code, said = end(start_mlo(here, "run", "--force"))
    assert code == 5
    assert "conflict" in said
    assert "mlo merge" in said
    assert (here.parent / "ran").read_text() == "x\n"


def page(run_id: str, previous: dict[str, Entry | None]) -> bytes:
    return msgspec.json.encode(Page(1, run_id, "one", "f" * 64, 1, previous))


def test_a_page_of_an_earlier_mlo_is_mended(here: Path) -> None:
    write_project(here, {"one": {"cmd": "cat in > o", "deps": ["in"], "outs": ["o"]}})
    (here / "in").write_text("whole")
    entry = run(here).stages[0].outs["o"]
    running = here / ".mlo" / "running"
    (running / f"{RUN}.json").write_bytes(page(RUN, {"o": entry}))
    (running / RUN).mkdir()
    (running / RUN / "one.log").write_text("said")
    (here / "o").write_text("half")
    assert statuses(run(here)) == {"one": "cached"}
    assert (here / "o").read_text() == "whole"
    assert (here / ".mlo" / "failed" / RUN / "o").read_text() == "half"
    assert under_way(here) == []


@pytest.mark.parametrize("leavings", [b"{", b"", b'{"version": 99}', page(RUN, {"../outside": None})])
def test_a_page_that_does_not_read_is_no_reason_to_stop_nor_to_believe_what_stands_there(
    here: Path, leavings: bytes
) -> None:
    (here.parent / "outside").write_text("mine")
    write_project(here, {"one": {"cmd": "cat in > o", "deps": ["in"], "outs": ["o"]}})
    (here / "in").write_text("whole")
    run(here)
    folder = here / ".mlo" / "running" / RUN
    folder.mkdir()
    (folder / "one.json").write_bytes(leavings)
    (here / "o").write_text("half")
    with pytest.raises(ProjectError, match="would overwrite o"):
        run(here)
    assert statuses(run(here, force=True)) == {"one": "ran"}
    assert (here / "o").read_text() == "whole"
    assert (here.parent / "outside").read_text() == "mine"
    assert under_way(here) == []


def test_garbage_among_the_running_is_passed_over(here: Path) -> None:
    write_project(here, {"one": {"cmd": "echo > o", "outs": ["o"]}})
    running = here / ".mlo" / "running"
    running.mkdir(parents=True)
    (running / "notes.txt").write_text("mine")
    (running / "x.json").mkdir()
    (running / f"{RUN}.json").mkdir()
    (running / ("ab" * 16)).write_text("a file, and no folder")
    (running / ("cd" * 16)).symlink_to(here)
    assert statuses(run(here)) == {"one": "ran"}
    assert statuses(run(here)) == {"one": "cached"}
    assert (here / "mlo.yaml").exists()
    assert (running / "notes.txt").read_text() == "mine"
