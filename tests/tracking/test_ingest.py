"""What was spooled reaches the database once, whoever reads it, and the dead are told from the living."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tracking_kit import DEAD, END, a_dead_run, a_run, a_store, objects, run_id

from mlops_cli.core.base.records import LoggedModel, Signature
from mlops_cli.core.tracking import frames
from mlops_cli.core.tracking.spool import Spool, spool_files
from mlops_cli.core.tracking.spooled import Artifact, Begin, End, Model, Param, Point, Record, Tag, Writer, encoder

ID = run_id(1)


def spool_of_the_dead(root: Path, *records: Record, number: int = 1, stage: str = "train") -> Path:
    """A spool file as a process leaves it that has ended on this host."""
    folder = root / run_id(number) / stage
    Spool(folder).append(*records)
    (path,) = spool_files(folder)
    mine = path.read_bytes()
    first = frames.decode(mine, len(frames.HEADER)).payloads[0]
    dead = frames.encode(encoder.encode(Writer(DEAD, os.uname().nodename, "")))
    path.write_bytes(frames.HEADER + dead + mine[len(frames.HEADER) + len(frames.encode(first)) :])
    return path


def test_points_of_a_living_run_are_seen_at_once_and_once(tmp_path: Path) -> None:
    runs = a_store(tmp_path)
    runs.start(a_run(pid=os.getpid()))
    spool = Spool(tmp_path / "spool" / ID / "train")
    spool.append(Point("loss", 0.5, 0, 10))
    assert runs.ingest(tmp_path / "spool", None) == 1
    assert runs.ingest(tmp_path / "spool", None) == 0
    spool.append(Point("loss", 0.4, 1, 20), Param("lr", 0.1), Tag("a", "b"))
    assert runs.ingest(tmp_path / "spool", None) == 3
    found = runs.get(ID)
    assert (found.status, found.metrics, found.params, found.tags) == (
        "running",
        {"loss": 0.4},
        {"lr": 0.1},
        {"a": "b"},
    )
    assert spool_files(tmp_path / "spool" / ID / "train")


def test_a_dead_run_is_killed_with_all_it_logged_and_its_spool_goes(tmp_path: Path) -> None:
    runs = a_store(tmp_path)
    runs.start(a_dead_run())
    spool_of_the_dead(tmp_path / "spool", Point("loss", math.nan, 3, 1367409700000), Tag("a", "b"))
    assert runs.ingest(tmp_path / "spool", None) == 2
    found = runs.get(ID)
    assert found.status == "killed"
    assert math.isnan(found.metrics["loss"])
    assert found.end == "2013-05-01T12:01:40.000000Z"
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_dead_run_that_logged_nothing_is_killed_too(tmp_path: Path) -> None:
    runs = a_store(tmp_path)
    runs.start(a_dead_run(1))
    runs.start(a_run(2, pid=os.getpid()))
    runs.start(a_run(3, pid=DEAD, host="another-host"))
    runs.ingest(tmp_path / "spool", None)
    assert [runs.get(run_id(number)).status for number in (1, 2, 3)] == ["killed", "running", "running"]


def test_a_number_given_to_another_process_is_not_the_run(tmp_path: Path) -> None:
    runs = a_store(tmp_path)
    runs.start(a_run(pid=os.getpid(), host=os.uname().nodename, born="1"))
    runs.ingest(tmp_path / "spool", None)
    assert runs.get(ID).status == ("killed" if Path("/proc/self/stat").exists() else "running")


def test_a_run_lives_while_one_of_its_processes_logs(tmp_path: Path) -> None:
    runs = a_store(tmp_path)
    runs.start(a_dead_run())
    spool = Spool(tmp_path / "spool" / ID / "train")
    spool.append(Tag("a", "1"))
    runs.ingest(tmp_path / "spool", None)
    assert runs.get(ID).status == "running"


def test_a_torn_tail_waits_for_the_living_and_is_dropped_of_the_dead(tmp_path: Path) -> None:
    runs = a_store(tmp_path)
    runs.start(a_run(pid=os.getpid()))
    spool = Spool(tmp_path / "spool" / ID / "train")
    spool.append(Tag("a", "1"))
    (path,) = spool_files(tmp_path / "spool" / ID / "train")
    whole = frames.encode(encoder.encode(Tag("b", "2")))
    with path.open("ab") as file:
        file.write(whole[:9])
        file.flush()
        assert runs.ingest(tmp_path / "spool", None) == 1
        file.write(whole[9:])
    assert runs.ingest(tmp_path / "spool", None) == 1
    assert runs.get(ID).tags == {"a": "1", "b": "2"}

    runs.start(a_dead_run(2))
    dead = spool_of_the_dead(tmp_path / "spool", Tag("a", "1"), number=2)
    dead.write_bytes(dead.read_bytes() + whole[:9])
    notes: list[str] = []
    runs.ingest(tmp_path / "spool", None, note=notes.append)
    assert runs.get(run_id(2)).tags == {"a": "1"}
    assert notes == []


def test_damage_is_passed_over_and_said_once(tmp_path: Path) -> None:
    runs = a_store(tmp_path)
    runs.start(a_run(pid=os.getpid()))
    spool = Spool(tmp_path / "spool" / ID / "train")
    spool.append(Tag("a", "1"))
    spool.append(Tag("flipped", "2"))
    (path,) = spool_files(tmp_path / "spool" / ID / "train")
    data = bytearray(path.read_bytes())
    data[data.index(b"flipped")] ^= 4
    path.write_bytes(data)
    spool.append(Tag("c", "3"))
    notes: list[str] = []
    for _ in range(3):
        runs.ingest(tmp_path / "spool", None, note=notes.append)
    assert runs.get(ID).tags == {"a": "1", "c": "3", "mlo.damaged": "1"}
    assert len(notes) == 1
    assert "the rest was kept" in notes[0]


def test_a_run_that_a_script_opened_is_made_and_ended_from_its_spool(tmp_path: Path) -> None:
    runs = a_store(tmp_path)
    store = objects(tmp_path)
    spool = Spool(tmp_path / "spool" / ID / "script")
    patch = spool.keep_bytes(b"--- a\n+++ b\n", "diff.patch")
    spool.append(Begin(a_run(pid=os.getpid(), dirty=True), patch))
    spool.append(Point("loss", 0.5, 0, 0))
    runs.ingest(tmp_path / "spool", store)
    assert runs.get(ID).status == "running"
    spool.append(End("finished", END))
    runs.ingest(tmp_path / "spool", store)
    found = runs.get(ID)
    assert (found.status, found.end, found.name, found.metrics) == ("finished", END, "run-1", {"loss": 0.5})
    assert found.diff is not None
    assert not (tmp_path / "spool" / ID).exists()


def test_artifacts_and_models_outlive_the_spool(tmp_path: Path) -> None:
    runs = a_store(tmp_path)
    store = objects(tmp_path)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "mlo-model.json").write_bytes(b"{}")
    spool = Spool(tmp_path / "spool" / ID / "script")
    logged = LoggedModel("model", "sklearn-skops", {"mlo-model.json": "0" * 64}, Signature((), "regression"))
    spool.append(
        Begin(a_run(pid=os.getpid())),
        Artifact("notes.txt", spool.keep_bytes(b"notes", "notes.txt")),
        Model(logged, spool.keep(folder, "model")),
        End("finished", END),
    )
    runs.ingest(tmp_path / "spool", store)
    found = runs.get(ID)
    assert store.read(found.artifacts["notes.txt"].name) == b"notes"
    assert found.model is not None
    assert found.model.entry is not None
    assert store.has(found.model.entry.name)
    assert not (tmp_path / "spool" / ID).exists()


def test_a_spool_whose_run_was_lost_with_the_database_is_recovered(tmp_path: Path) -> None:
    runs = a_store(tmp_path)
    spool_of_the_dead(tmp_path / "spool", Point("loss", 0.5, 0, 0))
    runs.ingest(tmp_path / "spool", None)
    found = runs.get(ID)
    assert (found.status, found.metrics, found.tags) == ("killed", {"loss": 0.5}, {"mlo.recovered": "true"})


def test_a_finished_run_takes_nothing_more_and_its_spool_goes(tmp_path: Path) -> None:
    runs = a_store(tmp_path)
    begun = runs.start(a_run(pid=os.getpid()))
    spool_of_the_dead(tmp_path / "spool", Tag("late", "1"))
    runs.finish(type(begun)(id=begun.id, start=begun.start, status="finished", end=END))
    assert runs.ingest(tmp_path / "spool", None) == 0
    assert runs.get(ID).tags == {}
    assert not (tmp_path / "spool" / ID).exists()


def test_a_file_that_was_only_created_is_left_alone(tmp_path: Path) -> None:
    runs = a_store(tmp_path)
    folder = tmp_path / "spool" / ID / "script"
    folder.mkdir(parents=True)
    path = folder / f"{os.getpid()}-00000000.spool"
    for content in (b"", frames.HEADER[:3], frames.HEADER):
        path.write_bytes(content)
        assert runs.ingest(tmp_path / "spool", None) == 0
        assert path.exists()
    assert runs.list() == []


@pytest.mark.parametrize("name", ["notes", "abc", ".hidden", "0" * 31 + "g"])
def test_folders_of_other_names_are_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / "spool" / name).mkdir(parents=True)
    a_store(tmp_path).ingest(tmp_path / "spool", None)
    assert (tmp_path / "spool" / name).is_dir()


def test_several_stages_and_processes_of_one_run_come_together(tmp_path: Path) -> None:
    runs = a_store(tmp_path)
    runs.start(a_run(pid=os.getpid()))
    for stage in ("prepare", "train"):
        Spool(tmp_path / "spool" / ID / stage).append(Tag(stage, "1"))
        Spool(tmp_path / "spool" / ID / stage).append(Tag(f"{stage}-2", "1"))
    assert runs.ingest(tmp_path / "spool", None) == 4
    assert set(runs.get(ID).tags) == {"prepare", "prepare-2", "train", "train-2"}


INGEST = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tracking_kit import a_store, objects
root = Path(sys.argv[1])
print(a_store(root).ingest(root / "spool", objects(root)))
"""


def test_six_processes_that_ingest_at_once_read_each_record_once(tmp_path: Path) -> None:
    runs = a_store(tmp_path)
    for number in range(1, 9):
        runs.start(a_dead_run(number))
        points = [Point("m", float(step), step, 1000 + step) for step in range(300)]
        spool_of_the_dead(tmp_path / "spool", *points, Tag("t", "1"), number=number)
    command = [sys.executable, "-c", INGEST, str(tmp_path), str(Path(__file__).parent)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(6)]
    answers = [worker.communicate() for worker in workers]
    assert [(worker.returncode, err) for worker, (_, err) in zip(workers, answers, strict=True)] == [(0, "")] * 6
    assert sum(int(out) for out, _ in answers) == 8 * 301
    for number in range(1, 9):
        found = runs.get(run_id(number))
        assert (found.status, found.metrics, found.tags) == ("killed", {"m": 299.0}, {"t": "1"})
        assert len(runs.metric_history(found.id, "m")) == 300
    assert list((tmp_path / "spool").iterdir()) == []
