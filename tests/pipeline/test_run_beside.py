"""A run and others beside it: gc, stages of other environments, half-written files, many paths."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from pipeline_kit import run, workspace, write_project

from mlops_cli.core.base.name_locks import hold_names
from mlops_cli.core.errors import Locked
from mlops_cli.core.pipeline.journal import Journal
from mlops_cli.core.project.lock import read_lock
from mlops_cli.core.workflows.gc import collect_garbage
from mlops_cli.core.workflows.plan import RunRequest
from mlops_cli.core.workflows.roots import what_is_needed
from mlops_cli.core.workflows.run import run_pipeline
from mlops_cli.core.workflows.workspace import Workspace

WAITS = "touch begun; until [ -e go ]; do sleep 0.02; done"


def wait_for(path: Path) -> None:
    while not path.exists():
        threading.Event().wait(0.01)


class Beside:
    """A run in another thread, which waits in its stage until it is let go."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread = threading.Thread(target=run, args=(folder,))

    def __enter__(self) -> None:
        self._thread.start()
        wait_for(self._folder / "begun")

    def __exit__(self, *_: object) -> None:
        (self._folder / "go").touch()
        self._thread.join()


def test_gc_keeps_what_a_running_stage_replaces(here: Path) -> None:
    write_project(here, {"s": {"cmd": f"{WAITS}; echo new > o", "outs": ["o"]}})
    (here / "o").write_text("by hand\n")
    store = workspace(here).store
    thread = threading.Thread(target=run, args=(here,), kwargs={"force": True})
    thread.start()
    wait_for(here / "begun")
    needs = what_is_needed(workspace(here))
    roots = [root for root in needs.roots if root.kind == "stage"]
    collect_garbage(workspace(here), delete=True, grace_s=0)
    kept = [store.read(entry.name) for root in roots for entry in root.entries]
    (here / "go").touch()
    thread.join()
    assert kept == [b"by hand\n"]


def test_gc_keeps_what_a_stage_replaces_in_a_working_copy(here: Path) -> None:
    write_project(here, {"s": {"cmd": "echo 1 > o", "outs": ["o"]}})
    run(here)
    entry = read_lock(here / "mlo.lock").stages["s"].outs["o"]
    copy = here / ".mlo" / "copies" / "ab"
    journal = Journal(copy / "tree" / "sub" / ".mlo" / "running", "0" * 32)
    journal.open()
    journal.begin("s", "k", {"o": entry, "p": None})
    (copy / "home").write_text('{"cache": "c", "prefix": "sub", "version": 1}')
    needs = what_is_needed(workspace(here))
    journal.settle("s")
    journal.close()
    assert [root.entries for root in needs.roots if root.kind == "stage"] == [(entry,)]


def test_halves_of_files_go_only_while_nobody_writes(here: Path) -> None:
    write_project(here, {"s": {"cmd": "echo 1 > o", "outs": ["o"]}})
    halves = [here / ".mlo.lock.abc.tmp", here / "..gitignore.abc.tmp"]
    for half in halves:
        half.touch()
    with workspace(here).exclusive(), pytest.raises(Locked):
        run(here, wait=False)
    assert all(half.exists() for half in halves)
    run(here)
    assert not any(half.exists() for half in halves)


def test_stages_of_an_overlay_stay_in_the_lock_and_ignored(here: Path) -> None:
    write_project(here, {"a": {"cmd": "echo a > a", "outs": ["a"]}, "gone": {"cmd": "echo g > g", "outs": ["g"]}})
    (here / "mlo.prod.yaml").write_text("stages: {p: {cmd: echo p > p, outs: [p]}}\n")
    run_pipeline(Workspace.find(here, workspace(here).environ, environment="prod"), RunRequest())
    write_project(here, {"a": {"cmd": "echo b > a", "outs": ["a"]}})
    run(here)
    ignored = (here / ".gitignore").read_text().splitlines()
    assert set(read_lock(here / "mlo.lock").stages) == {"a", "p"}
    assert "/p" in ignored
    assert "/g" not in ignored
    before = (here / "mlo.lock").stat().st_mtime_ns
    run(here)
    assert (here / "mlo.lock").stat().st_mtime_ns == before
    (here / "mlo.prod.yaml").write_text("stages: [\n")
    write_project(here, {"b": {"cmd": "echo b > b", "outs": ["b"]}})
    run(here)  # nobody can tell what that overlay defines
    assert set(read_lock(here / "mlo.lock").stages) == {"a", "b", "p"}


def test_a_stage_that_was_added_meanwhile_stays_in_the_lock(here: Path) -> None:
    slow = {"cmd": f"{WAITS}; echo s > s", "outs": ["s"]}
    write_project(here, {"slow": slow})
    with Beside(here):
        write_project(here, {"slow": slow, "new": {"cmd": "echo n > n", "outs": ["n"]}})
        run(here, "new")
    assert set(read_lock(here / "mlo.lock").stages) == {"slow", "new"}
    assert {"/n", "/s"} <= set((here / ".gitignore").read_text().splitlines())


def test_every_one_of_many_outputs_is_held_while_it_is_read_or_written(here: Path) -> None:
    write_project(here, {"s": {"cmd": "true"}})
    holder, other = workspace(here), workspace(here)
    outs = [f"o{number:02}" for number in range(40)]

    def never() -> bool:
        return False

    with holder.holding_for_stage(outs, [], wait=True, given_up=never):
        with pytest.raises(Locked, match="o39 is held by another mlo"):
            other.holding_for_stage(["x"], ["o39"], wait=False, given_up=never).__enter__()
        with pytest.raises(Locked, match="o38 is held"):
            other.holding(["o38"], wait=False).__enter__()
        with other.holding_for_stage(["x"], ["y"], wait=False, given_up=never):
            pass
    with (
        holder.holding_for_stage(["x"], outs, wait=True, given_up=never),
        other.holding_for_stage(["y"], outs, wait=False, given_up=never),
        pytest.raises(Locked, match="o39 is held"),
    ):
        other.holding_for_stage(["o39"], [], wait=False, given_up=never).__enter__()


def test_names_are_held_alone_or_among_others(tmp_path: Path) -> None:
    path, many = tmp_path / "locks" / "names", {f"n{number}": False for number in range(3000)}
    with hold_names(path, {"a": True, "b": False}):
        with hold_names(path, {"b": False}, wait=False):
            pass
        with pytest.raises(Locked), hold_names(path, many, wait=False):
            pass
        held: list[str] = []
        with (
            pytest.raises(KeyboardInterrupt),
            hold_names(path, {"a": False}, waiting=held.append, given_up=lambda: True),
        ):
            pass
        assert held == ["a"]
    with hold_names(path, many, wait=False), hold_names(path, many, wait=False):
        pass
