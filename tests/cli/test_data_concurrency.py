"""Several mlo at once in one project: who waits for whom, and that nobody's work is lost.

Real processes, in an order that FIFOs and locks give them. Nothing sleeps.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from command_line import Mlo
from data_project import commit, lay_out, write

from mlops_cli.core.errors import Locked
from mlops_cli.core.project.lock import read_lock
from mlops_cli.core.store.index import Index
from mlops_cli.core.workflows.workspace import Workspace


@pytest.fixture
def project(here: Path) -> Path:
    lay_out(here)
    for name in "pq":
        write(here, {f"data/{name}/{number}": b"%s %d" % (name.encode(), number) for number in range(40)})
    return here


@contextmanager
def started(*words: str) -> Iterator[subprocess.Popen[str]]:
    """One more mlo, in the working directory."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mlops_cli", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def first_word(process: subprocess.Popen[str]) -> str:
    """The first line that it says on stderr; it says so when it begins to wait."""
    assert process.stderr is not None
    return process.stderr.readline()


@contextmanager
def running_stage(project: Path) -> Iterator[subprocess.Popen[str]]:
    """`mlo run`, in the middle of a stage; it ends with the block, and well."""
    os.mkfifo(project / "begun")
    os.mkfifo(project / "go")
    with (project / "mlo.yaml").open("a") as file:
        file.write("stages: {s: {cmd: 'echo > begun; read line < go; echo 1 > out', deps: [data/p], outs: [out]}}\n")
    with started("run") as process:
        (project / "begun").read_text()  # blocks until the stage has begun
        yield process
        (project / "go").write_text("go\n")
        assert process.wait() == 0


@pytest.mark.parametrize(
    "words", [["status"], ["diff"], ["list", "-R"], ["du", "--all-revisions"], ["checkout", "--dry-run"], ["fsck"]]
)
def test_who_only_reads_waits_for_nobody(mlo: Mlo, project: Path, words: list[str]) -> None:
    mlo("data", "add", "data/p")
    commit()
    with running_stage(project), started("data", *words) as reader:
        out, err = reader.communicate()
        assert reader.returncode == 0, err
        assert "waiting" not in err
        assert "data/p" in out or words[0] in ("status", "diff", "fsck")


def test_a_writer_of_what_a_stage_reads_names_whom_it_waits_for_and_then_goes_on(mlo: Mlo, project: Path) -> None:
    mlo("data", "add", "data/p")
    with ExitStack() as stack:
        with running_stage(project) as run:
            moving = stack.enter_context(started("data", "mv", "data/p", "data/r"))
            assert f"waiting for `mlo run` (process {run.pid} on " in first_word(moving)
            moving.kill()
            moving.wait()
            for words in (["rm", "data/p"], ["mv", "data/p", "data/r"], ["unprotect", "data/p"], ["checkout"]):
                refused = mlo("data", *words, "--no-wait", exit_code=10)
                assert f"data/p is held by `mlo run` (process {run.pid} on " in refused.stderr, words
            moving = stack.enter_context(started("data", "mv", "data/p", "data/r"))
            assert f"waiting for `mlo run` (process {run.pid} on " in first_word(moving)
        assert moving.wait() == 0
    assert set(read_lock(project / "mlo.lock").data) == {"data/r"}


def test_who_changes_nothing_that_a_stage_reads_need_not_wait_for_it(mlo: Mlo, project: Path) -> None:
    with running_stage(project):
        mlo("data", "add", "data/p", "data/q", "--no-wait")
        mlo("data", "rm", "data/q", "--no-wait")
    lock = read_lock(project / "mlo.lock")
    assert set(lock.data) == {"data/p"}
    assert set(lock.stages) == {"s"}


def workspace() -> Workspace:
    return Workspace.find(Path.cwd(), {"MLO_ACTOR": "Ada <ada@example.org>"}, command_line="mlo data test")


def test_two_adds_that_queue_both_land_and_the_index_knows_both(project: Path) -> None:
    with ExitStack() as stack, ExitStack() as holding:
        holding.enter_context(workspace().exclusive())
        adding = [stack.enter_context(started("data", "add", f"data/{name}")) for name in "pq"]
        # They queue for mlo.lock only: both have read, hashed and kept their files before this one lets go.
        assert ["waiting for `mlo data test`" in first_word(process) for process in adding] == [True, True]
        assert len(list(workspace().store)) >= 80
        holding.close()
        assert [process.wait() for process in adding] == [0, 0]
    assert set(read_lock(project / "mlo.lock").data) == {"data/p", "data/q"}
    assert {"/data/p", "/data/q"} <= set((project / ".gitignore").read_text().splitlines())
    index = Index(project / ".mlo/index")
    assert all(index.held(project / "data" / name) and index.folder(f"data/{name}".encode()) for name in "pq")


def test_checkouts_of_different_paths_run_side_by_side(mlo: Mlo, project: Path) -> None:
    mlo("data", "add", "data/p", "data/q")
    for name in "pq":
        (project / "data" / name / "0").unlink()
    with ExitStack() as stack, ExitStack() as holding:
        holding.enter_context(workspace().holding(["data/p"]))
        waiting = stack.enter_context(started("data", "checkout", "data/p"))
        assert "waiting for `mlo data test`" in first_word(waiting)
        mlo("data", "checkout", "data/q")
        assert (project / "data/q/0").exists()
        assert "data/p is held by" in mlo("data", "checkout", "data/p/0", "--no-wait", exit_code=10).stderr
        adding = stack.enter_context(started("data", "add", "data/raw"))
        assert "waiting for `mlo data" in first_word(adding)
        holding.close()
        assert (waiting.wait(), adding.wait()) == (0, 0)
    assert (project / "data/p/0").exists()
    assert set(read_lock(project / "mlo.lock").data) == {"data/p", "data/q", "data/raw"}


def test_who_holds_a_folder_holds_what_is_in_it(project: Path) -> None:
    with workspace().holding(["data"]), pytest.raises(Locked, match="data is held by"):
        workspace().holding(["data/p"], wait=False).__enter__()
    with workspace().holding(["data/p"]), pytest.raises(Locked, match="data is held by"):
        workspace().holding(["data"], wait=False).__enter__()
    with workspace().holding(["data/p"]), workspace().holding(["data/q", "other"], wait=False):
        pass
    with workspace().holding([f"data/{n}" for n in range(100)]), pytest.raises(Locked):
        workspace().holding(["other"], wait=False).__enter__()


def test_a_holder_that_is_killed_keeps_nobody_waiting(mlo: Mlo, project: Path) -> None:
    for name in ("begun", "go"):
        os.mkfifo(project / name)
    with (project / "mlo.yaml").open("a") as file:
        file.write("stages: {s: {cmd: 'echo > begun; read line < go', outs: [out]}}\n")
    with started("run") as run:
        (project / "begun").read_text()
        run.kill()
        run.wait()
        mlo("data", "add", "data/p", "--no-wait")
        os.close(os.open(project / "go", os.O_RDWR | os.O_NONBLOCK))  # the stage, an orphan, ends too
    assert set(read_lock(project / "mlo.lock").data) == {"data/p"}
