"""A full disk or a kill -9 at every system call of add and checkout: nothing of the user's is lost.

The shim fails or kills at the N-th call of the functions below, for all N, until the command gets through without
reaching N calls. Afterwards the originals are byte-identical, fsck finds nothing, and the same command succeeds.
"""

from __future__ import annotations

import errno
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dying import fork
from far_remote import objects_on, packs_on

from mlops_cli.core.errors import MachineError, MloError
from mlops_cli.core.project.load import find_root
from mlops_cli.core.project.lock import read_lock
from mlops_cli.core.store.tree import closure
from mlops_cli.core.workflows import data, data_checkout, data_status, transfer
from mlops_cli.core.workflows.fsck import verify_cache
from mlops_cli.core.workflows.workspace import Workspace

CALLS = ("write", "rename", "replace", "link", "fsync", "symlink", "mkdir", "unlink", "rmdir", "open")
FILES = {"a": b"first\n", "sub/big": b"x" * 3000, "sub/tool": b"#!/bin/sh\n"}


@pytest.fixture
def root() -> Iterator[Path]:
    """In memory where there is such a place: each case flushes dozens of times."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        project = Path(folder) / "project"
        project.mkdir()
        (project / "mlo.yaml").write_text("name: x\nremotes: {origin: ../far}\n")
        (Path(folder) / "far").mkdir()
        build(project)
        yield project


def build(root: Path) -> None:
    for name, content in FILES.items():
        path = root / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (root / "data/sub/tool").chmod(0o755)
    (root / "data/empty").mkdir(exist_ok=True)
    if not (root / "data/link").is_symlink():
        (root / "data/link").symlink_to("a")


def workspace(root: Path) -> Workspace:
    return Workspace.find(find_root(root), {"MLO_ACTOR": "Ada <ada@example.org>"})


def described(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink() and "/objects/" not in os.readlink(path):
            found[name] = ("link", os.readlink(path))
        elif path.is_dir():
            found[name] = "folder"
        else:
            found[name] = (path.read_bytes(), os.access(path, os.X_OK))
    return found


def add(root: Path) -> None:
    data.add_paths(workspace(root), [root / "data"])


def checkout(root: Path) -> None:
    data_checkout.checkout_paths(workspace(root)).raise_if_incomplete()


def push(root: Path) -> None:
    transfer.push_data(workspace(root)).raise_if_incomplete()


def pull(root: Path) -> None:
    transfer.pull_data(workspace(root)).raise_if_incomplete()


def fetch(root: Path) -> None:
    transfer.fetch_data(workspace(root)).raise_if_incomplete()


@contextmanager
def shim(at: int, strike: Callable[[], None]) -> Iterator[list[int]]:
    """Call `strike` instead of the N-th call; the list's only number counts the calls."""
    count = [0]
    originals = {name: getattr(os, name) for name in CALLS}

    def counted(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if name != "open" or arguments[1] & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):
                count[0] += 1
                if count[0] == at:
                    strike()
            return originals[name](*arguments, **options)

        return call

    for name in CALLS:
        setattr(os, name, counted(name))
    try:
        yield count
    finally:
        for name, original in originals.items():
            setattr(os, name, original)


def disk_full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read_only() -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_child(command: Callable[[Path], None], root: Path, at: int) -> bool:
    """Run the command in a process that is killed at call `at`; whether it lived to the end."""
    child = fork()
    if child == 0:
        try:
            with shim(at, killed):
                command(root)
            os._exit(0)
        except BaseException:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFEXITED(status)


def sound(root: Path) -> None:
    """fsck finds nothing, and mlo.lock is absent or whole."""
    report = verify_cache(workspace(root))
    assert report.ok, report.bad


def wipe(root: Path) -> None:
    """Back to a project whose data was never added."""
    for path in (root / ".mlo", root / "data"):
        for inner in sorted(path.rglob("*"), reverse=True):
            inner.rmdir() if inner.is_dir() and not inner.is_symlink() else inner.unlink()
    for name in ("mlo.lock", ".gitignore"):
        (root / name).unlink(missing_ok=True)
    build(root)


def every_step(root: Path, command: Callable[[Path], None], strike: Callable[[], None]) -> Iterator[int]:
    """Strike at step 1, 2, 3 ... until the command gets through; yields after each strike."""
    for at in range(1, 1000):
        if strike is killed:
            through = in_child(command, root, at)
        else:
            try:
                with shim(at, strike) as count:
                    command(root)
                through = count[0] < at
            except MachineError:
                through = False
        if through:
            assert at > 10, "the shim did not see the command's calls"
            return
        yield at


STRIKES = pytest.mark.parametrize("strike", [disk_full, read_only, killed], ids=["full", "read-only", "killed"])


@pytest.mark.slow
@STRIKES
def test_add_at_every_step(root: Path, strike: Callable[[], None]) -> None:
    originals = described(root / "data")
    for at in every_step(root, add, strike):
        assert described(root / "data") == originals, at
        sound(root)
        add(root)
        sound(root)
        assert data_status.data_status(workspace(root)).clean
        wipe(root)


