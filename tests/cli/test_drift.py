"""mlo drift: check, report, and what a check records."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlops_cli.core.base.records import Column, Entry, Signature
from mlops_cli.core.drift.importance import measure_importances
from mlops_cli.core.drift.profile import Profile
from mlops_cli.core.drift.profiling import make_profile
from mlops_cli.core.models.load import load_model
from mlops_cli.core.models.predictions import Predictions
from mlops_cli.core.models.save import save_model
from mlops_cli.core.predictions.segment import Answered, encode, segment_name
from mlops_cli.core.registry.records import Version
from mlops_cli.core.workflows.drift import check_windows
from mlops_cli.core.workflows.drift_profile import build_profile
from mlops_cli.core.workflows.workspace import Workspace

YAML = """\
name: flights
model: {name: flights, time: at}
drift: {window: 24h, min_rows: 100, max_window: 3d}
"""
INPUTS = (Column("temp", "float", nullable=True), Column("carrier", "string"))
SIGNATURE = Signature(INPUTS, "classification", (0, 1))
NOW = "2013-05-01T06:00:00Z"
DAY = datetime(2013, 4, 30, 12, tzinfo=UTC)
Log = Callable[..., None]


def rows(seed: int, n: int, warmer: float = 0.0) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    return {"temp": generator.normal(40 + warmer, 10, n), "carrier": generator.choice(["AA", "UA", "DL"], n)}


def scores_of(columns: dict[str, Any]) -> np.ndarray:
    return np.clip(columns["temp"] / 100, 0, 1)


def profile(columns: dict[str, Any] | None = None) -> bytes:
    columns = columns or rows(0, 3000)
    scores = scores_of(columns)
    answers = Predictions((scores > 0.5).astype(int), np.column_stack((1 - scores, scores)))
    start = datetime(2013, 1, 1, tzinfo=UTC)
    times = [start + timedelta(minutes=row) for row in range(len(scores))]
    table = pa.table({**columns, "at": times})
    return make_profile(table, inputs=INPUTS, time="at", prediction=answers, predicted=table).to_bytes()


@pytest.fixture
def project(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose flights@1 is in production, with a profile; no model file is anywhere."""
    (here / "mlo.yaml").write_text(YAML)
    monkeypatch.setenv("MLO_NOW", NOW)
    workspace = opened(here)
    register(workspace, str(workspace.store.put_bytes(profile())))
    workspace.registry.record("promote", "flights@1", {"alias": "production", "before": None, "gates": []})
    return here


def opened(folder: Path) -> Workspace:
    return Workspace.find(folder, {"MLO_NOW": NOW, "MLO_ACTOR": "Ada"})


def register(workspace: Workspace, digest: str | None, inputs: tuple[Column, ...] = INPUTS) -> None:
    version = Version(
        name="flights",
        version=0,
        run=f"{len(workspace.registry.versions('flights')):032x}",
        model=Entry("xxh128:" + "0" * 32, "dir", 0),
        files={},
        signature=Signature(inputs, "classification", (0, 1)),
        profile=digest,
    )
    workspace.registry.add_version(version)


@pytest.fixture
def log(project: Path) -> Log:
    """Append one segment to the prediction log, as serving does."""

    def append(columns: dict[str, Any], *, arrived: datetime = DAY, version: int | None = 1, **changes: Any) -> None:
        n = len(columns["temp"])
        scores = scores_of(columns)
        batch = Answered(
            request="r",
            arrived=arrived,
            model="flights",
            version=version,
            signature=changes.pop("signature", SIGNATURE),
            columns={name: np.asarray(values).tolist() for name, values in columns.items()},
            predictions=(scores > 0.5).astype(int).tolist(),
            scores=scores.tolist(),
            time_column="at",
            times=[arrived + timedelta(seconds=row) for row in range(n)],
            **changes,
        )
        path = project / ".mlo" / "predictions" / segment_name([batch])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode([batch]))

    return append


def drift_events(folder: Path) -> list[Any]:
    return [event for event in opened(folder).registry.history("flights") if event.kind == "drift"]


def test_a_quiet_window_answers_0_and_is_recorded(mlo: Any, project: Path, log: Log) -> None:
    log(rows(1, 1000))
    answer = mlo("drift", "check")
    assert answer.stdout.startswith("quiet: nothing of importance has drifted\n")
    assert "flights@1, 2013-04-30 to 2013-05-01: 1,000 rows against 3,000" in answer.stdout
    (event,) = drift_events(project)
    assert (event.subject, event.data["verdict"], event.data["rows"], event.data["alarms"]) == (
        "flights@1",
        "quiet",
        1000,
        [],
    )
    assert event.data["window"] == {"start": "2013-04-30T00:00:00.000000Z", "end": "2013-05-01T00:00:00.000000Z"}


