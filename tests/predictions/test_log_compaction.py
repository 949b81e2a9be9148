"""Closed days become Parquet: no row twice, none lost, whatever happens at whichever step."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from dying import fork
from log_kit import INPUTS, START, answered

from mlops_cli.core.base.clock import FixedClock
from mlops_cli.core.base.records import Signature
from mlops_cli.core.errors import IntegrityError
from mlops_cli.core.predictions import compaction
from mlops_cli.core.predictions.labels import Label, read_labels, record_labels
from mlops_cli.core.predictions.logged import LogReading, Wanted
from mlops_cli.core.predictions.reader import LogReport, read_log, read_table
from mlops_cli.core.predictions.segment import classes_of, encode, segment_name
from mlops_cli.core.predictions.upkeep import keep_in_order
from mlops_cli.core.predictions.writer import PredictionWriter
from mlops_cli.core.remotes.open import open_url

WHOLE = {"since": START - timedelta(days=900), "until": START + timedelta(days=900)}
TOMORROW = FixedClock(START + timedelta(days=1))


def write(folder: Path, *seconds: float, **changes: Any) -> None:
    for at in seconds:
        batch = answered(3, at=at, request=f"{at}-{changes.get('version', 1)}", **changes)
        path = folder / segment_name([batch])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode([batch]))


def rows(source: Any, report: LogReport | None = None) -> list[tuple[str, int]]:
    table = read_table(source, **WHOLE, report=report)
    assert table is not None
    found = list(zip(table["_request"].to_pylist(), table["_row"].to_pylist(), strict=True))
    read = LogReading(source).window([(WHOLE["since"], WHOLE["until"])], Wanted("flights", frozenset({1, 2})))
    again = zip(read.read("_request").to_pylist(), read.read("_row").to_pylist(), strict=True) if read.rows else ()
    assert sorted(again) == sorted(found)
    return sorted(found)


def kinds(folder: Path, day: str = "2013-04-01") -> list[str]:
    return sorted(path.suffix for path in (folder / day).iterdir())


def test_a_closed_day_becomes_one_file_a_version_and_reads_the_same(tmp_path: Path) -> None:
    write(tmp_path, *range(10))
    write(tmp_path, *range(10, 20), version=2)
    before = rows(tmp_path)
    keep_in_order(tmp_path, TOMORROW)
    assert kinds(tmp_path) == [".arrow"] * 20 + [".parquet"] * 2
    assert rows(tmp_path) == before
    keep_in_order(tmp_path, TOMORROW, grace_s=0)
    assert kinds(tmp_path) == [".parquet"] * 2
    assert rows(tmp_path) == before


def test_today_is_left_alone_and_so_is_a_day_of_few_files(tmp_path: Path) -> None:
    write(tmp_path, *range(10))
    keep_in_order(tmp_path, FixedClock(START + timedelta(hours=11)))
    write(tmp_path, 86_400)
    keep_in_order(tmp_path, FixedClock(START + timedelta(days=5)))
    assert kinds(tmp_path) == [".arrow"] * 10 + [".parquet"]
    assert kinds(tmp_path, "2013-04-02") == [".arrow"]


def test_rows_lie_in_the_order_of_arrival_in_groups_that_a_window_picks(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(compaction, "GROUP_ROWS", 6)
    for first in (0, 5, 3, 8, 1):  # segments of processes side by side overlap in time
        batches = [answered(2, at=first + step, request=f"{first}-{step}") for step in range(0, 40, 7)]
        path = tmp_path / segment_name(batches)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode(batches))
    keep_in_order(tmp_path, TOMORROW)
    [made] = tmp_path.glob("*/*.parquet")
    stamps = pq.read_table(made)["_arrived"].to_pylist()
    assert stamps == sorted(stamps)
    assert pq.read_metadata(made).num_row_groups == 10
    assert len(rows(tmp_path)) == len(stamps) == 60
    window = {"since": START + timedelta(seconds=10), "until": START + timedelta(seconds=20)}
    table = read_table(tmp_path, **window)
    assert table is not None
    read = LogReading(tmp_path).window([(window["since"], window["until"])], Wanted("flights", frozenset({1})))
    expected = [stamp for stamp in stamps if window["since"] <= stamp < window["until"]]
    assert sorted(table["_arrived"].to_pylist()) == sorted(read.read("_arrived").to_pylist()) == expected
    assert read.rows == len(expected)


def test_segments_that_come_late_are_read_and_compacted_with_the_day(tmp_path: Path) -> None:
    write(tmp_path, *range(10))
    keep_in_order(tmp_path, TOMORROW, grace_s=0)
    keep_in_order(tmp_path, TOMORROW, grace_s=0)
    write(tmp_path, 100, 101)
    keep_in_order(tmp_path, TOMORROW, grace_s=0)
    assert kinds(tmp_path) == [".arrow"] * 2 + [".parquet"]
    write(tmp_path, 102)
    before = rows(tmp_path)
    for _ in range(2):
        keep_in_order(tmp_path, TOMORROW, grace_s=0)
        assert rows(tmp_path) == before
    assert kinds(tmp_path) == [".parquet"]
    assert len(before) == 39


def test_all_probabilities_samples_and_classes_survive(tmp_path: Path) -> None:
    signature = Signature(INPUTS, "classification", ("a", "b", "c"))
    for at in range(4):
        scores = [[0.5, 0.25, 0.25]] if at else None
        batch = answered(at=at, signature=signature, scores=None, all_scores=scores, latency_ms=at)
        path = tmp_path / segment_name([batch])
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode([batch], sample=0.5))
    before = read_table(tmp_path, **WHOLE)
    keep_in_order(tmp_path, TOMORROW)
    report = LogReport()
    after = read_table(tmp_path, **WHOLE, report=report)
    assert before is not None
    assert after == before
    assert (report.segments, report.samples) == (1, {0.5})
    read = LogReading(tmp_path).window([(WHOLE["since"], WHOLE["until"])], Wanted("flights", frozenset({1})))
    assert (read.samples, classes_of(read.parts[0].segment.schema)) == ({0.5}, ("a", "b", "c"))
    assert read.read("_scores").to_pylist() == [None, *[[0.5, 0.25, 0.25]] * 3]


def test_a_torn_segment_is_left_and_named(tmp_path: Path) -> None:
    write(tmp_path, *range(6))
    [torn, *_] = sorted((tmp_path / "2013-04-01").iterdir())
    torn.write_bytes(torn.read_bytes()[:-40])
    for _ in range(2):
        keep_in_order(tmp_path, TOMORROW, grace_s=0)
    assert kinds(tmp_path) == [".arrow", ".parquet"]
    report = LogReport()
    assert len(rows(tmp_path, report)) == 15
    assert list(report.torn) == [torn.name]


@pytest.mark.parametrize("cut", [0, 100, -10])
def test_a_torn_parquet_file_stands_for_nothing(tmp_path: Path, cut: int) -> None:
    write(tmp_path, *range(6))
    before = rows(tmp_path)
    keep_in_order(tmp_path, TOMORROW)
    [made] = tmp_path.glob("*/*.parquet")
    made.write_bytes(made.read_bytes()[:cut])
    report = LogReport()
    assert rows(tmp_path, report) == before
    assert list(report.torn) == [made.name]


def test_a_flipped_bit_in_a_parquet_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, *range(6))
    for _ in range(2):
        keep_in_order(tmp_path, TOMORROW, grace_s=0)
    [made] = tmp_path.glob("*/*.parquet")
    data = bytearray(made.read_bytes())
    data[60] ^= 255
    made.write_bytes(data)
    report = LogReport()
    assert list(read_log(tmp_path, **WHOLE, report=report)) == []
    assert made.name in report.torn
    read = LogReading(tmp_path).window([(WHOLE["since"], WHOLE["until"])], Wanted("flights", frozenset({1})))
    with pytest.raises(IntegrityError, match=made.name):
        read.read("_request")


def test_a_log_with_parquet_copied_to_a_remote_reads_as_here(tmp_path: Path) -> None:
    log = tmp_path / "remote" / "predictions"
    write(log, *range(6))
    before = rows(log)
    keep_in_order(log, TOMORROW)  # what it stands for is still there
    assert rows(open_url(str(tmp_path / "remote"), root=tmp_path)) == before


def test_whoever_listed_a_day_before_its_compaction_still_finds_it(tmp_path: Path) -> None:
    write(tmp_path, *range(6))
    tables = read_log(tmp_path, **WHOLE)
    reading = LogReading(tmp_path).window([(WHOLE["since"], WHOLE["until"])], Wanted("flights", frozenset({1})))
    for _ in range(2):
        keep_in_order(tmp_path, TOMORROW)
    assert sum(table.num_rows for table in tables) == len(reading.read("temp")) == 18


def test_two_at_once_do_it_once(tmp_path: Path) -> None:
    write(tmp_path, *range(40))
    before = rows(tmp_path)
    threads = [threading.Thread(target=keep_in_order, args=(tmp_path, TOMORROW)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(tmp_path.glob("*/*.parquet"))) == 1
    assert rows(tmp_path) == before


def test_a_kill_at_any_step_neither_doubles_a_row_nor_loses_one(tmp_path: Path) -> None:
    template = tmp_path / "template"
    write(template, *range(5))
    record_labels(template, [Label("x", 0, "1")], START)
    before = rows(template)
    keep_in_order(shutil.copytree(template, tmp_path / "warm"), TOMORROW, grace_s=0)  # everything is imported
    killed = 0
    for step in range(1, 200):
        log = shutil.copytree(template, tmp_path / str(step))
        child = fork()
        if child == 0:
            _die_at(step)
            for _ in range(2):
                keep_in_order(log, TOMORROW, grace_s=0)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        assert rows(log) == before
        if os.waitstatus_to_exitcode(status) == 0:
            break
        killed += 1
        for _ in range(3):
            keep_in_order(log, TOMORROW, grace_s=0)
            assert rows(log) == before
        assert kinds(log) == [".parquet"]
        shutil.rmtree(log)
    assert killed > 10


def _die_at(step: int) -> None:
    """Kill this process before its n-th change to the disk."""
    left = [step]

    def counted(real: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **named)

        return call

    for name in ("fsync", "replace", "unlink", "fchmod", "open"):
        setattr(os, name, counted(getattr(os, name)))


def test_a_full_disk_leaves_the_day_as_it_was(tmp_path: Path, monkeypatch: Any) -> None:
    write(tmp_path, *range(5))
    before = sorted((tmp_path / "2013-04-01").iterdir())

    def fsync(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(Exception, match="No space left"):
        keep_in_order(tmp_path, TOMORROW)
    assert sorted((tmp_path / "2013-04-01").iterdir()) == before


def test_the_writer_compacts_at_its_start_and_closing_stops_it(tmp_path: Path) -> None:
    write(tmp_path, *range(6))
    writer = PredictionWriter(tmp_path, clock=TOMORROW)
    while not list(tmp_path.glob("*/*.parquet")):
        threading.Event().wait(0.01)
    assert writer.close().error is None


def test_labels_of_a_closed_day_become_one_file_and_count_the_same(tmp_path: Path) -> None:
    at = datetime(2013, 5, 1, 6, tzinfo=UTC)
    for number in range(6):
        record_labels(tmp_path, [Label(f"r{number % 4}", 0, str(number))], at + timedelta(minutes=number))
    before = read_labels(tmp_path)
    for _ in range(2):
        keep_in_order(tmp_path, FixedClock(at + timedelta(days=1)), grace_s=0)
        assert read_labels(tmp_path).labels == before.labels
    assert [path.suffix for path in (tmp_path / "labels" / "2013-05-01").iterdir()] == [".parquet"]
    assert read_labels(tmp_path, since=at + timedelta(days=9)).labels == {}
