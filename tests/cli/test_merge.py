"""`mlo merge`: real git merges of real projects, mended in one command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Mlo

from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import ProjectError
from mlops_cli.core.project.lock import Lock, read_lock, write_lock
from mlops_cli.core.project.lock_merge import merge_locks, split_sides

YAML = """\
name: two
params: {x: 1, y: 1}
stages:
  a: {cmd: 'cat raw/one.txt > a.txt; echo $MLO_PARAMS >> a.txt', deps: [raw], params: [x], outs: [a.txt]}
  b: {cmd: 'cat a.txt > b.txt; echo $MLO_PARAMS >> b.txt', deps: [a.txt], params: [y], outs: [b.txt]}
"""


def git(*arguments: str, fails: bool = False) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    assert fails == (done.returncode != 0), f"git {arguments}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def commit(message: str) -> None:
    git("add", "-A")
    git("commit", "-q", "-m", message)


@pytest.fixture
def project(here: Path, mlo: Mlo) -> Path:
    """A committed project with one folder of data and two stages that ran."""
    git("init", "-q", "-b", "main")
    git("config", "user.email", "ada@example.org")
    git("config", "user.name", "Ada")
    (here / "mlo.yaml").write_text(YAML)
    (here / "raw").mkdir()
    for name in ("one", "two", "three"):
        (here / "raw" / f"{name}.txt").write_text(f"{name}\n")
    mlo("data", "add", "raw")
    mlo("run")
    commit("Begin")
    return here


def write(path: str, text: str) -> None:
    Path(path).parent.mkdir(exist_ok=True)
    Path(path).write_text(text)


def on_branch(mlo: Mlo, name: str, *edits: tuple[str, str], param: tuple[str, str] | None = None) -> None:
    """A branch off main that changes data, a parameter, or both; runs; commits."""
    git("checkout", "-q", "-B", name, "main")
    mlo("data", "checkout", "--force")
    for path, text in edits:
        if Path(path).exists() and not os.access(path, os.W_OK):
            Path(path).unlink()
        write(path, text)
    if param is not None:
        write("mlo.yaml", Path("mlo.yaml").read_text().replace(*param))
    for root in sorted({path.split("/")[0] for path, _ in edits}):
        mlo("data", "add", root)
    mlo("run")
    commit(name)


def merged_in_conflict(ours: str, theirs: str) -> None:
    git("checkout", "-q", ours)
    said = git("merge", theirs, fails=True)
    assert "mlo.lock" in said


def test_a_conflict_is_named_by_every_command_with_the_one_that_mends_it(project: Path, mlo: Mlo) -> None:
    on_branch(mlo, "left", ("raw/one.txt", "left\n"))
    on_branch(mlo, "right", ("raw/two.txt", "right\n"))
    merged_in_conflict("left", "right")
    for line in ("status", "run", "data status"):
        assert "hint: mlo merge" in mlo(*line.split(), exit_code=5).stderr


def test_a_folder_that_both_changed_gets_the_changes_of_both(project: Path, mlo: Mlo) -> None:
    on_branch(mlo, "left", ("raw/one.txt", "left\n"), ("raw/new.txt", "new\n"))
    on_branch(mlo, "right", ("raw/two.txt", "right\n"))
    merged_in_conflict("left", "right")
    said = mlo("merge").stdout
    assert "the changes of both sides" in said
    for step in ("mlo data checkout", "mlo run", "git add mlo.lock"):
        assert step in said
    mlo("data", "checkout")
    texts = {path.name: path.read_text() for path in (project / "raw").iterdir()}
    assert texts == {"one.txt": "left\n", "two.txt": "right\n", "three.txt": "three\n", "new.txt": "new\n"}
    mlo("run")
    assert mlo("data", "status", "--exit-code").exit_code == 0
    git("add", "mlo.lock")
    git("commit", "-q", "-m", "Merge")


def test_a_file_that_both_changed_needs_a_choice_and_nothing_changes_without_one(project: Path, mlo: Mlo) -> None:
    on_branch(mlo, "left", ("raw/one.txt", "left\n"), ("raw/new.txt", "new\n"))
    on_branch(mlo, "right", ("raw/one.txt", "right\n"))
    merged_in_conflict("left", "right")
    before = (project / "mlo.lock").read_bytes()
    refusal = mlo("merge", exit_code=5).stderr
    assert "raw: both sides changed one.txt in it" in refusal
    assert "mlo merge --ours" in refusal
    assert (project / "mlo.lock").read_bytes() == before
    assert mlo("merge", "--ours", "--theirs", exit_code=2).stderr
    mlo("merge", "--theirs")
    mlo("data", "checkout", "--force")
    assert (project / "raw/one.txt").read_text() == "right\n"
    assert not (project / "raw/new.txt").exists()


def test_of_stages_that_both_changed_the_next_run_restores_what_fits(project: Path, mlo: Mlo) -> None:
    on_branch(mlo, "left", param=("x: 1", "x: 2"))
    on_branch(mlo, "right", param=("y: 1", "y: 2"))
    git("checkout", "-q", "left")
    git("merge", "right", fails=True)
    (project / "mlo.yaml").write_text(YAML.replace("x: 1, y: 1", "x: 1, y: 2"))  # resolved to what right had
    document = mlo("merge", "--json").json
    [both] = [it for it in document["merges"] if it["changed_by_both"]]
    assert (both["kind"], both["name"], both["how"]) == ("stage", "b", "ours")
    mlo("data", "checkout", "--force")
    done = mlo("run", "--json")
    assert {it["name"]: it["status"] for it in done.json["stages"]} == {"a": "restored", "b": "restored"}


def test_the_other_sides_result_is_found_even_where_only_its_lock_knew_it(project: Path, mlo: Mlo) -> None:
    on_branch(mlo, "left", param=("y: 1", "y: 2"))
    on_branch(mlo, "right", param=("y: 1", "y: 3"))
    git("checkout", "-q", "left")
    git("merge", "right", fails=True)
    (project / "mlo.yaml").write_text(YAML.replace("y: 1", "y: 3"))
    for result in (project / ".mlo/cache/results").rglob("*"):
        if result.is_file():
            result.unlink()
    mlo("merge")
    mlo("data", "checkout", "--force")
    done = mlo("run", "--json").json
    assert {it["name"]: it["status"] for it in done["stages"]} == {"a": "cached", "b": "restored"}


def test_what_one_side_added_and_the_other_removed_is_told_apart(project: Path, mlo: Mlo) -> None:
    write("old.csv", "old\n")
    mlo("data", "add", "old.csv")
    commit("Old")
    on_branch(mlo, "left", ("new.csv", "new\n"), ("raw/one.txt", "left\n"))
    on_branch(mlo, "right", ("raw/one.txt", "right\n"))
    mlo("data", "rm", "old.csv")
    commit("Away with it")
    merged_in_conflict("left", "right")
    mlo("merge", "--ours")
    assert set(read_lock(project / "mlo.lock").data) == {"raw", "new.csv"}


def test_without_an_index_the_markers_are_enough(project: Path, mlo: Mlo) -> None:
    on_branch(mlo, "left", ("raw/one.txt", "left\n"))
    on_branch(mlo, "right", ("raw/two.txt", "right\n"))
    merged_in_conflict("left", "right")
    text = (project / "mlo.lock").read_text()
    git("merge", "--abort")
    (project / "mlo.lock").write_text(text)
    refusal = mlo("merge", exit_code=5).stderr  # without a base nobody knows who changed which file
    assert "raw" in refusal
    assert "is not known" in mlo("merge", "--ours").stdout


def test_a_lock_without_conflict_is_left_alone(project: Path, mlo: Mlo) -> None:
    before = (project / "mlo.lock").read_bytes()
    assert "nothing to mend" in mlo("merge").stdout
    assert (project / "mlo.lock").read_bytes() == before


def test_the_lines_of_mlo_in_gitignore_are_mended_and_the_users_are_not(project: Path, mlo: Mlo) -> None:
    on_branch(mlo, "left", ("left.csv", "1\n"), ("raw/one.txt", "left\n"))
    on_branch(mlo, "right", ("kept.csv", "2\n"), ("raw/two.txt", "right\n"))
    git("checkout", "-q", "left")
    assert ".gitignore" in git("merge", "right", fails=True)
    mlo("merge")
    text = (project / ".gitignore").read_text()
    assert "<<<<<<<" not in text
    assert {"/left.csv", "/kept.csv", "/raw"} <= set(text.splitlines())


def test_data_inside_a_folder_that_the_other_side_added_needs_a_choice(here: Path) -> None:
    def entry(letter: str, kind: str = "dir") -> Entry:
        return Entry("xxh128:" + letter * 32, kind, 1)  # type: ignore[arg-type]

    ours, theirs = Lock(data={"data": entry("a")}), Lock(data={"data/raw": entry("b")})

    def never(*_: object) -> tuple[Entry, list[str]]:
        raise AssertionError

    assert list(merge_locks(Lock(), ours, theirs, never).undecided) == ["data/raw"]
    assert set(merge_locks(Lock(), ours, theirs, never, "ours").lock.data) == {"data"}
    assert set(merge_locks(Lock(), ours, theirs, never, "theirs").lock.data) == {"data/raw"}


@pytest.mark.parametrize(
    "text", ["a\n=======\n>>>>>>> x\n", "<<<<<<< x\na\n", "<<<<<<< x\n<<<<<<< y\n=======\n>>>>>>> z\n"]
)
def test_markers_that_do_not_pair_are_refused(text: str) -> None:
    with pytest.raises(ProjectError):
        split_sides(text, "mlo.lock")


def test_a_base_between_the_markers_is_read(here: Path) -> None:
    text = "a\n<<<<<<< x\nb\n||||||| base\nc\n=======\nd\n>>>>>>> y\ne"
    assert split_sides(text, "mlo.lock") == ("a\nc\ne", "a\nb\ne", "a\nd\ne")


def test_as_merge_driver_git_needs_nobody(project: Path, mlo: Mlo) -> None:
    command = f"{sys.executable} -m mlops_cli merge --driver %O %A %B %P"
    git("config", "merge.mlo.driver", command)
    (project / ".gitattributes").write_text("mlo.lock merge=mlo\n")
    commit("Attributes")
    on_branch(mlo, "left", ("raw/one.txt", "left\n"))
    on_branch(mlo, "right", ("raw/two.txt", "right\n"))
    git("checkout", "-q", "left")
    git("merge", "-q", "-m", "Merge", "right")
    mlo("data", "checkout", "--force")
    assert (project / "raw/two.txt").read_text() == "right\n"
    on_branch(mlo, "up", ("raw/one.txt", "up\n"))
    git("checkout", "-q", "left")
    assert "both sides changed one.txt" in git("merge", "up", fails=True)
    assert "<<<<<<<" in (project / "mlo.lock").read_text()
    mlo("merge", "--theirs")
    mlo("data", "checkout", "--force")
    assert (project / "raw/one.txt").read_text() == "up\n"


def test_the_answer_of_a_merge_is_a_lock_that_is_written_as_any_other(project: Path, mlo: Mlo) -> None:
    on_branch(mlo, "left", ("raw/one.txt", "left\n"))
    on_branch(mlo, "right", ("raw/two.txt", "right\n"))
    merged_in_conflict("left", "right")
    mlo("merge")
    written = (project / "mlo.lock").read_bytes()
    write_lock(project / "mlo.lock", read_lock(project / "mlo.lock"))
    assert (project / "mlo.lock").read_bytes() == written


def test_folders_whose_trees_lie_on_the_remote_are_fetched_when_asked(project: Path, mlo: Mlo, tmp_path: Path) -> None:
    mlo("remote", "add", "origin", tmp_path / "remote")
    mlo("push")
    commit("Remote")
    on_branch(mlo, "right", ("raw/two.txt", "right\n"))
    mlo("push")
    on_branch(mlo, "left", ("raw/one.txt", "left\n"))
    mlo("push")
    shutil.rmtree(project / ".mlo")
    merged_in_conflict("left", "right")
    assert "mlo merge --pull" in mlo("merge", exit_code=5).stderr
    assert "the changes of both sides" in mlo("merge", "--pull").stdout
    mlo("data", "pull", "--force")
    assert [(project / f"raw/{name}.txt").read_text() for name in ("one", "two")] == ["left\n", "right\n"]


def test_the_driver_finds_a_project_below_the_repository(here: Path, mlo: Mlo, monkeypatch: pytest.MonkeyPatch) -> None:
    git("init", "-q", "-b", "main")
    git("config", "user.email", "ada@example.org")
    git("config", "user.name", "Ada")
    git("config", "merge.mlo.driver", f"{sys.executable} -m mlops_cli merge --driver %O %A %B %P")
    write(".gitattributes", "mlo.lock merge=mlo\n")
    for name in ("one", "two"):
        write(f"sub dir/{name}.csv", f"{name}\n")
    write("sub dir/mlo.yaml", "name: below\n")
    mlo("-C", "sub dir", "data", "add", "one.csv", "two.csv")
    commit("Begin")
    for branch, name in (("left", "one"), ("right", "two")):
        git("checkout", "-q", "-b", branch, "main")
        write(f"sub dir/{name}.csv", f"{branch}\n")
        mlo("-C", "sub dir", "data", "add", f"{name}.csv")
        commit(branch)
        mlo("-C", "sub dir", "data", "checkout", "--force")
    git("checkout", "-q", "left")
    git("merge", "-q", "-m", "Merge", "right")
    mlo("-C", "sub dir", "data", "checkout", "--force")
    assert [(here / "sub dir" / f"{name}.csv").read_text() for name in ("one", "two")] == ["left\n", "right\n"]


def test_a_conflict_of_a_rebase_is_mended_as_one_of_a_merge(project: Path, mlo: Mlo) -> None:
    on_branch(mlo, "left", ("raw/one.txt", "left\n"))
    on_branch(mlo, "right", ("raw/two.txt", "right\n"))
    git("checkout", "-q", "left")
    git("rebase", "right", fails=True)
    mlo("merge")
    mlo("data", "checkout", "--force")
    assert [(project / f"raw/{name}.txt").read_text() for name in ("one", "two")] == ["left\n", "right\n"]


def test_a_side_that_does_not_read_is_named_and_nothing_changes(project: Path, mlo: Mlo) -> None:
    on_branch(mlo, "left", ("raw/one.txt", "left\n"))
    on_branch(mlo, "right", ("raw/two.txt", "right\n"))
    write("mlo.lock", "data: [nonsense\n")
    commit("Nonsense")
    merged_in_conflict("left", "right")
    before = (project / "mlo.lock").read_bytes()
    refusal = mlo("merge", exit_code=5).stderr
    assert "the side theirs of mlo.lock does not read" in refusal
    assert "git checkout --ours" in refusal
    assert (project / "mlo.lock").read_bytes() == before
