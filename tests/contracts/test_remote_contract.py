"""What every remote promises, run against each kind of remote that needs no server."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from buckets import S3Bucket

from mlops_cli.core.errors import IntegrityError, NotFound
from mlops_cli.core.project.schema import RemoteConfig
from mlops_cli.core.remotes.filesystem import FilesystemRemote
from mlops_cli.core.remotes.open import open_remote, open_url
from mlops_cli.core.remotes.remote import Remote, ShortAnswer, Unsupported


def folder(tmp_path: Path) -> FilesystemRemote:
    (tmp_path / "far").mkdir()
    return open_url("far", root=tmp_path, name="origin")


def file_url(tmp_path: Path) -> FilesystemRemote:
    (tmp_path / "far").mkdir()
    return open_url(f"file://{tmp_path}/far", root=tmp_path, name="origin")


def memory(tmp_path: Path) -> FilesystemRemote:
    return open_url(f"memory://{secrets.token_hex(6)}/below", root=tmp_path, name="origin")


@pytest.fixture(params=[folder, file_url, memory, "s3"], ids=["folder", "file-url", "memory", "s3"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> FilesystemRemote:
    if request.param == "s3":
        return open_s3(request.getfixturevalue("s3_bucket"))
    make: Callable[[Path], FilesystemRemote] = request.param
    return make(tmp_path)


def open_s3(bucket: S3Bucket) -> FilesystemRemote:
    config = RemoteConfig(url=f"s3://{bucket.name}/below", options={"endpoint_url": bucket.endpoint})
    return open_remote("origin", config, root=Path())


def test_what_was_put_comes_back(remote: Remote) -> None:
    remote.put("objects/ab/cd", b"\0bytes\xff")
    assert remote.get("objects/ab/cd") == b"\0bytes\xff"


def test_an_empty_value_comes_back_empty(remote: Remote) -> None:
    remote.put("empty", b"")
    assert remote.get("empty") == b""
    assert remote.exists("empty")


def test_a_second_put_replaces_the_first(remote: Remote) -> None:
    remote.put("key", b"first")
    remote.put("key", b"2")
    assert remote.get("key") == b"2"


def test_files_go_and_come(remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"x" * 100_000)
    remote.put_file("deep/er/file", tmp_path / "source")
    remote.get_file("deep/er/file", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"x" * 100_000


def test_a_range_is_exactly_the_bytes_asked_for(remote: Remote) -> None:
    remote.put("key", b"0123456789")
    assert remote.get_range("key", 0, 10) == b"0123456789"
    assert remote.get_range("key", 3, 4) == b"3456"
    assert remote.get_range("key", 9, 1) == b"9"
    assert remote.get_range("key", 4, 0) == b""


@pytest.mark.parametrize(("start", "length", "came"), [(5, 6, 5), (10, 1, 0), (500, 3, 0), (0, 11, 10)])
def test_a_range_beyond_the_value_is_a_short_answer(remote: Remote, start: int, length: int, came: int) -> None:
    remote.put("key", b"0123456789")
    with pytest.raises(ShortAnswer, match=f"{length} bytes from byte {start}, {came} came"):
        remote.get_range("key", start, length)


def test_a_range_of_an_absent_key_is_not_found(remote: Remote) -> None:
    with pytest.raises(NotFound, match="origin"):
        remote.get_range("nothing", 0, 1)
    with pytest.raises(IntegrityError):
        remote.get_range("nothing", -1, 1)


def test_an_absent_key_is_not_found(remote: Remote, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="origin"):
        remote.get("nothing")
    with pytest.raises(NotFound, match="origin"):
        remote.get_file("nothing", tmp_path / "target")
    assert not remote.exists("nothing")


def test_list_gives_the_keys_below_a_prefix_sorted_and_nothing_else(remote: Remote) -> None:
    for key in ("runs/b.json", "runs/a.json", "runsaway", "objects/xxh128/00/1", "objects/xxh128/00/2"):
        remote.put(key, b"!")
    assert list(remote.list("runs/")) == ["runs/a.json", "runs/b.json"]
    assert list(remote.list("objects/xxh128/00/")) == ["objects/xxh128/00/1", "objects/xxh128/00/2"]
    assert list(remote.list()) == [
        "objects/xxh128/00/1",
        "objects/xxh128/00/2",
        "runs/a.json",
        "runs/b.json",
        "runsaway",
    ]
    assert list(remote.list("none/")) == []


def test_sizes_are_those_of_the_values(remote: Remote) -> None:
    remote.put("k/three", b"123")
    remote.put("k/none", b"")
    assert dict(remote.sizes("k/")) == {"k/three": 3, "k/none": 0}


def test_a_listing_is_never_stale(remote: Remote) -> None:
    assert list(remote.list("runs/")) == []
    remote.put("runs/new", b"")
    assert list(remote.list("runs/")) == ["runs/new"]
    remote.delete("runs/new")
    assert list(remote.list("runs/")) == []


def test_deleting_twice_is_no_error(remote: Remote) -> None:
    remote.put("key", b"")
    remote.delete("key")
    remote.delete("key")
    assert not remote.exists("key")


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../up", "a/../b", "a//b", "a/", "./a", "a\0b", "a\\b"])
def test_a_key_cannot_leave_the_remote(remote: Remote, key: str) -> None:
    for call in (remote.get, remote.exists, remote.delete, lambda name: remote.put(name, b"")):
        with pytest.raises(IntegrityError):
            call(key)


def test_threads_may_share_a_remote(remote: Remote) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: remote.put(f"many/{number:03}", b"%d" % number), range(64)))
        values = list(pool.map(lambda number: remote.get(f"many/{number:03}"), range(64)))
    assert values == [b"%d" % number for number in range(64)]
    remote.settle()
    assert len(list(remote.list("many/"))) == 64


def test_only_the_first_creates_or_the_backend_says_it_cannot(remote: FilesystemRemote) -> None:
    if remote.protocol == "memory":
        with pytest.raises(Unsupported, match="memory"):
            remote.put_if_absent("events/1.json", b"first")
        assert not remote.exists("events/1.json")
        return
    assert remote.put_if_absent("events/1.json", b"first")
    assert not remote.put_if_absent("events/1.json", b"second")
    assert remote.get("events/1.json") == b"first"
    remote.put("events/2.json", b"put")
    assert not remote.put_if_absent("events/2.json", b"second")


def test_of_racing_threads_exactly_one_creates(tmp_path: Path) -> None:
    remote = folder(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        for number in range(10):
            won = list(pool.map(lambda who, key=f"events/{number}": remote.put_if_absent(key, b"%d" % who), range(8)))
            assert sum(won) == 1
            assert remote.get(f"events/{number}") == b"%d" % won.index(True)


def test_of_threads_racing_for_a_bucket_exactly_one_creates(s3_bucket: S3Bucket) -> None:
    remotes = [open_s3(s3_bucket) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for number in range(5):
            won = list(pool.map(lambda remote, key=f"events/{number}": remote.put_if_absent(key, b"mine"), remotes))
            assert sum(won) == 1


def test_a_bucket_that_ignores_conditions_is_found_out(s3_bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = open_s3(s3_bucket)
    put = remote._filesystem.pipe_file
    monkeypatch.setattr(remote._filesystem, "pipe_file", lambda path, data, mode="": put(path, data))
    with pytest.raises(Unsupported, match="ignores"):
        remote.put_if_absent("events/1.json", b"first")
    assert list(remote.list("")) == []


@pytest.mark.slow
def test_of_racing_processes_exactly_one_creates(tmp_path: Path) -> None:
    folder(tmp_path)
    script = (
        "import sys; from pathlib import Path; from mlops_cli.core.remotes.open import open_remote, open_url\n"
        "remote = open_url('far', root=Path(sys.argv[1]))\n"
        "print(sum(remote.put_if_absent(f'events/{n}', sys.argv[2].encode()) for n in range(100)))"
    )
    racing = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path), str(who)], stdout=subprocess.PIPE)
        for who in (1, 2)
    ]
    assert sum(int(process.communicate()[0]) for process in racing) == 100
