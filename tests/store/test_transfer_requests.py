"""How many requests a transfer costs, and what it does where requests fail."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from bad_remote import BadRemote, bad_remote
from buckets import S3Bucket
from far_remote import Watched, lay_out_old, objects_on, packs_on

from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import MloError, RemoteError
from mlops_cli.core.project.schema import RemoteConfig
from mlops_cli.core.remotes.open import open_remote, open_url
from mlops_cli.core.remotes.remote import Remote
from mlops_cli.core.store.holdings import Holdings, facts_folder
from mlops_cli.core.store.index import Index
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.snapshot import record
from mlops_cli.core.store.stable import SMALL_BYTES
from mlops_cli.core.store.transfer import absent_on, pull_objects, push_digests, push_objects
from mlops_cli.core.store.tree import closure, decode


@pytest.fixture
def far(tmp_path: Path) -> Remote:
    (tmp_path / "far").mkdir()
    return open_url("far", root=tmp_path, name="origin")


@pytest.fixture
def here(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "here", "xxh128")


@pytest.fixture
def there(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "there", "xxh128")


@pytest.fixture
def entry(here: LocalStore, tmp_path: Path) -> Entry:
    """300 files in a tree six folders deep, and a large one."""
    for number in range(300):
        path = tmp_path / "data" / "/".join(f"{number % 2}" for _ in range(number % 6)) / f"{number}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number * 50)
    (tmp_path / "data/large").write_bytes(b"L" * (SMALL_BYTES + 1))
    return record(here, Index(tmp_path / "index"), tmp_path / "data")


def complete(store: LocalStore, entry: Entry) -> bool:
    return all(store.verify(digest) >= 0 for digest in closure(store, entry))


def test_a_push_of_hundreds_is_a_handful_of_requests(
    far: Remote, here: LocalStore, there: LocalStore, entry: Entry, tmp_path: Path
) -> None:
    remote = Watched(far)
    push_objects(here, remote, [entry], facts=tmp_path / "facts")  # type: ignore[arg-type]
    # VERSION and its answer, the two listings, the large object, the pack and its index.
    assert remote.requests == {"get": 1, "sizes": 2, "put": 2, "put_file": 2}
    remote = Watched(far)
    pull_objects(there, remote, [entry], facts=tmp_path / "facts")  # type: ignore[arg-type]
    # VERSION, the index, the large object; and the pack, all of which came with its first tree.
    assert remote.requests == {"get": 3, "sizes": 2, "get_range": 1}
    assert complete(there, entry)


def test_what_is_there_already_costs_a_constant_number(
    far: Remote, here: LocalStore, entry: Entry, tmp_path: Path
) -> None:
    push_objects(here, far, [entry])
    for number in range(5):
        more = [str(here.put_bytes(b"%d and %d" % (number, item))) for item in range(3)]
        push_digests(here, far, more)
    facts = tmp_path / "facts"
    remote = Watched(far)
    push_objects(here, remote, [entry], facts=facts)  # type: ignore[arg-type]
    assert remote.requests == {"get": 1 + 6, "sizes": 2}
    for again in (push_objects, pull_objects, absent_on):
        remote = Watched(far)
        again(here, remote, [entry], facts=facts)  # type: ignore[operator]
        assert remote.requests.total() <= 3
        assert remote.requests["get"] == 1


def test_only_the_wanted_ranges_of_a_pack_are_read(
    far: Remote, here: LocalStore, there: LocalStore, tmp_path: Path
) -> None:
    for number in range(120):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / f"data/{number:03}").write_bytes(bytes([number]) * 50_000)
    whole = record(here, Index(tmp_path / "index"), tmp_path / "data")
    push_objects(here, far, [whole])
    wanted = [here.put_bytes(bytes([number]) * 50_000) for number in (3, 4, 60)]
    asked: list[int] = []
    get_range = far.get_range
    far.get_range = lambda key, start, length: asked.append(length) or get_range(key, start, length)  # type: ignore
    pull_objects(there, far, {str(digest): Entry(str(digest), "file", 50_000) for digest in wanted})
    assert sum(asked) < 6 * 50_000
    assert all(there.has(digest) for digest in wanted)


def test_what_is_known_of_packs_is_healed_and_forgotten(
    far: Remote, here: LocalStore, there: LocalStore, entry: Entry, tmp_path: Path
) -> None:
    facts = facts_folder(tmp_path / "private", far)
    push_objects(here, far, [entry], facts=facts)
    assert absent_on(here, far, [entry], facts=facts) == []
    [fact] = facts.iterdir()
    good = fact.read_bytes()
    for bad in (b"", good[:-1], good[:16] + bytes(8) + good[24:], b"?" + good[1:]):
        fact.write_bytes(bad)
        assert absent_on(here, far, [entry], facts=facts) == []
        assert fact.read_bytes() == good
    fact.unlink()
    fact.mkdir()  # cannot be kept: fetched each time
    assert absent_on(here, far, [entry], facts=facts) == []
    fact.rmdir()
    absent_on(here, far, [entry], facts=facts)
    for key in list(far.list("packs/")):
        far.delete(key)
    assert absent_on(here, far, [entry], facts=facts) != []
    assert list(facts.iterdir()) == []
    assert push_objects(here, far, [entry], facts=facts).missing == []
    pull_objects(there, far, [entry], facts=facts)
    assert complete(there, entry)


def test_many_old_objects_are_found_by_one_listing(far: Remote, here: LocalStore, entry: Entry) -> None:
    lay_out_old(far, {str(digest): here.read(digest) for digest in closure(here, entry)})
    remote = Watched(far)
    assert push_objects(here, remote, [entry]).objects == 0  # type: ignore[arg-type]
    assert remote.requests == {"get": 1, "sizes": 2}


def test_packs_above_the_limit_are_several_and_none_names_what_is_not_there(
    far: Remote, here: LocalStore, there: LocalStore, entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlops_cli.core.store.uploads.PACK_BYTES", 2000)
    seen: list[set[str]] = []

    def look(name: str, key: str) -> None:
        if name == "put" and key.endswith(".idx"):
            seen.append(set(objects_on(far)))

    push_objects(here, Watched(far, look), [entry])  # type: ignore[arg-type]
    assert len(packs_on(far)) > 5
    seen.append(set(objects_on(far)))
    trees = [digest for digest in closure(here, entry) if here.read(digest).startswith(b"MLOTREE")]
    for objects in seen:
        for tree in trees:
            if str(tree) in objects:
                below = Entry(str(tree), "dir", 0, 0)
                named = {item.digest for item in decode(here.read(below.name))}
                assert named <= objects
    pull_objects(there, far, [entry])
    assert complete(there, entry)


def test_two_pushes_at_once_both_succeed(far: Remote, here: LocalStore, there: LocalStore, entry: Entry) -> None:
    second = LocalStore(here.cache, "xxh128")
    errors: list[MloError] = []

    def push(store: LocalStore) -> None:
        try:
            assert push_objects(store, far, [entry]).missing == []
        except MloError as error:
            errors.append(error)

    threads = [threading.Thread(target=push, args=(store,)) for store in (here, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    pull_objects(there, far, [entry])
    assert complete(there, entry)


def test_a_cache_that_is_packed_anew_meanwhile_can_be_pushed(
    far: Remote, here: LocalStore, there: LocalStore, entry: Entry, tmp_path: Path
) -> None:
    """As a collection of garbage does: the same objects in a pack of another name, the old one gone."""

    def repack(name: str, key: str) -> None:
        if key == "packs/" and here.packs.indexes:
            digests = [digest for digest in here if here.packs.find(str(digest))]
            other = LocalStore(here.cache, "xxh128")
            old = list(other.packs.indexes)
            objects = [(digest, other.read(digest)) for digest in digests]
            other.packs.drop(old)
            with other.batch():
                other.put_bytes(b"company")
                for _, data in objects:
                    other.put_bytes(data)

    assert push_objects(here, Watched(far, repack), [entry]).missing == []  # type: ignore[arg-type]
    pull_objects(there, far, [entry])
    assert complete(there, entry)


# -- a bucket behind a proxy that misbehaves -----------------------------------------------------------------------


@pytest.fixture
def bad(s3_bucket: S3Bucket) -> Iterator[BadRemote]:
    with bad_remote(s3_bucket.endpoint) as proxy:
        yield proxy


@pytest.fixture
def bucket(bad: BadRemote, s3_bucket: S3Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Remote:
    """Packs of which all is wanted are taken whole."""
    monkeypatch.setattr("mlops_cli.core.store.whole.WHOLE_BYTES", 1)
    monkeypatch.setattr("mlops_cli.core.store.whole._MOST_KNOWN", 1.0)
    url = f"s3://{s3_bucket.name}/x"
    return open_remote("origin", RemoteConfig(url=url, options=bad.options), root=tmp_path)


@pytest.mark.parametrize("kind", ["500", "503", "drop", "lose", "truncate"])
def test_what_passes_is_tried_again(
    bad: BadRemote, bucket: Remote, here: LocalStore, there: LocalStore, entry: Entry, kind: str
) -> None:
    for pattern, method in (("packs/", "PUT"), ("objects/", "PUT"), ("packs/", "GET"), ("objects/", "GET")):
        bad.spoil(kind, pattern, method=method, times=1)  # type: ignore[arg-type]
    assert push_objects(here, bucket, [entry]).missing == []
    pull_objects(there, bucket, [entry])
    assert complete(there, entry)


@pytest.mark.parametrize("kind", ["403", "500"])
def test_what_stays_wrong_ends_the_push_and_leaves_no_tree_without_its_content(
    bad: BadRemote, bucket: Remote, here: LocalStore, there: LocalStore, entry: Entry, kind: str
) -> None:
    bad.spoil(kind, r"packs/.*\.idx", method="PUT")  # type: ignore[arg-type]
    with pytest.raises(RemoteError):
        push_objects(here, bucket, [entry])
    assert [*here.cache.glob("tmp/*")] == []
    bad.mend()
    assert entry.digest not in objects_on(bucket)
    assert pull_objects(there, bucket, {"data": entry}).missing == ["data"]
    push_objects(here, bucket, [entry])
    bad.spoil(kind, r"objects/xxh128/../[0-9a-f]{30}", method="GET")  # type: ignore[arg-type]
    with pytest.raises(RemoteError):
        pull_objects(there, bucket, [entry])
    bad.mend()
    came = pull_objects(there, bucket, [entry])
    assert (came.objects, came.present > 300) == (1, True)  # what had come stayed
    assert complete(there, entry)


@pytest.mark.parametrize("kind", ["corrupt", "short"])
def test_bytes_that_are_wrong_every_time_are_named_and_not_kept(
    bad: BadRemote, bucket: Remote, here: LocalStore, there: LocalStore, entry: Entry, kind: str
) -> None:
    push_objects(here, bucket, {"data": entry})
    bad.spoil(kind, r"objects/xxh128/../[0-9a-f]{30}", method="GET")  # type: ignore[arg-type]
    came = pull_objects(there, bucket, {"data": entry})
    assert came.corrupt == ["data/large"]
    assert len(came.damaged_keys) == 1
    bad.mend()
    assert pull_objects(there, bucket, {"data": entry}).corrupt == []
    assert complete(there, entry)


def test_a_range_with_a_wrong_byte_costs_only_what_it_hits(
    bad: BadRemote, bucket: Remote, here: LocalStore, there: LocalStore, entry: Entry
) -> None:
    push_objects(here, bucket, {"data": entry})
    pull_objects(there, bucket, {"data": entry}, dry_run=True)
    bad.spoil("corrupt", r"packs/.*\.pack", method="GET")
    came = pull_objects(there, bucket, {"data": entry})
    assert came.objects > 0
    assert came.corrupt
    assert all(there.verify(digest) >= 0 for digest in there)
    bad.mend()
    pull_objects(there, bucket, {"data": entry})
    assert complete(there, entry)


def test_a_bucket_is_asked_few_times(
    bad: BadRemote, bucket: Remote, here: LocalStore, there: LocalStore, entry: Entry, tmp_path: Path
) -> None:
    push_objects(here, bucket, [entry], facts=tmp_path / "facts")
    absent_on(here, bucket, [entry], facts=tmp_path / "facts")
    before = bad.count()
    push_objects(here, bucket, [entry], facts=tmp_path / "facts")
    assert bad.count() - before == 3
    before = bad.count()
    pull_objects(there, bucket, [entry], facts=tmp_path / "facts")
    assert bad.count() - before <= 6
    holdings = Holdings(bucket, tmp_path / "facts")
    holdings.look()
    assert holdings.version == 2
