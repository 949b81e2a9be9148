"""Ctrl-C, SIGTERM, SIGHUP and kill -9 while several stages run at once."""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from pipeline_faults import (
    Fifo,
    Notes,
    end,
    left_over,
    open_workspace,
    run,
    start_mlo,
    statuses,
    under_way,
    write_project,
)

from mlops_cli.core.pipeline import stage as stage_module
from mlops_cli.core.pipeline.execute import Executor
from mlops_cli.core.pipeline.interrupts import Stop
from mlops_cli.core.workflows.plan import RunRequest
from mlops_cli.core.workflows.run import run_pipeline

SLOW = ("one", "two", "three")
# Half of its output, then a child of its group and one that fled it; then it waits to be let go on.
CMD = (
    "echo half > {0}; (sleep 1000 &); setsid sleep 1000 > /dev/null 2>&1 & "
    "test -e ../let || (echo {0} > ../ready; sleep 1000); echo whole > {0}"
)


def three_slow_stages(here: Path) -> Fifo:
    """`first` is quick, and `one`, `two` and `three` wait behind it; all of them were run before."""
    first = {"cmd": "cp in first", "deps": ["in"], "outs": ["first"]}
    write_project(
        here, {"first": first, **{name: {"cmd": CMD.format(name), "deps": ["first"], "outs": [name]} for name in SLOW}}
    )
    (here / "in").write_text("1")
    let = here.parent / "let"
    let.touch()
    run(here, jobs=3)
    for process in left_over(here):  # what fled a stage that ended well is the user's
        os.kill(process, signal.SIGKILL)
    let.unlink()
    (here / "in").write_text("2")
    return Fifo(here.parent / "ready")


