"""Labels beside the prediction log: kept once, replaced by later ones, never lost."""

from __future__ import annotations

import os
import signal
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.core.errors import IntegrityError, MachineError, UsageError
from mlops_cli.core.predictions.label_files import decode
from mlops_cli.core.predictions.labels import Known, Label, has_labels, read_labels, record_labels
from mlops_cli.core.predictions.reader import read_table
from mlops_cli.core.remotes.open import open_url

NOW = datetime(2013, 5, 1, 6, tzinfo=UTC)


def counted(log: Path) -> dict[tuple[str, int], str]:
    return {place: label for place, (_, label) in read_labels(log).labels.items()}


def segments(log: Path) -> list[Path]:
    return sorted((log / "labels").glob("*/*.arrow"))


def test_the_same_labels_again_add_nothing(tmp_path: Path) -> None:
    labels = [Label("a", 0, "1"), Label("a", 1, "0")]
    first = record_labels(tmp_path, labels, NOW)
    again = record_labels(tmp_path, labels, NOW + timedelta(days=3))
    assert (first.added, first.changed, first.unchanged) == (2, 0, 0)
    assert (again.added, again.changed, again.unchanged, again.segment) == (0, 0, 2, None)
    assert len(segments(tmp_path)) == 1


def test_a_later_label_counts_and_the_earlier_is_kept(tmp_path: Path) -> None:
    record_labels(tmp_path, [Label("a", 0, "1")], NOW)
    assert record_labels(tmp_path, [Label("a", 0, "0")], NOW + timedelta(days=20)).changed == 1
    known = read_labels(tmp_path)
    assert (known.labels["a", 0][1], known.superseded, len(segments(tmp_path))) == ("0", 1, 2)


@pytest.mark.parametrize("back_s", [0, 3600])
def test_a_label_replaces_an_earlier_one_although_the_clock_stands_or_went_back(tmp_path: Path, back_s: int) -> None:
    record_labels(tmp_path, [Label("a", 0, "1")], NOW)
    record_labels(tmp_path, [Label("a", 0, "0")], NOW - timedelta(seconds=back_s))
    assert counted(tmp_path) == {("a", 0): "0"}


def test_labels_of_one_time_read_alike_in_any_order(tmp_path: Path) -> None:
    one, other = Known({}), Known({})
    for label in ("x", "y", "x"):
        one.take(("a", 0), NOW, label)
    for label in ("y", "x", "x"):
        other.take(("a", 0), NOW, label)
    assert one.labels == other.labels == {("a", 0): (NOW, "y")}


def test_two_labels_of_one_row_at_once_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"row 0 of request a has two labels: 1 and 0") as caught:
        record_labels(tmp_path, [Label("b", 0, "1"), Label("a", 0, "1"), Label("a", 0, "0")], NOW)
    assert "_row" in (caught.value.hint or "")
    assert not has_labels(tmp_path)


@pytest.mark.parametrize(("request_id", "row"), [("", 0), ("a", -1), ("a", 2**31)])
def test_places_that_no_row_has_are_refused(tmp_path: Path, request_id: str, row: int) -> None:
    with pytest.raises(UsageError):
        record_labels(tmp_path, [Label(request_id, row, "1")], NOW)


def test_the_prediction_log_does_not_read_labels_as_rows(tmp_path: Path) -> None:
    record_labels(tmp_path, [Label("a", 0, "1")], NOW)
    assert read_table(tmp_path, since=NOW - timedelta(days=900), until=NOW + timedelta(days=1)) is None


def test_a_torn_segment_is_skipped_and_named(tmp_path: Path) -> None:
    record_labels(tmp_path, [Label("a", 0, "1")], NOW)
    record_labels(tmp_path, [Label("b", 0, "1")], NOW + timedelta(days=1))
    first = segments(tmp_path)[0]
    first.write_bytes(first.read_bytes()[:-40])
    known = read_labels(tmp_path)
    assert set(known.labels) == {("b", 0)}
    assert "is torn" in known.torn[first.name]


def test_a_segment_of_predictions_is_no_segment_of_labels(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError):
        decode(b"ARROW1", "x.arrow")


def test_a_log_on_a_remote_keeps_its_labels_there(tmp_path: Path) -> None:
    remote = open_url(f"file://{tmp_path}/far", root=tmp_path)
    remote.create()
    assert not has_labels(remote)
    record_labels(remote, [Label("a", 0, "1")], NOW)
    record_labels(remote, [Label("a", 0, "1"), Label("b", 3, "0")], NOW + timedelta(days=40))
    assert {place: label for place, (_, label) in read_labels(remote).labels.items()} == {("a", 0): "1", ("b", 3): "0"}
    assert [key.split("/")[:3] for key in remote.list("predictions/")] == [
        ["predictions", "labels", "2013-05-01"],
        ["predictions", "labels", "2013-06-10"],
    ]
    assert set(read_labels(remote, since=NOW + timedelta(days=20)).labels) == {("b", 3)}
    assert read_table(remote, since=NOW - timedelta(days=90), until=NOW + timedelta(days=90)) is None


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.lists(
            st.builds(Label, st.sampled_from("abc"), st.integers(0, 1), st.sampled_from("01")),
            unique_by=lambda label: label.place,
            max_size=4,
        ),
        max_size=5,
    ),
    st.booleans(),
)
def test_whatever_is_recorded_the_last_label_counts_and_repeating_all_of_the_last_changes_nothing(
    calls: list[list[Label]], keeps: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log, truth, known = Path(folder), dict[tuple[str, int], str](), Known({})
        for labels in calls:
            done = record_labels(log, labels, NOW, known=known if keeps else None)
            assert done.added + done.changed + done.unchanged == len(labels)
            truth |= {label.place: label.label for label in labels}
        assert counted(log) == truth
        before = segments(log)
        assert record_labels(log, [Label(*place, label) for place, label in truth.items()], NOW).segment is None
        assert segments(log) == before


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_writer_killed_at_any_step_leaves_all_labels_or_none(tmp_path: Path, step: int) -> None:
    record_labels(tmp_path, [Label("old", 0, "1")], NOW)
    child = os.fork()
    if child == 0:  # pragma: no cover - ends by SIGKILL or _exit
        calls = iter(range(1, 100))

        def killing(function):  # type: ignore[no-untyped-def]
            def call(*arguments, **options):  # type: ignore[no-untyped-def]
                if next(calls) == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*arguments, **options)

            return call

        for name in ("fsync", "replace", "fchmod"):
            setattr(os, name, killing(getattr(os, name)))
        record_labels(tmp_path, [Label("a", row, "1") for row in range(50)], NOW)
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    known = read_labels(tmp_path)
    assert len(known.labels) == 1
    assert known.torn == {}
    assert record_labels(tmp_path, [Label("a", row, "1") for row in range(50)], NOW).added == 50
    assert len(read_labels(tmp_path).labels) == 51


def test_a_full_disk_is_said_and_leaves_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record_labels(tmp_path, [Label("old", 0, "1")], NOW)

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MachineError):
        record_labels(tmp_path, [Label("a", 0, "1")], NOW)
    monkeypatch.undo()
    assert counted(tmp_path) == {("old", 0): "1"}
    assert [path for path in (tmp_path / "labels").rglob("*.tmp") if path.is_file()] == []
