"""What every remote promises, run against each kind of remote that needs no server."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from buckets import S3Bucket
from http_folder import Quiet, WithRanges, served
from ssh_server import SshServer

from mlops_cli.core.errors import IntegrityError, MloError, NotFound
from mlops_cli.core.project.schema import RemoteConfig
from mlops_cli.core.remotes.open import open_remote, open_url
from mlops_cli.core.remotes.remote import Remote, ShortAnswer, Unsupported

# Names that some layer between mlo and a disk likes to rewrite.
ODD_KEYS = [
    "with space/a b",
    "plus/a+b",
    "percent/100%/%41%2F",
    "hash/a#b",
    "question/a?b=c&d",
    "umlaut/\u00fc",
    "decomposed/u\u0308",
    "kanji/\u65e5\u672c",
    'quote/it\'s "so"',
    "brackets/[a]{b}(c)*",
    "dots/...",
    "tilde/~a",
    "colon/a:b@c,d;e=f$g!h",
]


@dataclass(frozen=True)
class Place:
    """A remote under test: `writer` and `reader` are one remote, except where only reading is possible."""

    kind: str
    writer: Remote
    reader: Remote
    folder: Path | None = None  # on this machine, where it lies in one


def folder(tmp_path: Path) -> Remote:
    (tmp_path / "far").mkdir()
    return open_url("far", root=tmp_path, name="origin")


def open_s3(bucket: S3Bucket) -> Remote:
    config = RemoteConfig(url=f"s3://{bucket.name}/below", options={"endpoint_url": bucket.endpoint, "backoff": 0})
    return open_remote("origin", config, root=Path())


def open_ssh(server: SshServer, path: Path) -> Remote:
    config = RemoteConfig(url=server.url(path), options={**server.options, "backoff": 0})
    return open_remote("origin", config, root=Path())


@contextmanager
def place_of(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    far = tmp_path / "far"
    if kind == "s3":
        remote = open_s3(request.getfixturevalue("s3_bucket"))
        yield Place(kind, remote, remote)
    elif kind == "memory":
        remote = open_url(f"memory://{secrets.token_hex(6)}/below", root=tmp_path, name="origin")
        yield Place(kind, remote, remote)
    elif kind == "ssh":
        far.mkdir()
        remote = open_ssh(request.getfixturevalue("sshd"), far)
        yield Place(kind, remote, remote, far)
    elif kind.startswith("http"):
        writer = folder(tmp_path)
        with served(far, WithRanges if kind == "http-ranges" else Quiet) as url:
            yield Place(kind, writer, open_url(url, root=tmp_path, name="origin"), far)
    else:
        remote = folder(tmp_path)
        if kind == "file-url":
            remote = open_url(f"file://{far}", root=tmp_path, name="origin")
        yield Place(kind, remote, remote, far)


WRITABLE = ["folder", "file-url", "memory", "s3", pytest.param("ssh", marks=pytest.mark.sshd)]
READABLE = [*WRITABLE, "http", "http-ranges"]


@pytest.fixture(params=WRITABLE)
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Remote]:
    with place_of(request.param, tmp_path, request) as place:
        yield place.writer


@pytest.fixture(params=READABLE)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with place_of(request.param, tmp_path, request) as place:
        yield place


# -- reading, wherever it lies ---------------------------------------------------------------------------------------


def test_what_was_put_comes_back(place: Place) -> None:
    place.writer.put("objects/ab/cd", b"\0bytes\xff")
    assert place.reader.get("objects/ab/cd") == b"\0bytes\xff"


def test_an_empty_value_comes_back_empty(place: Place, tmp_path: Path) -> None:
    place.writer.put("empty", b"")
    assert place.reader.get("empty") == b""
    assert place.reader.exists("empty")
    assert place.reader.get_range("empty", 0, 0) == b""
    place.reader.get_file("empty", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b""


def test_files_go_and_come(place: Place, tmp_path: Path) -> None:
    data = secrets.token_bytes(100_000)
    (tmp_path / "source").write_bytes(data)
    place.writer.put_file("deep/er/file", tmp_path / "source")
    place.reader.get_file("deep/er/file", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == data


def test_what_comes_replaces_what_stood_at_the_target(place: Place, tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"something longer")
    place.writer.put("key", b"short")
    place.reader.get_file("key", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"short"


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_names_are_names(place: Place, key: str) -> None:
    place.writer.put(key, b"odd")
    assert place.reader.get(key) == b"odd"
    assert place.reader.get_range(key, 1, 2) == b"dd"
    assert place.reader.exists(key)
    assert dict(place.reader.sizes()) == {key: 3}
    assert list(place.reader.list(key.rpartition("/")[0] + "/")) == [key]


def test_a_range_is_exactly_the_bytes_asked_for(place: Place) -> None:
    place.writer.put("key", b"0123456789")
    assert place.reader.get_range("key", 0, 10) == b"0123456789"
    assert place.reader.get_range("key", 3, 4) == b"3456"
    assert place.reader.get_range("key", 9, 1) == b"9"
    assert place.reader.get_range("key", 4, 0) == b""
    assert place.reader.get_range("key", 10, 0) == b""


@pytest.mark.parametrize(
    ("start", "length", "came"), [(5, 6, 5), (10, 1, 0), (500, 3, 0), (0, 11, 10), (7, 7, 3), (11, 0, 0)]
)
def test_a_range_beyond_the_value_is_a_short_answer(place: Place, start: int, length: int, came: int) -> None:
    place.writer.put("key", b"0123456789")
    with pytest.raises(ShortAnswer, match=f"{length} bytes from byte {start}, {came} came") as caught:
        place.reader.get_range("key", start, length)
    assert "origin" in caught.value.message


def test_an_absent_key_is_not_found(place: Place, tmp_path: Path) -> None:
    place.writer.put("here", b"")
    with pytest.raises(NotFound, match="origin"):
        place.reader.get("nothing")
    with pytest.raises(NotFound, match="origin"):
        place.reader.get_file("nothing", tmp_path / "target")
    for length in (0, 1):
        with pytest.raises(NotFound, match="origin"):
            place.reader.get_range("nothing", 0, length)
    with pytest.raises(IntegrityError):
        place.reader.get_range("here", -1, 1)
    assert not place.reader.exists("nothing")
    assert not place.reader.exists("here/below")


def test_list_gives_the_keys_below_a_prefix_sorted_and_nothing_else(place: Place) -> None:
    for key in ("runs/b.json", "runs/a.json", "runsaway", "objects/xxh128/00/1", "objects/xxh128/00/2"):
        place.writer.put(key, b"!")
    assert list(place.reader.list("runs/")) == ["runs/a.json", "runs/b.json"]
    assert list(place.reader.list("objects/xxh128/00/")) == ["objects/xxh128/00/1", "objects/xxh128/00/2"]
    assert list(place.reader.list()) == [
        "objects/xxh128/00/1",
        "objects/xxh128/00/2",
        "runs/a.json",
        "runs/b.json",
        "runsaway",
    ]
    assert list(place.reader.list("none/")) == []
    assert list(place.reader.list("none/below/")) == []
    assert not place.reader.exists("runs")


def test_sizes_are_those_of_the_values(place: Place) -> None:
    place.writer.put("k/three", b"123")
    place.writer.put("k/none", b"")
    assert dict(place.reader.sizes("k/")) == {"k/three": 3, "k/none": 0}


def test_more_keys_than_a_bucket_lists_at_once(place: Place) -> None:
    keys = [f"many/{number % 4}/{number:04}" for number in range(1_100)]
    if place.folder is not None:
        for key in keys:
            (place.folder / key).parent.mkdir(parents=True, exist_ok=True)
            (place.folder / key).write_bytes(b"1")
    else:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: place.writer.put(key, b"1"), keys))
    assert list(place.reader.sizes("many/")) == [(key, 1) for key in sorted(keys)]


def test_a_listing_is_never_stale(place: Place) -> None:
    assert list(place.reader.list("runs/")) == []
    place.writer.put("runs/new", b"")
    assert list(place.reader.list("runs/")) == ["runs/new"]
    place.writer.delete("runs/new")
    assert list(place.reader.list("runs/")) == []


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../up", "a/../b", "a//b", "a/", "./a", "a\0b", "a\\b", ".."])
def test_a_key_cannot_leave_the_remote(place: Place, tmp_path: Path, key: str) -> None:
    (tmp_path / "source").write_bytes(b"")
    for call in (
        place.reader.get,
        place.reader.exists,
        place.reader.delete,
        lambda name: place.reader.put(name, b""),
        lambda name: place.reader.put_file(name, tmp_path / "source"),
        lambda name: place.reader.put_if_absent(name, b""),
        lambda name: place.reader.get_range(name, 0, 1),
        lambda name: place.reader.get_file(name, tmp_path / "target"),
    ):
        with pytest.raises(IntegrityError):
            call(key)


def test_threads_may_read_one_remote(place: Place) -> None:
    for number in range(24):
        place.writer.put(f"many/{number:03}", b"%03d" % number)
    with ThreadPoolExecutor(8) as pool:
        values = list(pool.map(lambda number: place.reader.get(f"many/{number:03}"), range(24)))
        parts = list(pool.map(lambda number: place.reader.get_range(f"many/{number:03}", 1, 2), range(24)))
    assert values == [b"%03d" % number for number in range(24)]
    assert parts == [value[1:] for value in values]


def test_large_values_go_whole_and_in_parts(place: Place, tmp_path: Path) -> None:
    """Above S3's 5 MiB for a part, and above what one SFTP or HTTP message holds."""
    data = secrets.token_bytes(5 << 20) + b"and some bytes more"
    (tmp_path / "source").write_bytes(data)
    place.writer.put_file("large/file", tmp_path / "source")
    place.writer.put("large/bytes", data)
    for key in ("large/file", "large/bytes"):
        place.reader.get_file(key, tmp_path / "target")
        assert (tmp_path / "target").read_bytes() == data
        assert place.reader.get(key) == data
        assert place.reader.get_range(key, 3 << 20, 2 << 20) == data[3 << 20 : 5 << 20]
        assert place.reader.get_range(key, len(data) - 4, 4) == b"more"


