"""`mlo run` killed at every step, scripts killed, and processes that do not want to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dying import unmeasured

from mlops_cli.core.errors import MachineError, StageFailed
from mlops_cli.core.pipeline.process import marked
from mlops_cli.core.project import yaml12
from mlops_cli.core.store.batch import Batch
from mlops_cli.core.workflows.plan import RunRequest
from mlops_cli.core.workflows.run import RunResult, run_pipeline
from mlops_cli.core.workflows.workspace import Workspace

DRIVER = Path(__file__).with_name("crash_driver.py")


def write(folder: Path, **stages: dict[str, Any]) -> None:
    (folder / "mlo.yaml").write_text(yaml12.dump({"name": "kit", "params": {"x": 1}, "stages": stages}))


def open_workspace(folder: Path) -> Workspace:
    return Workspace.find(folder, dict(os.environ), command_line="mlo run")


def run(folder: Path, **options: Any) -> RunResult:
    return run_pipeline(open_workspace(folder), RunRequest(**options))


def statuses(result: RunResult) -> list[str]:
    return [record.status for record in result.stages]


def start_mlo(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "mlops_cli", "run"],
        cwd=folder,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_a_run_killed_at_any_step_is_finished_by_the_next(tmp_path: Path) -> None:
    template = tmp_path / "template"
    template.mkdir()
    write(
        template,
        one={"cmd": "printf half > o1; cat in > o1; mkdir d; cp in d", "deps": ["in"], "outs": ["o1", "d"]},
        two={"cmd": "cat o1 d/in > o2", "deps": ["o1", "d"], "outs": ["o2"]},
    )
    (template / "in").write_text("first\n")
    run(template)
    (template / "in").write_text("second\n")
    copies = tmp_path / "copies"
    subprocess.run([sys.executable, str(DRIVER), str(template), str(copies)], check=True, env=unmeasured())
    (copies / "codes").unlink()
    crashed = sorted(copies.iterdir(), key=lambda path: int(path.name))
    assert len(crashed) > 40
    whole = crashed.pop()
    lock = (whole / "mlo.lock").read_bytes()
    for folder in crashed:
        assert "failed" not in statuses(run(folder)), folder
        assert (folder / "o1").read_text() == (folder / "d" / "in").read_text() == "second\n", folder
        assert (folder / "o2").read_text() == "second\nsecond\n", folder
        assert (folder / "mlo.lock").read_bytes() == lock, folder
        assert statuses(run(folder)) == ["cached", "cached"], folder
        assert not list((folder / ".mlo" / "running").iterdir()), folder
        assert "running" not in {found.status for found in open_workspace(folder).runs.list()}, folder


def test_a_killed_run_leaves_finished_stages_done_and_half_outputs_aside(here: Path) -> None:
    os.mkfifo(here / "ready")
    slow = "echo half > o2; test -e go && echo whole > o2 && exit; echo > ready; sleep 1000"
    write(
        here,
        one={"cmd": "cp in o1", "deps": ["in"], "outs": ["o1"]},
        two={"cmd": slow, "deps": ["o1"], "params": ["x"], "outs": ["o2"]},
    )
    (here / "in").write_text("first")
    (here / "go").touch()
    run(here)
    (here / "go").unlink()
    (here / "in").write_text("second")
    process = start_mlo(here)
    (here / "ready").read_text()
    process.kill()
    process.communicate()
    assert (here / "o2").read_text() == "half\n"
    killed = open_workspace(here).runs.list(limit=1)[0]
    assert marked({"MLO_RUN_ID": killed.id})  # the stage outlived its mlo
    assert killed.status == "killed"

    (here / "go").touch()
    assert statuses(run(here)) == ["cached", "ran"]
    assert (here / "o2").read_text() == "whole\n"
    assert (here / ".mlo" / "failed" / killed.id / "o2").read_text() == "half\n"
    assert marked({"MLO_RUN_ID": killed.id}) == []


def test_the_outputs_of_before_come_back_after_a_kill_even_if_the_stage_fails_now(here: Path) -> None:
    os.mkfifo(here / "ready")
    write(here, one={"cmd": "echo half > o; sh ./script", "deps": ["in"], "outs": ["o"]})
    (here / "in").write_text("first")
    (here / "script").write_text("echo whole > o")
    run(here)
    (here / "in").write_text("second")
    (here / "script").write_text("echo > ready; sleep 1000")
    process = start_mlo(here)
    (here / "ready").read_text()
    process.kill()
    process.communicate()
    (here / "script").write_text("exit 1")
    with pytest.raises(StageFailed):
        run(here)
    assert (here / "o").read_text() == "whole\n"


def test_interrupting_mlo_ends_the_stage_and_exits_130(here: Path) -> None:
    os.mkfifo(here / "ready")
    write(here, one={"cmd": "echo half > o; (sleep 1000 &); echo > ready; sleep 1000", "outs": ["o"]})
    process = start_mlo(here)
    (here / "ready").read_text()
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130
    assert not (here / "o").exists()
    killed = open_workspace(here).runs.list(limit=1)[0]
    assert killed.status == "killed"
    assert marked({"MLO_RUN_ID": killed.id}) == []


def test_a_script_killed_outright_fails_its_stage(here: Path) -> None:
    write(here, one={"cmd": "echo half > o; kill -9 $$", "outs": ["o"]})
    with pytest.raises(StageFailed, match="killed by signal 9"):
        run(here)
    assert not (here / "o").exists()


def test_children_that_fled_their_group_do_not_outlive_the_timeout(here: Path) -> None:
    fleeing = "setsid sh -c 'echo > ready; sleep 1000' > /dev/null 2>&1 & while ! test -e ready; do :; done; sleep 1000"
    write(here, one={"cmd": fleeing, "timeout": "300ms"})
    with pytest.raises(StageFailed, match="timeout"):
        run(here)
    assert marked({"MLO_RUN_ID": open_workspace(here).runs.list(limit=1)[0].id}) == []


def test_a_disk_that_fills_up_while_outputs_are_kept_changes_nothing(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(here, one={"cmd": "cp in o", "deps": ["in"], "outs": ["o"]})
    (here / "in").write_text("first")
    run(here)
    lock = (here / "mlo.lock").read_bytes()
    (here / "in").write_text("second")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Batch, "_flush_files", full)
        with pytest.raises(MachineError):
            run(here)
    assert (here / "o").read_text() == "first"
    assert (here / "mlo.lock").read_bytes() == lock
    assert statuses(run(here)) == ["ran"]
