"""mlo drift and mlo feedback on input that is wrong on purpose: an error that says so, and nothing changed."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import Mlo

from mlops_cli.core.base.records import Column, Entry, Signature
from mlops_cli.core.drift.periods import Period
from mlops_cli.core.drift.profiling import make_profile
from mlops_cli.core.drift.references import Named
from mlops_cli.core.errors import UsageError
from mlops_cli.core.models.predictions import Predictions
from mlops_cli.core.predictions.segment import Answered, encode, segment_name
from mlops_cli.core.registry.records import Evaluation, Version
from mlops_cli.core.workflows.workspace import Workspace

YAML = """\
name: flights
model: {name: flights, time: at, evaluate: {data: test.parquet, target: late}}
drift: {window: 24h, min_rows: 100}
"""
INPUTS = (Column("temp", "float"), Column("carrier", "string"))
SIGNATURE = Signature(INPUTS, "classification", (0, 1))
NOW = "2013-05-01T06:00:00Z"


def rows(seed: int, n: int) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    return {"temp": generator.normal(40, 10, n), "carrier": generator.choice(["AA", "UA"], n)}


@pytest.fixture
def project(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """flights@1 is in production, and 400 predictions of the last day are logged."""
    (here / "mlo.yaml").write_text(YAML)
    monkeypatch.setenv("MLO_NOW", NOW)
    workspace = Workspace.find(here, {"MLO_NOW": NOW, "MLO_ACTOR": "Ada"})
    reference = rows(0, 1000)
    times = [datetime(2013, 1, 1, tzinfo=UTC) + timedelta(minutes=k) for k in range(1000)]
    table = pa.table({**reference, "at": times})
    scores = np.clip(reference["temp"] / 100, 0, 1)
    answers = Predictions((scores > 0.5).astype(int), np.column_stack((1 - scores, scores)))
    profile = make_profile(table, inputs=INPUTS, time="at", prediction=answers, predicted=table).to_bytes()
    nothing = Entry("xxh128:" + "0" * 32, "dir", 0)
    workspace.registry.add_version(
        Version(
            name="flights",
            version=0,
            run="ab" * 16,
            model=nothing,
            files={},
            signature=SIGNATURE,
            profile=str(workspace.store.put_bytes(profile)),
            evaluate=Evaluation(nothing, "late", "test.parquet"),
        )
    )
    workspace.registry.record("promote", "flights@1", {"alias": "production", "before": None, "gates": []})
    logged = rows(1, 400)
    batch = Answered(
        request="r1",
        arrived=datetime(2013, 4, 30, 12, tzinfo=UTC),
        model="flights",
        version=1,
        signature=SIGNATURE,
        columns={name: values.tolist() for name, values in logged.items()},
        predictions=(logged["temp"] > 50).astype(int).tolist(),
        scores=np.clip(logged["temp"] / 100, 0, 1).tolist(),
    )
    path = here / ".mlo" / "predictions" / segment_name([batch])
    path.parent.mkdir(parents=True)
    path.write_bytes(encode([batch]))
    return here


@pytest.fixture
def unchanged(project: Path) -> Iterator[Path]:
    """The project; at the end no file of it, the log included, may be another one."""
    before = files_of(project)
    yield project
    assert files_of(project) == before


def files_of(folder: Path) -> dict[str, bytes]:
    kept = (path for path in folder.rglob("*") if path.is_file() and ".mlo" not in path.relative_to(folder).parts[:1])
    log = (path for path in (folder / ".mlo" / "predictions").rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in (*kept, *log)} | {"events": events_of(folder)}


def events_of(folder: Path) -> bytes:
    return str(len(Workspace.find(folder, {"MLO_NOW": NOW}).registry.history(None))).encode()


@pytest.mark.parametrize(
    ("line", "exit_code", "said"),
    [
        ("drift check --until 0001-01-01", 2, "beyond the years 1 to 9999"),
        ("drift check --sql ''", 2, "0 statements"),
        ("drift check --html folder", 2, "folder is a folder"),
        ("drift check --html folder --force", 2, "folder is a folder"),
        ("drift report -o folder --force", 2, "folder is a folder"),
        ("drift check --windows 1001", 2, "less than or equal to 1000"),
        ("drift report --windows -1", 2, "greater than or equal to 0"),
        ("drift performance --windows 100000000", 2, "less than or equal to 1000"),
        ("drift performance --windows 1000 --window 36500d", 2, "beyond the years 1 to 9999"),
        ("drift performance --windows 0", 2, "greater than or equal to 1"),
        ("feedback r1 1 --label-column late", 2, "no file that has them"),
        ("feedback --file labels.csv --row 3", 2, "--row is the row of one request"),
        ("feedback r1 7", 2, "no class of flights"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_changes_nothing(
    unchanged: Path, mlo: Mlo, line: str, exit_code: int, said: str
) -> None:
    (unchanged / "folder").mkdir()
    answer = mlo(*shlex.split(line), "--json", exit_code=exit_code)
    error = json.loads(answer.stderr)
    assert said in error["message"]
    assert error["hint"]
    assert answer.stdout.strip() == ""


@pytest.mark.parametrize(
    ("name", "text", "exit_code", "said"),
    [
        ("nested.jsonl", '{"request_id": {"a": 1}, "label": 1}\n', 2, "for request ids"),
        ("dict.jsonl", '{"request_id": "r1", "label": {"a": 1}}\n', 2, "no class of flights"),
        ("list.jsonl", '{"request_id": "r1", "label": [1]}\n', 2, "no class of flights"),
        ("twice.csv", "request_id,label,label\nr1,0,1\n", 2, "two columns named label"),
        ("bool.csv", "request_id,row,label\nr1,true,1\n", 2, "for the row of its request"),
        ("deep.jsonl", '{"request_id": ' + "[" * 300_000 + "]" * 300_000 + "}\n", 5, "nests too deeply"),
        ("lines.jsonl", '{"request_id": \n' + "[\n" * 600 + "]\n" * 600 + "}\n", 5, "nests too deeply"),
        ("none.csv", "temp,carrier\n1,AA\n", 2, "has no column _request"),
        ("empty.csv", "", 5, "does not read as rows"),
        ("noise.parquet", "PAR1 and no more PAR1", 5, "does not read as rows"),
    ],
)
def test_a_file_of_labels_that_are_none_is_refused_whole(
    project: Path, mlo: Mlo, name: str, text: str, exit_code: int, said: str
) -> None:
    (project / name).write_text(text)
    before = files_of(project)
    error = json.loads(mlo("feedback", "--file", name, "--json", exit_code=exit_code).stderr)
    assert said in error["message"]
    assert error["hint"]
    assert files_of(project) == before


def test_brackets_in_texts_are_no_nesting(project: Path, mlo: Mlo) -> None:
    line = json.dumps({"request_id": "[" * 400 + '"' + "{" * 400, "label": 1})
    (project / "labels.jsonl").write_text(f"{line}\n" * 3)
    assert json.loads(mlo("feedback", "--file", "labels.jsonl", "--json").stdout)["added"] == 1


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"_score": ["high"] * 9, "late": [0, 1, 1] * 3}, "row 1 of scored.parquet has the score 'high'"),
        ({"_score": [0.5, 5.0, 0.1] * 3, "late": [0, 1, 1] * 3}, "row 2 of scored.parquet has the score 5.0"),
        ({"_score": [float("inf")] * 9, "late": [0, 1, 1] * 3}, "has the score inf"),
        ({"_prediction": [[1]] * 9, "late": [0, 1, 1] * 3}, "[1] is no class of flights"),
        ({"_prediction": [0, 1, 1] * 3, "late": [{"a": 1}] * 9}, "is no class of flights"),
    ],
)
def test_answers_in_a_file_must_be_answers(unchanged: Path, mlo: Mlo, columns: dict[str, Any], said: str) -> None:
    file = unchanged / "scored.parquet"
    pq.write_table(pa.table(columns), file)
    error = json.loads(mlo("drift", "performance", "--labels", "scored.parquet", "--json", exit_code=2).stderr)
    file.unlink()
    assert said in error["message"]


def test_a_row_without_a_score_is_no_answer(project: Path, mlo: Mlo) -> None:
    pq.write_table(pa.table({"_score": [float("nan"), None] * 150, "late": [0, 1] * 150}), project / "scored.parquet")
    answer = mlo("drift", "performance", "--labels", "scored.parquet", "--json", exit_code=4)
    assert json.loads(answer.stdout)["verdict"] == "too_little"


def test_a_torn_segment_of_labels_is_named(project: Path, mlo: Mlo) -> None:
    mlo("feedback", "r1", "1")
    (segment,) = (project / ".mlo" / "predictions" / "labels").glob("*/*.arrow")
    segment.write_bytes(segment.read_bytes()[:100])
    answer = mlo("drift", "performance", exit_code=4)
    assert f"skipped {segment.name} of the labels" in answer.stderr


@pytest.mark.parametrize("stamp", [253_402_300_799_999_999, 8 * 10**18, -8 * 10**18])
def test_times_at_the_ends_of_the_calendar_leave_a_report_without_windows(project: Path, mlo: Mlo, stamp: int) -> None:
    first = int(datetime(2013, 4, 1, tzinfo=UTC).timestamp()) * 10**6
    times = pa.array([first + k * 60_000_000 for k in range(399)] + [stamp], pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({**rows(2, 400), "at": times}), project / "april.parquet")
    answer = mlo("drift", "report", "--current", "april.parquet", "--json")
    assert json.loads(answer.stdout)["answer"]["rows"] == 400


@pytest.mark.parametrize("text", ["weekday:99", "season:99"])
def test_a_reference_before_the_year_1_is_an_error(text: str) -> None:
    window = Period(datetime(1, 2, 1, tzinfo=UTC), datetime(1, 2, 2, tzinfo=UTC))
    with pytest.raises(UsageError, match="the year"):
        Named.parse(text).periods(window, window.end)


def test_a_window_of_a_second_reaches_back_in_few_steps(project: Path, mlo: Mlo) -> None:
    (project / "mlo.yaml").write_text(YAML.replace("min_rows: 100", "min_rows: 100, max_window: 7d"))
    answer = json.loads(mlo("drift", "check", "--window", "1s", "--json", exit_code=None).stdout)
    assert answer["window"] == {"start": "2013-04-30T12:00:00.000000Z", "end": "2013-05-01T06:00:00.000000Z"}
    assert answer["rows"] == 400


def test_labels_of_all_times_are_read(project: Path, mlo: Mlo) -> None:
    mlo("feedback", "r1", "1")
    line = "drift check --since 0001-01-01 --until 9999-12-31 --html drift.html --json"
    assert json.loads(mlo(*line.split(), exit_code=None).stdout)["performance"]["windows"][0]["labelled"] == 1


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("window: 0h", "mlo.yaml:3:9: drift.window: '0h' is not a duration"),
        ("max_window: 0h", "mlo.yaml:3:9: drift.max_window: '0h' is not a duration"),
        ("max_window: 2h", "mlo.yaml:3:9: drift.max_window: 2h is shorter than a window, 24h"),
        ("persistence: 3/2", "mlo.yaml:3:9: drift.persistence: 3/2 asks for more alarms than windows"),
    ],
)
def test_windows_that_cannot_be_are_named_with_their_line(project: Path, mlo: Mlo, setting: str, said: str) -> None:
    (project / "mlo.yaml").write_text(YAML.replace("window: 24h, min_rows: 100", setting))
    assert said in mlo("status", exit_code=5).stderr


def test_a_reference_without_a_column_of_the_model_is_named_in_the_hint(project: Path, mlo: Mlo) -> None:
    pq.write_table(pa.table({"carrier": rows(1, 300)["carrier"]}), project / "march.parquet")
    pq.write_table(pa.table(rows(2, 300)), project / "now.parquet")
    refused = mlo(
        "drift", "check", "flights@1", "--current", "now.parquet", "--reference", "march.parquet", exit_code=5
    )
    assert "march.parquet has no column temp" in refused.stderr
    assert "add it to march.parquet" in refused.stderr


def test_a_file_beside_itself_is_quiet(project: Path, mlo: Mlo) -> None:
    pq.write_table(pa.table(rows(3, 500)), project / "a.parquet")
    answer = mlo("drift", "check", "--current", "a.parquet", "--reference", "a.parquet", "--json")
    assert json.loads(answer.stdout)["verdict"] == "quiet"


def test_infinities_and_no_numbers_make_valid_json(project: Path, mlo: Mlo) -> None:
    (project / "odd.csv").write_text("temp,carrier\n" + "inf,AA\n-inf,UA\nnan,AA\n1e308,UA\n" * 100)
    pq.write_table(pa.table(rows(4, 500)), project / "march.parquet")
    line = "drift check --current odd.csv --reference march.parquet --segments carrier --json"
    answer = mlo(*line.split(), exit_code=3)
    assert json.loads(answer.stdout, parse_constant=no_json)["verdict"] == "drift"


def no_json(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")
