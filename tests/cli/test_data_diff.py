"""`mlo data diff` and `mlo data status`, as people and programs read them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from command_line import Mlo
from data_project import commit, git, lay_out, write


@pytest.fixture
def project(here: Path, mlo: Mlo) -> Path:
    """data/raw and data/single were added and committed."""
    lay_out(here)
    write(here, {"data/single": b"one\n", **{f"data/raw/many/{n:02}": b"%d\n" % n for n in range(20)}})
    mlo("data", "add", "data/raw", "data/single")
    commit("first")
    return here


def test_nothing_differs(mlo: Mlo, project: Path) -> None:
    assert mlo("data", "diff").stdout == "no data differs between HEAD and work tree\n"
    mlo("data", "diff", "--exit-code")
    assert mlo("data", "diff", "--json").json == {
        "before": "HEAD",
        "after": "work tree",
        "changes": [],
        "totals": {},
        "unread": [],
    }


def test_every_change_has_a_line_and_whole_folders_have_one(mlo: Mlo, project: Path) -> None:
    (project / "data/raw/many").rename(project / "data/raw/all")
    (project / "data/raw/all/00").write_bytes(b"changed\n")
    write(project, {f"data/raw/new/{n}": b"new %d" % n for n in range(10)})
    (project / "data/raw/a").unlink()
    (project / "data/single").write_bytes(b"another one\n")
    answer = mlo("data", "diff", "--exit-code", exit_code=3)
    assert answer.stdout.splitlines() == [
        "deleted   data/raw/a  (2 B)",
        "added     data/raw/all/00  (8 B)",
        "renamed   data/raw/many/ -> data/raw/all/  (19 files, 48 B)",
        "deleted   data/raw/many/00  (2 B)",
        "added     data/raw/new/  (10 files, 50 B)",
        "modified  data/single  (4 B -> 12 B)",
        "11 added (58 B), 2 deleted (4 B), 1 modified (4 B -> 12 B), 19 renamed (48 B)",
    ]
    document = mlo("data", "diff", "--json").json
    assert len(document["changes"]) == 33
    assert document["totals"]["renamed"] == {"files": 19, "before": 48, "after": 48}
    assert {
        "path": "data/raw/all/01",
        "change": "renamed",
        "before": 2,
        "after": 2,
        "old_path": "data/raw/many/01",
        "folder": "data/raw/all",
    } in document["changes"]


def test_a_long_answer_is_cut_and_says_so(mlo: Mlo, project: Path) -> None:
    write(project, {f"data/raw/{n}": b"%d" % n for n in range(1000, 1250)})
    lines = mlo("data", "diff").stdout.splitlines()
    assert lines[-2:] == ["... and 50 more; --json lists all", "250 added (1.0 kB)"]


@pytest.mark.parametrize("words", [["v1", "HEAD"], ["v1..HEAD"], ["v1.."], ["HEAD~1", "HEAD"], ["HEAD^..main"]])
def test_two_revisions_by_any_name(mlo: Mlo, project: Path, words: list[str]) -> None:
    git("tag", "v1")
    (project / "data/single").write_bytes(b"two\n")
    mlo("data", "add", "data/single")
    commit("second")
    (project / "data/single").unlink()  # the work tree does not matter
    found = mlo("data", "diff", "--json", *words).json
    assert [(row["path"], row["change"]) for row in found["changes"]] == [("data/single", "modified")]


def test_paths_after_revisions_limit_what_is_compared(mlo: Mlo, project: Path) -> None:
    write(project, {"data/raw/a": b"2\n", "data/raw/sub/b": b"33\n", "data/single": b"2"})

    def paths(*words: str) -> list[str]:
        return [row["path"] for row in mlo("data", "diff", "--json", *words).json["changes"]]

    assert paths("data/raw") == paths("HEAD", "data/raw") == ["data/raw/a", "data/raw/sub/b"]
    assert paths("HEAD", "data/raw/sub", "data/single") == ["data/raw/sub/b", "data/single"]
    assert paths("HEAD", "HEAD", "data/raw") == []


def test_what_is_neither_revision_nor_data_is_named(mlo: Mlo, project: Path) -> None:
    answer = mlo("data", "diff", "nonsense", exit_code=6)
    assert "nonsense is not in mlo.lock, nor was it at HEAD" in answer.stderr
    mlo("data", "diff", "HEAD", "HEAD", "HEAD", exit_code=6)
    git("branch", "data")
    assert "data is a revision and a path" in mlo("data", "diff", "data", exit_code=2).stderr
    mlo("data", "diff", "./data")
    mlo("data", "diff", "refs/heads/data")


def test_an_entry_that_is_gone_and_one_that_is_new(mlo: Mlo, project: Path) -> None:
    mlo("data", "rm", "data/single", "--delete")
    write(project, {"data/other": b"12345"})
    mlo("data", "add", "data/other")
    assert mlo("data", "diff").stdout.splitlines() == [
        "added     data/other  (5 B)",
        "deleted   data/single  (4 B)",
        "1 added (5 B), 1 deleted (4 B)",
    ]
    assert mlo("data", "diff", "HEAD", "data/single", "--json").json["totals"].keys() == {"deleted"}


def test_a_tree_that_the_cache_lacks_is_named_not_guessed(mlo: Mlo, project: Path) -> None:
    write(project, {"data/raw/a": b"2\n"})
    mlo("data", "add", "data/raw")
    for path in (project / ".mlo/cache").rglob("*"):
        if path.is_file() and path.name != "VERSION":
            path.unlink()
    answer = mlo("data", "diff", "--exit-code", exit_code=3)
    assert "data/raw is not compared: its tree is not in the cache" in answer.stderr


def test_names_that_hold_control_characters_are_spelled_out(mlo: Mlo, project: Path) -> None:
    (project / "data/raw/red\x1b[31m").write_bytes(b"1")
    (project / "data/raw/two\nlines\t").write_bytes(b"22")
    lines = mlo("data", "status").stdout.splitlines()
    assert "added       data/raw/red\\x1b[31m  (1 B)" in lines
    assert "added       data/raw/two\\nlines\\t  (2 B)" in lines
    assert "added     data/raw/two\\nlines\\t  (2 B)" in mlo("data", "diff").stdout.splitlines()
    answer = mlo("data", "add", "data/raw/red\x1b[31m", exit_code=2)
    assert "\x1b" not in answer.stderr
    mlo("data", "add", "data/raw")
    assert "data/raw/two\\nlines\\t" in mlo("data", "list", "data/raw").stdout


def test_three_dots_are_refused_and_not_taken_for_a_path(mlo: Mlo, project: Path) -> None:
    answer = mlo("data", "diff", "HEAD...HEAD", exit_code=2)
    assert "HEAD..HEAD" in answer.stderr
    assert "git merge-base HEAD HEAD" in answer.stderr
    assert "no revision either" in mlo("data", "diff", "a...b", exit_code=6).stderr


def test_status_tells_whole_folders_in_a_line_and_sums_up(mlo: Mlo, project: Path) -> None:
    (project / "data/raw/many").rename(project / "data/raw/all")
    (project / "data/raw/a").write_bytes(b"1234\n")
    answer = mlo("data", "status", "--exit-code", exit_code=3)
    assert answer.stdout.splitlines() == [
        "modified    data/raw/a  (5 B)",
        "added       data/raw/all/  (20 files, 50 B)",
        "deleted     data/raw/many/  (20 files, 50 B)",
        "1 modified (5 B), 20 added (50 B), 20 deleted (50 B); of 2 entries, 23 files, 59 B",
        "mlo data add records new and changed files",
        "mlo data checkout goes back to mlo.lock, as after git switch; with --force it replaces your changes",
    ]
    document = mlo("data", "status", "--json").json
    assert document["totals"]["deleted"] == {"files": 20, "size": 50}
    assert {row["folder"] for row in document["changes"]} == {None, "data/raw/all", "data/raw/many"}


def test_status_of_some_paths(mlo: Mlo, project: Path) -> None:
    write(project, {"data/raw/a": b"2\n", "data/raw/sub/b": b"33\n", "data/single": b"2"})
    assert [row["path"] for row in mlo("data", "status", "data/raw/sub", "--json").json["changes"]] == [
        "data/raw/sub/b"
    ]
    mlo("data", "status", "data/raw/many", "--exit-code")


def test_status_says_what_a_remote_lacks(mlo: Mlo, project: Path) -> None:
    answer = mlo("data", "status", "--remote", "--exit-code", exit_code=3)
    assert "not on origin  data/raw  (22 files, 55 B)" in answer.stdout
    assert "not on origin  data/single  (1 file, 4 B)" in answer.stdout
    mlo("data", "push")
    answer = mlo("data", "status", "--remote", "--exit-code")
    assert answer.stdout.splitlines()[-1].startswith("origin (")
    assert answer.stdout.splitlines()[-1].endswith("has all of it")
    (project / "data/raw/a").write_bytes(b"changed\n")
    assert mlo("data", "status", "--remote", "origin", "data/raw", "--json").json["remote"]["absent"] == []
    mlo("data", "add", "data/raw")
    document = mlo("data", "status", "-r", "data/raw", "--json").json
    assert document["changes"] == []
    assert document["remote"]["name"] == "origin"
    assert document["remote"]["absent"] == [{"path": "data/raw", "files": 1, "size": 8}]
    assert mlo("data", "status", "--json").json["remote"] is None


def test_status_keeps_what_it_learned_of_a_remotes_packs(mlo: Mlo, project: Path) -> None:
    mlo("data", "push")
    shutil.rmtree(project / ".mlo/remotes")
    mlo("data", "status", "--remote")
    assert list((project / ".mlo/remotes").glob("*/*.idx"))


def test_status_of_a_remote_that_there_is_not(mlo: Mlo, project: Path) -> None:
    answer = mlo("data", "status", "--remote", "backup", exit_code=6)
    assert "backup is not in mlo.lock, and is no remote; there is origin" in answer.stderr
    (project / "mlo.yaml").write_text("name: x\n")
    assert "no remote is named" in mlo("data", "status", "--remote", exit_code=5).stderr
