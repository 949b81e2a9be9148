import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_cli.core.base.files import FileLock, machine_errors, safe_join, user_path, write_atomic
from mlops_cli.core.errors import IntegrityError, Locked, MachineError, ProjectError

HOLD = """
import sys
from pathlib import Path
from mlops_cli.core.base.files import FileLock
with FileLock(Path(sys.argv[1]), command="mlo run train").held():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_write_replaces_the_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_atomic(path, b"one")
    write_atomic(path, b"two", mode=0o600)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace", "fchmod"])
def test_a_failed_write_keeps_the_old_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(MachineError, match="No space left") as caught:
        write_atomic(path, b"new")
    monkeypatch.undo()
    assert "free some space" in str(caught.value.hint)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_an_error_that_is_not_the_machines_passes_through() -> None:
    with pytest.raises(FileNotFoundError), machine_errors("reading"):
        Path("/nonexistent").read_bytes()


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../../x", "a\\b", "a\0b", ".."])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(IntegrityError):
        safe_join(tmp_path, name)


def test_a_link_in_the_parents_does_not_lead_out(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(outside)
    with pytest.raises(IntegrityError, match="link"):
        safe_join(root, "link/file")
    assert safe_join(root, "link") == root / "link"
    assert safe_join(root, "a/b.txt") == root / "a" / "b.txt"


def test_a_held_lock_names_its_holder_and_is_free_when_the_holder_dies(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "project"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    lock = FileLock(path, command="mlo run")
    with pytest.raises(Locked, match=rf"mlo run train.*process {holder.pid}"):
        lock.acquire(wait=False)
    holder.kill()
    holder.communicate()
    with lock.held(wait=False):
        assert str(os.getpid()) in path.read_text()


def test_who_waits_is_told_for_whom(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    told: list[str] = []

    def release(name: str) -> None:
        told.append(name)
        holder.communicate("")

    with FileLock(path, command="mlo data add").held(waiting=release):
        assert told == [f"`mlo run train` (process {holder.pid} on {os.uname().nodename})"]


def test_a_home_that_nobody_has_is_named_with_its_setting() -> None:
    assert user_path("~/x", "cache.dir") == Path.home() / "x"
    with pytest.raises(ProjectError, match=r"cache\.dir: ~no-such-user/x"):
        user_path("~no-such-user/x", "cache.dir")


@pytest.mark.parametrize("note", ["", "{", "5", "null", "[]", '{"command": 1}', "[" * 4000, "\xff"])
def test_a_lock_file_with_anything_in_it_is_a_lock(tmp_path: Path, note: str) -> None:
    path = tmp_path / "lock"
    with FileLock(path, command="mlo run").held():
        path.write_bytes(note.encode("latin-1"))
        with pytest.raises(Locked, match="held by another mlo"):
            FileLock(path, command="mlo data add").acquire(wait=False)
    with FileLock(path, command="mlo data add").held(wait=False):
        assert b"mlo data add" in path.read_bytes()
