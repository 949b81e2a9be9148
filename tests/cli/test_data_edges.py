"""What other tools lose, refuse or choke on: modes, links, names, limits of the system, damaged objects."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from command_line import Mlo
from data_project import commit, git, lay_out, write

from mlops_cli.core.base.digest import digest_bytes


@pytest.fixture
def project(here: Path) -> Path:
    lay_out(here)
    return here


def seen(folder: Path) -> dict[bytes, Any]:
    """Everything below a folder, links as links, by raw name."""
    found: dict[bytes, Any] = {}
    for place, folders, files in os.walk(os.fsencode(folder)):
        for name in folders + files:
            path = os.path.join(place, name)
            key = os.path.relpath(path, os.fsencode(folder))
            if os.path.islink(path):
                found[key] = os.readlink(path)
            elif os.path.isdir(path):
                found[key] = "folder"
            else:
                found[key] = (Path(os.fsdecode(path)).read_bytes(), os.access(path, os.X_OK))
    return found


def returns(mlo: Mlo, project: Path) -> None:
    """What is added, and lost, comes back as it was; and twice over nothing changes."""
    before = seen(project / "data/raw")
    mlo("data", "add", "data/raw")
    lock = (project / "mlo.lock").read_bytes()
    for _ in range(2):
        shutil.rmtree(project / "data/raw")
        mlo("data", "checkout")
        assert seen(project / "data/raw") == before
        mlo("data", "status", "--exit-code")
        mlo("data", "add", "data/raw")
        assert (project / "mlo.lock").read_bytes() == lock


def test_exec_bits_in_a_folder_come_back_and_come_back_again(mlo: Mlo, project: Path) -> None:
    (project / "data/raw/sub/b").chmod(0o755)
    returns(mlo, project)


def test_the_exec_bit_of_a_single_file_is_part_of_its_version(mlo: Mlo, project: Path) -> None:
    tool = project / "data/raw/a"
    mlo("data", "add", "data/raw/a")
    commit("plain")
    tool.chmod(0o755)
    assert [row["state"] for row in mlo("data", "status", "--json").json["changes"]] == ["modified"]
    mlo("data", "add", "data/raw/a")
    tool.unlink()
    mlo("data", "checkout")
    assert os.access(tool, os.X_OK)
    mlo("data", "checkout", "--rev", "HEAD")
    assert not os.access(tool, os.X_OK)
    assert tool.read_bytes() == b"1\n"


def test_links_of_every_kind_stay_what_they_are(mlo: Mlo, project: Path) -> None:
    raw, outside = project / "data/raw", project.parent / "outside"
    write(outside, {"deep/file": b"not ours"})
    links = {
        "relative": "sub/b",
        "up": "../raw/a",
        "broken": "nowhere",
        "folder": "sub",
        "outside": str(outside),
        "itself": "itself",
        "ping": "pong",
        "pong": "ping",
        "absolute": str(raw / "a"),
    }
    for name, target in links.items():
        (raw / name).symlink_to(target)
    returns(mlo, project)
    assert {row["path"] for row in mlo("data", "list", "data/raw", "--json").json["rows"] if row["kind"] == "link"} == {
        f"data/raw/{name}" for name in links
    }
    assert seen(outside) == {b"deep": "folder", b"deep/file": (b"not ours", False)}


def test_empty_folders_are_kept_and_told_apart_from_none(mlo: Mlo, project: Path) -> None:
    (project / "data/raw/empty/deeper").mkdir(parents=True)
    returns(mlo, project)
    (project / "data/raw/empty/deeper").rmdir()
    assert mlo("data", "status", "--json").json["changes"] != []


def test_an_empty_folder_alone_can_be_data(mlo: Mlo, project: Path) -> None:
    (project / "data/nothing").mkdir()
    mlo("data", "add", "data/nothing")
    (project / "data/nothing").rmdir()
    mlo("data", "checkout")
    assert (project / "data/nothing").is_dir()


def test_names_of_any_form_are_different_names(mlo: Mlo, project: Path) -> None:
    raw = os.fsencode(project / "data/raw")
    forms = [unicodedata.normalize(form, "é").encode() for form in ("NFC", "NFD")]
    names = [
        *forms,
        b"Case",
        b"case",
        b"latin\xe9",
        b" space ",
        b"new\nline",
        b"-rf",
        b"quote'\"",
        "日本".encode(),
        b"~",
    ]
    for number, name in enumerate(names):
        with open(raw + b"/" + name, "wb") as file:
            file.write(b"%d" % number)
    if len(os.listdir(raw)) < len(names) + 2:
        pytest.skip("this file system takes some of these names for one")
    returns(mlo, project)


def test_line_endings_are_bytes_like_others(mlo: Mlo, project: Path) -> None:
    write(project, {"data/raw/dos": b"a\r\nb\r\n", "data/raw/unix": b"a\nb\n", "data/raw/mixed": b"a\r\nb\n\r"})
    git("config", "core.autocrlf", "true")
    returns(mlo, project)
    rows = mlo("data", "list", "data/raw", "--json").json["rows"]
    assert len({row["digest"] for row in rows}) == len(rows)


def limited(*words: str, **limits: int) -> subprocess.CompletedProcess[str]:
    """Run mlo with less of something than it may want."""

    def apply() -> None:
        for name, limit in limits.items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (limit, limit))

    command = [sys.executable, "-m", "mlops_cli", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=apply)


def test_few_open_files_are_enough_for_many_and_deep_folders(project: Path, mlo: Mlo) -> None:
    write(project, {f"data/raw/{'d/' * depth}{number}": b"x" for depth in range(60) for number in range(4)})
    for words in (["add", "data/raw"], ["status", "--exit-code"], ["list", "-R"]):
        done = limited("data", *words, NOFILE=40)
        assert done.returncode == 0, done.stderr
    shutil.rmtree(project / "data/raw")
    done = limited("data", "checkout", NOFILE=40)
    assert done.returncode == 0, done.stderr
    mlo("data", "status", "--exit-code")


def test_without_open_files_left_the_machine_is_named_and_nothing_changed(project: Path) -> None:
    before = seen(project / "data/raw")
    done = limited("data", "add", "data/raw", NOFILE=5)
    assert done.returncode != 0
    assert "ulimit -n" in done.stderr or os.strerror(errno.EMFILE) in done.stderr
    assert seen(project / "data/raw") == before
    assert not (project / "mlo.lock").exists()


def test_a_limit_on_the_size_of_files_is_named(project: Path) -> None:
    write(project, {"data/raw/big": b"x" * 2_000_000})
    done = limited("data", "add", "data/raw", FSIZE=1_000_000)
    assert done.returncode == 11
    assert "ulimit -f" in done.stderr
    assert not (project / "mlo.lock").exists()


def as_a_user(*words: str) -> subprocess.CompletedProcess[str]:
    """Run mlo without root's right to pass over permissions."""
    drop = [] if os.geteuid() else ["setpriv", "--bounding-set", "-dac_override,-dac_read_search,-fowner"]
    if drop and shutil.which("setpriv") is None:
        pytest.skip("root passes over permissions, and there is no setpriv")
    return subprocess.run(
        [*drop, sys.executable, "-m", "mlops_cli", *words], capture_output=True, text=True, check=False
    )


