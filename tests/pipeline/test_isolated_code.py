"""Which code a working copy holds: where its links lead, what git does not track of it, one code for a whole sweep."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from pipeline_kit import run, workspace, write_project

from mlops_cli.core.pipeline.watching import State
from mlops_cli.core.tracking.records import Run
from mlops_cli.core.workflows.copies import run_isolated
from mlops_cli.core.workflows.plan import RunRequest
from mlops_cli.core.workflows.sweep import run_sweep


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit_all(folder: Path) -> str:
    if not (folder / ".git").exists():
        git(folder, "init", "-q")
        (folder / ".git" / "info" / "exclude").write_text(".mlo\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "x")
    return git(folder, "rev-parse", "HEAD")


def isolated(folder: Path, **options: Any) -> Run:
    done = run_isolated(workspace(folder), RunRequest(isolated=True, **options))
    assert not [path for path in (folder / ".mlo" / "copies").glob("*") if path.is_dir()]
    return workspace(folder).runs.get(done.run)


def text(folder: Path, record: Run, path: str) -> str:
    return workspace(folder).store.read(record.outputs[path].name).decode()


@pytest.mark.parametrize("revision", [None, "HEAD"])
def test_no_link_leads_from_a_copy_into_the_work_tree(here: Path, revision: str | None) -> None:
    around = here.parent / "around"
    around.symlink_to(here)
    cmd = "for l in absolute around up sub/relative; do echo new > $l/keep.txt; rm $l/keep.txt; done; cat out/x > o.txt"
    write_project(here, {"s": {"cmd": cmd, "outs": ["o.txt"]}})
    (here / "real").mkdir()
    (here / "real" / "keep.txt").write_text("old")
    (here / "sub").mkdir()
    outside = here.parent / "outside"
    outside.mkdir()
    (outside / "x").write_text("x")
    (here / "absolute").symlink_to(here / "real")
    (here / "around").symlink_to(around / "real")
    (here / "up").symlink_to(f"../{here.name}/real")
    (here / "sub" / "relative").symlink_to("../real")
    (here / "out").symlink_to("../outside")
    commit_all(here)
    record = isolated(here, revision=revision)
    assert (here / "real" / "keep.txt").read_text() == "old"
    assert text(here, record, "o.txt") == "x"


def test_what_a_tracked_link_leads_to_comes_along_though_git_does_not_track_it(here: Path) -> None:
    top, project = here, here / "project"
    project.mkdir()
    (top / "raw" / "parts").mkdir(parents=True)
    (top / "raw" / "in.csv").write_text("in\n")
    (top / "raw" / "parts" / "one").write_text("one\n")
    (top / ".gitignore").write_text("raw\nhidden\n*.csv.local\n")
    (project / "hidden").mkdir()
    (project / "hidden" / "one").write_text("hidden\n")
    (project / "x.csv.local").write_text("local\n")
    for name, goal in {
        "in.csv": "../raw/in.csv",
        "parts": "../raw/parts",
        "x.csv": "x.csv.local",
        "all": "hidden",
    }.items():
        (project / name).symlink_to(goal)
    git(top, "init", "-q")
    git(top, "add", "--", ".gitignore", "project/in.csv", "project/parts", "project/x.csv", "project/all")
    deps = ["in.csv", "parts", "x.csv", "all/one"]
    cmd = "cat in.csv parts/one x.csv all/one > o.txt"
    write_project(project, {"s": {"cmd": cmd, "deps": deps, "outs": ["o.txt"]}})
    git(top, "add", "project/mlo.yaml")
    git(top, "commit", "-q", "-m", "x")
    record = isolated(project)
    assert text(project, record, "o.txt") == "in\none\nlocal\nhidden\n"
    assert set(record.code) == {"in.csv", "parts/one", "x.csv", "all/one"}
    assert (project / "in.csv").is_symlink()
    # To mlo it is the same input.
    assert run(project).stages[0].status == "restored"


def test_what_git_does_not_track_in_a_tracked_folder_is_kept_as_code(here: Path) -> None:
    write_project(here, {"s": {"cmd": "cat src/*.py > o.txt", "deps": ["src"], "outs": ["o.txt"]}})
    (here / "src" / "__pycache__").mkdir(parents=True)
    (here / "src" / "known.py").write_text("known\n")
    (here / ".gitignore").write_text("ignored.py\n__pycache__\n")
    commit_all(here)
    (here / "src" / "ignored.py").write_text("ignored\n")
    (here / "src" / "new.py").write_text("new\n")
    (here / "src" / "__pycache__" / "x.pyc").write_text("litter")
    plain = workspace(here).runs.get(run(here).run)
    assert set(plain.code) == {"src/ignored.py", "src/new.py"}
    copied = isolated(here, force=True)
    assert copied.code == plain.code
    assert text(here, copied, "o.txt") == "ignored\nknown\nnew\n"
    (here / "src" / "large.bin").write_bytes(bytes(1_000_001))
    assert workspace(here).runs.get(run(here).run).code == isolated(here, force=True).code == {}


class Changing:
    """A Watcher that changes the code, as soon as the first point has ended."""

    listens = False

    def __init__(self, folder: Path, revision: str | None) -> None:
        self.folder = folder
        self.revision = revision

    def planned(self, stages: Any, jobs: int) -> None: ...
    def printed(self, stage: str, data: bytes) -> None: ...
    def over(self) -> None: ...

    def turned(self, stage: str, state: State, text: str) -> None:
        if state == "ran":
            for name in ("t.sh", "own.sh"):
                (self.folder / name).write_text("echo changed\n")
            if self.revision is not None:
                commit_all(self.folder)
                self.revision = None


@pytest.mark.parametrize("revision", [None, "HEAD"])
def test_all_points_of_a_sweep_run_the_code_it_began_with(here: Path, revision: str | None) -> None:
    deps = ["t.sh"] if revision else ["t.sh", "own.sh"]
    stage = {"cmd": f"cat {' '.join(deps)} > o.txt", "deps": deps, "params": ["k"], "outs": ["o.txt"]}
    write_project(here, {"s": stage}, {"k": 1})
    (here / "t.sh").write_text("echo committed\n")
    sha = commit_all(here)
    if revision is None:
        (here / "t.sh").write_text("echo begun\n")
        (here / "own.sh").write_text("echo own\n")
    request = RunRequest(overrides={"k": "1,2,3"}, sweep=True, isolated=True, revision=revision)
    done = run_sweep(workspace(here), request, watcher=Changing(here, revision))
    assert done.status == "finished"
    assert "changed" in (here / "t.sh").read_text()
    records = [workspace(here).runs.get(point.run) for point in done.points]
    expected = "echo committed\n" if revision else "echo begun\necho own\n"
    assert {text(here, record, "o.txt") for record in records} == {expected}
    parent = workspace(here).runs.get(done.run)
    assert {(record.commit, record.diff) for record in records} == {(sha, parent.diff)}
    assert (parent.diff is None) == (revision is not None)
    assert all(set(record.code) == (set() if revision else {"own.sh"}) for record in records)
    assert not [path for path in (here / ".mlo" / "copies").glob("*") if path.is_dir()]
