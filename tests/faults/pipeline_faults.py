"""Projects whose stages wait to be met, and several mlo commands at work in them at once."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from notes import Notes

from mlops_cli.core.pipeline.process import marked
from mlops_cli.core.project import yaml12
from mlops_cli.core.workflows.plan import RunRequest
from mlops_cli.core.workflows.run import RunResult, run_pipeline
from mlops_cli.core.workflows.workspace import Workspace

LIMIT_S = 200  # a test that hangs fails


class Fifo:
    """A named pipe, kept open so that neither side waits for the other to open it."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._handle = os.open(path, os.O_RDWR)

    def hear(self, count: int = 1) -> list[str]:
        """The next lines that stages write."""
        lines: list[str] = []
        line = b""
        while len(lines) < count:
            ready, _, _ = select.select([self._handle], [], [], LIMIT_S)
            assert ready, f"nobody came; so far {lines}"
            letter = os.read(self._handle, 1)
            if letter == b"\n":
                lines.append(line.decode())
                line = b""
            else:
                line += letter
        return lines

    def say(self, count: int = 1) -> None:
        """Lines for stages that `read` them: one each."""
        os.write(self._handle, b"go\n" * count)


def write_project(folder: Path, stages: Mapping[str, Any], **more: Any) -> None:
    (folder / "mlo.yaml").write_text(yaml12.dump({"name": "kit", "stages": dict(stages), **more}))


def open_workspace(folder: Path, notes: Notes | None = None, **environ: str) -> Workspace:
    return Workspace.find(folder, {**os.environ, **environ}, command_line="mlo run", progress=notes)


def run(folder: Path, *stages: str, notes: Notes | None = None, **options: Any) -> RunResult:
    return run_pipeline(open_workspace(folder, notes), RunRequest(stages=stages, **options))


def statuses(result: RunResult) -> dict[str, str]:
    return {record.name: record.status for record in result.stages}


def hear_hangups() -> None:
    """Under nohup SIGHUP is ignored, by those one starts as well; not by a run that is to be ended by it."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def start_mlo(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "mlops_cli", *(arguments or ("run",))],
        cwd=folder,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=hear_hangups,  # noqa: PLW1509 - it starts no thread and takes no lock
    )


def hear_note(process: subprocess.Popen[str], part: str) -> None:
    """Wait until the process says something with this part on stderr."""
    assert process.stderr is not None
    heard = []
    limit = threading.Timer(LIMIT_S, process.kill)
    limit.start()
    try:
        for line in process.stderr:
            heard.append(line)
            if part in line:
                return
    finally:
        limit.cancel()
    raise AssertionError("".join(heard))


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        _, said = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()  # or the tests after this one find it, and fail as well
        process.communicate()
        raise
    return process.returncode, said


def left_over(folder: Path) -> list[int]:
    """The processes of any run of the project that still live."""
    return [process for run in open_workspace(folder).runs.list() for process in marked({"MLO_RUN_ID": run.id})]


def under_way(folder: Path) -> list[str]:
    running = folder / ".mlo" / "running"
    return sorted(path.name for path in running.iterdir()) if running.exists() else []
