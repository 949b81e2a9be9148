"""mlo drift check of rows from everywhere: files, folders, SQL queries, and a prediction log of many segments."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from peak_memory import peak_of
from pyarrow import csv, feather

from mlops_cli.core.base.records import Column, Entry, Signature
from mlops_cli.core.drift.profiling import make_profile
from mlops_cli.core.predictions.segment import Answered, encode, segment_name
from mlops_cli.core.registry.records import Version
from mlops_cli.core.workflows.workspace import Workspace

YAML = """\
name: flights
model: {name: flights, time: at}
drift: {window: 24h, min_rows: 100, max_window: 3d}
"""
NOW = "2013-05-01T06:00:00Z"
DAY = datetime(2013, 4, 30, 12, tzinfo=UTC)
INPUTS = (Column("temp", "float", nullable=True), Column("code", "string"))


def rows(seed: int, n: int) -> pa.Table:
    generator = np.random.default_rng(seed)
    times = [datetime(2013, 1, 1) + timedelta(minutes=row) for row in range(n)]
    codes = generator.choice(["007", "01", "1e5"], n).tolist()
    return pa.table(
        {"temp": generator.normal(40, 10, n).round(3), "code": codes, "at": pa.array(times, pa.timestamp("us"))}
    )


@pytest.fixture
def project(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """flights@1 in production, with a profile; no model file is anywhere."""
    (here / "mlo.yaml").write_text(YAML)
    monkeypatch.setenv("MLO_NOW", NOW)
    workspace = Workspace.find(here, {"MLO_NOW": NOW, "MLO_ACTOR": "Ada"})
    data = make_profile(rows(0, 3000), inputs=INPUTS, time="at").to_bytes()
    version = Version(
        name="flights",
        version=0,
        run="0" * 32,
        model=Entry("xxh128:" + "0" * 32, "dir", 0),
        files={},
        signature=Signature(INPUTS, "classification", (0, 1)),
        profile=str(workspace.store.put_bytes(data)),
    )
    workspace.registry.add_version(version)
    workspace.registry.record("promote", "flights@1", {"alias": "production", "before": None, "gates": []})
    return here


def in_every_format(folder: Path, table: pa.Table) -> list[str]:
    pq.write_table(table, folder / "april.parquet", row_group_size=300)
    feather.write_feather(table, folder / "april.feather")
    csv.write_csv(table, folder / "april.csv", csv.WriteOptions(quoting_style="none"))
    lines = [json.dumps({**row, "at": row["at"].isoformat()}) for row in table.to_pylist()]
    (folder / "april.jsonl").write_text("\n".join(lines))
    for name in ("april.csv", "april.jsonl"):
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
    (folder / "shards").mkdir()
    for part in range(3):
        pq.write_table(table.slice(part * 300, 300), folder / "shards" / f"{part}.parquet")
    return ["april.parquet", "april.feather", "april.csv", "april.jsonl", "april.csv.gz", "april.jsonl.gz", "shards"]


def test_the_same_rows_have_the_same_answer_in_every_format(mlo: Any, project: Path) -> None:
    answers = {}
    for name in in_every_format(project, rows(1, 900)):
        document = mlo("drift", "check", "--current", name, "--json").json
        assert document.pop("source") == name
        answers[name] = document
    sql = mlo("drift", "check", "--sql", "from 'april.parquet'", "--json").json
    assert sql.pop("source") == "a query"
    assert sql["verdict"] == "quiet"
    for name, document in answers.items():
        assert document == sql, name


def test_since_chooses_rows_of_every_format_by_their_own_time(mlo: Any, project: Path) -> None:
    for name in in_every_format(project, rows(1, 900)):
        document = mlo(
            "drift", "check", "--current", name, "--since", "2013-01-01T05:00Z", "--json", exit_code=None
        ).json
        assert document["rows"] == 600, name


# -- SQL -----------------------------------------------------------------------------------------------------


def test_a_query_of_a_database_is_checked_and_the_database_is_only_read(mlo: Any, project: Path) -> None:
    import duckdb

    table = rows(1, 800)
    with duckdb.connect(str(project / "warehouse.db")) as connection:
        connection.register("given", table)
        connection.execute(
            """create table seen as select temp + 20 as temp, code::enum('007', '01', '1e5') as code, "at" from given"""
        )
    before = (project / "warehouse.db").read_bytes()
    words = (
        "drift",
        "check",
        "--sql",
        'select temp, code, "at" from seen order by "at"',
        "--db",
        "warehouse.db",
        "--json",
    )
    document = mlo(*words, exit_code=3).json
    assert (document["alarms"], document["source"], document["rows"]) == (["temp"], "a query of warehouse.db", 800)
    mlo("drift", "report", "--sql", "from seen", "--db", "warehouse.db", "-o", "out.html")
    assert (project / "out.html").is_file()
    assert (project / "warehouse.db").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--sql", "from 'april.parquet'", "--current", "april.parquet"), 2, "--current and --sql are two windows"),
        (("--db", "absent.db"), 2, "--db names a database, and no query"),
        (("--sql", "from seen", "--db", "absent.db"), 6, "there is no database absent.db"),
        (("--sql", "from seen", "--db", "mlo.yaml"), 5, "mlo.yaml is no DuckDB database"),
        (("--sql", "selec 1"), 2, 'the query does not run: Parser Error: syntax error at or near "selec"'),
        (("--sql", "from nowhere"), 2, "Table with name nowhere does not exist"),
        (("--sql", "select wind from 'april.parquet'"), 2, '"wind" not found'),
        (("--sql", "select (code || 'x')::int as temp from 'april.parquet'"), 2, "Could not convert string"),
        (("--sql", "from 'absent.parquet'"), 6, "No files found"),
        (("--sql", "from read_parquet('mlo.yaml')"), 2, "No magic bytes"),
        (("--sql", "select 1; select 2"), 2, "the query has 2 statements"),
        (("--sql", ";"), 2, "the query has 0 statements"),
        (("--sql", "copy (select 1) to 'out.csv'"), 2, "the query is no SELECT, but COPY"),
        (("--sql", "select temp, temp from 'april.parquet'"), 2, "two columns named temp"),
        (("--sql", "from 'april.parquet' where temp > 1e9"), 4, "a query holds no rows to check"),
        (("--sql", "select 1 as other"), 2, "none of the reference's columns"),
    ],
)
def test_a_query_that_gives_no_rows_to_check_says_why(
    mlo: Any, project: Path, words: tuple[str, ...], code: int, says: str
) -> None:
    pq.write_table(rows(1, 10), project / "april.parquet")
    before = sorted(path.name for path in project.iterdir())
    assert says in mlo("drift", "check", *words, exit_code=code).stderr
    assert sorted(path.name for path in project.iterdir()) == before


def test_a_query_without_duckdb_names_the_line_that_installs_it(
    mlo: Any, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "duckdb", None)
    stderr = mlo("drift", "check", "--sql", "select 1", exit_code=5).stderr
    assert "a check of a SQL query needs the package duckdb" in stderr
    assert "pip install 'mlops-cli[duckdb]'" in stderr


def test_types_that_no_test_takes_are_a_finding_and_no_crash(mlo: Any, project: Path) -> None:
    sql = "select {'a': 1} as temp, interval 1 day as code, [1, 2] as at, uuid() as u from range(200)"
    document = mlo("drift", "check", "--sql", sql, "--json", exit_code=3).json
    assert {(change["column"], change["change"]) for change in document["schema"]} == {
        ("temp", "retyped"),
        ("code", "retyped"),
        ("u", "new"),
    }
    (project / "nested.jsonl").write_text('{"temp": {"value": 1}, "code": ["x"]}\n' * 200)
    document = mlo("drift", "check", "--current", "nested.jsonl", "--json", exit_code=3).json
    assert [(change["column"], change["change"]) for change in document["schema"]] == [
        ("temp", "retyped"),
        ("code", "retyped"),
    ]


# -- malformed files through the command ---------------------------------------------------------------------


def test_a_file_that_does_not_read_is_an_error_with_the_place_and_no_traceback(mlo: Any, project: Path) -> None:
    (project / "ragged.csv").write_text("temp,code\n1,a\n2\n")
    (project / "broken.jsonl").write_text('{"temp": 1}\n{"temp":\n')
    (project / "header.csv").write_text("temp,code\n")
    assert (
        "ragged.csv does not read as CSV: row 3 has 1 values"
        in mlo("drift", "check", "--current", "ragged.csv", exit_code=5).stderr
    )
    assert "broken.jsonl:2 is no JSON" in mlo("drift", "check", "--current", "broken.jsonl", exit_code=5).stderr
    assert "header.csv holds no rows" in mlo("drift", "check", "--current", "header.csv", exit_code=4).stderr
    assert "there is no file absent.csv" in mlo("drift", "check", "--current", "absent.csv", exit_code=6).stderr


# -- the prediction log --------------------------------------------------------------------------------------


def segment(project: Path, table: pa.Table, arrived: datetime, **changes: Any) -> Path:
    batch = Answered(
        request="r",
        arrived=arrived,
        model=changes.pop("model", "flights"),
        version=changes.pop("version", 1),
        signature=changes.pop("signature", Signature(INPUTS, "classification", (0, 1))),
        columns={name: table.column(name).to_pylist() for name in table.column_names if name != "at"},
        predictions=[0] * table.num_rows,
        scores=[0.25] * table.num_rows,
        **changes,
    )
    path = project / ".mlo" / "predictions" / segment_name([batch])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode([batch]))
    return path


def test_a_log_of_segments_answers_as_one_file_of_its_rows(mlo: Any, project: Path) -> None:
    table = rows(1, 800).drop_columns(["at"])
    for part in range(8):
        segment(project, table.slice(part * 100, 100), DAY + timedelta(minutes=part))
    pq.write_table(table, project / "april.parquet")
    logged, file = (
        mlo("drift", "check", "--json").json,
        mlo("drift", "check", "--current", "april.parquet", "--json").json,
    )
    assert logged["columns"] == file["columns"]
    # A window that ends inside of a segment's minute takes whole requests by their arrival.
    part = ("--since", "2013-04-30T12:02Z", "--until", "2013-04-30T12:05Z", "--json")
    assert mlo("drift", "check", *part, exit_code=None).json["rows"] == 300


def test_a_torn_segment_is_named_once_however_often_the_window_grows(mlo: Any, project: Path) -> None:
    segment(project, rows(1, 30).drop_columns(["at"]), DAY)
    segment(project, rows(2, 90).drop_columns(["at"]), DAY - timedelta(days=1))
    torn = segment(project, rows(1, 30).drop_columns(["at"]), DAY)
    torn.write_bytes(torn.read_bytes()[:-40])
    answer = mlo("drift", "check", "--json", exit_code=None)
    assert answer.json["rows"] == 120
    assert answer.stderr.count(f"skipped {torn.name} of the prediction log") == 1


def test_what_other_models_log_under_the_same_name_does_not_change_a_type(mlo: Any, project: Path) -> None:
    segment(project, rows(1, 400).drop_columns(["at"]), DAY)
    other = Signature((Column("temp", "string"),), "classification", (0, 1))
    warm = pa.table({"temp": ["warm"] * 50})
    segment(project, warm, DAY, model="tides", signature=other)
    document = mlo("drift", "check", "--json", exit_code=None).json
    assert (document["rows"], document["schema"]) == (400, [])


def test_a_log_on_a_remote_is_fetched_once_and_leaves_nothing(
    mlo: Any, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment(project, rows(1, 40).drop_columns(["at"]), DAY)
    segment(project, rows(2, 400).drop_columns(["at"]), DAY - timedelta(days=1))
    (tmp_path / "bucket").mkdir()
    (project / ".mlo" / "predictions").rename(tmp_path / "bucket" / "predictions")
    (project / "mlo.yaml").write_text(YAML + f"serve: {{log: origin}}\nremotes: {{origin: '{tmp_path / 'bucket'}'}}\n")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    assert mlo("drift", "check", "--json", exit_code=None).json["rows"] == 440
    assert list(scratch.iterdir()) == []


# -- what a check costs --------------------------------------------------------------------------------------


def test_a_check_of_the_log_imports_nothing_heavy(project: Path) -> None:
    segment(project, rows(1, 200).drop_columns(["at"]), DAY)
    segment(project, rows(1, 200).drop_columns(["at"]), DAY, version=2)
    script = (
        "import sys\nfrom mlops_cli.cli.main import main\n"
        "code = main(['drift', 'check', '--quiet'])\n"
        "heavy = ('pandas', 'sklearn', 'scipy.stats', 'skops', 'fastapi', 'rich', 'joblib', 'matplotlib', 'duckdb')\n"
        "print(code, *[name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=project)
    assert done.stdout == "0\n"


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_columns(project: Path) -> None:
    """40 columns of 400,000 doubles are 128 MB. One is 3.2 MB, and of a CSV 32 MiB are kept at most."""
    generator = np.random.default_rng(0)
    table = pa.table({name: generator.normal(size=400_000).round(6) for name in ("temp", *map(str, range(39)))})
    table = table.append_column("code", pa.array(["007", "01", "1e5", "x"] * 100_000))
    pq.write_table(table.slice(0, 300), project / "few.parquet")
    pq.write_table(table, project / "many.parquet", row_group_size=50_000)
    csv.write_csv(table.slice(0, 100_000), project / "many.csv")
    del table
    peaks = {}
    for name in ("few.parquet", "many.parquet", "many.csv"):
        code, peaks[name] = peak_of("drift", "check", "--current", name)
        assert code == 3  # temp has other values, and there are new columns
    assert peaks["many.parquet"] - peaks["few.parquet"] < 60 << 20
    assert peaks["many.csv"] - peaks["few.parquet"] < 120 << 20