def test_drift_answers_3_names_the_column_first_and_keeps_the_report(mlo: Any, project: Path, log: Log) -> None:
    log(rows(1, 1000, warmer=15))
    answer = mlo("drift", "check", exit_code=3)
    assert answer.stdout.startswith("drift: prediction, prediction score, temp\n")
    event = drift_events(project)[0]
    assert event.data["alarms"] == ["_prediction", "_score", "temp"]
    kept = json.loads(opened(project).store.read(Entry(event.data["report"], "file", 0).name))
    assert kept["columns"][0]["column"] == "temp"
    assert kept["columns"][0]["effect"] > 0.4


def test_json_is_one_object_with_everything(mlo: Any, log: Log) -> None:
    log(rows(1, 1000, warmer=15))
    document = mlo("drift", "check", "flights@1", "--json", exit_code=3).json
    assert (document["verdict"], document["exit_code"], document["model"]) == ("drift", 3, "flights@1")
    assert [column["column"] for column in document["columns"]] == ["temp", "carrier"]
    assert {test["part"] for test in document["columns"][0]["tests"]} == {"distribution", "tails", "atom"}
    assert document["columns"][1]["status"] == "quiet"
    assert document["event"] is not None


def test_the_same_answer_is_recorded_once(mlo: Any, project: Path, log: Log) -> None:
    log(rows(1, 1000))
    mlo("drift", "check")
    mlo("drift", "check")
    assert len(drift_events(project)) == 1


def test_an_empty_window_answers_4_and_says_where_it_looked(mlo: Any, project: Path) -> None:
    answer = mlo("drift", "check", exit_code=4)
    assert "between 2013-04-28T00:00Z and 2013-05-01T00:00Z in .mlo/predictions" in answer.stderr
    assert "is open until 2013-05-02T00:00Z and has no rows yet" in answer.stderr
    assert "--since" in answer.stderr
    assert drift_events(project) == []


def test_rows_of_the_open_window_are_counted_and_the_printed_command_checks_them(mlo: Any, log: Log) -> None:
    log(rows(1, 500), arrived=datetime(2013, 5, 1, 6, tzinfo=UTC))  # this very moment
    stderr = mlo("drift", "check", exit_code=4).stderr
    assert "the present window is open until 2013-05-02T00:00Z and has 500 rows so far" in stderr
    command = "mlo drift check --since 2013-05-01T00:00Z --until 2013-05-01T06:00:01Z"
    assert command in stderr
    assert mlo(*command.split()[1:], "--json").json["rows"] == 500
    assert "mlo drift check flights@1 --since" in mlo("drift", "check", "flights@1", exit_code=4).stderr


def test_since_may_be_a_duration_before_now(mlo: Any, log: Log) -> None:
    log(rows(1, 500), arrived=datetime(2013, 5, 1, 5, 30, tzinfo=UTC))
    document = mlo("drift", "check", "--since", "1h", "--json").json
    assert (document["rows"], document["window"]["start"]) == (500, "2013-05-01T05:00:00.000000Z")
    assert "between 2013-05-01T05:45Z and 2013-05-01T06:00Z" in (
        mlo("drift", "check", "--since", "15m", exit_code=4).stderr
    )


def test_a_thin_window_reaches_back_until_it_has_enough_rows(mlo: Any, log: Log) -> None:
    log(rows(1, 60))
    log(rows(2, 80), arrived=DAY - timedelta(days=1))
    log(rows(3, 500), arrived=DAY - timedelta(days=2))
    document = mlo("drift", "check", "--json", exit_code=None).json
    assert document["rows"] == 140
    assert document["window"]["start"] == "2013-04-29T00:00:00.000000Z"


def test_too_few_rows_answer_4_with_what_could_have_been_found(mlo: Any, log: Log) -> None:
    log(rows(1, 30))
    answer = mlo("drift", "check", exit_code=4)
    assert answer.stdout.startswith("too little data")
    assert "too few rows" in answer.stdout


def test_since_and_until_choose_the_window(mlo: Any, log: Log) -> None:
    log(rows(1, 500), arrived=datetime(2013, 3, 5, 7, tzinfo=UTC))
    document = mlo("drift", "check", "--since", "2013-03-05", "--until", "2013-03-06", "--json").json
    assert document["rows"] == 500
    assert mlo("drift", "check", "--since", "2013-03-06", "--until", "2013-03-05", exit_code=2).stderr
    assert "is not a time" in mlo("drift", "check", "--since", "yesterday", exit_code=2).stderr


