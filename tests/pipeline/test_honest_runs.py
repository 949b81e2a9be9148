"""What a run must not get wrong whatever goes on beside it: edits of parameters, slow readers, failures in failures."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest
from pipeline_kit import run, statuses, workspace, write_project

from mlops_cli.core.errors import StageFailed
from mlops_cli.core.pipeline.process import run_process
from mlops_cli.core.workflows.plan import RunRequest
from mlops_cli.core.workflows.run import run_pipeline

SECRET = "hunter2-and-more"  # pragma: allowlist secret


def test_parameters_edited_while_a_stage_above_runs_are_read_again(here: Path) -> None:
    (here / "p.json").write_text('{"x": 1}')
    stages = {
        "a": {"cmd": """printf '{"x": 2}' > p.json; echo a > a""", "outs": ["a"]},
        "b": {"cmd": "cat p.json > b", "deps": ["a"], "params": ["p.json:x"], "outs": ["b"]},
    }
    write_project(here, stages)
    result = run(here)
    assert result.stages[1].params == {"p.json:x": 2}
    (here / "p.json").write_text('{"x": 1}')
    assert statuses(run(here, dry=False)) == {"a": "cached", "b": "ran"}
    assert (here / "b").read_text() == '{"x": 1}'


@pytest.mark.parametrize("written", ['{"x": 2}', "{", "{}"])
def test_parameters_edited_while_the_stage_runs_break_it(here: Path, written: str) -> None:
    (here / "p.json").write_text('{"x": 1}')
    write_project(
        here, {"a": {"cmd": f"printf '{written}' > p.json; echo a > a", "params": ["p.json:x"], "outs": ["a"]}}
    )
    with pytest.raises(StageFailed, match=r"p\.json changed while stage a"):
        run(here)
    assert not (here / "a").exists()


def test_what_is_not_declared_of_a_file_may_change(here: Path) -> None:
    (here / "p.json").write_text('{"x": 1}')
    cmd = """printf '{"x": 1, "y": 2}' > p.json; echo a > a"""
    write_project(here, {"a": {"cmd": cmd, "params": ["p.json:x"], "outs": ["a"]}})
    assert statuses(run(here)) == {"a": "ran"}


def test_attempts_that_leave_a_file_and_then_a_folder_end_in_the_stages_own_error(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlops_cli.core.pipeline.stage.RETRY_S", 0.0)
    cmd = (
        "if [ -f flag ]; then rm -rf st; mkdir st; echo 2 > st/x; exit 3; else rm -rf st; echo 1 > st; touch flag; "
        "exit 4; fi"
    )
    write_project(here, {"a": {"cmd": cmd, "persist": ["st"], "retries": 1}})
    with pytest.raises(StageFailed, match="failed with exit code 3"):
        run(here)
    assert not (here / "st").exists()
    assert [path.read_text() for path in (here / ".mlo/failed").rglob("x")] == ["2\n"]


def test_what_cannot_be_tidied_up_is_noted_beside_the_stages_own_error(here: Path) -> None:
    (here / ".mlo").mkdir()
    (here / ".mlo/failed").write_text("in the way")
    write_project(here, {"a": {"cmd": "echo 1 > o; exit 3", "outs": ["o"]}})
    where = workspace(here)
    with pytest.raises(StageFailed, match="failed with exit code 3"):
        run_pipeline(where, RunRequest())
    assert any("after its failure" in line for line in where.progress.lines)  # type: ignore[attr-defined]


def test_the_log_has_all_before_a_slow_listener_does(tmp_path: Path) -> None:
    log, size = tmp_path / "log", 300_000
    heard: list[bytes] = []
    late: list[int] = []
    complete = threading.Event()

    def slow(block: bytes) -> None:
        if not heard:
            complete.wait(60)
            late.append(log.stat().st_size)
        heard.append(block)

    def watch() -> None:
        while not log.exists() or log.stat().st_size < size:
            if complete.wait(0.01):
                return
        complete.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    command = [sys.executable, "-c", f"print('x' * {size - 1})"]
    run_process(command, folder=tmp_path, environ={"PATH": os.environ["PATH"]}, log=log, echo=slow)
    complete.set()
    watcher.join()
    assert late == [size]
    assert b"".join(heard) == log.read_bytes()
    assert log.stat().st_size == size


def test_a_listener_slower_than_the_stage_holds_it_up_and_loses_nothing(tmp_path: Path) -> None:
    heard: list[bytes] = []
    size = 5_000_000
    command = [sys.executable, "-c", f"print('x' * {size - 1})"]
    log = tmp_path / "log"
    run_process(command, folder=tmp_path, environ={"PATH": os.environ["PATH"]}, log=log, echo=heard.append)
    assert sum(map(len, heard)) == log.stat().st_size == size


def test_no_secret_that_a_script_logs_is_kept(here: Path) -> None:
    script = (
        "import os, mlops_cli as mlo\n"
        "t = os.environ['TOKEN']\n"
        "mlo.log_param('t', t); mlo.log_param('deep', {'k': ['url=' + t]}); mlo.set_tag('tag', t)\n"
        "mlo.log_metric('m', 1.0)\n"
        "open('o', 'w').write('x')\n"
    )
    (here / "s.py").write_text(script)
    stage = {"cmd": [sys.executable, "s.py"], "deps": ["s.py"], "outs": ["o"], "secrets": ["TOKEN"]}
    write_project(here, {"t": stage})
    run_pipeline(workspace(here, TOKEN=SECRET), RunRequest())
    files = [path for path in (*here.rglob("*"), *here.glob(".*/**/*")) if path.is_file()]
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
    assert any(b"url=***" in path.read_bytes() for path in files)
