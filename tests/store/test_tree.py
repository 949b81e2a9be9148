"""Tree objects: one folder, one encoding, and nothing a hostile one could do."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.core.base.digest import Digest, digest_bytes
from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import IntegrityError
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.protocol import ObjectMissing
from mlops_cli.core.store.tree import (
    DIR,
    EXEC,
    FILE,
    LINK,
    TreeEntry,
    closure,
    decode,
    empty_tree,
    encode,
    forbidden_name,
    graft,
    walk,
    walk_bytes,
)

A = str(digest_bytes(b"a", "xxh128"))
SIZES = st.integers(0, 2**64 - 1)
NAMES = st.binary(min_size=1, max_size=255).filter(lambda name: not forbidden_name(name))


def digests(algorithm: str) -> st.SearchStrategy[str]:
    return st.binary(max_size=64).map(lambda data: str(digest_bytes(data, algorithm)))


@st.composite
def trees(draw: st.DrawFn) -> tuple[str, list[TreeEntry]]:
    algorithm = draw(st.sampled_from(["xxh128", "blake3"]))
    entries = []
    for name in draw(st.sets(NAMES, max_size=8)):
        mode = draw(st.sampled_from([FILE, EXEC, LINK, DIR]))
        files = draw(SIZES) if mode == DIR else 1
        entries.append(TreeEntry(name, mode, draw(digests(algorithm)), draw(SIZES), files))
    return algorithm, entries


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "cache", "xxh128")


@given(trees())
def test_what_is_encoded_is_decoded(tree: tuple[str, list[TreeEntry]]) -> None:
    algorithm, entries = tree
    assert decode(encode(entries, algorithm)) == sorted(entries, key=lambda entry: entry.name)


@given(trees())
def test_the_order_of_entries_does_not_matter(tree: tuple[str, list[TreeEntry]]) -> None:
    algorithm, entries = tree
    assert encode(entries, algorithm) == encode(reversed(entries), algorithm)


@given(trees(), st.data())
def test_no_other_bytes_mean_the_same_tree(tree: tuple[str, list[TreeEntry]], data: st.DataObject) -> None:
    encoded = encode(tree[1], tree[0])
    place = data.draw(st.integers(0, len(encoded) - 1))
    changed = bytearray(encoded)
    changed[place] ^= data.draw(st.integers(1, 255))
    for other in (bytes(changed), encoded[:place], encoded + b"\0"):
        try:
            entries = decode(other)
        except IntegrityError:
            continue
        algorithm = "xxh128" if other[8] == 1 else "blake3"
        assert encode(entries, algorithm) == other
        assert other != encoded


@given(st.binary(max_size=200))
def test_any_bytes_are_a_tree_or_an_integrity_error(data: bytes) -> None:
    for candidate in (data, b"MLOTREE" + data, b"MLOTREE\x01\x01" + data):
        try:
            entries = decode(candidate)
        except IntegrityError:
            continue
        assert encode(entries, "xxh128" if candidate[8] == 1 else "blake3") == candidate


def raw(*entries: tuple[int, bytes, int, int]) -> bytes:
    """A tree object written by hand: (mode, name, size, files)."""
    parts = [struct.pack("<7sBBI", b"MLOTREE", 1, 1, len(entries))]
    for mode, name, size, files in entries:
        parts += [struct.pack("<BHQQ", mode, len(name), size, files), bytes.fromhex(A[7:]), name]
    return b"".join(parts)


@pytest.mark.parametrize(
    "name", [b"", b".", b"..", b"a/b", b"/", b"a\0b", b".git", b".GIT", b".mlo", b"../../.git/hooks/post-checkout"]
)
def test_a_name_that_could_escape_is_refused(name: bytes) -> None:
    with pytest.raises(IntegrityError):
        decode(raw((FILE, name, 1, 1)))
    with pytest.raises(IntegrityError):
        encode([TreeEntry(name, FILE, A, 1)], "xxh128")


@pytest.mark.parametrize(
    "entries",
    [
        [(FILE, b"a", 1, 1), (FILE, b"a", 1, 1)],
        [(FILE, b"a", 1, 1), (DIR, b"a", 1, 1)],
        [(FILE, b"b", 1, 1), (FILE, b"a", 1, 1)],
        [(0, b"a", 1, 1)],
        [(5, b"a", 1, 1)],
        [(FILE, b"a", 1, 2)],
        [(LINK, b"a", 1, 0)],
    ],
    ids=["twice", "twice-as-folder", "unsorted", "mode-0", "mode-5", "two-files", "no-file"],
)
def test_what_the_writer_would_not_write_is_refused(entries: list[tuple[int, bytes, int, int]]) -> None:
    with pytest.raises(IntegrityError):
        decode(raw(*entries))


def test_a_newer_version_says_upgrade() -> None:
    with pytest.raises(IntegrityError, match="version 2") as caught:
        decode(struct.pack("<7sBBI", b"MLOTREE", 2, 1, 0))
    assert caught.value.hint == "upgrade mlo"


def test_a_count_that_does_not_fit_is_refused_before_it_is_believed() -> None:
    with pytest.raises(IntegrityError, match="promises"):
        decode(struct.pack("<7sBBI", b"MLOTREE", 1, 1, 2**32 - 1))


def test_a_mixed_tree_cannot_be_written() -> None:
    with pytest.raises(IntegrityError):
        encode([TreeEntry(b"a", FILE, str(digest_bytes(b"", "blake3")), 0)], "xxh128")


def folder(store: LocalStore, **names: TreeEntry | bytes) -> Entry:
    """A folder's entry: bytes become files."""
    entries = []
    for name, what in names.items():
        if isinstance(what, bytes):
            entries.append(TreeEntry(name.encode(), FILE, str(store.put_bytes(what)), len(what)))
        else:
            entries.append(what)
    digest = store.put_bytes(encode(entries, "xxh128"))
    return Entry(str(digest), "dir", sum(e.size for e in entries), sum(e.files for e in entries))


