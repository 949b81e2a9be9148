"""Data as links to the cache, and as files again."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from command_line import Mlo
from data_project import lay_out

from mlops_cli.core.base.digest import digest_bytes
from mlops_cli.core.data import linking

BIG = bytes(range(256)) * 1200  # more than goes into a pack


@pytest.fixture
def project(here: Path) -> Path:
    lay_out(here)
    (here / "data/raw/big").write_bytes(BIG)
    (here / "data/raw/tool").write_bytes(BIG + b"#")
    (here / "data/raw/tool").chmod(0o755)
    return here


def object_of(project: Path, data: bytes) -> Path:
    digest = digest_bytes(data, "xxh128").hex
    return project / ".mlo/cache/objects/xxh128" / digest[:2] / digest[2:]


def is_plain(path: Path) -> bool:
    """Writable, with no other name."""
    status = path.lstat()
    return stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and bool(status.st_mode & 0o200)


def test_added_files_become_hard_links_and_executables_stay_copies(mlo: Mlo, project: Path) -> None:
    answer = mlo("data", "add", "data/raw", "--link", "hardlink")
    big = project / "data/raw/big"
    assert big.samefile(object_of(project, BIG))
    assert not big.stat().st_mode & 0o222
    assert is_plain(project / "data/raw/tool")
    assert (project / "data/raw/tool").stat().st_mode & 0o100
    assert "stay copies" in answer.stdout
    assert "data is as mlo.lock says" in mlo("data", "status").stdout
    assert "all good" in mlo("data", "fsck").stdout
    assert mlo("data", "add", "data/raw", "--json").json["added"][0]["change"] == "unchanged"


@pytest.mark.parametrize("way", ["hardlink", "symlink"])
def test_links_become_files_again(mlo: Mlo, project: Path, way: str) -> None:
    mlo("data", "add", "data/raw", "--link", way)
    big = project / "data/raw/big"
    before = big.stat().st_mtime_ns
    assert "data/raw" in mlo("data", "unprotect", "data/raw").stdout
    assert is_plain(big)
    assert big.stat().st_mtime_ns == before
    assert stat.S_IMODE(big.stat().st_mode) == 0o666 & ~umask()
    big.write_bytes(b"changed")
    assert object_of(project, BIG).read_bytes() == BIG
    assert mlo("data", "status", "--json").json["changes"][0]["path"] == "data/raw/big"
    assert "all good" in mlo("data", "fsck").stdout
    assert "nothing was linked" in mlo("data", "unprotect", "data/raw").stdout


def umask() -> int:
    found = os.umask(0)
    os.umask(found)
    return found


def test_one_way_of_linking_is_changed_into_another(mlo: Mlo, project: Path) -> None:
    mlo("data", "add", "data/raw", "--link", "hardlink")
    big = project / "data/raw/big"
    mlo("data", "checkout", "--link", "symlink")
    assert Path(os.readlink(big)) == object_of(project, BIG)
    mlo("data", "checkout", "data/raw/big", "--link", "hardlink")
    assert big.samefile(object_of(project, BIG))
    assert not big.is_symlink()
    big.unlink()
    mlo("data", "checkout", "--link", "symlink")
    assert big.is_symlink()
    mlo("data", "checkout", "--link", "copy")
    assert is_plain(big)
    assert mlo("data", "status", "--json").json["changes"] == []


def test_only_what_was_asked_for_is_linked(mlo: Mlo, project: Path) -> None:
    (project / "data/raw/sub/huge").write_bytes(BIG + b"2")
    mlo("data", "add", "data/raw")
    mlo("data", "add", "data/raw/sub/huge", "--link", "hardlink")
    assert (project / "data/raw/sub/huge").samefile(object_of(project, BIG + b"2"))
    assert is_plain(project / "data/raw/big")


def test_checkout_links_nothing_that_is_not_as_the_lock_says(mlo: Mlo, project: Path) -> None:
    mlo("data", "add", "data/raw")
    (project / "data/raw/copy").write_bytes(BIG)
    mlo("data", "checkout", "--link", "hardlink")
    assert is_plain(project / "data/raw/copy")
    assert (project / "data/raw/big").samefile(object_of(project, BIG))


def test_writing_through_a_hard_link_takes_intent_and_fsck_finds_it(mlo: Mlo, project: Path) -> None:
    mlo("data", "add", "data/raw", "--link", "hardlink")
    big = project / "data/raw/big"
    assert not os.stat(big).st_mode & 0o222
    big.chmod(0o644)
    with big.open("r+b") as file:
        file.write(b"in place")
    assert mlo("data", "status", "--json").json["changes"][0]["state"] == "modified"
    answer = mlo("data", "fsck", "--json", exit_code=7).json
    assert [bad["problem"] for bad in answer["bad"]] == ["damaged"]
    mlo("data", "checkout", exit_code=5)  # the user's bytes stay
    assert big.read_bytes().startswith(b"in place")


def test_a_file_with_too_many_names_already_is_copied(mlo: Mlo, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.EMLINK, "Too many links")

    monkeypatch.setattr(os, "link", full)
    answer = mlo("data", "add", "data/raw", "--link", "hardlink")
    assert "this file system makes no such hardlink" in answer.stderr
    assert is_plain(project / "data/raw/big")
    assert "data is as mlo.lock says" in mlo("data", "status").stdout


@pytest.mark.slow
def test_more_names_than_the_file_system_gives_one_file(mlo: Mlo, project: Path, tmp_path: Path) -> None:
    mlo("data", "add", "data/raw")
    names = tmp_path / "names"
    names.mkdir()
    try:
        for number in range(70_000):
            os.link(object_of(project, BIG), names / str(number))
    except OSError as error:
        assert error.errno == errno.EMLINK  # noqa: PT017
    else:
        pytest.skip("this file system gives a file any number of names")
    answer = mlo("data", "checkout", "--link", "hardlink")
    assert "1 file stay copies" in answer.stderr
    assert is_plain(project / "data/raw/big")


def test_without_reflinks_nothing_is_rewritten(mlo: Mlo, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linking, "reflink", lambda *_: False)
    before = (project / "data/raw/big").stat().st_ino
    answer = mlo("data", "add", "data/raw", "--link", "reflink")
    assert "makes no such reflink" in answer.stderr
    assert (project / "data/raw/big").stat().st_ino == before
    assert sorted(path.name for path in (project / "data").iterdir()) == ["raw"]


def test_a_kind_of_link_that_there_is_not_changes_nothing(mlo: Mlo, project: Path) -> None:
    assert "reflink | hardlink | symlink | copy" in mlo("data", "add", "data/raw", "--link", "hard", exit_code=2).stderr
    assert not (project / "mlo.lock").exists()


def test_unprotect_leaves_the_users_own_links_alone(mlo: Mlo, project: Path) -> None:
    (project / "data/raw/link").symlink_to("big")
    (project / "data/raw/fixed").write_bytes(b"read-only")
    (project / "data/raw/fixed").chmod(0o444)
    mlo("data", "unprotect", "data/raw")
    assert os.readlink(project / "data/raw/link") == "big"
    assert is_plain(project / "data/raw/fixed")
    assert mlo("data", "unprotect", "data/nothing", exit_code=6).stderr.startswith("error: data/nothing does not exist")


def test_unprotect_of_a_link_whose_object_is_gone_names_it(mlo: Mlo, project: Path) -> None:
    mlo("data", "add", "data/raw", "--link", "symlink")
    object_of(project, BIG).unlink()
    answer = mlo("data", "unprotect", "data/raw", exit_code=6)
    assert "data/raw/big leads to an object that is not in the cache any more" in answer.stderr
