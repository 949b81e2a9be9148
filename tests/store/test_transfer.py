"""Pushing and pulling: complete, resumable, verified on arrival."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_cli.core.base.digest import Digest, digest_bytes
from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import ProjectError, RemoteError
from mlops_cli.core.remotes.filesystem import FilesystemRemote
from mlops_cli.core.remotes.open import open_url
from mlops_cli.core.store.exchange import object_key
from mlops_cli.core.store.index import Index
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.protocol import ObjectCorrupt
from mlops_cli.core.store.snapshot import record
from mlops_cli.core.store.transfer import (
    LARGE_BYTES,
    pull_digests,
    pull_objects,
    push_digests,
    push_objects,
)
from mlops_cli.core.store.tree import closure, walk


def folder(root: Path) -> FilesystemRemote:
    (root / "far").mkdir()
    return open_url("far", root=root, name="origin")


def memory(root: Path) -> FilesystemRemote:
    return open_url(f"memory://{secrets.token_hex(6)}", root=root, name="origin")


@pytest.fixture(params=[folder, memory], ids=["folder", "memory"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> FilesystemRemote:
    make: Callable[[Path], FilesystemRemote] = request.param
    return make(tmp_path)


@pytest.fixture
def here(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "here/cache", "xxh128")


@pytest.fixture
def there(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "there/cache", "xxh128")


FILES = {"a": b"1", "empty": b"", "sub/b": b"22", "sub/deep/c": b"333", "sub/deep/twin": b"1"}


@pytest.fixture
def entry(here: LocalStore, tmp_path: Path) -> Entry:
    for name, data in FILES.items():
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "data/link").symlink_to("a")
    return record(here, Index(tmp_path / "index"), tmp_path / "data")


def complete(store: LocalStore, entry: Entry) -> bool:
    return all(store.verify(digest) >= 0 for digest in closure(store, entry))


def key_of(data: bytes) -> str:
    return object_key(str(digest_bytes(data, "xxh128")))


def test_what_is_pushed_can_be_pulled_elsewhere(
    remote: FilesystemRemote, here: LocalStore, there: LocalStore, entry: Entry
) -> None:
    sent = push_objects(here, remote, {"data": entry})
    assert (sent.objects, sent.present, sent.missing, sent.corrupt) == (8, 0, [], [])
    came = pull_objects(there, remote, {"data": entry})
    assert (came.objects, came.bytes, came.present) == (sent.objects, sent.bytes, 0)
    assert complete(there, entry)


def test_the_second_time_nothing_moves(
    remote: FilesystemRemote, here: LocalStore, there: LocalStore, entry: Entry
) -> None:
    push_objects(here, remote, [entry])
    assert push_objects(here, remote, [entry]).objects == 0
    pull_objects(there, remote, [entry])
    again = pull_objects(there, remote, [entry])
    assert (again.objects, again.missing) == (0, [])


def test_large_objects_go_by_file(
    remote: FilesystemRemote, here: LocalStore, there: LocalStore, tmp_path: Path
) -> None:
    (tmp_path / "big").write_bytes(b"x" * (LARGE_BYTES + 1))
    big = record(here, Index(tmp_path / "index"), tmp_path / "big")
    assert push_objects(here, remote, {"big": big}).bytes == LARGE_BYTES + 1
    assert pull_objects(there, remote, {"big": big}).objects == 1
    assert complete(there, big)


def test_many_objects_are_found_by_listing(
    remote: FilesystemRemote, here: LocalStore, there: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    for number in range(50):
        (tmp_path / f"data/{number}").write_bytes(b"%d" % number)
    entry = record(here, Index(tmp_path / "index"), tmp_path / "data")
    push_objects(here, remote, {"data": entry})
    listed: list[str] = []
    sizes = remote.sizes
    monkeypatch.setattr(remote, "sizes", lambda prefix: listed.append(prefix) or sizes(prefix))  # type: ignore[func-returns-value]
    assert push_objects(here, remote, {"data": entry}).present == 51
    assert listed == ["objects/xxh128/"]
    pull_objects(there, remote, {"data": entry})
    assert complete(there, entry)


def test_what_others_left_on_the_remote_is_no_object(
    remote: FilesystemRemote, here: LocalStore, tmp_path: Path
) -> None:
    for number in range(40):
        (tmp_path / "many").mkdir(exist_ok=True)
        (tmp_path / "many" / str(number)).write_text(str(number))
    for key in ("objects/.DS_Store", "objects/xxh128/.DS_Store", "objects/xxh128/ab/x/y", "junk"):
        remote.put(key, b"")
    entry = record(here, Index(tmp_path / "index"), tmp_path / "many")
    assert push_objects(here, remote, [entry]).objects == 41


def test_a_flipped_object_on_the_remote_is_never_kept(
    remote: FilesystemRemote, here: LocalStore, there: LocalStore, entry: Entry
) -> None:
    push_objects(here, remote, {"data": entry})
    remote.put(key_of(b"22"), b"2?")
    came = pull_objects(there, remote, {"data": entry})
    assert came.corrupt == ["data/sub/b"]
    assert came.missing == []
    assert not there.has(digest_bytes(b"22", "xxh128"))
    assert there.read(digest_bytes(b"333", "xxh128")) == b"333"
    assert [*there.cache.glob("tmp/*")] == []


def test_a_large_object_cut_short_is_never_kept(
    remote: FilesystemRemote, here: LocalStore, there: LocalStore, tmp_path: Path
) -> None:
    (tmp_path / "big").write_bytes(b"x" * (LARGE_BYTES + 1))
    big = record(here, Index(tmp_path / "index"), tmp_path / "big")
    push_objects(here, remote, {"big": big})
    remote.put(object_key(big.digest), b"x" * LARGE_BYTES)
    assert pull_objects(there, remote, {"big": big}).corrupt == ["big"]
    assert not there.has(big.name)
    assert [*(there.cache / "tmp").iterdir()] == []
    assert push_objects(here, remote, {"big": big}).objects == 1
    assert pull_objects(there, remote, {"big": big}).corrupt == []


def test_a_truncated_object_on_the_remote_is_sent_again(
    remote: FilesystemRemote, here: LocalStore, there: LocalStore, entry: Entry
) -> None:
    push_objects(here, remote, {"data": entry})
    remote.put(key_of(b"333"), b"3")
    assert push_objects(here, remote, {"data": entry}).objects == 1
    assert pull_objects(there, remote, {"data": entry}).corrupt == []


def test_a_missing_part_is_named_and_the_rest_comes(
    remote: FilesystemRemote, here: LocalStore, there: LocalStore, entry: Entry
) -> None:
    push_objects(here, remote, {"data": entry})
    remote.delete(key_of(b"1"))
    sub = dict(walk(here, entry))["sub/deep"]
    remote.delete(object_key(sub.digest))
    came = pull_objects(there, remote, {"data": entry})
    assert sorted(came.missing) == ["data/a", "data/sub/deep"]
    assert there.has(digest_bytes(b"22", "xxh128"))
    remote.put(object_key(sub.digest), here.read(Digest.parse(sub.digest)))
    remote.put(key_of(b"1"), b"1")
    assert pull_objects(there, remote, {"data": entry}).missing == []
    assert complete(there, entry)


def test_an_object_missing_here_keeps_the_trees_from_going(
    remote: FilesystemRemote, here: LocalStore, entry: Entry
) -> None:
    """What names content must never stand on a remote without it."""
    here.file_of(digest_bytes(b"22", "xxh128")).unlink()
    sent = push_objects(here, remote, {"data": entry})
    assert sent.missing == ["data/sub/b"]
    assert not remote.exists(object_key(entry.digest))
    assert remote.exists(key_of(b"333"))


def test_an_object_damaged_here_is_never_sent(remote: FilesystemRemote, here: LocalStore, entry: Entry) -> None:
    path = here.file_of(digest_bytes(b"22", "xxh128"))
    path.chmod(0o644)
    path.write_bytes(b"2?")
    sent = push_objects(here, remote, {"data": entry})
    assert sent.corrupt == ["data/sub/b"]
    assert not remote.exists(key_of(b"22"))
    assert not remote.exists(object_key(entry.digest))


def test_a_clone_that_never_pulled_can_push(
    remote: FilesystemRemote, here: LocalStore, there: LocalStore, entry: Entry
) -> None:
    push_objects(here, remote, {"data": entry})
    assert push_objects(there, remote, {"data": entry}).missing == []
    absent = Entry(str(digest_bytes(b"nowhere", "xxh128")), "dir", 1, 1)
    assert push_objects(there, remote, {"data": entry, "gone": absent}).missing == ["gone"]


class Failing:
    """A remote that breaks after some calls of `put`, or of `get`."""

    def __init__(self, remote: FilesystemRemote, after: int) -> None:
        self._remote = remote
        self._left = after

    def __getattr__(self, name: str) -> object:
        if name in ("put", "get", "put_file", "get_file"):
            self._left -= 1
            if self._left < 0:
                raise RemoteError("the line went dead", hint="try again")
        return getattr(self._remote, name)


@pytest.mark.parametrize("after", range(1, 10))
def test_an_interrupted_transfer_goes_on_where_it_was(
    here: LocalStore, there: LocalStore, entry: Entry, tmp_path: Path, after: int
) -> None:
    remote = memory(tmp_path)
    try:
        push_objects(here, Failing(remote, after), {"data": entry})  # type: ignore[arg-type]
    except RemoteError:
        for path, found in walk(here, entry):  # whatever tree got there has its content there
            if found.is_dir and remote.exists(object_key(found.digest)):
                assert all(remote.exists(object_key(str(d))) for d in closure(here, found.entry)), path
    assert push_objects(here, remote, {"data": entry}).missing == []
    try:
        pull_objects(there, Failing(remote, after), {"data": entry})  # type: ignore[arg-type]
    except RemoteError:
        assert [*there.cache.glob("tmp/*")] == []
    pull_objects(there, remote, {"data": entry})
    assert complete(there, entry)


def test_single_objects_go_and_come(remote: FilesystemRemote, here: LocalStore, there: LocalStore) -> None:
    digests = [str(here.put_bytes(data)) for data in (b"manifest", b"profile")]
    assert push_digests(here, remote, digests).objects == 2
    assert pull_digests(there, remote, digests).objects == 2
    assert there.read(Digest.parse(digests[0])) == b"manifest"


def test_a_remote_of_a_newer_mlo_is_refused(remote: FilesystemRemote, here: LocalStore, entry: Entry) -> None:
    push_objects(here, remote, {})
    assert remote.get("VERSION") == b"1\n"
    remote.put("VERSION", b"2\n")
    for move in (push_objects, pull_objects):
        with pytest.raises(ProjectError, match="format"):
            move(here, remote, {"data": entry})


def test_bytes_with_another_digest_cannot_be_kept(there: LocalStore) -> None:
    digest = digest_bytes(b"right", "xxh128")
    with pytest.raises(ObjectCorrupt):
        there.put_verified(digest, b"wrong")
    wrong = Path(there.temporary())
    wrong.write_bytes(b"wrong")
    with pytest.raises(ObjectCorrupt):
        there.adopt(str(wrong), digest)
    assert not wrong.exists()
    assert list(there) == []