def below(name: bytes, entry: Entry) -> TreeEntry:
    return TreeEntry(name, DIR, entry.digest, entry.size, entry.files)


def test_walk_goes_parents_first_and_closure_content_first(store: LocalStore) -> None:
    inner = folder(store, x=b"1", y=b"2")
    outer = folder(store, a=b"1", sub=below(b"sub", inner), twin=below(b"twin", inner))
    assert [path for path, _ in walk(store, outer)] == ["a", "sub", "sub/x", "sub/y", "twin", "twin/x", "twin/y"]
    needed = [str(digest) for digest in closure(store, outer)]
    assert len(needed) == len(set(needed)) == 4
    assert needed.index(inner.digest) > needed.index(str(digest_bytes(b"2", "xxh128")))
    assert needed[-1] == outer.digest


def test_the_closure_of_a_file_is_the_file(store: LocalStore) -> None:
    entry = Entry(str(store.put_bytes(b"x")), "file", 1)
    assert [str(digest) for digest in closure(store, entry)] == [entry.digest]
    assert list(walk(store, entry)) == []


@pytest.mark.parametrize(("size", "files"), [(0, 1), (1, 0), (2, 1), (1, 2)])
def test_a_lying_length_is_found(store: LocalStore, size: int, files: int) -> None:
    inner = folder(store, x=b"1")
    liar = TreeEntry(b"sub", DIR, inner.digest, size, files)
    outer = folder(store, sub=liar)
    with pytest.raises(IntegrityError, match="holds 1 files of 1 bytes"):
        list(walk(store, outer))
    with pytest.raises(IntegrityError):
        list(closure(store, outer))