def assert_as_before(here: Path, code: int | None = None) -> None:
    """The interrupted run is over, nothing of it is left, and the next one goes on where it was."""
    (here.parent / "let").touch()
    killed = open_workspace(here).runs.list(limit=1)[0]
    assert killed.status == "killed"
    if code is not None:
        assert [(here / name).read_text() for name in SLOW] == ["whole\n"] * 3
        assert left_over(here) == []
        assert under_way(here) == []
        assert {record.name: record.status for record in killed.stages} == {
            "first": "ran",
            **dict.fromkeys(SLOW, "failed"),
        }
    assert statuses(run(here, jobs=3)) == {"first": "cached", **dict.fromkeys(SLOW, "ran")}
    assert [(here / name).read_text() for name in SLOW] == ["whole\n"] * 3
    assert [(here / ".mlo" / "failed" / killed.id / name).read_text() for name in SLOW] == ["half\n"] * 3
    assert under_way(here) == []
    for process in left_over(here):
        os.kill(process, signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_stages_that_run_and_records_those_that_ended(here: Path, number: signal.Signals) -> None:
    ready = three_slow_stages(here)
    mlo = start_mlo(here, "run", "-j", "3")
    ready.hear(3)
    mlo.send_signal(number)
    assert end(mlo)[0] == 130
    assert_as_before(here, 130)


def test_kill_9_of_mlo_leaves_what_the_next_run_mends(here: Path) -> None:
    ready = three_slow_stages(here)
    mlo = start_mlo(here, "run", "-j", "3")
    ready.hear(3)
    mlo.kill()
    end(mlo)
    assert len(left_over(here)) >= 3
    dead = open_workspace(here).runs.list(limit=1)[0]
    assert_as_before(here)
    assert open_workspace(here).runs.get(dead.id).status == "killed"


def test_a_second_ctrl_c_leaves_nobody_any_time(here: Path) -> None:
    ready = Fifo(here.parent / "ready")
    deaf = "trap 'echo told > ../ready' TERM; echo ready > ../ready; echo half > o; while :; do sleep 0.05; done"
    write_project(here, {"deaf": {"cmd": deaf, "outs": ["o"]}, "also": {"cmd": deaf, "outs": ["p"]}})
    (here / "mlo.yaml").write_text((here / "mlo.yaml").read_text().replace("half > o; while", "half; while", 1))
    mlo = start_mlo(here, "run", "-j", "2")
    assert ready.hear(2) == ["ready", "ready"]
    mlo.send_signal(signal.SIGINT)
    assert ready.hear(2) == ["told", "told"]
    mlo.send_signal(signal.SIGINT)
    code, said = end(mlo)
    assert code == 130, said
    assert open_workspace(here).runs.list(limit=1)[0].status == "killed"
    assert left_over(here) == []
    assert under_way(here) == []


def test_an_interrupt_ends_the_pause_before_a_retry(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_module, "RETRY_S", 1000.0)
    monkeypatch.setattr(stage_module, "MAX_RETRY_S", 1000.0)

    class Interrupting(Notes):
        def note(self, text: str) -> None:
            super().note(text)
            if "retry 1 of 2" in text:
                os.kill(os.getpid(), signal.SIGINT)

    write_project(here, {"fails": {"cmd": "echo x >> ../tries; exit 1", "retries": 2, "outs": ["o"]}})
    with pytest.raises(KeyboardInterrupt):
        run(here, notes=Interrupting())
    assert (here.parent / "tries").read_text() == "x\n"
    assert open_workspace(here).runs.list(limit=1)[0].status == "killed"
    assert under_way(here) == []


def test_another_thread_may_stop_a_run(here: Path) -> None:
    stop = Stop()

    class Stopping(Notes):
        def note(self, text: str) -> None:
            if "one: running" in text:
                stop.ask()

    write_project(here, {"one": {"cmd": "sleep 1000", "outs": ["o"]}})
    with pytest.raises(KeyboardInterrupt):
        run_pipeline(open_workspace(here, Stopping()), RunRequest(), stop=stop)
    assert left_over(here) == []


def test_an_interrupt_in_the_moment_a_stage_ended_waits_for_nothing(here: Path) -> None:
    stop = Stop()

    def between(frame: FrameType, event: str, _: object) -> None:
        if event == "return" and frame.f_code is Executor._next.__code__ and not stop.is_asked:
            stop.interrupt(signal.SIGTERM, None)  # raises where a signal would: with the outcome in nobody's hands

    write_project(here, {"one": {"cmd": "echo 1 > o", "outs": ["o"]}, "two": {"cmd": "true", "deps": ["o"]}})
    sys.setprofile(between)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_pipeline(open_workspace(here), RunRequest(), stop=stop)
    finally:
        sys.setprofile(None)
    assert open_workspace(here).runs.list(limit=1)[0].status == "killed"
    assert statuses(run(here)) == {"one": "cached", "two": "ran"}


def test_what_a_killed_script_logged_last_stays_with_the_killed_run(here: Path) -> None:
    ready = Fifo(here.parent / "ready")
    (here / "train.py").write_text(
        "import mlops_cli as mlo, time\n"
        "mlo.log_metric('loss', 0.5, step=1)\n"
        "mlo.log_metric('loss', 0.25, step=2)\n"
        "print('ready', file=open('../ready', 'w'), flush=True)\n"
        "import os\n"
        "while not os.path.exists('../let'): time.sleep(0.01)\n"
    )
    write_project(here, {"train": {"cmd": "python train.py", "deps": ["train.py"]}})
    mlo = start_mlo(here, "run")
    ready.hear()
    mlo.kill()
    end(mlo)
    (here.parent / "let").touch()
    again = run(here)
    dead = next(found for found in open_workspace(here).runs.list() if found.id != again.run)
    assert dead.status == "killed"
    assert dead.metrics == {"loss": 0.25}
    assert len(open_workspace(here).runs.history(dead.id)["loss"]) == 2


def test_a_script_killed_outright_leaves_the_others_to_finish(here: Path) -> None:
    ready = Fifo(here.parent / "ready")
    let = Fifo(here.parent / "let")
    stages: dict[str, Any] = {
        "dies": {"cmd": "read x < ../let; kill -9 $$", "outs": ["d"]},
        "lives": {"cmd": "echo ready > ../ready; read x < ../let; echo done > l", "outs": ["l"]},
        "later": {"cmd": "cp l m", "deps": ["l"], "outs": ["m"]},
    }
    write_project(here, stages)
    mlo = start_mlo(here, "run", "-j", "2")
    ready.hear()
    let.say(2)
    code, said = end(mlo)
    assert code == 9
    assert "killed by signal 9" in said
    failed = open_workspace(here).runs.list(limit=1)[0]
    assert statuses(failed)["lives"] == "ran"  # type: ignore[arg-type]
    assert statuses(failed)["dies"] == "failed"  # type: ignore[arg-type]


@pytest.mark.slow
def test_runs_killed_at_random_moments_are_continued(here: Path) -> None:
    chance = random.Random(4)
    names = [f"s{number}" for number in range(6)]
    cmd = "printf half > {0}.txt; sleep 0.0{1}; cat in > {0}.txt; setsid sleep 1000 > /dev/null 2>&1 &"
    stages = {
        name: {"cmd": cmd.format(name, place), "deps": ["in"], "outs": [f"{name}.txt"]}
        for place, name in enumerate(names)
    }
    stages["all"] = {
        "cmd": f"cat {' '.join(f'{name}.txt' for name in names)} > all",
        "deps": [f"{name}.txt" for name in names],
        "outs": ["all"],
    }
    write_project(here, stages)
    for turn in range(25):
        (here / "in").write_text(f"{turn}\n")
        mlo = start_mlo(here, "run", "-j", "3")
        try:
            mlo.wait(timeout=chance.uniform(0.05, 1.2))
        except Exception:
            mlo.send_signal(chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
        end(mlo)
        if turn % 3 == 2:
            result = run(here, jobs=3)
            assert set(statuses(result).values()) <= {"ran", "cached", "restored"}
            assert (here / "all").read_text() == f"{turn}\n" * 6
            assert under_way(here) == []
    (here / "in").write_text("last\n")
    run(here, jobs=3)
    assert (here / "all").read_text() == "last\n" * 6
    newest = open_workspace(here).runs.list()
    assert "running" not in {found.status for found in newest}
    for process in left_over(here):
        os.kill(process, signal.SIGKILL)
