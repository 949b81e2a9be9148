"""What differs between two states is found, and nothing else is even read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.core.base.digest import Digest, digest_bytes
from mlops_cli.core.base.records import Entry
from mlops_cli.core.data.compare import items_here
from mlops_cli.core.data.differ import Comparison, Difference, Total, compare, recorded, standing, totals
from mlops_cli.core.errors import IntegrityError, NotFound
from mlops_cli.core.store.index import Index
from mlops_cli.core.store.tree import DIR, EXEC, FILE, MAX_DEPTH, TreeEntry, encode

Tree = dict[str, "Tree | bytes"]


class Memory:
    """A store in memory that counts what is read."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.read_digests: list[str] = []

    def read(self, digest: Digest) -> bytes:
        self.read_digests.append(str(digest))
        if str(digest) not in self.objects:
            raise NotFound(f"no {digest}")
        return self.objects[str(digest)]

    def keep(self, tree: Tree) -> Entry:
        rows = []
        for name, inner in tree.items():
            if isinstance(inner, bytes):
                rows.append(TreeEntry(name.encode(), FILE, str(digest_bytes(inner, "xxh128")), len(inner)))
            else:
                entry = self.keep(inner)
                rows.append(TreeEntry(name.encode(), DIR, entry.digest, entry.size, entry.files))
        data = encode(rows, "xxh128")
        digest = str(digest_bytes(data, "xxh128"))
        self.objects[digest] = data
        return Entry(digest, "dir", sum(row.size for row in rows), sum(row.files for row in rows))


def compared(before: Tree, after: Tree) -> list[Difference]:
    store = Memory()
    return compare(recorded(store, {"d": store.keep(before)}), recorded(store, {"d": store.keep(after)})).changes


def test_what_came_went_and_changed_is_told_with_sizes() -> None:
    assert compared({"a": b"1", "b": b"22", "c": b"c"}, {"a": b"1", "b": b"333", "n": b"4444"}) == [
        Difference("d/b", "modified", 2, 3),
        Difference("d/c", "deleted", before=1),
        Difference("d/n", "added", after=4),
    ]


def test_folders_that_are_equal_are_not_read() -> None:
    same: Tree = {str(number): {"x": b"%d" % number} for number in range(200)}
    store = Memory()
    before, after = store.keep({**same, "e": {"f": b"1"}}), store.keep({**same, "e": {"f": b"22"}})
    found = compare(recorded(store, {"d": before}), recorded(store, {"d": after}))
    assert found.changes == [Difference("d/e/f", "modified", 1, 2)]
    assert len(store.read_digests) == 4  # the top and `e`, of both
    store.read_digests.clear()
    assert not compare(recorded(store, {"d": before}), recorded(store, {"d": before})).changes
    assert not store.read_digests


def test_a_renamed_folder_is_known_as_one_whatever_else_changed_in_it() -> None:
    files: Tree = {f"f{number}": b"%d" % number for number in range(5)}
    found = compared({"old": {"deep": files}}, {"new": {"deep": {**files, "f0": b"changed"}}})
    assert [row for row in found if row.change == "renamed"] == [
        Difference(f"d/new/deep/f{n}", "renamed", 1, 1, f"d/old/deep/f{n}", "d/new") for n in range(1, 5)
    ]
    assert {(row.path, row.change, row.folder) for row in found if row.change != "renamed"} == {
        ("d/new/deep/f0", "added", "d/new"),
        ("d/old/deep/f0", "deleted", "d/old"),
    }


def test_files_with_the_same_bytes_keep_their_names_where_they_can() -> None:
    found = compared({"old": {"a": b"same", "b": b"same"}, "z": b"same"}, {"new": {"b": b"same", "a": b"same"}})
    assert [(row.old_path, row.path, row.change) for row in found] == [
        ("d/old/a", "d/new/a", "renamed"),
        ("d/old/b", "d/new/b", "renamed"),
        (None, "d/z", "deleted"),
    ]


def test_empty_files_and_other_modes_are_no_renames() -> None:
    assert [row.change for row in compared({"a": b""}, {"b": b""})] == ["deleted", "added"]
    store = Memory()
    digest = str(digest_bytes(b"x", "xxh128"))
    sides = [
        recorded(store, {name: Entry(digest, "file", 1, executable=mode == EXEC)})
        for name, mode in (("a", FILE), ("b", EXEC))
    ]
    assert [row.change for row in compare(*sides).changes] == ["deleted", "added"]


