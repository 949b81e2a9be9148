"""mlo drift check and report of two files: no model, and no project, need be there."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from mlops_cli.core.base.records import Column, Entry, Signature
from mlops_cli.core.drift.profiling import make_profile
from mlops_cli.core.registry.records import Version
from mlops_cli.core.workflows.workspace import Workspace

FILES = ("--current", "april.parquet", "--reference", "march.parquet")


def rows(seed: int, n: int, warmer: float = 0.0, month: int = 3) -> pa.Table:
    generator = np.random.default_rng(seed)
    start = datetime(2013, month, 1)
    return pa.table(
        {
            "temp": generator.normal(40 + warmer, 10, n).round(2),
            "carrier": generator.choice(["AA", "UA", "DL"], n),
            "at": pa.array([start + timedelta(minutes=40 * row) for row in range(n)], pa.timestamp("us")),
        }
    )


@pytest.fixture
def files(here: Path) -> Path:
    """A folder outside any project: March, a warmer April, and a May like March."""
    pq.write_table(rows(1, 900), here / "march.parquet")
    pq.write_table(rows(2, 600, warmer=8, month=4), here / "april.parquet")
    pq.write_table(rows(3, 600, month=5), here / "may.parquet")
    return here


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_two_files_are_compared_in_an_empty_folder_and_nothing_is_written_there(mlo: Any, files: Path) -> None:
    before = names_in(files)
    answer = mlo("drift", "check", *FILES, exit_code=3)
    assert answer.stdout.startswith(
        "drift: temp\napril.parquet against march.parquet: 600 rows against 900, 5 tests; the chance"
    )
    assert "retrain" not in answer.stdout
    assert "note: no --time says when: rows are taken as independent" in answer.stdout
    assert "predictions" not in answer.stdout
    assert mlo("drift", "check", "--current", "may.parquet", "--reference", "march.parquet").exit_code == 0
    assert names_in(files) == before


def test_the_answer_as_json_names_no_model(mlo: Any, files: Path) -> None:
    document = mlo("drift", "check", *FILES, "--json", exit_code=3).json
    known = {name: document[name] for name in ("model", "source", "reference", "profile", "event", "report")}
    assert known == {
        "model": "",
        "source": "april.parquet",
        "reference": "march.parquet",
        "profile": "",
        "event": None,
        "report": None,
    }


def test_few_rows_are_too_few_to_tell(mlo: Any, files: Path) -> None:
    pq.write_table(rows(4, 12), files / "few.parquet")
    answer = mlo("drift", "check", "--current", "few.parquet", "--reference", "march.parquet", exit_code=4)
    assert "more rows: on either side" in answer.stdout
    assert "drift.min_rows" not in answer.stdout


def test_the_named_clock_is_no_column_and_chooses_rows(mlo: Any, files: Path) -> None:
    document = mlo("drift", "check", *FILES, "--time", "at", "--json", exit_code=3).json
    assert {column["column"] for column in document["columns"]} == {"temp", "carrier"}
    assert document["notes"] == []
    week = ("--since", "2013-04-01", "--until", "2013-04-08")
    assert mlo("drift", "check", *FILES, "--time", "at", *week, "--json", exit_code=3).json["rows"] == 252
    said = mlo("drift", "check", *FILES, "--time", "at", *week, exit_code=3).stdout
    assert "april.parquet, 2013-04-01 to 2013-04-08, against march.parquet: " in said
    assert "no --time says which column" in mlo("drift", "check", *FILES, *week, exit_code=2).stderr


def test_segments_read_the_rows_of_the_reference_file(mlo: Any, files: Path) -> None:
    document = mlo("drift", "check", *FILES, "--segments", "carrier", "--time", "at", "--json", exit_code=3).json
    found = {segment["value"]: segment["rows_reference"] for segment in document["segments"]["segments"]}
    assert (set(found), sum(found.values())) == ({"AA", "UA", "DL"}, 900)


def test_csv_against_parquet_keeps_texts_of_digits_as_texts(mlo: Any, here: Path) -> None:
    codes = pa.array(["007", "010"] * 200)
    pq.write_table(pa.table({"code": codes, "x": range(400)}), here / "a.parquet")
    pa.csv.write_csv(pa.table({"code": codes, "x": range(400)}), here / "b.csv")
    assert mlo("drift", "check", "--current", "b.csv", "--reference", "a.parquet", "--json").json["schema"] == []


def test_a_profile_without_rows_is_a_reference_as_well(mlo: Any, files: Path) -> None:
    mlo("drift", "profile", "march.parquet", "-o", "timeless.profile")
    timeless = ("--current", "april.parquet", "--reference", "timeless.profile")
    (note,) = mlo("drift", "check", *timeless, "--json", exit_code=3).json["notes"]
    assert note.startswith("the reference was profiled without a clock: rows are taken as independent")
    mlo("drift", "profile", "march.parquet", "--time", "at", "-o", "march.profile")
    (files / "march.parquet").unlink()
    known = ("--current", "april.parquet", "--reference", "march.profile")
    assert mlo("drift", "check", *known, "--json", exit_code=3).json["alarms"] == ["temp"]
    assert "holds counts and no rows" in mlo("drift", "check", *known, "--multivariate", exit_code=2).stderr
    assert "in order by at, not by temp" in mlo("drift", "check", *known, "--time", "temp", exit_code=2).stderr


def test_a_report_of_two_files_is_written_where_it_is_asked_for(mlo: Any, files: Path) -> None:
    said = mlo("drift", "report", *FILES, "-o", "april.html").stdout
    assert said == "april.html: drift: temp\n"
    page = (files / "april.html").read_text()
    assert "april.parquet against march.parquet" in page
    assert "Model</" not in page
    assert "april.html exists" in mlo("drift", "report", *FILES, "-o", "april.html", exit_code=5).stderr
    assert (files / "april.html").read_text() == page
    assert names_in(files) == ["april.html", "april.parquet", "march.parquet", "may.parquet"]


def test_a_query_is_compared_with_a_file(mlo: Any, files: Path) -> None:
    pytest.importorskip("duckdb")
    query = ("--sql", "select * from 'april.parquet' where carrier = 'AA'")
    document = mlo("drift", "check", *query, "--reference", "march.parquet", "--json", exit_code=3).json
    assert "temp" in document["alarms"]


def test_settings_come_from_the_variables_and_from_mlo_yaml(
    mlo: Any, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mlo("drift", "check", *FILES, "--json", exit_code=3).json["rules"]["floor"] == 0.05
    monkeypatch.setenv("MLO_DRIFT_FLOOR", "0.9")
    assert mlo("drift", "check", *FILES, "--json").json["rules"]["floor"] == 0.9
    monkeypatch.delenv("MLO_DRIFT_FLOOR")
    (files / "mlo.yaml").write_text("name: flights\ndrift: {alpha: 0.001, floor: 0.8}\n")
    rules = mlo("drift", "check", *FILES, "--json").json["rules"]
    assert (rules["alpha"], rules["floor"]) == (0.001, 0.8)


def configure(folder: Path, *, register: bool) -> None:
    (folder / "mlo.yaml").write_text("name: flights\nmodel: {name: flights, time: at}\n")
    if not register:
        return
    workspace = Workspace.find(folder, {"MLO_ACTOR": "Ada"})
    inputs = (Column("temp", "float"),)
    profile = make_profile(rows(5, 800), inputs=inputs, time="at").to_bytes()
    workspace.registry.add_version(
        Version(
            name="flights",
            version=0,
            run="0" * 32,
            model=Entry("xxh128:" + "0" * 32, "dir", 0),
            files={},
            signature=Signature(inputs, "classification", (0, 1)),
            profile=str(workspace.store.put_bytes(profile)),
        )
    )
    workspace.registry.record("promote", "flights@1", {"alias": "production", "before": None, "gates": []})


def test_a_project_without_a_version_in_production_compares_the_files_and_says_so(mlo: Any, files: Path) -> None:
    configure(files, register=False)
    document = mlo("drift", "check", *FILES, "--json", exit_code=3).json
    assert document["model"] == ""
    assert document["notes"] == ["no version of flights is in production: the files are compared by themselves"]
    assert {column["column"] for column in document["columns"]} == {"temp", "carrier"}


def test_a_version_in_production_is_what_two_files_are_checked_for(mlo: Any, files: Path) -> None:
    configure(files, register=True)
    document = mlo("drift", "check", *FILES, "--json", exit_code=3).json
    assert (document["model"], document["reference"]) == ("flights@1", "march.parquet")
    assert [column["column"] for column in document["columns"]] == ["temp"]
    assert "flights@1 is asked about" in mlo("drift", "check", *FILES, "--time", "at", exit_code=2).stderr


def test_a_named_version_that_is_not_there_is_an_error_whatever_files_are_given(mlo: Any, files: Path) -> None:
    configure(files, register=False)
    assert mlo("drift", "check", "flights@3", *FILES, exit_code=6).stderr.startswith("error: no model is registered")


def test_one_column_in_common_is_enough_and_the_others_are_findings(mlo: Any, files: Path) -> None:
    pq.write_table(rows(6, 500).drop_columns(["carrier"]).append_column("wind", pa.array([1.0] * 500)), files / "w.pq")
    document = mlo("drift", "check", "--current", "w.pq", "--reference", "march.parquet", "--json", exit_code=3).json
    assert {(change["column"], change["change"]) for change in document["schema"]} == {
        ("carrier", "missing"),
        ("wind", "new"),
    }


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--current", "absent.parquet", "--reference", "march.parquet"), 6, "there is no file absent.parquet"),
        (("--current", "april.parquet", "--reference", "absent.parquet"), 6, "there is no file absent.parquet"),
        (("--current", "april.parquet", "--reference", "folder"), 6, "folder holds no file of rows"),
        (("--current", "april.parquet", "--reference", "notes.txt"), 5, "notes.txt does not read as rows"),
        (("--current", "april.parquet", "--reference", "damaged.profile"), 7, "damaged.profile: the drift profile is"),
        (
            ("--current", "other.parquet", "--reference", "march.parquet"),
            2,
            "none of the reference's columns; it has other",
        ),
        (("--current", "april.parquet", "--reference", "empty.parquet"), 4, "empty.parquet holds no rows"),
        (("--current", "empty.parquet", "--reference", "march.parquet"), 4, "empty.parquet holds no rows"),
        (("--current", "april.parquet", "--reference", "clock.parquet", "--time", "at"), 5, "no column besides at"),
        ((*FILES, "--time", "when"), 2, "march.parquet has no column when; it has temp, carrier, at"),
        (("--current", "april.parquet"), 5, "no mlo.yaml"),
        (("--current", "april.parquet", "--reference", "weekday:2"), 5, "no mlo.yaml"),
        (("--reference", "march.parquet"), 5, "no mlo.yaml"),
        (("flights@1", *FILES), 5, "no mlo.yaml"),
        ((*FILES, "--env", "prod"), 5, "no mlo.yaml"),
    ],
)
def test_what_cannot_be_compared_is_a_clear_error(
    mlo: Any, files: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    (files / "folder").mkdir()
    (files / "notes.txt").write_text("march was cold")
    (files / "damaged.profile").write_bytes(make_profile(rows(1, 50), inputs=()).to_bytes()[:-3])
    pq.write_table(pa.table({"other": [1, 2, 3]}), files / "other.parquet")
    pq.write_table(rows(1, 0), files / "empty.parquet")
    pq.write_table(rows(1, 9).select(["at"]), files / "clock.parquet")
    answer = mlo("drift", "check", *words, exit_code=code)
    assert said in answer.stderr
    assert "hint: " in answer.stderr
    assert not (files / ".mlo").exists()


@pytest.mark.parametrize("line", ["drift report --force -o", "drift check --force --html"])
def test_force_replaces_a_report_and_no_other_file(mlo: Any, files: Path, line: str) -> None:
    (files / "notes.html").write_text("<!doctype html><p>mine</p>")
    for name in ("notes.html", "march.parquet"):
        before = (files / name).read_bytes()
        refused = mlo(*line.split(), name, *FILES, exit_code=5)
        assert f"{name} is no report that mlo wrote" in refused.stderr
        assert (files / name).read_bytes() == before
    mlo("drift", "report", *FILES, "-o", "drift.html")
    page = (files / "drift.html").read_bytes()
    mlo(*line.split(), "drift.html", "--current", "may.parquet", "--reference", "march.parquet", exit_code=None)
    assert (files / "drift.html").read_bytes() != page


@pytest.mark.parametrize("option", [("--windows", "3"), ("--force",)])
def test_settings_of_a_report_without_one_are_a_usage_error(mlo: Any, files: Path, option: tuple[str, ...]) -> None:
    assert "name its file: --html FILE" in mlo("drift", "check", *FILES, *option, exit_code=2).stderr


@pytest.mark.parametrize(("column", "kind"), [("temp", "float"), ("carrier", "string")])
def test_a_clock_that_holds_no_times_is_refused(mlo: Any, files: Path, column: str, kind: str) -> None:
    refused = mlo("drift", "check", *FILES, "--time", column, exit_code=2)
    assert f"{column} of march.parquet holds {kind}s, which are no times" in refused.stderr


@pytest.mark.parametrize("reference", ["weekday:0", "season:99999", "weekday:x"])
def test_a_number_of_weeks_that_cannot_be_says_what_can(mlo: Any, files: Path, reference: str) -> None:
    refused = mlo("drift", "check", "--current", "april.parquet", "--reference", reference, exit_code=2)
    assert f"the reference {reference} names no number of" in refused.stderr


def test_a_file_without_a_reference_and_without_a_project_is_told_of_the_reference(mlo: Any, files: Path) -> None:
    assert "--reference FILE" in mlo("drift", "check", "--current", "april.parquet", exit_code=5).stderr