def test_what_is_where_it_is_can_be_told(place: Place) -> None:
    facts = {fact.name: fact.value for fact in place.reader.facts()}
    names = {"s3": "identity", "ssh": "identity", "http": "server", "http-ranges": "server", "memory": None}
    name = names.get(place.kind, "owner")
    assert name is None or facts[name]


# -- writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["http", "http-ranges"])
def test_a_web_server_is_only_read(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    (tmp_path / "source").write_bytes(b"")
    with place_of(kind, tmp_path, request) as place:
        place.writer.put("key", b"there")
        for call in (
            lambda: place.reader.put("key", b""),
            lambda: place.reader.put_file("key", tmp_path / "source"),
            lambda: place.reader.put_if_absent("other", b""),
            lambda: place.reader.delete("key"),
            place.reader.require_create,
        ):
            with pytest.raises(Unsupported, match="read only") as caught:
                call()
            assert "push to the folder or bucket" in str(caught.value.hint)
        assert place.reader.get("key") == b"there"


def test_a_second_put_replaces_the_first(remote: Remote) -> None:
    remote.put("key", b"first")
    remote.put("key", b"2")
    assert remote.get("key") == b"2"


def test_a_remote_knows_when_its_values_were_written(remote: Remote) -> None:
    """Collecting garbage spares what is young; a clock may be an hour off, not a day."""
    remote.put("runs/a", b"a")
    remote.put("objects/b", b"b")
    found = remote.modified("runs/")
    assert list(found) == ["runs/a"]
    assert abs(found["runs/a"] - time.time()) < 3600
    assert set(remote.modified()) == {"runs/a", "objects/b"}
    assert remote.modified("nothing/") == {}


def test_deleting_twice_is_no_error(remote: Remote) -> None:
    remote.put("key", b"")
    remote.delete("key")
    remote.delete("key")
    assert not remote.exists("key")


def test_a_file_that_cannot_be_read_is_not_put(remote: Remote, tmp_path: Path) -> None:
    with pytest.raises((MloError, FileNotFoundError)):
        remote.put_file("key", tmp_path / "absent")
    assert list(remote.list()) == []
    remote.put("key", b"old")
    with pytest.raises((MloError, FileNotFoundError)):
        remote.put_file("key", tmp_path / "absent")
    assert remote.get("key") == b"old"


def test_readers_see_a_whole_value_while_it_is_replaced(remote: Remote, tmp_path: Path) -> None:
    values = [bytes([letter]) * 300_000 for letter in b"ab"]
    (tmp_path / "source").write_bytes(values[1])
    remote.put("key", values[0])
    with ThreadPoolExecutor(3) as pool:
        writing = pool.submit(
            lambda: [(remote.put("key", values[0]), remote.put_file("key", tmp_path / "source")) for _ in range(8)]
        )
        seen = {remote.get("key") for _ in range(16)}
        writing.result()
    assert seen <= set(values)


def test_threads_may_write_one_remote(remote: Remote) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: remote.put(f"many/{number:03}", b"%d" % number), range(64)))
        values = list(pool.map(lambda number: remote.get(f"many/{number:03}"), range(64)))
    assert values == [b"%d" % number for number in range(64)]
    remote.settle()
    assert len(list(remote.list("many/"))) == 64
    assert remote.sweep() == 0


def test_only_the_first_creates_or_the_backend_says_it_cannot(remote: Remote) -> None:
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


@pytest.mark.parametrize("kind", ["folder", pytest.param("ssh", marks=pytest.mark.sshd)])
def test_of_racing_threads_exactly_one_creates(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    with place_of(kind, tmp_path, request) as place:
        race(place.writer)


def race(remote: Remote) -> None:
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
    monkeypatch.setattr(remote._filesystem, "pipe_file", lambda path, data, **_: put(path, data))
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
