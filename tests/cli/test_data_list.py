"""`mlo data list` and `mlo data du`."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Mlo
from data_project import commit, lay_out, write


@pytest.fixture
def project(here: Path, mlo: Mlo) -> Path:
    lay_out(here)
    (here / "data/raw/empty").mkdir()
    (here / "data/raw/link").symlink_to("a")
    write(here, {"data/twin/b": b"22\n", "data/one": b"1\n"})
    (here / "data/one").chmod(0o755)
    mlo("data", "add", "data/raw", "data/twin", "data/one")
    commit("first")
    return here


def rows(mlo: Mlo, *words: str) -> list[tuple[str, str, int, int]]:
    found = mlo("data", "list", "--json", *words).json["rows"]
    return [(row["path"], row["kind"], row["size"], row["files"]) for row in found]


def test_entries_are_listed_with_size_files_and_digest(mlo: Mlo, project: Path) -> None:
    assert rows(mlo) == [("data/one", "exec", 2, 1), ("data/raw", "dir", 6, 3), ("data/twin", "dir", 3, 1)]
    lines = mlo("data", "list").stdout.splitlines()
    assert lines[0].split() == ["path", "size", "files", "kind", "digest"]
    assert lines[2].startswith("data/raw/")
    assert rows(mlo, "data") == rows(mlo)


def test_a_folder_is_listed_by_what_it_holds(mlo: Mlo, project: Path) -> None:
    assert rows(mlo, "data/raw") == [
        ("data/raw/a", "file", 2, 1),
        ("data/raw/empty", "dir", 0, 0),
        ("data/raw/link", "link", 1, 1),
        ("data/raw/sub", "dir", 3, 1),
    ]
    assert rows(mlo, "data/raw/sub", "data/raw/a") == [("data/raw/a", "file", 2, 1), ("data/raw/sub/b", "file", 3, 1)]


def test_all_files_however_deep(mlo: Mlo, project: Path) -> None:
    assert [row[0] for row in rows(mlo, "-R")] == [
        "data/one",
        "data/raw/a",
        "data/raw/empty",
        "data/raw/link",
        "data/raw/sub/b",
        "data/twin/b",
    ]
    assert [row[0] for row in rows(mlo, "data/raw/sub", "-R")] == ["data/raw/sub/b"]


def test_the_lock_is_listed_not_the_work_tree_and_any_revision_of_it(mlo: Mlo, project: Path) -> None:
    (project / "data/raw/a").unlink()
    assert ("data/raw/a", "file", 2, 1) in rows(mlo, "data/raw")
    mlo("data", "add", "data/raw")
    assert "data/raw/a" not in [row[0] for row in rows(mlo, "data/raw")]
    assert ("data/raw/a", "file", 2, 1) in rows(mlo, "data/raw", "--rev", "HEAD")
    mlo("data", "list", "--rev", "nonsense", exit_code=6)


def test_outputs_of_stages_name_their_stage(mlo: Mlo, project: Path) -> None:
    with (project / "mlo.yaml").open("a") as file:
        file.write("stages: {make: {cmd: 'echo 1 > out', outs: [out]}}\n")
    mlo("run")
    assert [row["stage"] for row in mlo("data", "list", "--json").json["rows"]] == [None, None, None, "make"]
    assert mlo("data", "list").stdout.splitlines()[-1].endswith("make")


def test_what_is_not_there_is_named(mlo: Mlo, project: Path) -> None:
    assert "data/raw/nothing is not in data/raw" in mlo("data", "list", "data/raw/nothing", exit_code=6).stderr
    assert "is not in mlo.lock" in mlo("data", "list", "nothing", exit_code=6).stderr


def test_nothing_is_versioned_yet(mlo: Mlo, here: Path) -> None:
    lay_out(here)
    assert "mlo data add PATH" in mlo("data", "list").stdout
    assert "mlo data add PATH" in mlo("data", "du").stdout


def test_contents_that_entries_share_count_once(mlo: Mlo, project: Path) -> None:
    use = mlo("data", "du", "--json").json
    raw, twin = (next(row for row in use["entries"] if row["path"] == f"data/{name}") for name in ("raw", "twin"))
    assert (raw["size"], twin["size"], use["size"]) == (6, 3, 11)
    assert twin["own"] == 0  # data/raw/sub is the same folder
    assert raw["own"] < raw["unique"]
    assert use["unique"] < sum(row["unique"] for row in use["entries"])
    assert use["needed"] == use["unique"]
    text = mlo("data", "du").stdout
    assert "together" in text
    assert "the cache holds" in text


def test_the_cache_is_counted_as_it_lies_on_the_disk(mlo: Mlo, project: Path) -> None:
    write(project, {f"data/many/{n}": b"%d" % n for n in range(40)})
    mlo("data", "add", "data/many")
    cache = mlo("data", "du", "--json").json["cache"]
    on_disk = sum(path.stat().st_size for path in (project / ".mlo/cache").rglob("*") if path.is_file())
    assert cache["loose_bytes"] + cache["packs_bytes"] + cache["other_bytes"] == on_disk
    assert (cache["packs"], cache["packed"]) == (1, 41)


def test_history_is_counted_with_each_content_once(mlo: Mlo, project: Path) -> None:
    write(project, {"data/raw/a": b"other\n"})
    mlo("data", "add", "data/raw")
    commit("second")
    past = mlo("data", "du", "--all-revisions", "--json").json["revisions"]
    assert (past["commits"], past["entries"], past["unread"]) == (2, 4, 0)
    assert past["size"] == 11 + 10
    assert "in 2 commits that changed mlo.lock: 4 versions of entries" in mlo("data", "du", "--all-revisions").stdout
    assert mlo("data", "du", "data/one", "--all-revisions", "--json").json["revisions"]["entries"] == 1


def test_trees_that_are_not_here_are_said_to_be_missing(mlo: Mlo, project: Path) -> None:
    for path in (project / ".mlo/cache").rglob("*"):
        if path.is_file() and path.name != "VERSION":
            path.unlink()
    answer = mlo("data", "du")
    assert "1 folder of data/raw count in size only" in answer.stderr
    assert "pull" in mlo("data", "list", "data/raw", exit_code=6).stderr