def test_inputs_of_all_versions_count_and_predictions_of_its_own_only(mlo: Any, project: Path, log: Log) -> None:
    register(opened(project), None)
    log(rows(5, 400))
    log(rows(2, 600, warmer=20), version=2)
    document = mlo("drift", "check", "--json", exit_code=3).json
    assert document["rows"] == 1000
    assert {column["column"]: column["n"] for column in document["answers"]} == {"_prediction": 400, "_score": 400}
    assert document["alarms"] == ["temp"]


def test_versions_with_other_inputs_and_other_models_are_left_out(mlo: Any, project: Path, log: Log) -> None:
    fewer = (Column("temp", "float", nullable=True),)
    register(opened(project), None, fewer)
    log(rows(5, 400))
    log({"temp": rows(2, 600, 30)["temp"]}, version=2, signature=Signature(fewer, "classification", (0, 1)))
    assert mlo("drift", "check", "--json").json["rows"] == 400


def test_a_file_is_checked_without_a_log_or_an_event(mlo: Any, project: Path) -> None:
    pq.write_table(pa.table(rows(1, 800, warmer=15)), project / "april.parquet")
    answer = mlo("drift", "check", "--current", "april.parquet", exit_code=3)
    assert answer.stdout.startswith("drift: temp\n")
    assert "note: the window has no at" in answer.stdout
    assert drift_events(project) == []


def test_a_csv_file_keeps_its_texts_as_texts(mlo: Any, project: Path) -> None:
    numbered = {"temp": rows(0, 3000)["temp"], "carrier": np.random.default_rng(0).choice(["007", "01"], 3000)}
    workspace = opened(project)
    register(workspace, str(workspace.store.put_bytes(profile(numbered))))
    lines = [
        "temp,carrier",
        *(f"{temp:.2f},{'007' if row % 2 else '01'}" for row, temp in enumerate(rows(1, 500)["temp"])),
    ]
    (project / "april.csv").write_text("\n".join(lines))
    assert mlo("drift", "check", "flights@2", "--current", "april.csv", "--json").json["verdict"] == "quiet"


def test_since_chooses_rows_of_a_file_by_their_own_time(mlo: Any, project: Path) -> None:
    times = [datetime(2013, 4, 1, tzinfo=UTC) + timedelta(hours=row) for row in range(700)]
    pq.write_table(pa.table({**rows(1, 700), "at": times}), project / "april.parquet")
    found = mlo("drift", "check", "--current", "april.parquet", "--since", "2013-04-11", "--json", exit_code=None).json
    assert found["rows"] == 700 - 240
    empty = mlo(
        "drift", "check", "--current", "april.parquet", "--since", "2013-05-20", "--until", "2013-05-21", exit_code=4
    )
    assert "holds no rows" in empty.stderr


def test_other_columns_are_a_finding_and_none_at_all_an_error(mlo: Any, project: Path) -> None:
    pq.write_table(pa.table({"temp": rows(1, 800)["temp"], "wind": [1.0] * 800}), project / "some.parquet")
    some = mlo("drift", "check", "--current", "some.parquet", exit_code=3)
    assert "the window does not have it" in some.stdout
    assert "the reference does not have it" in some.stdout
    pq.write_table(pa.table({"a": [1], "b": [2]}), project / "none.parquet")
    none = mlo("drift", "check", "--current", "none.parquet", exit_code=2)
    assert "none of the reference's columns; it has a, b" in none.stderr
    assert "temp, carrier" in none.stderr


