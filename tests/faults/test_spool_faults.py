"""The spool and its ingestion, failed or killed at every call that can fail."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dying import fork

from mlops_cli.core.base.database import Database
from mlops_cli.core.errors import Exit, MachineError
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.tracking.records import Run
from mlops_cli.core.tracking.spool import Spool, read_file, read_spool, spool_files
from mlops_cli.core.tracking.spooled import Artifact, End, Param, Point, Tag
from mlops_cli.core.tracking.store import RunStore

ID = "ab" * 16
START, END = "2013-05-01T12:00:00.000000Z", "2013-05-01T12:01:00.000000Z"


class DiskFull:
    """os.write that takes `room` bytes in all, cuts the write that does not fit short, and then refuses."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._write = os.write

    def __call__(self, handle: int, data: bytes) -> int:
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self._write(handle, data[: self.room])
        self.room -= written
        return written


def test_a_disk_that_fills_at_any_byte_is_said_and_costs_only_what_was_not_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = [Tag("a", "1"), Tag("b", "2"), Tag("c", "3")]
    whole = Spool(tmp_path / "whole")
    whole.append(*tags)
    size = spool_files(tmp_path / "whole")[0].stat().st_size
    for room in range(0, size, 3):
        folder = tmp_path / f"room-{room}"
        spool = Spool(folder)
        acknowledged = {}
        monkeypatch.setattr(os, "write", DiskFull(room))
        for tag in tags:
            try:
                spool.append(tag)
            except MachineError as error:
                said = error
                break
            acknowledged[tag.key] = tag.value
        monkeypatch.undo()
        assert len(acknowledged) < 3
        assert "cannot log" in said.message
        assert said.exit_code == Exit.MACHINE
        spool.append(Tag("later", "4"))  # someone made room
        assert read_spool(folder).tags == {**acknowledged, "later": "4"}
        assert sum(read_file(path, final=True).damaged for path in spool_files(folder)) <= 1


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises((MachineError, NotADirectoryError)):
        Spool(tmp_path / "file" / "spool").append(Tag("a", "1"))


def test_an_artifact_that_could_not_be_copied_leaves_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "big.bin"
    source.write_bytes(b"x" * 1000)
    spool = Spool(tmp_path / "spool")

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shutil.copyfile", fail)
    with pytest.raises(MachineError, match="cannot keep"):
        spool.append(Artifact("big", spool.keep(source, "big.bin")))
    assert read_spool(tmp_path / "spool").artifacts == {}


# -- ingesting -----------------------------------------------------------------------------------------------


def lay_out(folder: Path) -> None:
    """A database with one running run, and its spool of two files with an artifact, ended."""
    RunStore(Database(folder / "mlo.db")).start(Run(id=ID, start=START, pid=os.getpid()))
    spool = Spool(folder / "spool" / ID / "train")
    points = [Point("m", float(step), step, step) for step in range(20)]
    spool.append(*points, Param("lr", 0.1))
    spool.append(Artifact("notes", spool.keep_bytes(b"notes", "notes")))
    other = Spool(folder / "spool" / ID / "evaluate")
    other.append(Tag("done", "yes"), End("finished", END))


def ingest(folder: Path, note: Callable[[str], None] | None = None) -> int:
    store = LocalStore(folder / "cache", "xxh128")
    return RunStore(Database(folder / "mlo.db")).ingest(folder / "spool", store, note=note)


def check(folder: Path) -> None:
    """What must be there after everything was read, however often it was tried."""
    runs = RunStore(Database(folder / "mlo.db"))
    found = runs.get(ID)
    assert (found.status, found.end) == ("finished", END)
    assert (found.metrics, found.params, found.tags) == ({"m": 19.0}, {"lr": 0.1}, {"done": "yes"})
    assert len(runs.metric_history(ID, "m")) == 20
    assert LocalStore(folder / "cache", "xxh128").read(found.artifacts["notes"].name) == b"notes"
    assert not (folder / "spool" / ID).exists()


class Interruption:
    """Counts the calls to the database and strikes before the N-th."""

    def __init__(self, at: int, strike: Callable[[], None]) -> None:
        self.calls = 0
        self._at = at
        self._strike = strike

    def wrap(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.calls == self._at:
                self._strike()
            return method(*args, **kwargs)

        return call

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("execute", "execute_many", "rows"):
            monkeypatch.setattr(Database, name, self.wrap(getattr(Database, name)))


def calls_of_one_ingestion(folder: Path) -> int:
    with pytest.MonkeyPatch.context() as patch:
        counter = Interruption(0, lambda: None)
        counter.install(patch)
        ingest(folder)
    return counter.calls


def refuse() -> None:
    raise MachineError("the disk is full")


def test_an_ingestion_that_fails_at_any_call_is_repeated_without_loss_or_doubling(tmp_path: Path) -> None:
    lay_out(tmp_path / "count")
    for number in range(1, calls_of_one_ingestion(tmp_path / "count") + 1):
        folder = tmp_path / str(number)
        lay_out(folder)
        with pytest.MonkeyPatch.context() as patch:
            Interruption(number, refuse).install(patch)
            with pytest.raises(MachineError):
                ingest(folder)
        ingest(folder)
        check(folder)


def test_an_ingestion_killed_at_any_call_is_repeated_without_loss_or_doubling(tmp_path: Path) -> None:
    lay_out(tmp_path / "count")
    for number in range(1, calls_of_one_ingestion(tmp_path / "count") + 1):
        folder = tmp_path / str(number)
        lay_out(folder)
        child = fork()
        if child == 0:
            with pytest.MonkeyPatch.context() as patch:
                Interruption(number, lambda: os.kill(os.getpid(), 9)).install(patch)
                ingest(folder)
            os._exit(0)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        ingest(folder)
        check(folder)


def test_a_run_that_ends_between_reading_and_committing_takes_nothing_more(tmp_path: Path) -> None:
    lay_out(tmp_path)
    with pytest.MonkeyPatch.context() as patch:

        def finish_first() -> None:
            patch.undo()
            before = RunStore(Database(tmp_path / "mlo.db"))
            before.finish(Run(id=ID, start=START, status="failed", end=END))

        real = Database.transaction

        def transaction(database: Database) -> Any:
            finish_first()
            return real(database)

        patch.setattr(Database, "transaction", transaction)
        assert ingest(tmp_path) == 0
    found = RunStore(Database(tmp_path / "mlo.db")).get(ID)
    assert (found.status, found.metrics, found.tags) == ("failed", {}, {})
