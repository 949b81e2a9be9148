"""`mlo runs get`: what a run kept, as files again."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Mlo

MLO_YAML = """
name: kit
stages:
  a:
    cmd: [sh, -c, "echo hello; mkdir -p made/sub; echo 1 > made/sub/one; echo 2 > made/two; echo 3 > three"]
    outs: [made, three]
"""


@pytest.fixture
def project(here: Path, mlo: Mlo) -> Path:
    (here / "mlo.yaml").write_text(MLO_YAML)
    mlo("run")
    return here


def test_an_artifact_comes_to_its_own_name_here(project: Path, mlo: Mlo) -> None:
    answer = mlo("runs", "get", "latest", "logs/a.log")
    assert "got a.log of run" in answer.stdout
    assert (project / "a.log").read_text() == "hello\n"


def test_a_path_names_the_file_or_the_folder_it_goes_into(project: Path, mlo: Mlo, tmp_path: Path) -> None:
    mlo("runs", "get", "latest", "three", "new/3.txt")
    assert (project / "new" / "3.txt").read_text() == "3\n"
    got = mlo("runs", "get", "latest", "three", tmp_path, "--json").json
    assert (tmp_path / "three").read_text() == "3\n"
    assert (got["name"], got["kind"], got["size"]) == ("three", "file", 2)
    (tmp_path / "three").write_text("mine now")  # a copy, not the cache's own file
    mlo("data", "fsck")


def test_a_folder_comes_whole(project: Path, mlo: Mlo, tmp_path: Path) -> None:
    mlo("runs", "get", "latest", "made", tmp_path / "copy")
    assert (tmp_path / "copy" / "sub" / "one").read_text() == "1\n"
    assert (tmp_path / "copy" / "two").read_text() == "2\n"


def test_what_stands_there_is_replaced_by_force_alone(project: Path, mlo: Mlo) -> None:
    (project / "a.log").write_text("mine")
    answer = mlo("runs", "get", "latest", "logs/a.log", exit_code=5)
    assert "exists already" in answer.stderr
    assert (project / "a.log").read_text() == "mine"
    mlo("runs", "get", "latest", "logs/a.log", "--force")
    assert (project / "a.log").read_text() == "hello\n"


def test_an_unknown_name_says_what_there_is(project: Path, mlo: Mlo) -> None:
    assert "did you mean logs/a.log?" in mlo("runs", "get", "latest", "log/a.log", exit_code=6).stderr
    assert "it has" in mlo("runs", "get", "latest", "zzz", exit_code=6).stderr
    mlo("runs", "get", "ffff", "three", exit_code=6)


@pytest.mark.parametrize("place", [".mlo/cache/x", ".git/config", "mlo.lock"])
def test_nothing_is_put_where_mlo_or_git_keep_their_own(project: Path, mlo: Mlo, place: str) -> None:
    before = (project / "mlo.lock").read_bytes()
    mlo("runs", "get", "latest", "three", place, "--force", exit_code=2)
    assert (project / "mlo.lock").read_bytes() == before


def test_bytes_that_are_gone_are_named(project: Path, mlo: Mlo) -> None:
    import shutil

    shutil.rmtree(project / ".mlo" / "cache")
    answer = mlo("runs", "get", "latest", "logs/a.log", exit_code=None)
    assert answer.exit_code in (6, 7)
    assert not (project / "a.log").exists()
