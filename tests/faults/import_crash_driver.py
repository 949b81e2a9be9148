"""Run `mlo import dvc` in copies of a project, each killed one step later than the one before. Started by the tests.

    python import_crash_driver.py TEMPLATE FOLDER

A step is a change to the disk that Python tells of. Copy number n is killed before its n-th step; the first copy that
ends by itself is the last.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from mlops_cli.cli.main import main
from mlops_cli.core.workflows import import_dvc  # noqa: F401 - so that importing counts no steps

STEPS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def kill_at(step: int) -> None:
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES
        if event in STEPS or writes:
            seen += 1
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def crash_all(template: Path, folder: Path) -> None:
    for step in range(1, 1000):
        copy = folder / str(step)
        shutil.copytree(template, copy, symlinks=True)
        child = os.fork()
        if child == 0:
            os.chdir(copy)
            kill_at(step)
            os._exit(main(["import", "dvc", "--quiet"]))
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            assert os.waitstatus_to_exitcode(status) == 0
            return


crash_all(Path(sys.argv[1]), Path(sys.argv[2]))
