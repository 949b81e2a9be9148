"""Run `mlo run` in copies of a project, each stopped one step later than the one before. Started by the tests.

    python crash_driver.py TEMPLATE FOLDER [kill|full|once] [ARGUMENT...]

A step is a change to the disk that Python tells of (a file opened for writing, a rename, a removal, a new folder) or a
process started, in whatever thread. Copy number n is killed before its n-th step; or from there on its disk is full; or
that one step alone fails so. The first copy that ends by itself without having come to its step is the last. The exit
codes of the others (-9: killed) are written to FOLDER/codes, a line each.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import itertools
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from mlops_cli.cli.main import main

GROWS = {"os.mkdir", "os.link", "os.symlink"}
STEPS = GROWS | {"os.rename", "os.remove", "os.rmdir", "subprocess.Popen"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Steps:
    """Counts the steps of this process, and stops it at one of them."""

    def __init__(self, last: int, way: str, reached: Path) -> None:
        self._last = last
        self._way = way
        self._reached = reached
        self._steps = itertools.count(1)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES
        if not writes and event not in STEPS:
            return
        if writes and (not isinstance(arguments[0], str | bytes) or str(arguments[0]).startswith("/dev/")):
            return  # a file that is open already, or none of the disk's
        grows = writes or event in GROWS
        if self._way != "kill" and not grows:
            return
        seen = next(self._steps)  # one for each, whatever the number of threads
        if seen < self._last or (self._way == "once" and seen > self._last):
            return
        os.write(self._handle, b"reached")
        if self._way == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(arguments[0]))

    def begin(self) -> None:
        self._handle = os.open(self._reached, os.O_WRONLY | os.O_CREAT)
        sys.addaudithook(self)


def import_all(template: Path, folder: Path, arguments: list[str]) -> None:
    """Import what the command does, as a child finds out that nothing happens to: importing again and again is slow."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        shutil.copytree(template, folder, symlinks=True)
        os.chdir(folder)
        code = main(["run", "--quiet", *arguments])
        with os.fdopen(write, "w") as found:
            found.write("\n".join(name for name in sys.modules if name.startswith("mlops_cli.") or "." not in name))
        os._exit(code)
    os.close(write)
    with os.fdopen(read) as found:
        for name in found.read().splitlines():
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    assert os.waitpid(child, 0)[1] == 0
    shutil.rmtree(folder)
    gc.freeze()  # the children need not look through it


def crash_all(template: Path, folder: Path, way: str, arguments: list[str]) -> None:
    codes = []
    folder.mkdir()
    import_all(template, folder / "whole", arguments)
    reached = folder / "reached"
    for step in range(1, 2000):
        copy = folder / str(step)
        shutil.copytree(template, copy, symlinks=True)
        child = os.fork()
        if child == 0:
            os.chdir(copy)
            Steps(step, way, reached).begin()
            os._exit(main(["run", "--quiet", *arguments]))
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if not reached.stat().st_size:
            assert code == 0, code
            break
        codes.append(code)
        reached.unlink()
    reached.unlink()
    (folder / "codes").write_text("".join(f"{code}\n" for code in codes))


crash_all(Path(sys.argv[1]), Path(sys.argv[2]), (sys.argv[3:] or ["kill"])[0], sys.argv[4:])
