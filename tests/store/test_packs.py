"""The packs of a cache, and a store that keeps objects in them: readers must not be able to tell."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mlops_cli.core.base.digest import Digest, digest_bytes
from mlops_cli.core.errors import MachineError
from mlops_cli.core.store.batch import FEWEST, Run
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.protocol import ObjectCorrupt, ObjectMissing
from mlops_cli.core.store.stable import SMALL_BYTES

CONTENTS = [b"object %d " % number * 20 for number in range(FEWEST + 8)]


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "cache", "xxh128")


def packed(store: LocalStore, contents: list[bytes] = CONTENTS) -> list[Digest]:
    with store.batch():
        return [store.put_bytes(data) for data in contents]


def packs_of(store: LocalStore) -> list[Path]:
    return sorted((store.cache / "packs").glob("*.pack"))


def damage(pack: Path, content: bytes) -> None:
    """Flip a bit of one object's bytes in a pack."""
    data = bytearray(pack.read_bytes())
    data[data.index(content)] ^= 1
    pack.chmod(0o644)
    pack.write_bytes(bytes(data))


@pytest.mark.parametrize("algorithm", ["xxh128", "blake3"])
def test_many_small_objects_become_one_file(tmp_path: Path, algorithm: str) -> None:
    store = LocalStore(tmp_path / "cache", algorithm)
    digests = packed(store)
    assert len(packs_of(store)) == 1
    assert list(store.loose) == []
    for one in (store, LocalStore(store.cache, algorithm)):
        assert [one.read(digest) for digest in digests] == CONTENTS
        assert [one.size(str(digest)) for digest in digests] == [len(data) for data in CONTENTS]
        assert set(one) == set(digests)
        assert one.missing(map(str, digests)) == set()
        assert one.verify(digests[3]) == len(CONTENTS[3])
        assert one.open(digests[3]).read(5) == CONTENTS[3][:5]
        one.copy_to(digests[3], tmp_path / "out")
        assert (tmp_path / "out").read_bytes() == CONTENTS[3]


def test_few_small_objects_and_all_large_ones_stay_loose(store: LocalStore) -> None:
    large = os.urandom(SMALL_BYTES + 1)
    digests = packed(store, [*CONTENTS[: FEWEST - 1], large])
    assert packs_of(store) == []
    assert sorted(store.loose, key=str) == sorted(digests, key=str)


def test_a_large_object_never_goes_into_a_pack(store: LocalStore) -> None:
    large = os.urandom(SMALL_BYTES + 1)
    packed(store, [*CONTENTS, large])
    assert list(store.loose) == [digest_bytes(large, "xxh128")]


def test_the_same_bytes_are_kept_once(store: LocalStore) -> None:
    packed(store, CONTENTS * 3)
    size = packs_of(store)[0].stat().st_size
    packed(store)
    packed(LocalStore(store.cache, "xxh128"))
    assert [path.stat().st_size for path in packs_of(store)] == [size]
    assert list(store.loose) == []


def test_objects_can_be_asked_for_before_the_batch_ends(store: LocalStore) -> None:
    large = os.urandom(SMALL_BYTES + 1)
    with store.batch():
        for data in [*CONTENTS, large]:
            digest = store.put_bytes(data)
            assert store.has(digest)
            assert store.size(str(digest)) == len(data)
            assert store.read(digest) == data
            assert store.missing([str(digest)]) == set()
        assert store.missing(str(digest_bytes(data, "xxh128")) for data in CONTENTS * 20) == set()


