"""Days older than a log is kept go whole; nothing else does, and no clock that is wrong for a moment takes a day."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from log_kit import START, answered

from mlops_cli.core.base.clock import FixedClock
from mlops_cli.core.base.files import FileLock
from mlops_cli.core.predictions.compaction import LOCK
from mlops_cli.core.predictions.labels import Label, record_labels
from mlops_cli.core.predictions.segment import encode, segment_name
from mlops_cli.core.predictions.upkeep import keep_in_order
from mlops_cli.core.predictions.writer import PredictionWriter

WEEK = timedelta(days=7)


def write(folder: Path, *days: int) -> None:
    for day in days:
        batch = answered(at=day * 86_400)
        path = folder / segment_name([batch])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode([batch]))


def kept(folder: Path) -> list[int]:
    names = (path.name for path in folder.glob("2*"))
    return sorted((datetime.fromisoformat(name).date() - START.date()).days for name in names)


def at(day: int) -> FixedClock:
    return FixedClock(START + timedelta(days=day))


def test_days_older_than_is_kept_go_whole(tmp_path: Path) -> None:
    write(tmp_path, *range(20))
    keep_in_order(tmp_path, at(19), keep=WEEK)
    assert kept(tmp_path) == list(range(12, 20))  # seven closed days, and today


def test_without_keep_nothing_goes(tmp_path: Path) -> None:
    write(tmp_path, *range(20))
    keep_in_order(tmp_path, at(900))
    assert kept(tmp_path) == list(range(20))


@pytest.mark.parametrize("keep", [timedelta(hours=1), timedelta(days=1)])
def test_the_newest_closed_day_always_stays(tmp_path: Path, keep: timedelta) -> None:
    write(tmp_path, *range(5))
    keep_in_order(tmp_path, at(4), keep=keep)
    assert kept(tmp_path) == [3, 4]


def test_a_clock_that_is_a_year_ahead_for_a_moment_takes_nothing(tmp_path: Path) -> None:
    write(tmp_path, *range(5))
    write(tmp_path, 370)  # a request was answered meanwhile
    keep_in_order(tmp_path, at(370), keep=WEEK)
    assert kept(tmp_path) == [0, 1, 2, 3, 4, 370]
    write(tmp_path, 5)
    keep_in_order(tmp_path, at(5), keep=WEEK)  # it is set right
    assert kept(tmp_path) == [0, 1, 2, 3, 4, 5, 370]


def test_a_clock_that_goes_back_takes_nothing_more(tmp_path: Path) -> None:
    write(tmp_path, *range(20))
    keep_in_order(tmp_path, at(5), keep=WEEK)
    assert kept(tmp_path) == list(range(20))


def test_a_log_that_nobody_wrote_for_a_year_stays(tmp_path: Path) -> None:
    write(tmp_path, *range(3))
    keep_in_order(tmp_path, at(400), keep=WEEK)
    assert kept(tmp_path) == [0, 1, 2]


def test_only_folders_of_days_and_files_of_the_log_go(tmp_path: Path) -> None:
    write(tmp_path, 0, 20, 21)
    write(tmp_path / "elsewhere", 0)
    (tmp_path / "2013-04-01" / "notes.txt").write_text("mine")
    for name in ("2013-99-99", "2012-1-01x"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.arrow").write_text("x")
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (outside / "a.arrow").write_text("x")
    (tmp_path / "2012-01-01").symlink_to(outside)
    keep_in_order(tmp_path, at(21), keep=WEEK)
    assert [path.name for path in (tmp_path / "2013-04-01").iterdir()] == ["notes.txt"]
    assert (outside / "a.arrow").exists()
    assert (tmp_path / "2013-99-99" / "a.arrow").exists()
    assert len(list((tmp_path / "elsewhere").rglob("*.arrow"))) == 1


def test_labels_go_after_the_predictions_they_belong_to(tmp_path: Path) -> None:
    write(tmp_path, *range(20))
    for day in (0, 11, 12, 19):
        record_labels(tmp_path, [Label(f"r{day}", 0, "1")], at(day).now())
    keep_in_order(tmp_path, at(19), keep=WEEK)
    assert kept(tmp_path / "labels") == [11, 12, 19]


def test_while_another_process_is_at_it_nothing_is_done(tmp_path: Path) -> None:
    write(tmp_path, *range(20))
    with FileLock(tmp_path / LOCK, command="mlo serve").held():
        assert not keep_in_order(tmp_path, at(19), keep=WEEK)
    assert len(kept(tmp_path)) == 20
    assert keep_in_order(tmp_path, at(19), keep=WEEK)


def test_a_log_that_does_not_exist_yet_is_in_order(tmp_path: Path) -> None:
    assert keep_in_order(tmp_path / "absent", at(0), keep=WEEK)
    assert not (tmp_path / "absent").exists()


def test_a_folder_that_is_removed_while_it_is_written_is_made_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    writer = PredictionWriter(log, interval_s=0.01)
    writer.append(answered())
    while not list(log.glob("*/*.arrow")):
        threading.Event().wait(0.01)
    shutil.rmtree(log)
    writer.append(answered(request="again"))
    state = writer.close()
    assert (state.written, state.dropped, len(list(log.glob("*/*.arrow")))) == (2, 0, 1)


def test_trouble_with_upkeep_is_said_and_rows_are_written_all_the_same(tmp_path: Path, monkeypatch: Any) -> None:
    write(tmp_path, *range(4))
    real = os.unlink

    def unlink(path: Any, **named: Any) -> None:
        if str(path).endswith(".arrow"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        real(path, **named)

    monkeypatch.setattr(os, "unlink", unlink)
    writer = PredictionWriter(tmp_path, clock=at(10), keep=timedelta(days=1), interval_s=0.01)
    while writer.state.error is None:
        threading.Event().wait(0.01)
    assert "Read-only" in writer.state.error
    writer.append(answered(at=86_400 * 10))
    assert writer.close().written == 1
