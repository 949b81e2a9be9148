"""gc beside other commands: real processes, ordered by locks and pipes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from gc_project import ENVIRON, age, collect, commit, holds, lay_out, opened, put

from mlops_cli.core.base.digest import digest_bytes
from mlops_cli.core.base.progress import Silent
from mlops_cli.core.errors import Locked
from mlops_cli.core.project.lock import Lock
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.workflows import gc
from mlops_cli.core.workflows.follow import update_data
from mlops_cli.core.workflows.gc import collect_garbage
from mlops_cli.core.workflows.get import get_data
from mlops_cli.core.workflows.import_dvc import import_dvc
from mlops_cli.core.workflows.workspace import Workspace


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = lay_out(tmp_path / "project")
    commit(root, "first")
    commit(root, "second")
    age(root / ".mlo/cache")
    return root


def mlo(root: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mlops_cli", *arguments]
    return subprocess.Popen(
        command, cwd=root, env=ENVIRON, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )


def in_child(work: Callable[[], None]) -> int:
    """Fork; the child's process id."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return child


@pytest.mark.slow
def test_an_add_waits_for_gc_names_it_and_keeps_what_gc_deletes_meanwhile(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes that are added are the very garbage that is being deleted."""
    (ready, say_ready), (go, say_go) = os.pipe(), os.pipe()
    really = gc.collect

    def held_up(*arguments: object, **options: object) -> object:
        os.write(say_ready, b"!")
        os.read(go, 1)
        return really(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(gc, "collect", held_up)
    child = in_child(lambda: collect_garbage(opened(project), delete=True) and None)
    assert os.read(ready, 1) == b"!"  # the roots were read, and the cache is held
    (project / "data/a").write_text("first")
    adding = mlo(project, "data", "add", "data")
    assert adding.stderr is not None
    assert "the cache is held by" in adding.stderr.readline()
    os.write(say_go, b"!")
    assert os.waitpid(child, 0)[1] == 0
    assert adding.wait() == 0
    adding.stderr.close()
    assert holds(project, "first")
    assert opened(project).store.missing([opened(project).read_lock().entries["data"].digest]) == set()


@pytest.mark.slow
def test_gc_waits_for_an_add_and_reads_again_what_is_needed(project: Path) -> None:
    """What was garbage when gc began is named by mlo.lock when the writer is done."""
    workspace = opened(project)
    with workspace.store.writing():
        collecting = mlo(project, "data", "gc", "--yes")
        assert collecting.stderr is not None
        assert "the cache is held by" in collecting.stderr.readline()
        lock = workspace.read_lock()
        (project / "data/a").write_text("first")
        digest = digest_bytes(b"first", "xxh128")
        entry = type(lock.entries["data"])(str(digest), "file", 5)
        workspace.write_lock(type(lock)({"data": entry}))
    assert collecting.wait() == 0
    collecting.stderr.close()
    assert holds(project, "first")


def test_a_store_that_was_open_all_the_time_does_not_trust_what_it_saw(project: Path) -> None:
    store = opened(project).store
    with store.batch():
        for number in range(40):
            store.put_bytes(b"%d" % number)
    assert store.read(digest_bytes(b"7", "xxh128")) == b"7"  # the pack is open now
    collect(project)
    assert not opened(project).store.has(digest_bytes(b"7", "xxh128"))
    store.put_bytes(b"7")
    assert holds(project, "7")
    with store.batch():
        for number in range(40):
            store.put_bytes(b"%d" % number)
    assert all(holds(project, str(number)) for number in range(40))


def test_a_reader_that_knew_a_pack_finds_its_objects_in_the_new_one(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "project")
    for number in range(40):
        put_file(root, number, f"{number} of the first version {'x' * 50}")
    put(root, "x", path="data/x")
    reader = LocalStore(root / ".mlo/cache", "xxh128")
    assert len(reader.packs.indexes) == 1
    for number in range(30):
        put_file(root, number, f"{number} of the second")
    put(root, "y", path="data/x")
    found = collect(root)
    assert found.repacked == 1
    for number in range(30, 40):
        content = f"{number} of the first version {'x' * 50}".encode()
        digest = digest_bytes(content, "xxh128")
        assert reader.read(digest) == content
        target = tmp_path / "out"
        reader.copy_to(digest, target)
        assert target.read_bytes() == content


@pytest.mark.parametrize("command", ["get", "update", "import"])
def test_what_comes_from_elsewhere_is_kept_from_the_collector_until_mlo_lock_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    root, source = tmp_path / "project", tmp_path / "source.csv"
    source.write_bytes(b"1")
    if command == "import":
        (root / ".dvc").mkdir(parents=True)
        (root / ".dvc/config").touch()
        (root / "raw").write_bytes(b"1")
        (root / "raw.dvc").write_text("outs: [{md5: c4ca4238a0b923820dcc509a6f75849b, path: raw, hash: md5}]")
    else:
        lay_out(root)
    if command == "update":
        get_data(opened(root), str(source), folder=root)
        source.write_bytes(b"22")
    kept_out: list[bool] = []
    really = Workspace.write_lock

    def write_lock(workspace: Workspace, lock: Lock) -> None:
        with pytest.raises(Locked):
            workspace.store.folder.lock("gc").acquire(wait=False)
        kept_out.append(True)
        really(workspace, lock)

    monkeypatch.setattr(Workspace, "write_lock", write_lock)
    if command == "get":
        get_data(opened(root), str(source), folder=root)
    elif command == "update":
        update_data(opened(root))
    else:
        import_dvc(root, ENVIRON, progress=Silent())
    assert kept_out
    assert holds(root, "22" if command == "update" else "1")


def put_file(root: Path, number: int, content: str) -> None:
    (root / "data").mkdir(exist_ok=True)
    (root / "data" / str(number)).write_text(content)


def test_a_reader_of_loose_objects_finds_them_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops_cli.core.store.sweep.MANY_LOOSE", 3)
    root = lay_out(tmp_path / "project")
    for number in range(4):
        put(root, f"content {number}", path=f"data/{number}")
    reader = LocalStore(root / ".mlo/cache", "xxh128")
    digests = [digest_bytes(b"content %d" % number, "xxh128") for number in range(4)]
    assert not reader.packs.indexes
    assert all(reader.loose.size(str(digest)) for digest in digests)
    assert collect(root).freed != 0
    assert not any(reader.loose.size(str(digest)) for digest in digests)
    target = tmp_path / "out"
    reader.copy_to(digests[2], target, link=("hardlink",))
    assert target.read_bytes() == b"content 2"
    assert [reader.read(digest) for digest in digests] == [b"content %d" % number for number in range(4)]
    assert collect(root).objects == 0