def test_a_full_pack_is_followed_by_another(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops_cli.core.store.batch.PACK_BYTES", 2000)
    with store.batch():
        digests = [store.put_bytes(data) for data in CONTENTS]
        assert [store.read(digest) for digest in digests] == CONTENTS
    assert len(packs_of(store)) > 1
    assert [LocalStore(store.cache, "xxh128").read(digest) for digest in digests] == CONTENTS


def test_a_damaged_object_in_a_pack_is_never_returned_and_a_put_mends_it(store: LocalStore) -> None:
    digests = packed(store)
    damage(packs_of(store)[0], CONTENTS[5])
    fresh = LocalStore(store.cache, "xxh128")
    with pytest.raises(ObjectCorrupt):
        fresh.read(digests[5])
    with pytest.raises(ObjectCorrupt):
        fresh.copy_to(digests[5], store.cache.parent / "out")
    assert not (store.cache.parent / "out").exists()
    assert fresh.read(digests[6]) == CONTENTS[6]
    fresh.put_bytes(CONTENTS[5])
    assert fresh.read(digests[5]) == CONTENTS[5]
    assert fresh.verify(digests[5]) == len(CONTENTS[5])
    fresh.copy_to(digests[5], store.cache.parent / "out")
    assert (store.cache.parent / "out").read_bytes() == CONTENTS[5]


def test_a_pack_cut_short_counts_as_not_there_and_is_named(store: LocalStore) -> None:
    digests = packed(store)
    pack = packs_of(store)[0]
    pack.chmod(0o644)
    pack.write_bytes(pack.read_bytes()[:-20])
    fresh = LocalStore(store.cache, "xxh128")
    assert not fresh.has(digests[0])
    assert list(fresh.packs.damaged) == [pack.stem]
    with pytest.raises(ObjectMissing):
        fresh.read(digests[0])
    packed(fresh)
    assert [fresh.read(digest) for digest in digests] == CONTENTS


def test_a_pack_that_came_after_the_first_look_is_found(store: LocalStore) -> None:
    reader = LocalStore(store.cache, "xxh128")
    assert reader.missing(["xxh128:" + "0" * 32]) == {"xxh128:" + "0" * 32}
    digests = packed(store)
    assert reader.read(digests[0]) == CONTENTS[0]
    assert reader.missing(map(str, digests)) == set()


def test_a_reader_that_loses_its_pack_finds_the_new_one(store: LocalStore) -> None:
    """As when a collection of garbage packs anew what lives."""
    digests = packed(store)
    reader = LocalStore(store.cache, "xxh128")
    assert reader.read(digests[0]) == CONTENTS[0]
    old = store.packs.indexes.copy()
    with store.batch():
        raws, data = [bytes.fromhex(digest.hex) for digest in digests[1:]], b"".join(CONTENTS[1:])
        store.put_absent(Run("xxh128", raws, [len(data) for data in CONTENTS[1:]], memoryview(data)))
    store.packs.drop(old)
    reader.packs.close()
    assert [reader.read(digest) for digest in digests[1:]] == CONTENTS[1:]
    with pytest.raises(ObjectMissing):
        reader.read(digests[0])


def test_a_put_of_what_is_there_keeps_its_pack_young(store: LocalStore) -> None:
    packed(store)
    os.utime(packs_of(store)[0], (0, 0))
    again = LocalStore(store.cache, "xxh128")
    again.put_bytes(CONTENTS[0])
    assert packs_of(store)[0].stat().st_mtime > 0
    loose = store.put_bytes(b"alone")
    os.utime(store.loose.path(str(loose)), (0, 0))
    store.put_bytes(b"alone")
    assert os.stat(store.loose.path(str(loose))).st_mtime > 0


def test_a_packed_object_becomes_a_file_when_one_is_needed(store: LocalStore) -> None:
    digests = packed(store)
    path = store.file_of(digests[2])
    assert path.read_bytes() == CONTENTS[2]
    assert path.stat().st_mode & 0o777 == 0o444
    assert store.file_of(digests[2]) == path
    with pytest.raises(ObjectMissing):
        store.file_of(digest_bytes(b"nowhere", "xxh128"))


def test_a_full_disk_leaves_whole_packs_and_no_litter(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store.put_bytes(b"so that the cache is made")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MachineError, match="No space left"):
        packed(store)
    monkeypatch.setattr(os, "fsync", fsync)
    assert packs_of(store) == []
    assert os.listdir(store.cache / "tmp") == []
    digests = packed(store)
    assert [store.read(digest) for digest in digests] == CONTENTS


def test_many_packs_need_few_open_files(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops_cli.core.store.batch.PACK_BYTES", 300)
    digests = packed(store)
    assert len(packs_of(store)) > 16
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert [store.read(digest) for digest in digests] == CONTENTS
    after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert after - before <= 16


def test_a_cache_of_version_1_is_read_and_goes_on_as_version_2(store: LocalStore) -> None:
    """It had loose objects only."""
    digest = digest_bytes(b"old", "xxh128")
    place = store.cache / "objects/xxh128" / digest.hex[:2]
    place.mkdir(parents=True)
    (place / digest.hex[2:]).write_bytes(b"old")
    (store.cache / "VERSION").write_bytes(b"1\n")
    again = LocalStore(store.cache, "xxh128")
    assert again.read(digest) == b"old"
    packed(again)
    assert (store.cache / "VERSION").read_bytes() == b"2\n"
    assert again.read(digest) == b"old"


def test_a_writer_keeps_whoever_removes_objects_waiting(store: LocalStore) -> None:
    from mlops_cli.core.errors import Locked

    with store.batch(), store.writing():
        with pytest.raises(Locked):
            LocalStore(store.cache, "xxh128").folder.lock("mlo data gc").acquire(wait=False)
        with LocalStore(store.cache, "xxh128").batch():
            pass  # writers do not wait for each other
    lock = store.folder.lock("mlo data gc")
    lock.acquire(wait=False)
    lock.release()


def test_a_disk_that_is_full_for_a_moment_leaves_no_damaged_pack(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes a part of a write, refuses the rest, and has room again when the batch ends."""
    monkeypatch.setattr("mlops_cli.core.store.pack._BUFFER_BYTES", 4000)
    write, sizes = os.write, list[int]()

    def tight(handle: int, data: bytes) -> int:
        sizes.append(len(data))
        if len(sizes) == 2:
            return write(handle, data[:100])
        if len(sizes) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(handle, data)

    store.put_bytes(b"so that the cache is made")
    monkeypatch.setattr(os, "write", tight)
    with pytest.raises(MachineError, match="No space left"):
        packed(store, [b"object %d " % number * 20 for number in range(100)])
    assert len(sizes) > 3
    again = LocalStore(store.cache, "xxh128")
    assert [again.packs.damaged, len(packs_of(again))] == [{}, 1]
    for digest in again:
        assert digest_bytes(again.read(digest), "xxh128") == digest
