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
from mlops_cli.core.store.index import RACY_NS, Index, Row, make_row
from mlops_cli.core.store.snapshot import observe

A = str(digest_bytes(b"a", "xxh128"))
OLD_NS = time.time_ns() - 10 * RACY_NS
NUMBERS = st.integers(0, 2**63 - 1)
ROWS = st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.booleans(), st.just(A))


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index(tmp_path / ".mlo/index")


def aged(path: Path) -> os.stat_result:
    """The file as if nobody had touched it for long; ctime cannot be set, so the status is made up."""
    status = list(os.stat(path))
    found = os.stat_result(status, {"st_mtime_ns": OLD_NS, "st_ctime_ns": OLD_NS})
    assert found.st_ctime_ns == OLD_NS
    return found


@given(
    rows=st.dictionaries(st.binary(min_size=1), st.dictionaries(st.binary(min_size=1), ROWS, min_size=1), max_size=4)
)
def test_what_is_saved_is_loaded(tmp_path_factory: pytest.TempPathFactory, rows: dict[bytes, dict[bytes, Row]]) -> None:
    path = tmp_path_factory.mktemp("index") / "index"
    index = Index(path)
    for folder, names in rows.items():
        index.replace_folder(folder, names)
    index.hold(path.parent.parent / "data", Entry(A, "file", 1))
    index.save()
    again = Index(path)
    assert {folder: again.folder(folder) for folder in rows} == rows
    assert again.held(path.parent.parent / "data") == Entry(A, "file", 1)


def test_a_damaged_index_is_an_empty_one(index: Index, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a")
    index.note(bytes(tmp_path / "file"), aged(tmp_path / "file"), A)
    index.save()
    data = index.path.read_bytes()
    whole = Index(index.path)
    assert whole.lookup(bytes(tmp_path / "file"), aged(tmp_path / "file")) == A
    flipped = data[:-1] + bytes([data[-1] ^ 1])
    newer = data[:7] + b"\x02" + data[8:]
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
    row = list(make_row(status, A))
    row[field] += 1
    index.replace_folder(b"", {b"file": tuple(row)})  # type: ignore[dict-item]
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
    assert list(index.path.parent.iterdir()) == []
