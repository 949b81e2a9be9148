"""kill -9 at every change that `data get` and `data update` make to the disk: the same command succeeds afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dying import fork

from mlops_cli.core.project.lock import read_lock
from mlops_cli.core.workflows.data import add_paths
from mlops_cli.core.workflows.data_status import data_status
from mlops_cli.core.workflows.follow import update_data
from mlops_cli.core.workflows.fsck import verify_cache
from mlops_cli.core.workflows.get import get_data
from mlops_cli.core.workflows.workspace import Workspace

STEPS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
MOST = 400


@pytest.fixture
def world() -> Iterator[Path]:
    """A project, and another one beside it that has data; in memory where there is such a place."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as name:
        folder = Path(name)
        for project in ("mine", "other"):
            (folder / project).mkdir()
            (folder / project / "mlo.yaml").write_text("name: x\n")
        (folder / "mine/own").write_bytes(b"own")
        (folder / "other/raw/sub").mkdir(parents=True)
        (folder / "other/raw/a").write_bytes(b"1")
        (folder / "other/raw/sub/big").write_bytes(b"x" * 300_000)
        add_paths(opened(folder / "other"), [Path("raw")])
        yield folder


def opened(root: Path) -> Workspace:
    return Workspace.find(root, {"MLO_ACTOR": "Ada", "PATH": os.environ["PATH"]})


def get(folder: Path) -> None:
    get_data(opened(folder / "mine"), "../other", "raw", folder=folder / "mine")


def update(folder: Path) -> None:
    update_data(opened(folder / "mine"))


def change(folder: Path) -> None:
    (folder / "other/raw/a").write_bytes(b"second")
    (folder / "other/raw/new").write_bytes(b"new")
    (folder / "other/raw/sub/big").unlink()
    add_paths(opened(folder / "other"), [Path("raw")])


def killed_at(step: int, action: Callable[[Path], None], folder: Path) -> bool:
    """Whether the action, in a child of its own, was killed before its step with that number."""
    child = fork()
    if child == 0:
        seen = 0

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal seen
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES
            if event in STEPS or writes:
                seen += 1
                if seen == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        try:
            action(folder)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


@pytest.mark.slow
@pytest.mark.parametrize("action", [get, update])
def test_a_kill_at_any_step_is_made_good_by_the_same_command(
    world: Path, tmp_path: Path, action: Callable[[Path], None]
) -> None:
    if action is update:
        get(world)
        change(world)
    for step in range(1, MOST):
        copy = world.parent / f"{world.name}-{step}"
        shutil.copytree(world, copy, symlinks=True)
        try:
            killed = killed_at(step, action, copy)
            action(copy)
            theirs, mine = copy / "other/raw", copy / "mine/raw"
            names = {path.relative_to(theirs) for path in theirs.rglob("*")}
            assert {path.relative_to(mine) for path in mine.rglob("*")} == names
            assert all((theirs / name).is_dir() or filecmp(theirs / name, mine / name) for name in names)
            assert (copy / "mine/own").read_bytes() == b"own"
            assert data_status(opened(copy / "mine")).changes == []
            assert verify_cache(opened(copy / "mine")).ok
            assert set(read_lock(copy / "mine/mlo.lock").sources) == {"raw"}
        finally:
            shutil.rmtree(copy)
        if not killed:
            return
    raise AssertionError("it never ended by itself")


def filecmp(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()