def test_a_read_only_folder_is_named_and_the_rest_stays_right(project: Path, mlo: Mlo) -> None:
    mlo("data", "add", "data/raw")
    sub = project / "data/raw/sub"
    (sub / "b").unlink()
    sub.chmod(0o555)
    try:
        done = as_a_user("data", "checkout")
        assert done.returncode == 11
        assert "data/raw" in done.stderr
        assert "permissions" in done.stderr
        assert list(sub.iterdir()) == []
    finally:
        sub.chmod(0o755)
    mlo("data", "checkout")
    assert (sub / "b").read_bytes() == b"22\n"


def test_nothing_is_removed_from_a_read_only_folder(project: Path, mlo: Mlo) -> None:
    mlo("data", "add", "data/raw")
    commit()
    write(project, {"data/raw/sub/more": b"333\n"})
    mlo("data", "add", "data/raw")
    sub = project / "data/raw/sub"
    sub.chmod(0o555)
    try:
        for words in (["checkout", "--rev", "HEAD"], ["rm", "data/raw", "--delete"]):
            done = as_a_user("data", *words)
            assert done.returncode == 11, done.stderr
            assert "permissions" in done.stderr
            assert (sub / "more").exists()
        assert as_a_user("data", "status", "--exit-code").returncode == 0
    finally:
        sub.chmod(0o755)


def test_a_folder_that_cannot_be_read_is_named(project: Path) -> None:
    (project / "data/raw/sub").chmod(0o000)
    try:
        done = as_a_user("data", "add", "data/raw")
        assert done.returncode == 11
        assert "data/raw/sub" in done.stderr
        assert not (project / "mlo.lock").exists()
    finally:
        (project / "data/raw/sub").chmod(0o755)


def test_an_object_whose_digest_begins_with_zeros_is_one_like_others(mlo: Mlo, project: Path) -> None:
    numbers = (b"%d" % number for number in range(100_000))
    content = next(data for data in numbers if digest_bytes(data, "xxh128").hex.startswith("00"))
    write(project, {"data/raw/zero": content})
    returns(mlo, project)
    mlo("data", "push")
    shutil.rmtree(project / ".mlo")
    (project / "data/raw/zero").unlink()
    mlo("data", "pull")
    assert (project / "data/raw/zero").read_bytes() == content
    assert "all good" in mlo("data", "fsck").stdout


def test_a_damaged_object_is_neither_written_nor_sent_nor_trusted_by_add(mlo: Mlo, project: Path) -> None:
    mlo("data", "add", "data/raw")
    [damaged] = [p for p in (project / ".mlo/cache/objects").rglob("*") if p.is_file() and p.read_bytes() == b"1\n"]
    damaged.chmod(0o644)
    damaged.write_bytes(b"2\n")
    mlo("data", "status", "--exit-code")  # the work tree is as it should be
    assert "data/raw/a" in mlo("data", "push", exit_code=7).stderr
    (project / "data/raw/a").rename(project / "a")
    mlo("data", "checkout", exit_code=7)
    assert not (project / "data/raw/a").exists()
    (project / "a").rename(project / "data/raw/a")
    mlo("data", "add", "data/raw")
    assert "all good" in mlo("data", "fsck").stdout


def test_an_edit_that_restores_size_and_time_is_seen(mlo: Mlo, project: Path) -> None:
    mlo("data", "add", "data/raw")
    path = project / "data/raw/a"
    before = path.stat()
    path.write_bytes(b"2\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert [row["path"] for row in mlo("data", "status", "--json").json["changes"]] == ["data/raw/a"]


@pytest.mark.slow
def test_more_identical_files_than_one_file_can_have_names(mlo: Mlo, project: Path) -> None:
    raw = project / "data/raw"
    for number in range(66_000):
        (raw / str(number)).write_bytes(b"the same\n")
    mlo("data", "add", "data/raw")
    raw.rename(project / "before")
    mlo("data", "checkout", "--link", "hardlink")
    assert len(os.listdir(raw)) == 66_002
    assert mlo("data", "status", "--json").json["changes"] == []
    use = mlo("data", "du", "--json").json["entries"][0]
    assert (use["files"], use["objects"]) == (66_002, 5)
