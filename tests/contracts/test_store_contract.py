"""What every object store promises; each kind of store brings one fixture."""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from mlops_cli.core.base.digest import Digest, digest_bytes
from mlops_cli.core.store.batch import FEWEST
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.protocol import ObjectCorrupt, ObjectMissing, ObjectStore


@pytest.fixture(params=["xxh128", "blake3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "cache", request.param)


def test_an_object_is_named_by_the_digest_of_its_bytes(store: LocalStore) -> None:
    for data in (b"", b"x", b"\0" * 300_000):
        assert store.put_bytes(data) == digest_bytes(data, store.algorithm)


def test_what_was_put_is_read(store: ObjectStore) -> None:
    for data in (b"", b"x", b"\0" * 300_000):
        assert store.read(store.put_bytes(data)) == data


def test_put_twice_keeps_one_object(store: ObjectStore) -> None:
    assert store.put_bytes(b"same") == store.put_bytes(b"same")
    assert len(list(store)) == 1


@pytest.mark.parametrize("size", [0, 1, 262_144, 262_145, 3_000_000])
def test_a_file_is_kept_like_its_bytes(store: ObjectStore, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    digest = store.put_file(tmp_path / "file")
    assert digest == store.put_bytes(data)
    assert store.read(digest) == data
    assert (tmp_path / "file").read_bytes() == data


def test_an_absent_object_is_missing(store: LocalStore) -> None:
    digest = digest_bytes(b"never", store.algorithm)
    assert not store.has(digest)
    with pytest.raises(ObjectMissing, match=digest.hex) as caught:
        store.read(digest)
    assert caught.value.hint


def test_an_absent_file_is_file_not_found(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.put_file(tmp_path / "nothing")


def test_every_object_is_listed(store: ObjectStore) -> None:
    digests = {store.put_bytes(b"%d" % number) for number in range(8)}
    assert set(store) == digests
    assert all(store.has(digest) for digest in digests)


def test_many_threads_put_the_same_bytes(store: ObjectStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        digests = set(pool.map(lambda number: store.put_bytes(b"%d" % (number % 5)), range(80)))
    assert set(store) == digests
    assert len(digests) == 5


def damage(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


@pytest.mark.parametrize("size", [1, 10, 300_000])
def test_a_flipped_truncated_or_grown_object_is_never_returned(store: LocalStore, size: int) -> None:
    data = os.urandom(size)
    digest = store.put_bytes(data)
    flipped = bytes([data[0] ^ 1]) + data[1:]
    for bad in (flipped, data[:-1], data + b"\0", b""):
        damage(store.file_of(digest), bad)
        with pytest.raises(ObjectCorrupt, match=digest.hex):
            store.read(digest)


@pytest.mark.parametrize("size", [10, 300_000])
def test_a_put_mends_a_damaged_object(store: LocalStore, tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    digest = store.put_file(tmp_path / "file")
    for bad in (b"?" + data[1:], data[:-1]):
        damage(store.file_of(digest), bad)
        assert store.put_file(tmp_path / "file") == digest
        assert store.read(digest) == data
        damage(store.file_of(digest), bad)
        assert store.put_bytes(data) == digest
        assert store.read(digest) == data


class StoreMachine(RuleBasedStateMachine):
    """Any sequence of puts, damage, deletions, quarantines and reads, against a dictionary."""

    digests = Bundle("digests")

    def __init__(self) -> None:
        super().__init__()
        # In memory where there is such a place: thousands of flushes to a disk would take minutes.
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self._folder = tempfile.TemporaryDirectory(dir=memory)
        self.root = Path(self._folder.name)
        self.store = LocalStore(self.root / "cache", "xxh128")
        self.good: dict[Digest, bytes] = {}
        self.bad: set[Digest] = set()

    def teardown(self) -> None:
        self._folder.cleanup()

    def kept(self, data: bytes, digest: Digest) -> Digest:
        self.good[digest] = data
        self.bad.discard(digest)
        return digest

    @rule(target=digests, data=st.binary(max_size=8))
    def put(self, data: bytes) -> Digest:
        return self.kept(data, self.store.put_bytes(data))

    @rule(target=digests, data=st.binary(max_size=8))
    def put_file(self, data: bytes) -> Digest:
        (self.root / "file").write_bytes(data)
        return self.kept(data, self.store.put_file(self.root / "file"))

    @rule(target=digests, several=st.lists(st.binary(max_size=4), min_size=1, max_size=4))
    def put_batch(self, several: list[bytes]) -> Digest:
        with self.store.batch():
            found = [self.kept(data, self.store.put_bytes(data)) for data in several]
            assert all(self.store.read(digest) == data for digest, data in zip(found, several, strict=True))
        return found[-1]

    @rule(target=digests, seed=st.binary(min_size=1, max_size=2))
    def put_pack(self, seed: bytes) -> Digest:
        several = [seed + bytes([number]) for number in range(FEWEST)]
        with self.store.batch():
            found = [self.kept(data, self.store.put_bytes(data)) for data in several]
        return found[0]

    def is_packed(self, digest: Digest) -> bool:
        return self.store.packs.find(str(digest)) is not None

    @rule(digest=digests, data=st.binary(max_size=9))
    def damage(self, digest: Digest, data: bytes) -> None:
        """Wherever it lies."""
        if digest not in self.good or data == self.good[digest] or not self.good[digest]:
            return
        for place in self.store.packs.places(str(digest)):
            path = Path(self.store.packs.path(place.pack.name))
            path.chmod(0o644)
            with path.open("r+b") as file:
                file.seek(place.offset)
                file.write(bytes(byte ^ 255 for byte in self.good[digest]))
        loose = Path(self.store.loose.path(str(digest)))
        if loose.exists():
            damage(loose, data)
        self.bad.add(digest)

    @rule(digest=digests)
    def delete(self, digest: Digest) -> None:
        if not self.is_packed(digest) and self.good.pop(digest, None) is not None:
            Path(self.store.loose.path(str(digest))).unlink()
            self.bad.discard(digest)

    @rule(digest=consumes(digests))
    def quarantine(self, digest: Digest) -> None:
        if self.is_packed(digest):
            return
        moved = self.store.quarantine(digest)
        assert (moved is not None) == (digest in self.good)
        self.good.pop(digest, None)
        self.bad.discard(digest)

    @rule(digest=digests)
    def read(self, digest: Digest) -> None:
        if digest not in self.good:
            with pytest.raises(ObjectMissing):
                self.store.read(digest)
        elif digest in self.bad:
            with pytest.raises(ObjectCorrupt):
                self.store.read(digest)
        else:
            assert self.store.read(digest) == self.good[digest]

    @rule(digest=digests, way=st.sampled_from(["reflink", "hardlink", "symlink", "copy"]), executable=st.booleans())
    def restore(self, digest: Digest, way: str, executable: bool) -> None:
        target = self.root / "target"
        before = target.read_bytes() if target.exists() else None
        try:
            self.store.copy_to(digest, target, link=(way,), executable=executable)
        except (ObjectMissing, ObjectCorrupt):
            assert digest not in self.good or digest in self.bad
            assert (target.read_bytes() if target.exists() else None) == before
        else:
            assert target.read_bytes() == self.good[digest]
            assert os.access(target, os.X_OK) or not executable
            target.unlink()

    @invariant()
    def the_listing_is_what_is_there(self) -> None:
        assert set(self.store) == self.good.keys()
        assert all(self.store.has(digest) for digest in self.good)
        everything = {str(digest) for digest in self.good}
        assert self.store.missing(everything | {"xxh128:" + "0" * 32}) == {"xxh128:" + "0" * 32}

    @invariant()
    def nothing_is_left_behind(self) -> None:
        temporary = self.root / "cache/tmp"
        assert not temporary.exists() or not list(temporary.iterdir())


StoreMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestStoreMachine = StoreMachine.TestCase