def test_a_file_with_a_column_twice_is_refused(mlo: Any, project: Path) -> None:
    (project / "twice.csv").write_text("temp,carrier,temp\n1,UA,2\n")
    temp = pa.array([1.0])
    pq.write_table(pa.Table.from_arrays([temp, temp], names=["temp", "temp"]), project / "twice.parquet")
    for name in ("twice.csv", "twice.parquet"):
        answer = mlo("drift", "check", "--current", name, exit_code=5)
        assert f"{name} has two columns named temp" in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--current", "absent.parquet"), 6, "there is no file absent.parquet"),
        (("--current", "mlo.yaml"), 5, "does not read as rows"),
        (("flights@9",), 6, "flights has no version 9"),
        (("flights@staging",), 6, "staging"),
        (("--window", "soon"), 2, "is not a duration"),
    ],
)
def test_bad_arguments_say_what_is_wrong(
    mlo: Any, project: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    assert says in mlo("drift", "check", *arguments, exit_code=code).stderr


def test_a_version_without_a_profile_says_how_to_get_one(mlo: Any, project: Path) -> None:
    register(opened(project), None)
    answer = mlo("drift", "check", "flights@2", exit_code=5)
    assert "flights@2 has no drift profile" in answer.stderr
    assert "model.reference" in answer.stderr


def test_a_project_that_does_not_log_says_so(mlo: Any, project: Path) -> None:
    (project / "mlo.yaml").write_text(YAML + "serve: {log: false}\n")
    assert "serve.log is false" in mlo("drift", "check", exit_code=5).stderr


def test_a_log_in_another_folder_is_found(mlo: Any, project: Path, log: Log) -> None:
    log(rows(5, 300))
    (project / ".mlo" / "predictions").rename(project / "elsewhere")
    (project / "mlo.yaml").write_text(YAML + "serve: {log: elsewhere}\n")
    assert mlo("drift", "check", "--json").json["source"] == "elsewhere"


def test_a_report_is_one_file_and_is_not_replaced_unasked(mlo: Any, project: Path, log: Log) -> None:
    log(rows(1, 1000, warmer=15))
    answer = mlo("drift", "report", "-o", "out.html")
    assert answer.stdout == "out.html: drift: prediction, prediction score, temp\n"
    first = (project / "out.html").read_bytes()
    assert b"Drift of flights@1" in first
    assert drift_events(project) == []
    assert "out.html exists" in mlo("drift", "report", "-o", "out.html", exit_code=5).stderr
    mlo("drift", "report", "-o", "out.html", "--force")
    assert (project / "out.html").read_bytes() == first


def test_a_check_writes_the_report_beside_its_answer(mlo: Any, project: Path, log: Log) -> None:
    log(rows(1, 1000))
    mlo("drift", "check", "--html", "drift.html")
    assert (project / "drift.html").read_bytes().startswith(b"<!doctype html>")
    assert "drift.html exists" in mlo("drift", "check", "--html", "drift.html", exit_code=5).stderr


def test_a_check_of_a_file_imports_nothing_heavy(project: Path) -> None:
    pq.write_table(pa.table(rows(1, 500)), project / "april.parquet")
    script = (
        "import sys\nfrom mlops_cli.cli.main import main\n"
        "code = main(['drift', 'check', '--current', 'april.parquet', '--quiet'])\n"
        "heavy = ('pandas', 'sklearn', 'scipy.stats', 'skops', 'fastapi', 'rich', 'joblib')\n"
        "print(code, *[name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=project)
    assert done.stdout == "0\n"


def test_the_last_windows_do_not_overlap_and_empty_ones_are_too_little(project: Path, log: Log) -> None:
    log(rows(5, 300))
    log(rows(2, 300, warmer=30), arrived=DAY - timedelta(days=1))
    answers = check_windows(opened(project), None, 3)
    assert [answer.verdict for answer in answers] == ["too_little", "drift", "quiet"]
    assert [answer.rows for answer in answers] == [0, 300, 300]
    ends = [(answer.window.start, answer.window.end) for answer in answers if answer.window]
    assert all(earlier[1] <= later[0] for earlier, later in itertools.pairwise(ends))
    assert drift_events(project) == []
    assert [answer.event is not None for answer in check_windows(opened(project), "flights@1", 2, record=True)] == [
        True,
        True,
    ]


def test_a_profile_is_built_from_a_model_that_predicts_on_rows_it_was_not_fitted_on(
    project: Path, tmp_path: Path
) -> None:
    import pandas as pd
    from sklearn.linear_model import LogisticRegression

    generator = np.random.default_rng(4)
    frame = pd.DataFrame({"warm": generator.normal(size=900), "noise": generator.normal(size=900)})
    late = (frame["warm"] + 0.3 * generator.normal(size=900) > 0).astype(int)
    save_model(LogisticRegression().fit(frame[:600], late[:600]), tmp_path / "m", example=frame[:600])
    loaded = load_model(tmp_path / "m")
    table = pa.Table.from_pandas(frame.assign(late=late), preserve_index=False)
    data = build_profile(opened(project), loaded, table.slice(0, 600), table.slice(600), "late")
    made = Profile.from_bytes(data)
    assert data == build_profile(opened(project), loaded, table.slice(0, 600), table.slice(600), "late")
    assert (made.rows, made.answers_from, made.column("_score").rows) == (600, "evaluate", 300)
    assert made.others == {"late": "int64"}
    found = {column.name: column.importance or 0 for column in made.columns}
    assert found["warm"] > 10 * abs(found["noise"])
    alone = Profile.from_bytes(build_profile(opened(project), loaded, table.slice(0, 600)))
    assert (alone.answers_from, alone.columns[0].importance) == ("reference", None)
    assert measure_importances(loaded, table.slice(0, 1).set_column(2, "late", pa.nulls(1, pa.int64())), "late") is None
