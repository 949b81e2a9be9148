"""fsck: every bad object is named with what needs it, and nothing is deleted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mlops_cli.core.base.digest import digest_bytes
from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import ProjectError
from mlops_cli.core.store.fsck import fsck, scan
from mlops_cli.core.store.index import Index
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.salvage import set_damaged_aside
from mlops_cli.core.store.snapshot import record
from mlops_cli.core.store.tree import FILE, TreeEntry, encode, walk


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "cache", "xxh128")


@pytest.fixture
def entry(store: LocalStore, tmp_path: Path) -> Entry:
    (tmp_path / "data/sub").mkdir(parents=True)
    (tmp_path / "data/a").write_bytes(b"1")
    (tmp_path / "data/sub/b").write_bytes(b"22")
    return record(store, Index(tmp_path / "index"), tmp_path / "data")


def test_a_good_store_is_all_good(store: LocalStore, entry: Entry) -> None:
    report = fsck(store, {"data": entry})
    assert report.ok
    assert report.objects == 4
    assert report.bytes > 3


def test_a_damaged_object_is_named_and_stays_where_it_is(store: LocalStore, entry: Entry) -> None:
    digest = digest_bytes(b"22", "xxh128")
    store.file_of(digest).chmod(0o644)
    store.file_of(digest).write_bytes(b"2?")
    for _ in range(2):
        [bad] = fsck(store, {"data": entry}).bad
        assert (bad.digest, bad.problem, bad.paths) == (str(digest), "damaged", ["data/sub/b"])
    assert store.file_of(digest).read_bytes() == b"2?"
    aside = set_damaged_aside(store, scan(store))
    assert Path(aside.objects[str(digest)]).read_bytes() == b"2?"
    [gone] = fsck(store, {"data": entry}).bad
    assert (gone.digest, gone.problem) == (str(digest), "missing")
    store.put_bytes(b"22")
    assert fsck(store, {"data": entry}).ok


def test_a_damaged_object_that_nothing_needs_is_named_too(store: LocalStore) -> None:
    digest = store.put_bytes(b"orphan")
    store.file_of(digest).chmod(0o644)
    store.file_of(digest).write_bytes(b"")
    [bad] = fsck(store, {}).bad
    assert (bad.digest, bad.paths) == (str(digest), [])


def test_damaged_and_missing_trees_are_named(store: LocalStore, entry: Entry) -> None:
    sub = dict(walk(store, entry))["sub"].entry
    loose = store.file_of(sub.name)
    loose.unlink()
    [bad] = fsck(store, {"data": entry}).bad
    assert (bad.digest, bad.problem, bad.paths) == (sub.digest, "missing", ["data/sub"])
    store.file_of(entry.name).chmod(0o644)
    store.file_of(entry.name).write_bytes(b"MLOTREE")
    [bad] = fsck(store, {"data": entry}).bad
    assert (bad.digest, bad.problem, bad.paths) == (entry.digest, "damaged", ["data"])


def test_a_tree_that_lies_is_a_bad_tree(store: LocalStore, entry: Entry) -> None:
    liar = Entry(entry.digest, "dir", entry.size + 1, entry.files)
    [bad] = fsck(store, {"data": liar}).bad
    assert bad.problem.startswith("bad tree")
    file = store.put_bytes(b"no tree at all")
    inner = encode([TreeEntry(b"sub", 4, str(file), 1, 1), TreeEntry(b"x", FILE, str(file), 14)], "xxh128")
    outer = Entry(str(store.put_bytes(inner)), "dir", 15, 2)
    [bad] = fsck(store, {"data": outer}).bad
    assert bad.paths == ["data/sub"]


def test_old_temp_files_are_removed_and_young_ones_are_not(store: LocalStore, entry: Entry) -> None:
    old, young = Path(store.temporary()), Path(store.temporary())
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    os.utime(old, (0, 0))
    assert fsck(store, {"data": entry}).leftovers == 1
    assert young.exists()
    assert not old.exists()


def test_foreign_files_in_the_cache_are_passed_over(store: LocalStore, entry: Entry) -> None:
    (store.cache / "objects/xxh128/zz").mkdir()
    (store.cache / "objects/xxh128/zz/note.txt").write_text("hello")
    (store.cache / "objects/.DS_Store").write_text("")
    assert fsck(store, {"data": entry}).objects == 4


def test_a_cache_of_a_newer_mlo_is_refused(store: LocalStore) -> None:
    store.put_bytes(b"x")
    assert (store.cache / "VERSION").read_bytes() == b"2\n"
    (store.cache / "VERSION").write_bytes(b"3\n")
    with pytest.raises(ProjectError, match="format"):
        LocalStore(store.cache, "xxh128")


@pytest.mark.parametrize("version", [b"", b"two\n", b"\x00\x00"])
def test_a_number_that_is_none_is_not_a_newer_mlo(store: LocalStore, version: bytes) -> None:
    digest = store.put_bytes(b"x")
    (store.cache / "VERSION").write_bytes(version)
    with pytest.raises(ProjectError, match="VERSION is damaged") as caught:
        LocalStore(store.cache, "xxh128")
    assert "write 2 into it" in (caught.value.hint or "")
    (store.cache / "VERSION").write_bytes(b"2")
    assert LocalStore(store.cache, "xxh128").read(digest) == b"x"
