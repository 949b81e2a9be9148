"""The spool takes records from threads, forks and processes, and gives them all back."""

from __future__ import annotations

import math
import os
import threading
from pathlib import Path

import pytest
from tracking_kit import objects

from mlops_cli.core.base.digest import digest_bytes
from mlops_cli.core.base.records import LoggedModel, Metric, Signature
from mlops_cli.core.errors import IntegrityError, ProjectError, UsageError
from mlops_cli.core.store.protocol import UnsupportedFile
from mlops_cli.core.store.tree import walk
from mlops_cli.core.tracking import frames
from mlops_cli.core.tracking.spool import Spool, read_file, read_spool, spool_files, writer_of
from mlops_cli.core.tracking.spooled import Artifact, Model, Param, Point, Tag, Writer


def test_everything_logged_is_read_back(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append(Point("loss", 0.5, 0, 10), Point("loss", math.inf, 1, 20))
    spool.append(Param("lr", 0.1), Param("layers", [1, {"a": None}]))
    spool.append(Tag("kind", "first"))
    spool.append(Tag("kind", "second"))
    logged = read_spool(tmp_path)
    assert logged.metrics == (Metric("loss", 0.5, 0, 10), Metric("loss", math.inf, 1, 20))
    assert logged.params == {"lr": 0.1, "layers": [1, {"a": None}]}
    assert logged.tags == {"kind": "second"}
    assert logged.artifacts == {}
    assert logged.model is None


def test_nan_survives(tmp_path: Path) -> None:
    Spool(tmp_path).append(Point("loss", math.nan, 0, 10))
    assert math.isnan(read_spool(tmp_path).metrics[0].value)


def test_an_empty_or_absent_folder_holds_nothing(tmp_path: Path) -> None:
    assert read_spool(tmp_path).metrics == ()
    assert read_spool(tmp_path / "absent").params == {}


def test_the_first_frame_says_who_writes(tmp_path: Path) -> None:
    Spool(tmp_path).append(Tag("a", "b"))
    (path,) = spool_files(tmp_path)
    writer = writer_of(path)
    assert isinstance(writer, Writer)
    assert writer.pid == os.getpid()


def test_each_call_is_one_write_to_a_file_opened_for_appending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[int] = []
    real = os.write

    def counting(handle: int, data: bytes) -> int:
        writes.append(len(data))
        return real(handle, data)

    spool = Spool(tmp_path)
    monkeypatch.setattr(os, "write", counting)
    spool.append(Point("a", 1.0, 0, 0))
    spool.append(Point("a", 1.0, 1, 0), Point("b", 2.0, 1, 0))
    monkeypatch.undo()
    assert len(writes) == 2
    assert sum(writes) == spool_files(tmp_path)[0].stat().st_size


def test_threads_tear_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path)

    def log(thread: int) -> None:
        for step in range(200):
            spool.append(Point(f"m{thread}", float(step), step, 0))

    threads = [threading.Thread(target=log, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    logged = read_spool(tmp_path)
    assert len(logged.metrics) == 1200
    assert {(point.key, point.step) for point in logged.metrics} == {(f"m{n}", s) for n in range(6) for s in range(200)}


def test_a_forked_child_writes_a_file_of_its_own(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append(Tag("parent", "1"))
    child = os.fork()
    if child == 0:
        spool.append(Tag("child", "1"))
        os._exit(0)
    os.waitpid(child, 0)
    spool.append(Tag("after", "1"))
    assert read_spool(tmp_path).tags == {"parent": "1", "child": "1", "after": "1"}
    assert len(spool_files(tmp_path)) == 2


def test_a_fork_while_another_thread_is_writing_does_not_hang_the_child(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append(Tag("parent", "1"))
    with spool._lock:  # as it is while another thread writes
        child = os.fork()
        if child == 0:
            spool.append(Tag("child", "1"))
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert read_spool(tmp_path).tags == {"parent": "1", "child": "1"}


def test_artifacts_are_copied_at_once_and_put_into_the_store(tmp_path: Path) -> None:
    source = tmp_path / "roc.csv"
    source.write_bytes(b"fpr,tpr\n")
    spool = Spool(tmp_path / "spool")
    spool.append(Artifact("curves/roc.csv", spool.keep(source, "roc.csv")))
    source.write_bytes(b"changed later")
    store = objects(tmp_path)
    entry = read_spool(tmp_path / "spool", store).artifacts["curves/roc.csv"]
    assert store.read(entry.name) == b"fpr,tpr\n"
    assert read_spool(tmp_path / "spool").artifacts["curves/roc.csv"] == entry


@pytest.mark.parametrize("odd", ["repository", "nowhere", "loop", "pipe"])
def test_a_folder_that_no_store_would_take_is_refused_when_it_is_logged(tmp_path: Path, odd: str) -> None:
    folder = tmp_path / "plots"
    (folder / "inner").mkdir(parents=True)
    (folder / "good.csv").write_text("1")
    if odd == "repository":
        (folder / "inner" / ".git").mkdir()
    elif odd == "pipe":
        os.mkfifo(folder / "inner" / "pipe")
    else:
        (folder / "inner" / "link").symlink_to(folder if odd == "loop" else tmp_path / "absent")
    spool = Spool(tmp_path / "spool")
    with pytest.raises(UnsupportedFile, match="inner"):
        spool.keep(folder, "plots")
    assert not list((tmp_path / "spool" / "files").iterdir())


def test_a_folder_around_the_spool_is_not_copied_into_itself(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFile, match="logs to"):
        Spool(tmp_path / "around" / "spool").keep(tmp_path / "around", "all")


def test_what_was_put_among_the_copies_by_hand_stops_no_reading(tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    spool = Spool(tmp_path / "spool")
    place = spool.keep(tmp_path / "plots", "plots")
    spool.append(Artifact("plots", place), Tag("a", "b"))
    (tmp_path / "spool" / "files" / place / ".git").mkdir()
    logged = read_spool(tmp_path / "spool", objects(tmp_path))
    assert (logged.artifacts, logged.tags) == ({}, {"a": "b"})


def test_a_folder_is_one_artifact(tmp_path: Path) -> None:
    folder = tmp_path / "plots"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"a")
    (folder / "inner" / "b.txt").write_bytes(b"b")
    spool = Spool(tmp_path / "spool")
    spool.append(Artifact("plots", spool.keep(folder, "plots")))
    store = objects(tmp_path)
    entry = read_spool(tmp_path / "spool", store).artifacts["plots"]
    assert entry.kind == "dir"
    assert {path: item.digest for path, item in walk(store, entry) if not item.is_dir} == {
        "a.txt": str(digest_bytes(b"a", "xxh128")),
        "inner/b.txt": str(digest_bytes(b"b", "xxh128")),
    }


def test_a_record_that_names_a_file_outside_is_refused(tmp_path: Path) -> None:
    Spool(tmp_path).append(Artifact("stolen", "../../secret"))
    with pytest.raises(IntegrityError, match="not a path inside"):
        read_spool(tmp_path)


def test_a_model_with_a_copy_has_an_entry_and_one_without_has_none(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "mlo-model.json").write_bytes(b"{}")
    logged = LoggedModel("model", "sklearn-skops", {"mlo-model.json": "0" * 64}, Signature((), "regression"))
    spool = Spool(tmp_path / "spool")
    spool.append(Model(logged))
    assert read_spool(tmp_path / "spool").model == logged
    spool.append(Model(logged, spool.keep(folder, "model")))
    found = read_spool(tmp_path / "spool", objects(tmp_path)).model
    assert found is not None
    assert found.entry is not None
    assert found.entry.kind == "dir"


def test_reading_goes_on_where_it_stopped(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append(Tag("a", "1"))
    (path,) = spool_files(tmp_path)
    first = read_file(path)
    assert [type(record).__name__ for record in first.records] == ["Writer", "Tag"]
    spool.append(Tag("b", "2"))
    second = read_file(path, first.end)
    assert second.records == (Tag("b", "2"),)
    assert read_file(path, second.end) == type(second)((), 0, second.end)


def test_a_damaged_header_costs_nothing_but_itself(tmp_path: Path) -> None:
    Spool(tmp_path).append(Tag("a", "1"))
    (path,) = spool_files(tmp_path)
    data = bytearray(path.read_bytes())
    data[2] ^= 0xFF
    path.write_bytes(data)
    found = read_file(path, final=True)
    assert found.damaged == 1
    assert found.records[-1] == Tag("a", "1")


def test_a_record_of_an_unknown_kind_is_counted_and_passed_over(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.append(Tag("a", "1"))
    (path,) = spool_files(tmp_path)
    with path.open("ab") as file:
        file.write(frames.encode(b"\x81\xa2is\xa3new"))
    spool.append(Tag("b", "2"))
    found = read_file(path)
    assert found.damaged == 1
    assert read_spool(tmp_path).tags == {"a": "1", "b": "2"}


def test_a_spool_of_a_newer_mlo_asks_for_an_upgrade(tmp_path: Path) -> None:
    (tmp_path / "1-00000000.spool").write_bytes(frames.header(9) + frames.encode(b"?"))
    with pytest.raises(ProjectError, match="version 9") as caught:
        read_spool(tmp_path)
    assert "upgrade" in (caught.value.hint or "")


def test_a_record_too_large_to_frame_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too large"):
        Spool(tmp_path).append(Tag("a", "x" * (frames.MAX_PAYLOAD + 1)))


def test_a_folder_that_vanished_is_made_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "deep" / "spool")
    spool.append(Tag("a", "1"))
    assert read_spool(tmp_path / "deep" / "spool").tags == {"a": "1"}
    spool.close()
    spool.append(Tag("b", "2"))
    assert read_spool(tmp_path / "deep" / "spool").tags == {"a": "1", "b": "2"}
