"""A cache that several projects share: each is asked, and one that cannot be asked stops everything."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest
from command_line import Mlo
from gc_project import add_run, collect, commit, git, holds, lay_out, opened, put

from mlops_cli.core.errors import IntegrityError, MloError, NotFound, ProjectError
from mlops_cli.core.store.projects import members
from mlops_cli.core.workflows.gc import forget_project

SETTINGS = "cache: {dir: ../shared}\n"


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    root = lay_out(tmp_path / "ours", SETTINGS)
    commit(root, "ours, old")
    commit(root, "ours")
    return root


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    root = lay_out(tmp_path / "theirs", SETTINGS)
    commit(root, "theirs, old")
    git(root, "branch", "old")
    commit(root, "theirs")
    return root


def test_what_another_project_needs_stays(ours: Path, theirs: Path) -> None:
    """DVC collects this: #7610, #1293."""
    found = collect(ours)
    assert [str(theirs) in project for project in found.projects] == [True]
    assert not holds(ours, "ours, old")
    assert all(holds(ours, content) for content in ("ours", "theirs", "theirs, old"))


def test_runs_of_another_project_keep_their_results(ours: Path, theirs: Path) -> None:
    add_run(theirs, 1, "made there")
    assert collect(ours).results == 0
    assert holds(ours, "made there")


def test_each_project_is_entered_once_and_follows_a_move(ours: Path, theirs: Path, tmp_path: Path) -> None:
    cache = tmp_path / "shared"
    put(ours, "more")
    assert [member.root for member in members(cache)] == [str(ours), str(theirs)]
    moved = tmp_path / "elsewhere"
    theirs.rename(moved)
    with pytest.raises(ProjectError, match="theirs"):
        collect(ours)
    put(moved, "moved")
    assert [member.root for member in members(cache)] == [str(moved), str(ours)]
    collect(ours)
    assert holds(ours, "theirs, old")


def test_a_copy_of_a_project_is_a_project_of_its_own(ours: Path, theirs: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(theirs, copy, symlinks=True)
    put(copy, "only in the copy")
    assert len(members(tmp_path / "shared")) == 3
    collect(ours)
    assert holds(ours, "only in the copy")


def test_a_project_that_is_gone_stops_everything_until_it_is_forgotten(ours: Path, theirs: Path) -> None:
    shutil.rmtree(theirs)
    with pytest.raises(ProjectError, match="theirs") as caught:
        collect(ours)
    assert f"--forget-project {theirs}" in str(caught.value.hint)
    assert holds(ours, "ours, old")
    forget_project(opened(ours), str(theirs))
    collect(ours)
    assert holds(ours, "ours")
    assert not holds(ours, "theirs")
    with pytest.raises(NotFound):
        forget_project(opened(ours), str(theirs))
    with pytest.raises(ProjectError):
        forget_project(opened(ours), str(ours))


def test_another_project_in_the_place_of_one_is_not_taken_for_it(ours: Path, theirs: Path) -> None:
    shutil.rmtree(theirs)
    lay_out(theirs, SETTINGS)
    with pytest.raises(ProjectError, match="another one"):
        collect(ours)


@pytest.mark.parametrize(("name", "text"), [("mlo.yaml", "name: ["), ("mlo.lock", "version: 99\n")])
def test_a_project_that_does_not_read_stops_everything(ours: Path, theirs: Path, name: str, text: str) -> None:
    (theirs / name).write_text(text)
    with pytest.raises(MloError, match="theirs"):
        collect(ours)
    assert holds(ours, "ours, old")


def test_an_entry_that_does_not_read_stops_everything(ours: Path, tmp_path: Path) -> None:
    (tmp_path / "shared/projects/x.json").write_text("{")
    with pytest.raises(IntegrityError, match=r"x\.json"):
        collect(ours)


def test_a_cache_of_the_project_alone_has_no_registry(tmp_path: Path) -> None:
    root = lay_out(tmp_path / "alone")
    commit(root, "x")
    assert not (root / ".mlo/cache/projects").exists()
    assert not (root / ".mlo/clone").exists()


def test_what_a_group_shares_its_group_may_write(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o2775)
    root = lay_out(tmp_path / "ours", SETTINGS)
    commit(root, "x")
    for path in (shared / "projects", shared / "objects", shared / "tmp", shared / "lock"):
        assert path.stat().st_mode & stat.S_IWGRP, path


def test_forgetting_from_the_command_line(ours: Path, theirs: Path, mlo: Mlo) -> None:
    shutil.rmtree(theirs)
    assert "--forget-project" in mlo("-C", ours, "data", "gc", exit_code=5).stderr
    assert "forgot x" in mlo("-C", ours, "data", "gc", "--forget-project", theirs).stdout
    mlo("-C", ours, "data", "gc")