def test_a_tree_nested_without_end_is_refused(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops_cli.core.store.tree.MAX_DEPTH", 20)
    entry = folder(store)
    with store.batch():
        for _ in range(25):
            entry = folder(store, sub=below(b"sub", entry))
    with pytest.raises(IntegrityError, match="does not end"):
        list(walk(store, entry))
    with pytest.raises(IntegrityError, match="does not end"):
        list(closure(store, entry))


def test_a_tree_that_multiplies_is_walked_only_so_far(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops_cli.core.store.tree._EMPTY_FOLDERS", 1000)
    entry = folder(store)
    for _ in range(12):
        entry = folder(store, a=below(b"a", entry), b=below(b"b", entry))
    with pytest.raises(IntegrityError, match="does not end"):
        list(walk(store, entry))
    assert len(list(closure(store, entry))) == 13


class Counted:
    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self.reads = 0

    def read(self, digest: Digest) -> bytes:
        self.reads += 1
        return self._store.read(digest)


def test_a_tree_that_multiplies_is_refused_before_it_is_walked(store: LocalStore) -> None:
    entry = folder(store)
    for _ in range(40):
        entry = folder(store, a=below(b"a", entry), b=below(b"b", entry))
    outer, counted = folder(store, bomb=below(b"bomb", entry), file=b"1"), Counted(store)
    with pytest.raises(IntegrityError, match="does not end"):
        list(walk(counted, outer))
    assert counted.reads <= 50


def test_empty_folders_are_walked_as_often_as_they_stand(store: LocalStore) -> None:
    entry = folder(store)
    for _ in range(3):
        entry = folder(store, a=below(b"a", entry), b=below(b"b", entry))
    assert len(list(walk(store, folder(store, x=below(b"x", entry), file=b"1")))) == 2 + 2 + 4 + 8


def test_a_missing_subfolder_is_noted_and_the_walk_goes_on(store: LocalStore) -> None:
    gone = folder(store, x=b"1")
    outer = folder(store, a=below(b"a", gone), b=b"2")
    store.file_of(Digest.parse(gone.digest)).unlink()
    lost: dict[bytes, Exception] = {}
    assert [path for path, _ in walk_bytes(store, outer, lost)] == [b"a", b"b"]
    assert isinstance(lost[b"a"], ObjectMissing)
    with pytest.raises(ObjectMissing):
        list(walk(store, outer))


def test_names_that_are_not_utf8_survive(store: LocalStore) -> None:
    entry = TreeEntry(b"\xff\xfe", FILE, str(store.put_bytes(b"x")), 1)
    [(path, found)] = list(walk(store, folder(store, odd=entry)))
    assert os.fsencode(path) == b"\xff\xfe"
    assert found == entry


def test_graft_changes_one_path_and_makes_the_folders_on_the_way(store: LocalStore) -> None:
    before = folder(store, a=b"1", sub=below(b"sub", folder(store, x=b"22")))
    new = TreeEntry(b"z", EXEC, str(store.put_bytes(b"333")), 3)
    after = graft(store, before, {b"sub/deep/z": new})
    assert [path for path, _ in walk(store, after)] == ["a", "sub", "sub/deep", "sub/deep/z", "sub/x"]
    assert (after.size, after.files) == (6, 3)
    back = graft(store, after, {b"sub/deep": None})
    assert back == before


def test_graft_keeps_a_folder_that_it_empties(store: LocalStore) -> None:
    after = graft(store, folder(store, a=b"1"), {b"a": None})
    assert after == empty_tree(store)


def test_graft_cannot_go_through_a_file(store: LocalStore) -> None:
    with pytest.raises(IntegrityError, match="not a folder"):
        graft(store, folder(store, a=b"1"), {b"a/b": TreeEntry(b"b", FILE, A, 1)})


def test_many_changes_of_a_folder_make_each_tree_once(store: LocalStore) -> None:
    before = folder(store, a=b"1", b=b"2")
    new = {b"sub/%d" % number: TreeEntry(b"%d" % number, FILE, A, 1) for number in range(50)}
    objects = len(list(store))
    after = graft(store, before, {**new, b"a": None})
    assert {path for path, _ in walk_bytes(store, after)} == {b"b", b"sub", *new}
    assert len(list(store)) == objects + 3  # the empty folder that it began with, the new one, and the top