def test_a_file_in_the_place_of_a_folder() -> None:
    assert [(row.path, row.change) for row in compared({"x": {"y": b"1"}}, {"x": b"22"})] == [
        ("d/x", "added"),
        ("d/x/y", "deleted"),
    ]


def test_an_entry_that_became_part_of_another_has_not_moved() -> None:
    store = Memory()
    inner: Tree = {"f": b"1", "g": b"22"}
    part, whole = store.keep(inner), store.keep({"raw": inner, "more": b"333"})
    found = compare(recorded(store, {"data/raw": part}), recorded(store, {"data": whole}))
    assert [(row.path, row.change) for row in found.changes] == [("data/more", "added")]


def test_a_folder_that_cannot_be_read_is_named_and_the_rest_compared() -> None:
    store = Memory()
    before = store.keep({"lost": {"x": b"1"}, "a": b"1"})
    after = store.keep({"lost": {"x": b"2"}, "a": b"22"})
    inner = store.keep({"x": b"1"})
    del store.objects[inner.digest]
    found = compare(recorded(store, {"d": before}), recorded(store, {"d": after}))
    assert found == Comparison([Difference("d/a", "modified", 1, 2)], ["d/lost"])
    assert compare(recorded(store, {"d": inner}), recorded(store, {})).unread == ["d"]


def test_totals_count_files_and_bytes() -> None:
    rows = [Difference("a", "modified", 1, 5), Difference("b", "modified", 2, 5), Difference("c", "added", after=7)]
    assert totals(rows) == {"added": Total(1, 0, 7), "modified": Total(2, 3, 10)}


def test_the_work_tree_is_a_side_too(tmp_path: Path) -> None:
    store = Memory()
    entry = store.keep({"a": b"1", "sub": {"b": b"2"}})
    (tmp_path / "d/sub").mkdir(parents=True)
    (tmp_path / "d/a").write_bytes(b"1")
    (tmp_path / "d/sub/c\udcff").write_bytes(b"2")
    items = items_here(Index(tmp_path / ".mlo/index"), tmp_path / "d", "xxh128")
    found = compare(recorded(store, {"d": entry}), standing({"d": items}))
    assert found.changes == [Difference("d/sub/c\udcff", "renamed", 1, 1, "d/sub/b")]


names = st.sampled_from(["a", "b", "c"])
trees = st.recursive(
    st.dictionaries(names, st.sampled_from([b"", b"1", b"22", b"333"]), max_size=3),
    lambda inner: st.dictionaries(names, inner | st.sampled_from([b"1", b"22"]), max_size=3),
    max_leaves=12,
)


def flat(tree: Tree, prefix: str = "d/") -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for name, inner in tree.items():
        found |= {prefix + name: inner} if isinstance(inner, bytes) else flat(inner, f"{prefix}{name}/")
    return found


@settings(max_examples=150, deadline=None)
@given(trees, trees)
def test_applied_to_the_one_the_differences_make_the_other(before: Tree, after: Tree) -> None:
    old, new = flat(before), flat(after)
    built = dict(old)
    rows = [row for row in compared(before, after) if row.path in old or row.path in new]
    for row in rows:
        gone = row.old_path if row.change == "renamed" else row.path
        if row.change == "renamed":
            assert old[str(gone)] == new[row.path]
        if row.change != "added":
            built.pop(str(gone), None)  # an empty folder is in neither
    for row in rows:
        if row.path in new and row.change != "deleted":
            assert row.after == len(new[row.path])
            built[row.path] = new[row.path]
    assert built == new


def test_a_tree_without_end_is_refused() -> None:
    """Deeper than a path can be."""
    tree: Tree = {"x": b"1"}
    for _ in range(MAX_DEPTH + 1):
        tree = {"x": tree}
    with pytest.raises(IntegrityError, match="does not end"):
        compared({}, tree)


def test_trees_that_multiply_are_followed_only_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops_cli.core.store.tree._EMPTY_FOLDERS", 1000)
    trees: list[Tree] = [{}, {"x": {}}]
    for _ in range(12):
        trees = [{"a": tree, "b": tree} for tree in trees]
    for before, after in [({}, trees[0]), (trees[0], {}), (trees[0], trees[1])]:
        with pytest.raises(IntegrityError, match="does not end"):
            compared({"file": b"1"} | before, {"file": b"1"} | after)
