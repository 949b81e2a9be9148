"""`mlo data get` and `mlo data update` out of other projects: real repositories, caches and remotes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from command_line import Mlo
from other_project import OtherProject
from tiny_project import git

from mlops_cli.core.project.lock import Lock, SourceLock, read_lock, write_lock
from mlops_cli.core.store.tree import FILE, TreeEntry, encode

FILES = {"data/raw/a": b"1\n", "data/raw/sub/b": b"22\n"}


@pytest.fixture
def project(here: Path) -> Path:
    (here / "mlo.yaml").write_text("name: mine\n")
    return here


@pytest.fixture
def other(tmp_path: Path) -> OtherProject:
    made = OtherProject(tmp_path / "other")
    made.write(FILES)
    made.commit("data/raw")
    return made


def lock_of(project: Path) -> Lock:
    return read_lock(project / "mlo.lock")


def assert_nothing_was_left(project: Path) -> None:
    assert not (project / ".mlo/get").exists()
    assert not list(project.rglob(".mlo-*"))


def test_a_folder_comes_with_its_provenance(mlo: Mlo, project: Path, other: OtherProject) -> None:
    answer = mlo("data", "get", "../other", "data/raw", "--json").json
    commit = git(other.top, "rev-parse", "HEAD").strip()
    assert (answer["path"], answer["files"], answer["commit"]) == ("raw", 2, commit)
    lock, theirs = lock_of(project), other.workspace().read_lock()
    assert lock.data["raw"] == theirs.data["data/raw"]
    assert lock.sources["raw"] == SourceLock("../other", lock.data["raw"].digest, 5, path="data/raw", commit=commit)
    assert (project / "raw/sub/b").read_bytes() == b"22\n"
    assert "/raw\n" in (project / ".gitignore").read_text()
    assert mlo("data", "status", "--json").json["changes"] == []
    assert_nothing_was_left(project)


def test_one_file_out_of_a_folder_comes_alone(mlo: Mlo, project: Path, other: OtherProject) -> None:
    mlo("data", "get", "../other", "data/raw/sub/b", "-o", "mine/c")
    assert (project / "mine/c").read_bytes() == b"22\n"
    assert lock_of(project).data["mine/c"].kind == "file"


def test_a_folder_that_exists_takes_it_in(mlo: Mlo, project: Path, other: OtherProject) -> None:
    (project / "data").mkdir()
    mlo("data", "get", "../other", "data/raw", "-o", "data")
    assert (project / "data/raw/a").exists()
    mlo("data", "get", "../other", "data/raw", "-o", "data/raw")
    assert set(lock_of(project).data) == {"data/raw"}


def test_the_remote_gives_what_a_clone_has_no_cache_for(mlo: Mlo, project: Path, other: OtherProject) -> None:
    mlo("data", "get", f"file://{other.top}", "data/raw")
    shutil.rmtree(other.root / ".mlo")
    bare = other.top.parent / "bare.git"
    git(other.top, "clone", "--quiet", "--bare", ".", str(bare))
    shutil.rmtree(project / ".mlo")
    mlo("data", "get", str(bare), "data/raw", "-o", "again")
    assert (project / "again/a").read_bytes() == b"1\n"


def test_bytes_that_nobody_gives_are_named_and_nothing_changes(mlo: Mlo, project: Path, other: OtherProject) -> None:
    shutil.rmtree(other.root / ".mlo")
    shutil.rmtree(other.remote)
    answer = mlo("data", "get", "../other", "data/raw", exit_code=6)
    assert "did not come" in answer.stderr
    assert "remote origin" in answer.stderr
    assert not (project / "mlo.lock").exists()
    assert not (project / "raw").exists()
    assert_nothing_was_left(project)


def test_a_relative_remote_of_a_repository_afar_is_said_to_be_out_of_reach(
    mlo: Mlo, project: Path, other: OtherProject
) -> None:
    (other.root / "mlo.yaml").write_text("name: other\nremotes: {origin: ../other-remote}\n")
    other.commit()
    bare = other.top.parent / "bare.git"
    git(other.top, "clone", "--quiet", "--bare", ".", str(bare))
    answer = mlo("data", "get", str(bare), "data/raw", exit_code=6)
    assert "its remote origin is the folder ../other-remote, which is relative to where it lies" in answer.stderr
    shutil.rmtree(other.root / ".mlo")
    mlo("data", "get", "../other", "data/raw")  # where it lies on this machine, it is in reach


def test_another_algorithm_is_re_recorded(mlo: Mlo, project: Path, tmp_path: Path) -> None:
    other = OtherProject(tmp_path / "safe", settings="hash: blake3\n")
    other.write({f"raw/{number}": b"%d\n" % number for number in range(5)})
    (other.root / "raw/link").symlink_to("1")
    (other.root / "raw/2").chmod(0o755)
    other.commit("raw")
    mlo("data", "get", "../safe", "raw")
    lock = lock_of(project)
    assert lock.data["raw"].digest.startswith("xxh128:")
    assert (lock.sources["raw"].digest_there or "").startswith("blake3:")
    assert os.readlink(project / "raw/link") == "1"
    assert os.access(project / "raw/2", os.X_OK)
    assert "up to date" in mlo("data", "update").stdout
    other.write({"raw/new": b"new\n"})
    other.commit("raw")
    assert "updated from ../safe" in mlo("data", "update").stdout
    assert (project / "raw/new").read_bytes() == b"new\n"
    assert not (project / ".mlo/cache/objects/blake3").exists()


def test_files_of_git_come_too_and_mix_with_data(mlo: Mlo, project: Path, other: OtherProject) -> None:
    other.write({"data/notes.md": b"read me\n", "data/run.sh": b"#!/bin/sh\n", "data/big": b"x" * (1 << 21)})
    (other.root / "data/run.sh").chmod(0o755)
    other.commit()
    mlo("data", "get", "../other", "data/notes.md")
    assert (project / "notes.md").read_bytes() == b"read me\n"
    mlo("data", "get", "../other", "data")
    found = {path.relative_to(project / "data").as_posix() for path in (project / "data").rglob("*") if path.is_file()}
    assert found == {"notes.md", "run.sh", "big", "raw/a", "raw/sub/b"}
    assert os.access(project / "data/run.sh", os.X_OK)
    assert (project / "data/big").stat().st_size == 1 << 21
    other.write({"elsewhere": b"1"})
    other.commit()
    assert "data: up to date; ../other moved" in mlo("data", "update", "data").stdout


def test_a_project_in_a_folder_of_a_repository_is_found(mlo: Mlo, project: Path, tmp_path: Path) -> None:
    other = OtherProject(tmp_path / "mono", inner="teams/one")
    other.write(FILES)
    other.commit("data/raw")
    mlo("data", "get", "../mono", "teams/one/data/raw", "-o", "whole")
    mlo("data", "get", "../mono#teams/one", "data/raw", "-o", "part")
    mlo("data", "get", "../mono/teams/one", "data/raw", "-o", "folder")
    lock = lock_of(project)
    assert len({entry.digest for entry in lock.data.values()}) == 1
    assert lock.sources["part"].url == "../mono#teams/one"
    shutil.rmtree(other.root / ".mlo")  # the remote is not needed again: everything is here
    assert mlo("data", "update").stdout.count("up to date") == 3


def test_a_project_outside_git_gives_what_its_lock_names(mlo: Mlo, project: Path, tmp_path: Path) -> None:
    other = OtherProject(tmp_path / "plain", in_git=False)
    other.write({**FILES, "loose": b"x"})
    other.commit("data/raw")
    mlo("data", "get", "../plain", "data/raw")
    assert lock_of(project).sources["raw"].commit is None
    assert "has no loose" in mlo("data", "get", "../plain", "loose", exit_code=6).stderr
    assert "is not in git" in mlo("data", "get", "../plain", "data/raw", "-o", "x", "--rev", "v1", exit_code=2).stderr
    other.write({"data/raw/a": b"other\n"})
    other.commit("data/raw")
    assert "raw: updated from ../plain" in mlo("data", "update").stdout
    assert (project / "raw/a").read_bytes() == b"other\n"


def test_a_revision_is_what_comes_and_what_is_followed(mlo: Mlo, project: Path, other: OtherProject) -> None:
    git(other.top, "tag", "-a", "v1", "-m", "one")
    first = git(other.top, "rev-parse", "HEAD").strip()
    other.write({"data/raw/a": b"second\n"})
    second = other.commit("data/raw")
    mlo("data", "get", "../other", "data/raw", "--rev", "v1")
    assert (project / "raw/a").read_bytes() == b"1\n"
    assert (lock_of(project).sources["raw"].rev, lock_of(project).sources["raw"].commit) == ("v1", first)
    assert "up to date" in mlo("data", "update").stdout
    mlo("data", "update", "raw", "--rev", "main")
    assert (project / "raw/a").read_bytes() == b"second\n"
    assert (lock_of(project).sources["raw"].rev, lock_of(project).sources["raw"].commit) == ("main", second)
    mlo("data", "update", "raw", "--rev", first[:10])
    assert (project / "raw/a").read_bytes() == b"1\n"
    assert "no branch and no tag v9" in mlo("data", "update", "raw", "--rev", "v9", exit_code=6).stderr


def test_an_update_brings_only_what_changed(mlo: Mlo, project: Path, other: OtherProject) -> None:
    mlo("data", "get", "../other", "data/raw")
    before = (project / "raw/sub/b").stat().st_ino
    other.write({"data/raw/a": b"second\n"})
    commit = other.commit("data/raw")
    (other.root / ".mlo").rename(other.root / ".gone")
    dry = mlo("data", "update", "--dry-run", "--json").json
    assert [row["change"] for row in dry["followed"]] == ["updated"]
    assert (project / "raw/a").read_bytes() == b"1\n"
    answer = mlo("data", "update", "--json").json
    assert answer["followed"][0]["after"]["commit"] == commit
    assert (project / "raw/a").read_bytes() == b"second\n"
    assert (project / "raw/sub/b").stat().st_ino == before
    assert mlo("data", "status", "--json").json["changes"] == []
    assert "up to date with ../other" in mlo("data", "update").stdout


@pytest.mark.parametrize("added", [False, True])
def test_what_was_changed_here_stays_without_force(mlo: Mlo, project: Path, other: OtherProject, added: bool) -> None:
    mlo("data", "get", "../other", "data/raw")
    (project / "raw/a").write_bytes(b"mine\n")
    if added:
        mlo("data", "add", "raw")
    assert "up to date" in mlo("data", "update").stdout  # no news, no quarrel
    other.write({"data/raw/a": b"second\n"})
    other.commit("data/raw")
    before = (project / "mlo.lock").read_bytes()
    said = "was changed here" if added else "raw/a stands here as it never came"
    assert said in mlo("data", "update", exit_code=5).stderr
    assert said in mlo("data", "get", "../other", "data/raw", exit_code=5).stderr
    assert ((project / "raw/a").read_bytes(), (project / "mlo.lock").read_bytes()) == (b"mine\n", before)
    mlo("data", "update", "--force")
    assert (project / "raw/a").read_bytes() == b"second\n"


def test_what_stands_in_the_way_stays_without_force(mlo: Mlo, project: Path, other: OtherProject) -> None:
    (project / "raw").mkdir()
    (project / "raw/a").write_bytes(b"1\n")  # as it will come: a get that was killed
    mlo("data", "get", "../other", "data/raw")
    mlo("data", "rm", "raw")
    (project / "raw/mine").write_bytes(b"mine")
    assert "raw/mine stands here" in mlo("data", "get", "../other", "data/raw", exit_code=5).stderr
    mlo("data", "get", "../other", "data/raw", "-o", "other-name")
    (project / "own").write_bytes(b"own")
    mlo("data", "add", "own")
    assert "own is in mlo.lock already" in mlo("data", "get", "../other", "data/raw/a", "-o", "own", exit_code=5).stderr
    mlo("data", "get", "../other", "data/raw/a", "-o", "own", "--force")
    assert (project / "own").read_bytes() == b"1\n"


def test_no_add_downloads_and_changes_no_project(mlo: Mlo, here: Path, other: OtherProject) -> None:
    mlo("data", "get", "../other", "data/raw", "--no-add")
    mlo("data", "get", "../other", "data/raw/a", "--no-add", "-o", "deep/er/x")
    assert (here / "raw/sub/b").read_bytes() == b"22\n"
    assert (here / "deep/er/x").read_bytes() == b"1\n"
    assert sorted(path.name for path in here.iterdir()) == ["deep", "raw"]
    (here / "raw/a").write_bytes(b"mine")
    assert "exists already" in mlo("data", "get", "../other", "data/raw", "--no-add", exit_code=5).stderr
    mlo("data", "get", "../other", "data/raw/a", "--no-add", "-o", "raw/a", "--force")
    assert (here / "raw/a").read_bytes() == b"1\n"
    assert_nothing_was_left(here)


def test_no_add_in_a_project_leaves_it_as_it_is(mlo: Mlo, project: Path, other: OtherProject) -> None:
    mlo("data", "get", "../other", "data/raw", "--no-add")
    assert sorted(path.name for path in project.iterdir()) == [".mlo", "mlo.yaml", "raw"]
    assert_nothing_was_left(project)


def test_a_lock_that_lies_about_a_size_is_refused(mlo: Mlo, project: Path, other: OtherProject) -> None:
    other.write({"one": b"one"})
    other.commit("one")
    text = (other.root / "mlo.lock").read_text()
    (other.root / "mlo.lock").write_text(text.replace("size: 3", "size: 30"))
    other.commit()
    mlo("data", "get", "../other", "one", exit_code=7)


def test_a_source_moves_and_goes_with_its_entry(mlo: Mlo, project: Path, other: OtherProject) -> None:
    mlo("data", "get", "../other", "data/raw")
    mlo("data", "mv", "raw", "flights")
    assert set(lock_of(project).sources) == {"flights"}
    assert "up to date" in mlo("data", "update", "flights").stdout
    mlo("data", "rm", "flights")
    assert "sources" not in (project / "mlo.lock").read_text()
    assert "nothing here was brought" in mlo("data", "update").stdout


def test_a_path_that_was_not_brought_cannot_be_followed(mlo: Mlo, project: Path) -> None:
    (project / "own").write_bytes(b"own")
    mlo("data", "add", "own")
    assert "was not brought from elsewhere" in mlo("data", "update", "own", exit_code=5).stderr
    assert "is no entry" in mlo("data", "update", "nothing", exit_code=6).stderr


def test_places_that_cannot_be_data_are_refused_before_anything_is_fetched(
    mlo: Mlo, project: Path, other: OtherProject
) -> None:
    mlo("data", "get", "../other", "data/raw")
    for out, code in (("../out", 2), (".git/hooks", 2), ("mlo.yaml", 2), ("raw/sub/b", 5)):
        mlo("data", "get", "nowhere", "data/raw", "-o", out, exit_code=code)


@pytest.mark.parametrize(
    ("path", "code"), [("data/nothing", 6), ("../data", 2), ("/etc/passwd", 2), (".", 2), ("data/raw/nothing", 6)]
)
def test_a_path_that_is_not_there_is_said(mlo: Mlo, project: Path, other: OtherProject, path: str, code: int) -> None:
    mlo("data", "get", "../other", path, exit_code=code)
    assert_nothing_was_left(project)


def test_a_source_that_is_not_there_is_said(mlo: Mlo, project: Path) -> None:
    assert "there is no folder" in mlo("data", "get", "../nowhere", "x", exit_code=6).stderr
    answer = mlo("data", "get", "ssh://git@127.0.0.1:1/x.git", "x", exit_code=8)
    assert "git cannot read ssh://git@127.0.0.1:1/x.git" in answer.stderr


def test_a_password_is_neither_shown_nor_written(mlo: Mlo, project: Path) -> None:
    answer = mlo("data", "get", "http://ada:hunter2@127.0.0.1:1/x.git", "x", exit_code=8)
    assert "hunter2" not in answer.stderr + answer.stdout


@pytest.mark.parametrize("name", ["../../escape", "/tmp/escape", ".git/hooks/post-checkout", "a/../../b"])
def test_a_hostile_lock_is_refused(mlo: Mlo, project: Path, other: OtherProject, name: str) -> None:
    text = (other.root / "mlo.lock").read_text().replace("data/raw", name)
    (other.root / "mlo.lock").write_text(text)
    other.commit()
    mlo("data", "get", "../other", "data", exit_code=7)
    assert not (project / "mlo.lock").exists()


def test_a_hostile_tree_is_refused(mlo: Mlo, project: Path, other: OtherProject) -> None:
    workspace = other.workspace()
    digest = str(workspace.store.put_bytes(b"x"))
    good = encode([TreeEntry(b"AAgit", FILE, digest, 1)], "xxh128")
    bad = workspace.store.put_bytes(good.replace(b"AAgit", b"../xx"))
    lock = workspace.read_lock()
    entry = lock.data["data/raw"]
    evil = type(entry)(str(bad), "dir", 1, 1)
    write_lock(other.root / "mlo.lock", Lock({**lock.data, "data/raw": evil}))
    other.commit()
    mlo("data", "get", "../other", "data/raw", exit_code=7)
    assert not (project / "raw").exists()
    assert not (project / "mlo.lock").exists()


def test_damaged_bytes_of_the_other_cache_are_not_taken(mlo: Mlo, project: Path, other: OtherProject) -> None:
    other.write({"big": b"y" * 400_000})
    other.commit("big")
    shutil.rmtree(other.remote)
    store = other.workspace().store
    place = Path(store.loose.path(other.workspace().read_lock().data["big"].digest))
    place.chmod(0o644)
    place.write_bytes(b"z" * 400_000)
    mlo("data", "get", "../other", "big", exit_code=7)
    assert not (project / "big").exists()


def test_a_pointer_of_git_lfs_is_not_taken_for_data(mlo: Mlo, project: Path, other: OtherProject) -> None:
    other.write({"model.bin": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"})
    other.commit()
    assert "lies in Git LFS" in mlo("data", "get", "../other", "model.bin", exit_code=5).stderr


def test_options_of_a_remote_that_could_run_something_are_left_out() -> None:
    from mlops_cli.core.data.elsewhere import _harmless

    given = {"proxy_command": "touch x", "endpoint_url": "http://127.0.0.1:9", "client_kwargs": {"verify": False}}
    assert _harmless(given) == {"endpoint_url": "http://127.0.0.1:9"}
