"""Labels given one by one: what is durable when, what is written once, and what goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mlops_cli.core.base.clock import SystemClock
from mlops_cli.core.errors import MachineError, UsageError
from mlops_cli.core.predictions.label_writer import LabelsFull, LabelWriter
from mlops_cli.core.predictions.labels import Label, read_labels

TIME = datetime(2013, 5, 1, 6, tzinfo=UTC)


class Standing:
    """A clock that stands, or goes back."""

    def __init__(self) -> None:
        self.time = TIME

    def now(self) -> datetime:
        return self.time


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[LabelWriter]:
    made = LabelWriter(tmp_path, Standing(), first_s=0, interval_s=0)
    yield made
    made.close()


def known(folder: Path) -> dict[tuple[str, int], str]:
    return {place: label for place, (_, label) in read_labels(folder).labels.items()}


def segments(folder: Path) -> list[Path]:
    return sorted((folder / "labels").rglob("*.arrow"))


def test_labels_are_durable_when_their_future_is_done(writer: LabelWriter, tmp_path: Path) -> None:
    writer.append([Label("a", 0, "1"), Label("a", 1, "0")]).result(30)
    assert known(tmp_path) == {("a", 0): "1", ("a", 1): "0"}
    writer.append([Label("b", 0, "1")]).result(30)
    assert len(known(tmp_path)) == 3


def test_what_was_recorded_lately_is_not_written_again(writer: LabelWriter, tmp_path: Path) -> None:
    for _ in range(3):
        writer.append([Label("a", 0, "1")]).result(30)
    assert len(segments(tmp_path)) == 1


def test_a_later_label_counts_even_if_the_clock_goes_back(tmp_path: Path) -> None:
    clock = Standing()
    writer = LabelWriter(tmp_path, clock, first_s=0, interval_s=0)
    writer.append([Label("a", 0, "1")]).result(30)
    clock.time = datetime(2013, 4, 30, tzinfo=UTC)
    writer.append([Label("a", 0, "0")]).result(30)
    writer.close()
    assert known(tmp_path) == {("a", 0): "0"}


def test_many_become_one_segment_and_the_last_of_a_row_counts(tmp_path: Path) -> None:
    writer = LabelWriter(tmp_path, SystemClock(), first_s=60)
    done = [writer.append([Label(f"r{number}", 0, "1")]) for number in range(50)]
    done.append(writer.append([Label("r0", 0, "0")]))
    writer.close()  # ends the wait for others
    for future in done:
        assert future.result(0) is None
    assert len(segments(tmp_path)) == 1
    assert known(tmp_path) == {(f"r{number}", 0): str(int(number > 0)) for number in range(50)}


def test_two_writers_share_a_log(tmp_path: Path) -> None:
    writers = [LabelWriter(tmp_path, SystemClock(), first_s=0, interval_s=0) for _ in range(2)]
    for number, writer in enumerate(writers):
        writer.append([Label("a", number, "1"), Label("same", 0, "1")]).result(30)
    for writer in writers:
        writer.close()
    assert known(tmp_path) == {("a", 0): "1", ("a", 1): "1", ("same", 0): "1"}
    assert read_labels(tmp_path).superseded == 0


def test_what_cannot_be_written_is_said_to_each_and_may_be_given_again(writer: LabelWriter, tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("a file stands where the folder should be")
    with pytest.raises((MachineError, OSError)):
        writer.append([Label("a", 0, "1")]).result(30)
    (tmp_path / "labels").unlink()
    writer.append([Label("a", 0, "1")]).result(30)
    assert known(tmp_path) == {("a", 0): "1"}


def test_whoever_stops_waiting_takes_nothing_back_and_holds_nobody_up(tmp_path: Path) -> None:
    writer = LabelWriter(tmp_path, SystemClock(), first_s=60)
    gone = writer.append([Label("a", 0, "1")])
    assert not gone.cancel()
    kept = writer.append([Label("b", 0, "1")])
    writer.close()
    assert kept.result(0) is None
    assert set(known(tmp_path)) == {("a", 0), ("b", 0)}


def test_bounds_and_contradictions_are_refused_before_anything_waits(tmp_path: Path) -> None:
    writer = LabelWriter(tmp_path, SystemClock(), first_s=60, capacity=2, remembered=1)
    kept = writer.append([Label("a", 0, "1"), Label("b", 0, "1")])
    with pytest.raises(LabelsFull):
        writer.append([Label("c", 0, "1")])
    with pytest.raises(UsageError, match="two labels"):
        writer.append([Label("c", 0, "1"), Label("c", 0, "0")])
    writer.close()
    assert kept.done()
    assert set(known(tmp_path)) == {("a", 0), ("b", 0)}
    with pytest.raises(RuntimeError, match="closed"):
        writer.append([Label("d", 0, "1")])


def test_memory_of_what_was_recorded_is_bounded_and_nothing_else_depends_on_it(tmp_path: Path) -> None:
    writer = LabelWriter(tmp_path, Standing(), first_s=0, interval_s=0, remembered=1)
    for request in ("a", "b", "a"):
        writer.append([Label(request, 0, "1")]).result(30)
    writer.close()
    assert len(segments(tmp_path)) == 3
    assert known(tmp_path) == {("a", 0): "1", ("b", 0): "1"}
    assert read_labels(tmp_path).superseded == 0
