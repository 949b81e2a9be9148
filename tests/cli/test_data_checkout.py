"""`mlo data checkout`, as people use it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from command_line import Mlo
from data_project import commit, git, lay_out, write


@pytest.fixture
def project(here: Path, mlo: Mlo) -> Path:
    """Two commits; the second changed data/raw/a, removed data/raw/old and added data/raw/sub/new."""
    lay_out(here)
    write(here, {"data/raw/old": b"old\n", "data/other": b"other\n"})
    mlo("data", "add", "data/raw", "data/other")
    commit("first")
    git("tag", "v1")
    (here / "data/raw/old").unlink()
    write(here, {"data/raw/a": b"11\n", "data/raw/sub/new": b"new\n"})
    mlo("data", "add", "data/raw")
    commit("second")
    return here


def names(project: Path) -> list[str]:
    folder = project / "data/raw"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def test_a_revision_comes_and_the_way_back_is_told(mlo: Mlo, project: Path) -> None:
    answer = mlo("data", "checkout", "--rev", "v1")
    assert names(project) == ["a", "old", "sub/b"]
    assert (project / "data/raw/a").read_bytes() == b"1\n"
    assert "data/raw: 1 added, 1 updated, 1 removed" in answer.stdout
    assert "mlo data checkout goes back, git checkout v1 -- mlo.lock stays" in answer.stdout
    git("checkout", "v1", "--", "mlo.lock")
    mlo("data", "status", "--exit-code")
    git("checkout", "HEAD", "--", "mlo.lock")
    assert "goes back" not in mlo("data", "checkout").stdout
    assert names(project) == ["a", "sub/b", "sub/new"]


def test_a_dry_run_names_every_path_and_changes_nothing(mlo: Mlo, project: Path) -> None:
    write(project, {"data/raw/mine": b"mine"})
    answer = mlo("data", "checkout", "--rev", "v1", "--dry-run")
    assert [line.strip() for line in answer.stdout.splitlines()] == [
        "data/other: as it should be",
        "data/raw: 1 would be added, 1 would be updated, 1 would be removed",
        "would add data/raw/old",
        "would update data/raw/a",
        "would remove data/raw/sub/new",
        "kept data/raw/mine, which is yours",
        "a dry run: nothing was changed",
    ]
    assert names(project) == ["a", "mine", "sub/b", "sub/new"]
    done = mlo("data", "checkout", "--rev", "v1", "--json").json
    dry = mlo("data", "checkout", "--dry-run", "--json").json
    assert (done["dry"], dry["dry"]) == (False, True)
    assert mlo("data", "checkout", "--json").json["restored"] == dry["restored"]


def test_a_dry_run_refuses_what_the_run_would_refuse(mlo: Mlo, project: Path) -> None:
    write(project, {"data/raw/a": b"my change"})
    assert "data/raw/a" in mlo("data", "checkout", "--dry-run", exit_code=5).stderr
    mlo("data", "checkout", "--dry-run", "--force")
    assert (project / "data/raw/a").read_bytes() == b"my change"


def test_paths_inside_a_folder_limit_what_is_touched(mlo: Mlo, project: Path) -> None:
    mlo("data", "checkout", "data/raw/a", "--rev", "v1")
    assert (project / "data/raw/a").read_bytes() == b"1\n"
    assert names(project) == ["a", "sub/b", "sub/new"]
    mlo("data", "checkout", "data/raw/old", "data/raw/sub", "--rev", "v1")
    assert names(project) == ["a", "old", "sub/b"]


def test_files_that_are_as_they_should_be_are_not_written_again(mlo: Mlo, project: Path) -> None:
    before = {name: (project / "data/raw" / name).stat() for name in ("sub/b", "a")}
    mlo("data", "checkout", "--rev", "v1")
    after = {name: (project / "data/raw" / name).stat() for name in ("sub/b", "a")}
    assert after["sub/b"].st_ino == before["sub/b"].st_ino
    assert after["a"].st_ino != before["a"].st_ino


def test_a_missing_part_is_named_and_the_rest_comes(mlo: Mlo, project: Path) -> None:
    for path in (project / ".mlo/cache/objects").rglob("*"):
        if path.is_file() and path.read_bytes() == b"new\n":
            path.unlink()
    for name in ("a", "sub/new"):
        (project / "data/raw" / name).unlink()
    answer = mlo("data", "checkout", exit_code=6)
    assert "data/raw/sub/new" in answer.stderr
    assert names(project) == ["a", "sub/b"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes into read-only folders")
def test_a_read_only_folder_is_said_to_be_one(mlo: Mlo, project: Path) -> None:
    (project / "data/raw/sub/b").unlink()
    (project / "data/raw/sub").chmod(0o555)
    try:
        answer = mlo("data", "checkout", exit_code=11)
        assert "data/raw/sub" in answer.stderr
        assert "permissions" in answer.stderr
    finally:
        (project / "data/raw/sub").chmod(0o755)
    mlo("data", "checkout")
    assert (project / "data/raw/sub/b").read_bytes() == b"22\n"


def test_modes_of_folders_are_the_users(mlo: Mlo, project: Path) -> None:
    (project / "data/raw/sub").chmod(0o700)
    mlo("data", "checkout", "--rev", "v1")
    assert stat.S_IMODE((project / "data/raw/sub").stat().st_mode) == 0o700
    mlo("data", "status", "data/raw/sub", exit_code=0)


def test_data_of_another_branch_is_named_because_git_would_take_it_in(mlo: Mlo, project: Path) -> None:
    git("checkout", "-q", "-b", "other")
    write(project, {"data/theirs/x": b"x\n"})
    mlo("data", "add", "data/theirs")
    commit("theirs")
    git("checkout", "-q", "-")
    answer = mlo("data", "checkout")
    assert "data/theirs: data of another mlo.lock, which git does not ignore here" in answer.stderr
    assert (project / "data/theirs/x").read_bytes() == b"x\n"
    git("checkout", "-q", "other")
    assert "another mlo.lock" not in mlo("data", "checkout").stderr
