import errno
import os
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from log_kit import SIGNATURE, START, answered

from mlops_cli.core.base.records import Column, Signature
from mlops_cli.core.errors import ProjectError
from mlops_cli.core.predictions.reader import read_table
from mlops_cli.core.predictions.segment import RESERVED, refuse_reserved
from mlops_cli.core.predictions.writer import PredictionWriter

WHOLE = {"since": START - timedelta(days=9), "until": START + timedelta(days=9)}


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.arrow"))


def test_what_was_appended_is_read_back_with_version_and_arrival(tmp_path: Path) -> None:
    writer = PredictionWriter(tmp_path)
    assert writer.append(answered(2, request="a"))
    assert writer.append(answered(1, request="b", at=0.5, version=None))
    state = writer.close()
    assert (state.written, state.dropped, state.error) == (3, 0, None)
    table = read_table(tmp_path, **WHOLE)
    assert table is not None
    assert table.column_names == [
        "_request", "_row", "_arrived", "_model", "_version", "carrier", "distance", "temp", "_prediction", "_score",
        "_latency_ms",
    ]  # fmt: skip
    by_request = sorted(table.to_pylist(), key=lambda row: (row["_request"], row["_row"]))
    assert by_request[0] == {
        "_request": "a", "_row": 0, "_arrived": START, "_model": "flights", "_version": 1,
        "carrier": "UA", "distance": 0, "temp": None, "_prediction": "1", "_score": 0.75, "_latency_ms": None,
    }  # fmt: skip
    assert by_request[1]["_row"] == 1
    assert by_request[2]["_version"] is None
    assert by_request[2]["_arrived"] == START + timedelta(seconds=0.5)


def test_a_full_segment_is_written_before_the_log_is_closed(tmp_path: Path) -> None:
    writer = PredictionWriter(tmp_path, segment_rows=10, interval_s=3600)
    for _ in range(10):
        writer.append(answered())
    while not segments(tmp_path):
        threading.Event().wait(0.01)
    writer.close()
    assert len(segments(tmp_path)) == 1


def test_rows_are_written_after_the_interval_without_a_close(tmp_path: Path) -> None:
    writer = PredictionWriter(tmp_path, interval_s=0.01)
    writer.append(answered())
    while not segments(tmp_path):
        threading.Event().wait(0.01)
    writer.close()


def test_a_full_ring_drops_and_counts_and_never_waits(tmp_path: Path) -> None:
    writer = PredictionWriter(tmp_path, capacity_rows=10, segment_rows=100, interval_s=3600)
    assert [writer.append(answered(4)) for _ in range(4)] == [True, True, False, False]
    assert writer.state.dropped == 8
    assert writer.close().written == 8


def test_a_request_larger_than_the_ring_is_taken_when_it_is_empty(tmp_path: Path) -> None:
    writer = PredictionWriter(tmp_path, capacity_rows=10, segment_rows=100, interval_s=3600)
    assert writer.append(answered(50))
    assert not writer.append(answered(1))
    writer.close()


def test_a_closed_log_drops_and_counts(tmp_path: Path) -> None:
    writer = PredictionWriter(tmp_path)
    writer.close()
    assert not writer.append(answered(3))
    assert writer.state.dropped == 3


def test_a_full_disk_drops_and_counts_until_there_is_room_again(tmp_path: Path, monkeypatch: Any) -> None:
    real = os.fsync
    full = True

    def fsync(handle: int) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    writer = PredictionWriter(tmp_path, interval_s=0.01)
    writer.append(answered(5))
    while writer.state.dropped < 5:
        threading.Event().wait(0.01)
    assert "No space left" in str(writer.state.error)
    full = False
    writer.append(answered(2))
    state = writer.close()
    assert (state.written, state.dropped, state.error) == (2, 5, None)
    assert list(tmp_path.rglob("*.tmp")) == []


def test_rows_that_no_segment_can_hold_do_not_end_the_log(tmp_path: Path) -> None:
    writer = PredictionWriter(tmp_path, interval_s=0.01)
    writer.append(answered(1, columns={"carrier": ["UA"], "distance": ["not a number"], "temp": [1.0]}))
    while not writer.state.dropped:
        threading.Event().wait(0.01)
    writer.append(answered(1))
    assert writer.close().written == 1


def test_each_segment_holds_one_version_and_one_day(tmp_path: Path) -> None:
    writer = PredictionWriter(tmp_path, interval_s=3600)
    day_s = 86_400
    for batch in (answered(), answered(version=2), answered(at=day_s), answered(at=1, version=2)):
        writer.append(batch)
    writer.close()
    assert [path.parent.name for path in segments(tmp_path)] == ["2013-04-01", "2013-04-01", "2013-04-02"]
    assert all(path.name.startswith("20130401T1200") for path in segments(tmp_path)[:2])


def test_the_time_column_is_logged_where_it_was_sent(tmp_path: Path) -> None:
    writer = PredictionWriter(tmp_path, interval_s=3600)
    writer.append(answered(time_column="time_hour", times=[START]))
    writer.append(answered(time_column="time_hour", times=None, at=1))
    writer.close()
    table = read_table(tmp_path, **WHOLE)
    assert table is not None
    assert sorted(table["time_hour"].to_pylist(), key=str) == [START, None]


def test_a_regression_logs_numbers(tmp_path: Path) -> None:
    writer = PredictionWriter(tmp_path)
    signature = Signature(SIGNATURE.inputs, "regression")
    writer.append(answered(2, signature=signature, predictions=[1.5, 2], scores=None))
    writer.close()
    table = read_table(tmp_path, **WHOLE)
    assert table is not None
    assert table["_prediction"].to_pylist() == [1.5, 2.0]
    assert table["_score"].to_pylist() == [None, None]


@pytest.mark.parametrize("name", [*RESERVED, "time_hour"])
def test_an_input_with_the_name_of_a_log_column_is_refused(name: str) -> None:
    with pytest.raises(ProjectError, match=name):
        refuse_reserved(Signature((Column(name, "float"),), "regression"), "time_hour")


def test_many_writers_and_a_reader_side_by_side_lose_nothing(tmp_path: Path) -> None:
    writers = [PredictionWriter(tmp_path, segment_rows=20, interval_s=0.005) for _ in range(3)]

    def append(writer: PredictionWriter, host: int) -> None:
        for number in range(100):
            writer.append(answered(request=f"{host}-{number}", at=number))

    threads = [threading.Thread(target=append, args=(writer, host)) for host, writer in enumerate(writers)]
    for thread in threads:
        thread.start()
    sizes = []
    while any(thread.is_alive() for thread in threads):
        table = read_table(tmp_path, **WHOLE)
        sizes.append(table.num_rows if table is not None else 0)
    for thread, writer in zip(threads, writers, strict=True):
        thread.join()
        writer.close()
    table = read_table(tmp_path, **WHOLE)
    assert table is not None
    assert sizes == sorted(sizes)
    assert len(set(table["_request"].to_pylist())) == table.num_rows == 300
