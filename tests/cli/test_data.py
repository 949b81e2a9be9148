"""`mlo data` from the command line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from command_line import Mlo

from mlops_cli.core.project.lock import Lock, StageLock, read_lock, write_lock


@pytest.fixture
def project(here: Path) -> Path:
    """A project with two files in data/raw, not added yet."""
    (here / "mlo.yaml").write_text("# mine\nname: x  # the name\nremotes: {origin: ../far}\n")
    (here.parent / "far").mkdir()
    (here / "data/raw/sub").mkdir(parents=True)
    (here / "data/raw/a").write_bytes(b"1\n")
    (here / "data/raw/sub/b").write_bytes(b"22\n")
    return here


def git(*arguments: str) -> str:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    return subprocess.run(["git", *identity, *arguments], check=True, capture_output=True, text=True).stdout


def commit() -> None:
    if not Path(".git").exists():
        git("init", "-q", "-b", "main")
    git("add", "-A")
    git("commit", "-q", "-m", "x")


def states(mlo: Mlo, *paths: str) -> dict[str, str]:
    return {row["path"]: row["state"] for row in mlo("data", "status", "--json", *paths).json["changes"]}


def test_add_records_ignores_and_leaves_the_files(mlo: Mlo, project: Path) -> None:
    answer = mlo("data", "add", "data/raw")
    assert "added data/raw: 2 files, 5 B" in answer.stdout
    entry = read_lock(project / "mlo.lock").data["data/raw"]
    assert (entry.kind, entry.files, entry.size) == ("dir", 2, 5)
    assert "/data/raw\n" in (project / ".gitignore").read_text()
    assert (project / "data/raw/a").read_bytes() == b"1\n"
    assert "data is as mlo.lock says" in mlo("data", "status").stdout
    assert "unchanged data/raw" in mlo("data", "add", "data/raw", "--force").stdout


def test_paths_are_meant_from_where_one_stands(mlo: Mlo, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project / "data")
    mlo("data", "add", "raw/a")
    assert set(read_lock(project / "mlo.lock").data) == {"data/raw/a"}
    assert states(mlo, "raw/a") == {}


def test_adding_a_file_inside_an_entry_updates_by_that_file_alone(mlo: Mlo, project: Path) -> None:
    mlo("data", "add", "data/raw")
    (project / "data/raw/new").write_bytes(b"333\n")
    (project / "data/raw/a").write_bytes(b"changed\n")
    (project / "data/raw/link").symlink_to("a")
    answer = mlo("data", "add", "data/raw/new", "data/raw/link", "--json").json
    assert [(row["change"], row["part_of"]) for row in answer["added"]] == [("added", "data/raw")] * 2
    assert set(read_lock(project / "mlo.lock").data) == {"data/raw"}
    assert states(mlo) == {"data/raw/a": "modified"}
    assert mlo("data", "add", "data/raw/a", "--json").json["added"][0]["change"] == "updated"
    assert states(mlo) == {}


def test_nothing_is_recorded_if_one_path_cannot_be(mlo: Mlo, project: Path) -> None:
    os.mkfifo(project / "data/pipe")
    answer = mlo("data", "add", "data/raw", "data/pipe", exit_code=5)
    assert "data/pipe is a FIFO" in answer.stderr
    mlo("data", "add", "data/raw", "nothing", exit_code=6)
    mlo("data", "add", "../far", exit_code=2)
    assert not (project / "mlo.lock").exists()
    assert not (project / ".gitignore").exists()


def test_outputs_overlaps_and_what_git_tracks_are_refused(mlo: Mlo, project: Path) -> None:
    with (project / "mlo.yaml").open("a") as file:
        file.write("stages: {train: {cmd: 'true', outs: [model]}}\n")
    (project / "model").write_bytes(b"x")
    assert "stage train" in mlo("data", "add", "model", exit_code=5).stderr
    commit()
    assert "git rm -r -q --cached data/raw" in mlo("data", "add", "data/raw", exit_code=5).stderr
    git("rm", "-r", "-q", "--cached", "data/raw")
    mlo("data", "add", "data/raw")
    assert "data/raw" in mlo("data", "add", "data", exit_code=5).stderr


def test_status_tells_every_state(mlo: Mlo, project: Path) -> None:
    for name in ("gone", "missing", "uncached", "kind"):
        (project / "data/raw" / name).write_bytes(name.encode())
    mlo("data", "add", "data/raw")
    cache = project / ".mlo/cache/objects"
    for name in ("gone", "missing", "kind", "a"):
        (project / "data/raw" / name).unlink()
    (project / "data/raw/a").write_bytes(b"changed")
    (project / "data/raw/kind").mkdir()
    (project / "data/raw/kind/inner").write_bytes(b"")
    (project / "data/raw/empty").mkdir()
    for path in cache.rglob("*"):
        if path.is_file() and path.read_bytes() in (b"missing", b"uncached"):
            path.unlink()
    assert states(mlo) == {
        "data/raw/a": "modified",
        "data/raw/empty": "added",
        "data/raw/gone": "deleted",
        "data/raw/kind": "modified",
        "data/raw/kind/inner": "added",
        "data/raw/missing": "missing",
        "data/raw/uncached": "not_cached",
    }
    assert states(mlo, "data/raw/kind") == {"data/raw/kind": "modified", "data/raw/kind/inner": "added"}
    text = mlo("data", "status", "--exit-code", exit_code=3).stdout
    assert "not cached  data/raw/uncached" in text
    assert "mlo pull brings" in text
    mlo("data", "status", "elsewhere", exit_code=6)


def test_status_without_data_says_how_to_start(mlo: Mlo, project: Path) -> None:
    assert "mlo data add PATH" in mlo("data", "status", "--exit-code").stdout


def test_status_of_a_clean_project_reads_no_file(mlo: Mlo, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlo("data", "add", "data/raw")
    from mlops_cli.core.store.index import Index

    index = Index(project / ".mlo/index")
    for key in (b"data/raw", b"data/raw/sub"):  # as if the files were old
        folder = index.folder(key)
        assert folder is not None
        index.replace_folder(key, msgspec.structs.replace(folder, racy=set()))
    index.save()

    def read(*_: object) -> None:
        raise AssertionError("a file was read")

    monkeypatch.setattr("mlops_cli.core.store.stable.open_regular", read)
    mlo("data", "status", "--exit-code")


def test_checkout_brings_back_and_never_overwrites_the_users_bytes(mlo: Mlo, project: Path) -> None:
    mlo("data", "add", "data/raw")
    (project / "data/raw/sub/b").unlink()
    (project / "data/raw/mine").write_bytes(b"mine")
    answer = mlo("data", "checkout")
    assert "data/raw: 1 added" in answer.stdout
    assert "kept data/raw/mine" in answer.stdout
    (project / "data/raw/a").write_bytes(b"edited")
    assert "data/raw/a" in mlo("data", "checkout", exit_code=5).stderr
    assert (project / "data/raw/a").read_bytes() == b"edited"
    mlo("data", "checkout", "data/raw/a", "--force")
    assert (project / "data/raw/a").read_bytes() == b"1\n"
    assert (project / "data/raw/mine").exists()
    mlo("data", "checkout", "--force")
    assert not (project / "data/raw/mine").exists()
    assert "as it should be" in mlo("data", "checkout").stdout


def test_checkout_of_a_revision(mlo: Mlo, project: Path) -> None:
    mlo("data", "add", "data/raw")
    commit()
    (project / "data/raw/a").write_bytes(b"second")
    (project / "data/raw/more").write_bytes(b"more")
    mlo("data", "add", "data/raw")
    commit()
    mlo("data", "checkout", "--rev", "HEAD~1")
    assert (project / "data/raw/a").read_bytes() == b"1\n"
    assert not (project / "data/raw/more").exists()
    assert states(mlo) == {"data/raw/a": "modified", "data/raw/more": "deleted"}
    mlo("data", "checkout")
    assert states(mlo) == {}
    git("checkout", "-q", "HEAD~1")  # as when switching branches: the lock changes under the data
    mlo("data", "checkout")
    assert not (project / "data/raw/more").exists()
    mlo("data", "checkout", "--rev", "nonsense", exit_code=6)


def test_diff_between_revisions_and_the_work_tree(mlo: Mlo, project: Path) -> None:
    (project / "data/raw/old-name").write_bytes(b"renamed later")
    mlo("data", "add", "data/raw")
    commit()
    assert "no data differs" in mlo("data", "diff").stdout
    (project / "data/raw/a").write_bytes(b"changed")
    (project / "data/raw/sub/b").unlink()
    (project / "data/raw/old-name").rename(project / "data/raw/new-name")
    (project / "data/raw/more").write_bytes(b"more")
    expected = [
        ("data/raw/a", "modified", 2, 7, None),
        ("data/raw/more", "added", None, 4, None),
        ("data/raw/new-name", "renamed", 13, 13, "data/raw/old-name"),
        ("data/raw/sub/b", "deleted", 3, None, None),
    ]

    def rows(*arguments: str) -> list[tuple[object, ...]]:
        found = mlo("data", "diff", "--json", *arguments).json["changes"]
        return [tuple(row[key] for key in ("path", "change", "before", "after", "old_path")) for row in found]

    assert rows() == expected
    mlo("data", "add", "data/raw")
    commit()
    assert rows("HEAD~1") == rows("HEAD~1", "HEAD") == expected
    assert rows("HEAD") == []
    text = mlo("data", "diff", "HEAD~1").stdout
    assert "modified  data/raw/a  (2 B -> 7 B)" in text
    assert "data/raw/old-name -> data/raw/new-name" in text
    mlo("data", "diff", "nonsense", exit_code=6)


def test_diff_outside_git_is_a_project_error(mlo: Mlo, project: Path) -> None:
    assert "git init" in mlo("data", "diff", exit_code=5).stderr


def test_rm_stops_versioning_and_keeps_the_files(mlo: Mlo, project: Path) -> None:
    mlo("data", "add", "data/raw")
    assert "the files stay" in mlo("data", "rm", "data/raw").stdout
    assert (project / "data/raw/a").exists()
    assert read_lock(project / "mlo.lock").data == {}
    assert "/data/raw" not in (project / ".gitignore").read_text()
    mlo("data", "rm", "data/raw", exit_code=6)


def test_rm_inside_an_entry_and_rm_with_the_files(mlo: Mlo, project: Path) -> None:
    mlo("data", "add", "data/raw")
    mlo("data", "rm", "data/raw/sub/b", "--delete")
    assert not (project / "data/raw/sub/b").exists()
    assert states(mlo) == {}
    mlo("data", "rm", "data/raw/nothing", exit_code=6)
    (project / "data/raw/mine").write_bytes(b"mine")
    mlo("data", "rm", "data/raw", "--delete", exit_code=5)
    assert set(read_lock(project / "mlo.lock").data) == {"data/raw"}
    mlo("data", "rm", "data/raw", "--delete", "--force")
    assert not (project / "data/raw").exists()


def test_mv_renames_everywhere(mlo: Mlo, project: Path) -> None:
    mlo("data", "add", "data/raw")
    (project / "store").mkdir()
    assert "moved data/raw to store/raw" in mlo("data", "mv", "data/raw", "store").stdout
    assert (project / "store/raw/a").exists()
    assert not (project / "data/raw").exists()
    assert "/store/raw\n" in (project / ".gitignore").read_text()
    assert states(mlo) == {}
    mlo("data", "mv", "store/raw", "store/raw/sub", exit_code=2)
    mlo("data", "mv", "nothing", "else", exit_code=6)
    (project / "taken").write_text("x")
    assert "exists already" in mlo("data", "mv", "store/raw", "taken", exit_code=2).stderr
    assert (project / "store/raw/a").exists()


def test_a_corrupt_object_is_found_and_healed_from_the_remote(mlo: Mlo, project: Path) -> None:
    mlo("data", "add", "data/raw")
    mlo("data", "push")
    [path] = [p for p in (project / ".mlo/cache/objects").rglob("*") if p.is_file() and p.read_bytes() == b"1\n"]
    path.chmod(0o644)
    path.write_bytes(b"?\n")
    (project / "data/raw/a").unlink()
    assert "data/raw/a" in mlo("data", "checkout", exit_code=7).stderr
    assert not (project / "data/raw/a").exists()
    answer = mlo("data", "fsck", "--json", exit_code=7).json
    assert answer["bad"][0]["paths"] == ["data/raw/a"]
    assert "fsck --repair" in mlo("data", "fsck", exit_code=7).stdout
    assert "mended from remote origin" in mlo("data", "fsck", "--repair").stdout
    mlo("data", "checkout")
    assert (project / "data/raw/a").read_bytes() == b"1\n"
    assert "all good" in mlo("data", "fsck").stdout


def clone(project: Path) -> Path:
    commit()
    target = project.parent / "clone"
    git("clone", "-q", str(project), str(target))
    return target


def test_push_and_pull_into_a_clone(mlo: Mlo, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "data/raw/tool").write_bytes(b"#!/bin/sh\n")
    (project / "data/raw/tool").chmod(0o755)
    (project / "data/raw/empty").mkdir()
    mlo("data", "add", "data/raw")
    assert "6 objects" in mlo("data", "push").stdout
    assert "nothing new" in mlo("data", "push").stdout
    monkeypatch.chdir(clone(project))
    assert states(mlo) == {"data/raw": "missing"}
    mlo("data", "checkout", exit_code=6)
    assert "data/raw: 4 added" in mlo("data", "pull").stdout
    assert os.access("data/raw/tool", os.X_OK)
    assert Path("data/raw/empty").is_dir()
    assert states(mlo) == {}
    mlo("data", "fsck")


def test_a_missing_and_a_corrupt_object_on_the_remote_are_named(
    mlo: Mlo, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (bytes([number]) * 300_000 for number in b"12")  # too large for a pack
    (project / "data/raw/a").write_bytes(first)
    (project / "data/raw/sub/b").write_bytes(second)
    mlo("data", "add", "data/raw")
    mlo("data", "push")
    objects = {p.read_bytes(): p for p in (project.parent / "far/objects").rglob("*") if p.is_file()}
    objects[second].unlink()
    monkeypatch.chdir(clone(project))
    answer = mlo("data", "pull", exit_code=6)
    assert "data/raw/sub/b" in answer.stderr
    assert Path("data/raw/a").read_bytes() == first
    assert not Path("data/raw/sub/b").exists()
    Path("data/raw/a").unlink()
    for path in Path(".mlo/cache/objects").rglob("*"):
        if path.is_file() and path.read_bytes() == first:
            path.unlink()
    objects[first].chmod(0o644)
    objects[first].write_bytes(second)
    answer = mlo("data", "pull", exit_code=7)
    assert "data/raw/a" in answer.stderr
    assert not Path("data/raw/a").exists()


def test_pull_never_overwrites_the_users_bytes(mlo: Mlo, project: Path) -> None:
    mlo("data", "add", "data/raw")
    mlo("data", "push", "data/raw")
    (project / "data/raw/a").write_bytes(b"mine")
    mlo("data", "pull", exit_code=5)
    assert (project / "data/raw/a").read_bytes() == b"mine"
    mlo("data", "pull", "data/raw", "--force")
    assert (project / "data/raw/a").read_bytes() == b"1\n"


def test_push_without_what_the_lock_names(mlo: Mlo, project: Path) -> None:
    mlo("data", "add", "data/raw")
    for path in (project / ".mlo/cache/objects").rglob("*"):
        if path.is_file() and path.read_bytes() == b"1\n":
            path.unlink()
    assert "data/raw/a" in mlo("data", "push", exit_code=6).stderr


def test_a_lock_that_leads_out_of_the_project_is_refused(mlo: Mlo, project: Path) -> None:
    mlo("data", "add", "data/raw")
    text = (project / "mlo.lock").read_text()
    for name in ("../outside", "/tmp/outside", "a/../../outside"):
        (project / "mlo.lock").write_text(text.replace("data/raw", name))
        for command in ("status", "checkout", "push", "pull", "fsck"):
            mlo("data", command, exit_code=7)
    assert not (project.parent / "outside").exists()


def test_stage_outputs_are_data_too(mlo: Mlo, project: Path) -> None:
    mlo("data", "add", "data/raw")
    lock = read_lock(project / "mlo.lock")
    stage = StageLock("a" * 64, "true", outs={"out": lock.data["data/raw"]})
    write_lock(project / "mlo.lock", Lock(lock.data, {"train": stage}))
    with (project / "mlo.yaml").open("a") as file:
        file.write("stages: {train: {cmd: 'true', outs: [out]}}\n")
    assert states(mlo) == {"out": "deleted"}
    mlo("data", "checkout", "out")
    assert (project / "out/a").read_bytes() == b"1\n"
    assert "stage train" in mlo("data", "rm", "out", exit_code=5).stderr


@pytest.mark.slow
def test_two_adds_at_once_are_both_recorded(project: Path) -> None:
    for name in "pq":
        (project / "data" / name).mkdir()
        for number in range(50):
            (project / "data" / name / str(number)).write_bytes(b"%d" % number)
    adding = [
        subprocess.Popen([sys.executable, "-m", "mlops_cli", "data", "add", f"data/{name}"], cwd=project)
        for name in "pq"
    ]
    assert [process.wait() for process in adding] == [0, 0]
    assert set(read_lock(project / "mlo.lock").data) == {"data/p", "data/q"}
    assert {"/data/p", "/data/q"} <= set((project / ".gitignore").read_text().splitlines())
    subprocess.run([sys.executable, "-m", "mlops_cli", "data", "fsck"], cwd=project, check=True)
    subprocess.run([sys.executable, "-m", "mlops_cli", "data", "status", "--exit-code"], cwd=project, check=True)


def test_status_imports_nothing_heavy(project: Path) -> None:
    code = (
        "import sys; from mlops_cli.cli.main import main; main(['data', 'add', 'data/raw']); main(['data', 'status']);"
        "print([m for m in ('pandas', 'numpy', 'git', 'fsspec', 'pyarrow', 'rich', 'sklearn') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True)
    assert out.stdout.splitlines()[-1] == "[]"


def test_a_checkout_says_of_each_entry_only_what_is_true(mlo: Mlo, project: Path) -> None:
    mlo("data", "add", "data/raw")
    objects = [path for path in (project / ".mlo/cache/objects").rglob("*") if path.is_file()]
    [lost] = [path for path in objects if path.read_bytes() == b"1\n"]
    [damaged] = [path for path in objects if path.read_bytes() == b"22\n"]
    lost.unlink()
    damaged.chmod(0o644)
    damaged.write_bytes(b"??\n")
    (project / "data/raw/a").unlink()
    (project / "data/raw/sub/b").unlink()
    answer = mlo("data", "checkout", exit_code=7)
    assert "as it should be" not in answer.stdout
    assert "1 not restored: not in the cache, 1 not restored: damaged in the cache" in answer.stdout
    assert "data/raw/sub/b are damaged, and the cache has no objects for data/raw/a\n" in answer.stderr


def test_hints_for_lost_bytes_name_a_pull_only_where_there_is_a_remote(mlo: Mlo, project: Path) -> None:
    mlo("data", "add", "data/raw")
    shutil.rmtree(project / "data/raw")
    shutil.rmtree(project / ".mlo/cache")
    assert "hint: run `mlo pull`" in mlo("data", "checkout", exit_code=6).stderr
    (project / "mlo.yaml").write_text("name: x\n")
    hint = mlo("data", "checkout", exit_code=6).stderr.split("hint: ")[1]
    assert "there is no remote to pull from (mlo remote add origin URL)" in hint
    assert "mlo pull" not in hint


@pytest.mark.parametrize("command", ["checkout", "status", "push"])
def test_a_path_in_a_hint_can_be_typed_as_it_stands(mlo: Mlo, project: Path, command: str) -> None:
    stderr = mlo("data", command, "data/my data ü.csv", exit_code=6).stderr
    assert "mlo data add 'data/my data ü.csv'" in stderr
