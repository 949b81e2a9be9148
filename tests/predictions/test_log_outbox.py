import shutil
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from log_kit import START, answered

from mlops_cli.core.base.records import Column
from mlops_cli.core.predictions.open import open_log, outbox_folder
from mlops_cli.core.predictions.reader import read_table
from mlops_cli.core.predictions.writer import PredictionWriter
from mlops_cli.core.project.paths import ProjectPaths
from mlops_cli.core.project.schema import Project, Serve
from mlops_cli.core.remotes.open import open_url

WHOLE = {"since": START - timedelta(days=9), "until": START + timedelta(days=9)}


def test_segments_reach_the_remote_and_leave_the_outbox(tmp_path: Path) -> None:
    (tmp_path / "remote").mkdir()
    remote = open_url(str(tmp_path / "remote"), root=tmp_path)
    writer = PredictionWriter(remote, outbox=tmp_path / "outbox", interval_s=0.01)
    writer.append(answered(3))
    state = writer.close()
    assert (state.written, state.waiting, state.error) == (3, 0, None)
    assert list((tmp_path / "outbox").rglob("*.arrow")) == []
    table = read_table(remote, **WHOLE)
    assert table is not None
    assert table.num_rows == 3


def test_while_the_remote_is_away_segments_wait_and_a_later_server_sends_them(tmp_path: Path) -> None:
    place = tmp_path / "remote"
    place.mkdir()
    remote = open_url(str(place), root=tmp_path)
    shutil.rmtree(place)
    place.write_text("a file where the remote was")
    writer = PredictionWriter(remote, outbox=tmp_path / "outbox", interval_s=0.01)
    writer.append(answered(2))
    state = writer.close()
    assert state.waiting == 1
    assert state.error
    assert state.dropped == 0
    place.unlink()
    place.mkdir()
    again = PredictionWriter(remote, outbox=tmp_path / "outbox", interval_s=0.01)
    while again.state.waiting:
        threading.Event().wait(0.01)
    again.close()
    table = read_table(remote, **WHOLE)
    assert table is not None
    assert table.num_rows == 2


def test_a_remote_that_comes_back_is_noticed_without_a_new_segment(tmp_path: Path) -> None:
    place = tmp_path / "remote"
    place.mkdir()
    remote = open_url(str(place), root=tmp_path)
    place.rmdir()
    place.write_text("away")
    writer = PredictionWriter(remote, outbox=tmp_path / "outbox", interval_s=0.01)
    writer.append(answered(2))
    while not writer.state.error:
        threading.Event().wait(0.01)
    place.unlink()
    place.mkdir()
    while writer.state.waiting:
        threading.Event().wait(0.01)
    assert writer.close().error is None


@pytest.mark.parametrize(
    ("setting", "expected"),
    [(True, ".mlo/predictions"), ("logs/here", "logs/here"), ("/shared/log", "/shared/log")],
)
def test_serve_log_names_a_folder(tmp_path: Path, setting: bool | str, expected: str) -> None:
    project = Project(name="x", serve=Serve(log=setting))
    assert open_log(project, ProjectPaths(tmp_path)) == tmp_path / expected


def test_serve_log_names_a_remote_a_url_or_nothing(tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    paths = ProjectPaths(tmp_path)
    assert open_log(Project(name="x", serve=Serve(log=False)), paths) is None
    named = open_log(Project(name="x", serve=Serve(log="origin"), remotes={"origin": "bucket"}), paths)
    by_url = open_log(Project(name="x", serve=Serve(log=f"file://{tmp_path}/bucket")), paths)
    for remote in (named, by_url):
        assert remote is not None
        assert not isinstance(remote, Path)
        remote.put("predictions/x", b"1")
    assert outbox_folder(paths) == tmp_path / ".mlo" / "outbox"


def test_a_log_on_a_remote_needs_an_outbox(tmp_path: Path) -> None:
    (tmp_path / "remote").mkdir()
    with pytest.raises(ValueError, match="outbox"):
        PredictionWriter(open_url(str(tmp_path / "remote"), root=tmp_path))


def test_columns_of_every_kind_are_logged(tmp_path: Path) -> None:
    kinds = {"float": 1.5, "integer": 2, "boolean": True, "string": "x", "datetime": START}
    inputs = tuple(Column(kind, kind, nullable=True) for kind in kinds)  # type: ignore[arg-type]
    signature = type(answered().signature)(inputs, "classification", ("no", "yes"))
    writer = PredictionWriter(tmp_path)
    columns = {kind: [value, None] for kind, value in kinds.items()}
    writer.append(answered(2, signature=signature, columns=columns, predictions=["no", "yes"]))
    writer.close()
    table = read_table(tmp_path, **WHOLE)
    assert table is not None
    assert {kind: table[kind].to_pylist() for kind in kinds} == columns
    assert table["_prediction"].to_pylist() == ["no", "yes"]
