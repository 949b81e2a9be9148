"""Pushing and pulling: complete, resumable, verified on arrival."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

import pytest
from far_remote import Watched, cut_short, lay_out_old, objects_on, packs_on, spoil

from mlops_cli.core.base.digest import Digest, digest_bytes
from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import ProjectError, RemoteError
from mlops_cli.core.remotes.open import open_url
from mlops_cli.core.remotes.remote import Remote
from mlops_cli.core.store.exchange import object_key
from mlops_cli.core.store.index import Index
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.protocol import ObjectCorrupt
from mlops_cli.core.store.snapshot import record
from mlops_cli.core.store.stable import SMALL_BYTES
from mlops_cli.core.store.transfer import absent_on, pull_digests, pull_objects, push_digests, push_objects
from mlops_cli.core.store.tree import closure, walk


def folder(root: Path) -> Remote:
    (root / "far").mkdir()
    return open_url("far", root=root, name="origin")


def memory(root: Path) -> Remote:
    return open_url(f"memory://{secrets.token_hex(6)}", root=root, name="origin")


@pytest.fixture(params=[(folder, False), (memory, False), (memory, True)], ids=["folder", "memory", "whole packs"])
def remote(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Remote:
    make: Callable[[Path], Remote]
    make, whole = request.param
    if whole:
        monkeypatch.setattr("mlops_cli.core.store.whole.WHOLE_BYTES", 1)
        monkeypatch.setattr("mlops_cli.core.store.pull._BEHIND_BYTES", 0)  # or all would come with the trees
    return make(tmp_path)


@pytest.fixture
def here(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "here/cache", "xxh128")


@pytest.fixture
def there(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "there/cache", "xxh128")


FILES = {
    "a": b"1",
    "empty": b"",
    "sub/b": b"22",
    "sub/deep/c": b"333",
    "sub/deep/twin": b"1",
    "big": b"B" * (SMALL_BYTES + 1),
    "sub/huge": b"H" * (9 << 20),
}


def add(store: LocalStore, root: Path, files: dict[str, bytes], name: str = "data") -> Entry:
    for file, data in files.items():
        path = root / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return record(store, Index(root / f"index-{name}"), root / name)


@pytest.fixture
def entry(here: LocalStore, tmp_path: Path) -> Entry:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/link").symlink_to("a")
    return add(here, tmp_path, FILES)


def complete(store: LocalStore, entry: Entry) -> bool:
    return all(store.verify(digest) >= 0 for digest in closure(store, entry))


def digest_of(data: bytes) -> str:
    return str(digest_bytes(data, "xxh128"))


def has(remote: Remote, digest: str) -> bool:
    return digest in objects_on(remote)


def test_what_is_pushed_can_be_pulled_elsewhere(
    remote: Remote, here: LocalStore, there: LocalStore, entry: Entry
) -> None:
    sent = push_objects(here, remote, {"data": entry})
    assert (sent.objects, sent.present, sent.missing, sent.corrupt) == (10, 0, [], [])
    came = pull_objects(there, remote, {"data": entry})
    assert (came.objects, came.bytes, came.present) == (sent.objects, sent.bytes, 0)
    assert complete(there, entry)
    assert [*there.cache.glob("tmp/*"), *here.cache.glob("tmp/*")] == []


def test_the_second_time_nothing_moves(remote: Remote, here: LocalStore, there: LocalStore, entry: Entry) -> None:
    push_objects(here, remote, [entry])
    again = push_objects(here, remote, [entry])
    assert (again.objects, again.bytes, again.present) == (0, 0, 10)
    pull_objects(there, remote, [entry])
    again = pull_objects(there, remote, [entry])
    assert (again.objects, again.present, again.missing) == (0, 10, [])


def test_what_was_added_since_goes_alone(
    remote: Remote, here: LocalStore, there: LocalStore, entry: Entry, tmp_path: Path
) -> None:
    push_objects(here, remote, {"data": entry})
    pull_objects(there, remote, {"data": entry})
    newer = add(here, tmp_path, {"sub/new": b"new", "sub/deep/newer": b"newer"})
    for moved in (push_objects(here, remote, {"data": newer}), pull_objects(there, remote, {"data": newer})):
        assert (moved.objects, moved.present) == (5, 7)
    assert complete(there, newer)
    assert len(packs_on(remote)) == 2


def test_a_handful_goes_without_a_pack(remote: Remote, here: LocalStore, there: LocalStore) -> None:
    digests = [str(here.put_bytes(data)) for data in (b"manifest", b"profile")]
    assert push_digests(here, remote, digests).objects == 2
    assert packs_on(remote) == {}
    assert pull_digests(there, remote, digests).objects == 2
    assert there.read(Digest.parse(digests[0])) == b"manifest"


def test_a_pack_holds_what_was_asked_for_and_nothing_else(remote: Remote, here: LocalStore, tmp_path: Path) -> None:
    """Although both lie in one pack of the cache."""
    with here.batch():
        mine = add(here, tmp_path, {str(n): b"mine%d" % n for n in range(40)}, "mine")
        add(here, tmp_path, {str(n): b"other%d" % n for n in range(40)}, "other")
    assert len(here.packs.indexes) == 1
    push_objects(here, remote, {"mine": mine})
    assert objects_on(remote).keys() == {str(digest) for digest in closure(here, mine)}


def test_what_others_left_on_the_remote_is_no_object(remote: Remote, here: LocalStore, tmp_path: Path) -> None:
    for key in ("objects/.DS_Store", "objects/xxh128/.DS_Store", "objects/xxh128/ab/x/y", "junk", "packs/README"):
        remote.put(key, b"")
    remote.put(f"packs/{'0' * 32}.pack", b"never announced")
    entry = add(here, tmp_path, {str(number): b"%d" % number for number in range(40)})
    assert push_objects(here, remote, [entry]).objects == 41


def test_a_flipped_object_on_the_remote_is_never_kept(
    remote: Remote, here: LocalStore, there: LocalStore, entry: Entry
) -> None:
    push_objects(here, remote, {"data": entry})
    key = spoil(remote, digest_of(b"22"))
    came = pull_objects(there, remote, {"data": entry})
    assert (came.corrupt, came.missing, came.damaged_keys) == (["data/sub/b"], [], [key])
    assert not there.has(digest_bytes(b"22", "xxh128"))
    assert there.read(digest_bytes(b"333", "xxh128")) == b"333"
    assert [*there.cache.glob("tmp/*")] == []


def test_a_good_one_elsewhere_takes_the_place_of_a_damaged_one(
    remote: Remote, here: LocalStore, there: LocalStore, entry: Entry, tmp_path: Path
) -> None:
    other = LocalStore(tmp_path / "other/cache", "xxh128")
    again = add(other, tmp_path, {"x": b"22", "y": b"yy", "z": b"zz"}, "again")
    push_objects(here, remote, {"data": entry})
    for key in [key for key in remote.list("packs/") if key.endswith(".idx")]:
        hidden = remote.get(key)
        remote.delete(key)
        push_objects(other, remote, {"again": again})  # does not see what is there
        remote.put(key, hidden)
    assert len(packs_on(remote)) == 2
    spoil(remote, digest_of(b"22"))
    came = pull_objects(there, remote, {"data": entry, "again": again})
    assert (came.corrupt, came.missing) == ([], [])
    assert complete(there, entry)
    assert complete(there, again)


@pytest.mark.parametrize("data", [FILES["big"], FILES["sub/huge"]], ids=["big", "huge"])
def test_a_large_object_cut_short_is_never_kept_and_sent_again(
    remote: Remote, here: LocalStore, there: LocalStore, entry: Entry, data: bytes
) -> None:
    push_objects(here, remote, {"data": entry})
    cut_short(remote, object_key(digest_of(data)))
    came = pull_objects(there, remote, {"data": entry})
    assert len(came.corrupt) == 1
    assert came.damaged_keys == [object_key(digest_of(data))]
    assert not there.has(digest_bytes(data, "xxh128"))
    assert [*(there.cache / "tmp").iterdir()] == []
    assert push_objects(here, remote, {"data": entry}).objects == 1
    assert pull_objects(there, remote, {"data": entry}).corrupt == []
    assert complete(there, entry)


def test_a_pack_cut_short_is_read_as_far_as_it_goes_and_sent_again(
    remote: Remote, here: LocalStore, there: LocalStore, entry: Entry
) -> None:
    push_objects(here, remote, {"data": entry})
    [name] = packs_on(remote)
    index = packs_on(remote)[name]
    last = max(zip(index.offsets, index.lengths, strict=True))
    cut_short(remote, f"packs/{name}.pack", len(remote.get(f"packs/{name}.pack")) - last[0] - 1)
    came = pull_objects(there, remote, [*(item.entry for _, item in walk(here, entry) if not item.is_dir), entry])
    assert came.missing + came.corrupt == [entry.digest]  # the highest tree is the last object
    assert push_objects(here, remote, {"data": entry}).objects == 8
    assert pull_objects(there, remote, {"data": entry}).missing == []
    assert complete(there, entry)


def test_an_index_that_is_damaged_is_named_and_pushed_anew(
    remote: Remote, here: LocalStore, there: LocalStore, entry: Entry, tmp_path: Path
) -> None:
    push_objects(here, remote, {"data": entry})
    [name] = packs_on(remote)
    data = remote.get(f"packs/{name}.idx")
    remote.put(f"packs/{name}.idx", data[:-1] + bytes([data[-1] ^ 1]))
    again = push_objects(here, remote, {"data": entry}, facts=tmp_path / "facts")
    assert (again.objects, again.damaged_keys) == (8, [f"packs/{name}.idx"])
    assert pull_objects(there, remote, {"data": entry}).missing == []
    assert complete(there, entry)


def test_a_missing_part_is_named_and_the_rest_comes(
    remote: Remote, here: LocalStore, there: LocalStore, entry: Entry
) -> None:
    objects = {str(digest): here.read(digest) for digest in closure(here, entry)}
    lay_out_old(remote, objects)
    remote.delete(object_key(digest_of(b"1")))
    deep = dict(walk(here, entry))["sub/deep"].digest
    remote.delete(object_key(deep))
    came = pull_objects(there, remote, {"data": entry})
    assert sorted(came.missing) == ["data/a", "data/sub/deep"]
    assert there.has(digest_bytes(b"22", "xxh128"))
    remote.put(object_key(deep), objects[deep])
    remote.put(object_key(digest_of(b"1")), b"1")
    assert pull_objects(there, remote, {"data": entry}).missing == []
    assert complete(there, entry)


def test_an_object_missing_here_keeps_the_trees_above_it_from_going(
    remote: Remote, here: LocalStore, entry: Entry
) -> None:
    """What names content must never stand on a remote without it."""
    here.loose.path(digest_of(b"22"))
    Path(here.loose.path(digest_of(b"22"))).unlink()
    assert push_objects(here, remote, {"data": entry}, dry_run=True).missing == ["data/sub/b"]
    sent = push_objects(here, remote, {"data": entry})
    assert sent.missing == ["data/sub/b"]
    assert not has(remote, entry.digest)
    assert not has(remote, dict(walk(here, entry))["sub"].digest)
    assert has(remote, dict(walk(here, entry))["sub/deep"].digest)
    assert has(remote, digest_of(b"333"))


@pytest.mark.parametrize("data", [b"22", FILES["big"]], ids=["small", "big"])
def test_an_object_damaged_here_is_never_sent(remote: Remote, here: LocalStore, entry: Entry, data: bytes) -> None:
    path = Path(here.loose.path(digest_of(data)))
    path.chmod(0o644)
    path.write_bytes(b"?" * len(data))
    sent = push_objects(here, remote, {"data": entry})
    assert len(sent.corrupt) == 1
    assert not has(remote, digest_of(data))
    assert not has(remote, entry.digest)


def test_a_folder_whose_tree_is_damaged_here_is_named(remote: Remote, here: LocalStore, entry: Entry) -> None:
    path = Path(here.loose.path(dict(walk(here, entry))["sub"].digest))
    path.chmod(0o644)
    path.write_bytes(b"?" + path.read_bytes()[1:])
    sent = push_objects(here, remote, {"data": entry})
    assert sent.corrupt == ["data/sub"]
    assert not has(remote, entry.digest)
    assert has(remote, digest_of(b"1"))


def test_a_clone_that_never_pulled_can_push(remote: Remote, here: LocalStore, there: LocalStore, entry: Entry) -> None:
    push_objects(here, remote, {"data": entry})
    assert push_objects(there, remote, {"data": entry}).missing == []
    nowhere = Entry(digest_of(b"nowhere"), "dir", 1, 1)
    assert push_objects(there, remote, {"data": entry, "gone": nowhere}).missing == ["gone"]


@pytest.mark.parametrize("after", range(1, 12))
def test_an_interrupted_transfer_goes_on_where_it_was(
    here: LocalStore, there: LocalStore, entry: Entry, tmp_path: Path, after: int
) -> None:
    remote = memory(tmp_path)
    left = after

    def breaking(name: str, key: str) -> None:
        nonlocal left
        left -= name in ("put", "put_file", "get", "get_file", "get_range")
        if left < 0:
            raise RemoteError("the line went dead", hint="try again")

    try:
        push_objects(here, Watched(remote, breaking), {"data": entry})  # type: ignore[arg-type]
    except RemoteError:
        assert [*here.cache.glob("tmp/*")] == []
        found = objects_on(remote)
        for path, below in walk(here, entry):  # whatever tree got there has its content there
            if below.digest in found and below.is_dir:
                assert all(str(digest) in found for digest in closure(here, below.entry)), path
    assert push_objects(here, remote, {"data": entry}).missing == []
    left = after
    try:
        pull_objects(there, Watched(remote, breaking), {"data": entry})  # type: ignore[arg-type]
    except RemoteError:
        assert [*there.cache.glob("tmp/*")] == []
    pull_objects(there, remote, {"data": entry})
    assert complete(there, entry)


def test_a_dry_run_says_what_would_move_and_moves_nothing(
    remote: Remote, here: LocalStore, there: LocalStore, entry: Entry
) -> None:
    would = push_objects(here, remote, {"data": entry}, dry_run=True)
    assert list(remote.list()) == []
    sent = push_objects(here, remote, {"data": entry})
    assert (would.objects, would.bytes) == (sent.objects, sent.bytes)
    would = pull_objects(there, remote, {"data": entry}, dry_run=True)
    assert (would.objects, would.bytes) == (1 + entry.files, entry.size)
    assert list(there) == []
    gone = Entry(digest_of(b"nowhere"), "file", 1)
    assert pull_objects(there, remote, {"gone": gone}, dry_run=True).missing == ["gone"]
    pull_objects(there, remote, {"data": entry})
    assert pull_objects(there, remote, {"data": entry}, dry_run=True).objects == 0


def test_what_a_remote_lacks_is_told_by_entry(
    remote: Remote, here: LocalStore, there: LocalStore, entry: Entry, tmp_path: Path
) -> None:
    other = add(here, tmp_path, {"x": b"22", "y": b"yyy"}, "other")
    single = add(here, tmp_path, {"z": b"single"}, "one")
    entries = {"data": entry, "other": other, "one": single}
    assert [(row.path, row.files, row.size) for row in absent_on(here, remote, entries)] == [
        ("data", entry.files, entry.size),
        ("other", 2, 5),
        ("one", 1, 6),
    ]
    push_objects(here, remote, {"data": entry, "one": single})
    assert [(row.path, row.files, row.size) for row in absent_on(here, remote, entries)] == [("other", 1, 3)]
    # Elsewhere nothing is known of the folders but whether their trees are there.
    assert [(row.path, row.files, row.size) for row in absent_on(there, remote, entries)] == [("other", 2, 5)]
    push_objects(here, remote, entries)
    assert absent_on(here, remote, entries) == []


def test_a_remote_of_version_1_is_read_and_goes_on_as_version_2(
    remote: Remote, here: LocalStore, there: LocalStore, entry: Entry, tmp_path: Path
) -> None:
    lay_out_old(remote, {str(digest): here.read(digest) for digest in closure(here, entry)})
    assert push_objects(here, remote, {"data": entry}).objects == 0
    assert pull_objects(there, remote, {"data": entry}).objects == 10
    assert complete(there, entry)
    assert remote.get("VERSION") == b"1\n"
    newer = add(here, tmp_path, {"sub/deep/newer": b"newer"})
    assert push_objects(here, remote, {"data": newer}).objects == 4
    assert remote.get("VERSION") == b"2\n"
    assert pull_objects(there, remote, {"data": newer}).objects == 4
    assert complete(there, newer)


def test_a_remote_of_a_newer_mlo_is_refused(remote: Remote, here: LocalStore, entry: Entry) -> None:
    push_objects(here, remote, {})
    assert remote.get("VERSION") == b"2\n"
    remote.put("VERSION", b"3\n")
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
