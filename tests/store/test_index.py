"""The index: it may forget, it must never be wrong."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.core.base.digest import digest_bytes
from mlops_cli.core.base.records import Entry
from mlops_cli.core.errors import MachineError
from mlops_cli.core.store.index import RACY_NS, Folder, Index, Total, mark
from mlops_cli.core.store.snapshot import observe

A = str(digest_bytes(b"a", "xxh128"))
B = str(digest_bytes(b"b", "xxh128"))
OLD_NS = time.time_ns() - 10 * RACY_NS
NAMES = st.binary(min_size=1)
TOTALS = st.builds(Total, st.binary(min_size=16, max_size=16), st.integers(0, 2**63 - 1), st.integers(0, 2**31))


@st.composite
def folders(draw: st.DrawFn) -> Folder:
    rows = draw(st.dictionaries(NAMES, st.binary(min_size=36, max_size=36)))
    column = draw(st.binary(min_size=16 * len(rows), max_size=16 * len(rows)))
    racy = draw(st.sets(st.sampled_from(sorted(rows)))) if rows else set()
    return Folder("xxh128", rows, column, racy, draw(st.dictionaries(NAMES, TOTALS)), draw(st.none() | TOTALS))


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index(tmp_path / ".mlo/index")


def aged(path: Path) -> os.stat_result:
    """The file as if nobody had touched it for long; ctime cannot be set, so the status is made up."""
    status = list(os.stat(path))
    found = os.stat_result(status, {"st_mtime_ns": OLD_NS, "st_ctime_ns": OLD_NS})
    assert found.st_ctime_ns == OLD_NS
    return found


@given(found=st.dictionaries(NAMES, folders(), max_size=4))
def test_what_is_saved_is_loaded(tmp_path_factory: pytest.TempPathFactory, found: dict[bytes, Folder]) -> None:
    path = tmp_path_factory.mktemp("index") / "index"
    index = Index(path)
    for key, folder in found.items():
        index.replace_folder(key, folder)
    index.hold(path.parent.parent / "data", Entry(A, "file", 1))
    index.save()
    again = Index(path)
    assert {key: again.folder(key) for key in found} == found
    assert again.held(path.parent.parent / "data") == Entry(A, "file", 1)


def test_two_that_save_keep_what_each_of_them_found(tmp_path: Path) -> None:
    path = tmp_path / ".mlo/index"
    first, second = Index(path), Index(path)
    first.replace_folder(b"one", Folder("xxh128", below={b"x": Total(b"1" * 16, 1, 1)}))
    first.hold(tmp_path / "one", Entry(A, "file", 1))
    second.replace_folder(b"two", Folder("xxh128", below={b"y": Total(b"2" * 16, 2, 2)}))
    second.hold(tmp_path / "two", Entry(A, "file", 2))
    first.save()
    second.save()
    again = Index(path)
    assert (again.folder(b"one"), again.folder(b"two")) == (first.folder(b"one"), second.folder(b"two"))
    assert again.held(tmp_path / "one") == Entry(A, "file", 1)
    second.replace_folder(b"one", None)
    second.save()
    assert Index(path).folder(b"one") is None
    assert Index(path).folder(b"two") is not None


def test_a_noted_file_joins_what_was_known_of_its_folder(index: Index, tmp_path: Path) -> None:
    for name, digest in (("a", A), ("b", B), ("a", B)):
        (tmp_path / name).write_bytes(b"")
        index.note(bytes(tmp_path / name), aged(tmp_path / name), digest)
    index.save()
    again = Index(index.path)
    assert again.lookup(bytes(tmp_path / "a"), aged(tmp_path / "a")) == B
    assert again.lookup(bytes(tmp_path / "b"), aged(tmp_path / "b")) == B
    folder = again.folder(b"")
    assert folder is not None
    assert folder.tree is None  # a part of it changed, so it must be summed up anew


def test_a_damaged_index_is_an_empty_one(index: Index, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a")
    index.note(bytes(tmp_path / "file"), aged(tmp_path / "file"), A)
    index.save()
    data = index.path.read_bytes()
    whole = Index(index.path)
    assert whole.lookup(bytes(tmp_path / "file"), aged(tmp_path / "file")) == A
    flipped = data[:-1] + bytes([data[-1] ^ 1])
    newer = data[:7] + b"\x03" + data[8:]
    for bad in (b"", data[:10], data[:-1], data + b"x", flipped, newer, b"x" * len(data)):
        index.path.write_bytes(bad)
        assert Index(index.path).lookup(bytes(tmp_path / "file"), aged(tmp_path / "file")) is None


def test_a_file_touched_just_now_is_read_again(index: Index, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a")
    status = os.stat(tmp_path / "file")
    index.note(bytes(tmp_path / "file"), status, A)
    assert index.lookup(bytes(tmp_path / "file"), status) is None


def test_an_old_file_is_not_read_again(index: Index, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a")
    index.note(bytes(tmp_path / "file"), aged(tmp_path / "file"), A)
    assert index.lookup(bytes(tmp_path / "file"), aged(tmp_path / "file")) == A


def test_a_file_that_mlo_wrote_and_did_not_flush_is_read_once_more(index: Index, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a")
    index.note(bytes(tmp_path / "file"), aged(tmp_path / "file"), A, trusted=False)
    assert index.lookup(bytes(tmp_path / "file"), aged(tmp_path / "file")) is None


@pytest.mark.parametrize("field", range(5), ids=["size", "mtime", "ctime", "inode", "mode"])
def test_any_change_of_the_status_is_seen(index: Index, tmp_path: Path, field: int) -> None:
    (tmp_path / "file").write_bytes(b"a")
    status = aged(tmp_path / "file")
    raw = bytes.fromhex(A.partition(":")[2])
    row = mark(status)
    index.replace_folder(b"", Folder("xxh128", {b"file": row}, raw))
    assert index.lookup(bytes(tmp_path / "file"), status) == A
    changed = bytearray(row)
    changed[field * 8] ^= 1
    index.replace_folder(b"", Folder("xxh128", {b"file": bytes(changed)}, raw))
    assert index.lookup(bytes(tmp_path / "file"), status) is None


def test_a_folder_that_is_gone_is_forgotten(index: Index, tmp_path: Path) -> None:
    (tmp_path / "data/sub").mkdir(parents=True)
    (tmp_path / "data/sub/file").write_bytes(b"a")
    observe(index, tmp_path / "data", "xxh128")
    assert index.folder(b"data/sub")
    (tmp_path / "data/sub/file").unlink()
    (tmp_path / "data/sub").rmdir()
    observe(index, tmp_path / "data", "xxh128")
    assert not index.folder(b"data/sub")


def test_paths_outside_the_project_are_kept_by_their_full_name(index: Index, tmp_path: Path) -> None:
    assert index.key(b"/elsewhere/data") == b"/elsewhere/data"
    assert index.key(bytes(tmp_path)) == b""
    assert index.key(bytes(tmp_path / "data/../data")) == b"data"


def test_nothing_is_written_if_nothing_changed(index: Index, tmp_path: Path) -> None:
    index.save()
    assert not index.path.exists()


def test_an_index_that_cannot_be_written_is_the_machines_fault(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.hold(tmp_path / "data", Entry(A, "file", 1))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(MachineError):
        index.save()
    assert [path.name for path in index.path.parent.iterdir()] == ["index.lock"]
