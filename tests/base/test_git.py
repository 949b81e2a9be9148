"""What git says of a work tree."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mlops_cli.core.base.git import head, identity, tracked


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    (tmp_path / "a.txt").write_text("one\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message=First")
    return tmp_path


def test_a_clean_tree_has_a_commit_and_no_diff(repository: Path) -> None:
    commit = head(repository)
    assert commit is not None
    assert (commit.sha, commit.branch) == (git(repository, "rev-parse", "HEAD").strip(), "main")
    assert not commit.dirty


def test_the_diff_is_a_patch_that_applies(repository: Path) -> None:
    (repository / "a.txt").write_bytes(b"two\xff\0\n")
    commit = head(repository)
    assert commit is not None
    assert commit.dirty
    git(repository, "checkout", "--quiet", "--", "a.txt")
    patch = repository.parent / f"{repository.name}.patch"
    patch.write_bytes(commit.diff)
    git(repository, "apply", str(patch))
    assert (repository / "a.txt").read_bytes() == b"two\xff\0\n"


def test_a_detached_head_has_no_branch(repository: Path) -> None:
    git(repository, "checkout", "--quiet", "--detach")
    commit = head(repository)
    assert commit is not None
    assert commit.branch is None


def test_outside_git_before_a_commit_and_without_git_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert head(tmp_path) is None
    git(tmp_path, "init", "--quiet")
    assert head(tmp_path) is None
    monkeypatch.setenv("PATH", os.devnull)
    assert head(tmp_path) is None
    assert identity(tmp_path) is None


def test_the_identity_is_name_and_address_or_nothing(repository: Path) -> None:
    assert identity(repository) is None
    git(repository, "config", "user.name", "Ada Lovelace")
    assert identity(repository) is None
    git(repository, "config", "user.email", "ada@example.org")
    assert identity(repository) == "Ada Lovelace <ada@example.org>"


def test_what_is_tracked_is_told_of_few_paths_and_of_many(repository: Path) -> None:
    (repository / "sub").mkdir()
    for name in ("sub/b", "sub/c", "d"):
        (repository / name).write_text(name)
    git(repository, "add", "sub/b", "d")
    many = [f"no{number}" for number in range(1000)]
    for paths in ([], ["sub"], ["sub/b", "d"], ["sub/c", "su"], ["*"]):
        found = [name for name in ("d", "sub/b") if name in paths or name.partition("/")[0] in paths]
        assert tracked(repository, paths) == tracked(repository, [*many, *paths]) == found
