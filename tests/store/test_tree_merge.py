"""Folders put together: what one side changed is taken, what both changed is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import IntegrityError
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.tree import DIR, FILE, TreeEntry, encode, totals, walk
from mlops_cli.core.store.tree_merge import merge_folders

Files = dict[str, str]  # path -> text


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    return LocalStore(tmp_path_factory.mktemp("cache"), "xxh128")


def kept(store: LocalStore, files: Files) -> Entry:
    """The folder with these files, in the store."""
    entries, below = [], dict[str, Files]()
    for path, text in files.items():
        name, _, rest = path.partition("/")
        if rest:
            below.setdefault(name, {})[rest] = text
        else:
            entries.append(TreeEntry(name.encode(), FILE, str(store.put_bytes(text.encode())), len(text)))
    for name, inner in below.items():
        entry = kept(store, inner)
        entries.append(TreeEntry(name.encode(), DIR, entry.digest, entry.size, entry.files))
    return Entry(str(store.put_bytes(encode(entries, "xxh128"))), "dir", *totals(entries))


def read(store: LocalStore, entry: Entry) -> Files:
    found = walk(store, entry)
    return {path: store.read(item.entry.name).decode() for path, item in found if not item.is_dir}


NAMES = some.sampled_from(["a", "b", "d/a", "d/b", "d/e/a"])
STATES = some.dictionaries(NAMES, some.sampled_from(["1", "2", "3"]), max_size=5)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(base=STATES, ours=STATES, theirs=STATES)
def test_it_is_the_three_way_merge_of_every_file(store: LocalStore, base: Files, ours: Files, theirs: Files) -> None:
    merged, clashes = merge_folders(store, kept(store, base), kept(store, ours), kept(store, theirs))
    expected, both = {}, []
    for path in sorted({*base, *ours, *theirs}):
        was, here, there = base.get(path), ours.get(path), theirs.get(path)
        chosen = there if here == was else here
        if here != there and here != was and there != was:
            both.append(path)
        if chosen is not None:
            expected[path] = chosen
    assert read(store, merged) == expected
    assert sorted(clashes) == sorted(both)


def test_a_file_where_the_other_has_a_folder_is_a_clash(store: LocalStore) -> None:
    _, clashes = merge_folders(store, None, kept(store, {"a": "1"}), kept(store, {"a/b": "1"}))
    assert clashes == ["a"]


def test_a_folder_that_went_takes_its_unchanged_files_with_it(store: LocalStore, tmp_path: Path) -> None:
    base = kept(store, {"d/a": "1", "d/b": "2", "c": "3"})
    merged, clashes = merge_folders(
        store, base, kept(store, {"c": "3"}), kept(store, {"d/a": "1", "d/b": "2", "c": "4"})
    )
    assert (read(store, merged), clashes) == ({"c": "4"}, [])
    assert [path for path, _ in walk(store, merged)] == ["c"]


def test_trees_that_multiply_are_followed_only_so_far(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops_cli.core.store.tree._EMPTY_FOLDERS", 1000)
    empty = kept(store, {})
    sides = [empty, Entry(str(store.put_bytes(encode([folder_row(b"x", empty)], "xxh128"))), "dir", 0, 0)]
    for _ in range(12):
        rows = [[folder_row(name, side) for name in (b"a", b"b")] for side in sides]
        sides = [Entry(str(store.put_bytes(encode(two, "xxh128"))), "dir", *totals(two)) for two in rows]
    with pytest.raises(IntegrityError, match="does not end"):
        merge_folders(store, None, *sides)


def folder_row(name: bytes, entry: Entry) -> TreeEntry:
    return TreeEntry(name, DIR, entry.digest, entry.size, entry.files)