@pytest.mark.slow
@STRIKES
@pytest.mark.parametrize("link", ["copy", "hardlink", "symlink"])
def test_checkout_at_every_step(root: Path, strike: Callable[[], None], link: str) -> None:
    (root / "mlo.yaml").write_text(f"name: x\ncache: {{link: [{link}]}}\n")
    add(root)
    first = described(root / "data")
    second_lock = change(root)
    first_lock = (root / "mlo.lock").read_bytes()
    second = described(root / "data")
    for at in every_step(root, lambda root: switch(root, second_lock), strike):
        for name, content in described(root / "data").items():
            assert content in (first.get(name), second.get(name)), (at, name)
        sound(root)
        switch(root, second_lock)
        assert described(root / "data") == second
        switch(root, first_lock)
        assert described(root / "data") == first
    (root / "data/a").unlink()
    (root / "data/a").write_bytes(b"mine alone")
    with pytest.raises(MloError):
        switch(root, first_lock)
    assert (root / "data/a").read_bytes() == b"mine alone"


def change(root: Path) -> bytes:
    """Record a second version and leave it standing, with the first version's lock; the second's lock."""
    first = (root / "mlo.lock").read_bytes()
    (root / "data/a").write_bytes(b"second\n")
    (root / "data/sub/tool").unlink()
    (root / "data/new").write_bytes(b"new\n")
    (root / "data/link").unlink()
    (root / "data/link").symlink_to("new")
    add(root)
    second = (root / "mlo.lock").read_bytes()
    (root / "mlo.lock").write_bytes(first)
    return second


def switch(root: Path, lock: bytes) -> None:
    (root / "mlo.lock").write_bytes(lock)
    checkout(root)


@pytest.mark.slow
@STRIKES
def test_push_and_pull_at_every_step(root: Path, strike: Callable[[], None]) -> None:
    add(root)
    originals = described(root / "data")
    for _ in every_step(root, push, strike):
        assert described(root / "data") == originals
        push(root)
        clone = root.parent / "clone"
        clone.mkdir(exist_ok=True)
        for name in ("mlo.yaml", "mlo.lock"):
            (clone / name).write_bytes((root / name).read_bytes())
        pull(clone)
        assert described(clone / "data") == originals
        sound(clone)
        empty(root.parent / "far")
        empty(clone)
    push(root)
    clone = root.parent / "clone"
    for _ in every_step(clone_of(root, clone), pull, strike):
        sound_objects(clone)
        pull(clone)
        assert described(clone / "data") == originals
        sound(clone)
        empty(clone)
        clone_of(root, clone)


@pytest.mark.slow
@STRIKES
def test_push_and_fetch_of_packs_at_every_step(root: Path, strike: Callable[[], None]) -> None:
    """Enough small files that they go as a pack, and come into one."""
    for number in range(40):
        (root / "data/many").mkdir(exist_ok=True)
        (root / f"data/many/{number:02}").write_bytes(b"%d" % number)
    add(root)
    originals = described(root / "data")
    clone = root.parent / "clone"
    for _ in every_step(root, push, strike):
        assert described(root / "data") == originals
        found = objects_on(workspace(root).remote())
        for entry in read_lock(root / "mlo.lock").entries.values():
            if entry.digest in found:  # the tree of all: it comes last
                assert {str(digest) for digest in closure(workspace(root).store, entry)} <= found.keys()
        push(root)
        there = data_status.data_status(workspace(root), remote=workspace(root).remote()).remote
        assert there is not None
        assert there.absent == []
        sound(root)
        empty(root.parent / "far")
    push(root)
    assert packs_on(workspace(root).remote())
    for _ in every_step(clone_of(root, clone), fetch, strike):
        sound_objects(clone)
        fetch(clone)
        sound(clone)
        assert list((clone / ".mlo/cache/packs").iterdir())
        empty(clone)
        clone_of(root, clone)
    pull(clone)
    assert described(clone / "data") == originals


def clone_of(root: Path, clone: Path) -> Path:
    clone.mkdir(exist_ok=True)
    for name in ("mlo.yaml", "mlo.lock"):
        (clone / name).write_bytes((root / name).read_bytes())
    return clone


def sound_objects(root: Path) -> None:
    """Nothing in the cache is damaged; what has not come yet is missing."""
    report = verify_cache(workspace(root))
    assert {bad.problem for bad in report.bad} <= {"missing"}


def empty(folder: Path) -> None:
    for inner in sorted(folder.rglob("*"), reverse=True):
        inner.rmdir() if inner.is_dir() and not inner.is_symlink() else inner.unlink()


def test_a_read_only_cache_is_the_machines_fault_and_changes_nothing(root: Path) -> None:
    """Root may write anywhere, so the cache lies where not even root can: below a file."""
    (root / "file").write_text("in the way")
    (root / "mlo.yaml").write_text("name: x\ncache: {dir: file/cache}\n")
    originals = described(root / "data")
    with pytest.raises((MachineError, NotADirectoryError)):
        add(root)
    assert described(root / "data") == originals
    assert not (root / "mlo.lock").exists()


def test_reading_stops_at_a_disk_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = os.read
    with (root / "data/sub/big").open("rb") as bad:

        def broken(handle: int, size: int) -> bytes:
            if os.path.sameopenfile(handle, bad.fileno()):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return read(handle, size)

        with monkeypatch.context() as patched:
            patched.setattr(os, "read", broken)
            with pytest.raises(OSError, match="Input/output error"):
                add(root)
    assert not (root / "mlo.lock").exists()
    sound(root)
    add(root)
    sound(root)
