"""`mlo data check`: what it prints, and the exit code that a pipeline in CI reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

ROWS = "a,b\n1,x\n2,y\n30,z\n"


@pytest.fixture
def project(here: Path) -> Path:
    (here / "mlo.yaml").write_text("name: tiny\n")
    (here / "checks").mkdir()
    (here / "rows.csv").write_text(ROWS)
    (here / "checks" / "rows.yaml").write_text(
        "data: rows.csv\nchecks:\n  - {column: a, between: [0, 9]}\n  - {column: b, unique: true}\n"
    )
    return here


def test_a_failed_check_exits_3_and_shows_the_rows(project: Path, mlo: Any) -> None:
    answer = mlo("data", "check", exit_code=3)
    assert "checks/rows.yaml: 2 checks of rows.csv (3 rows): 1 failure, 0 warnings" in answer.stdout
    assert "failed  rows.yaml:3:17: a between: 1 of 3 (33.33%) outside 0 to 9" in answer.stdout
    assert "row 2: 30" in answer.stdout


def test_json_holds_every_result(project: Path, mlo: Any) -> None:
    answer = mlo("data", "check", "checks/rows.yaml", "--json", exit_code=3).json
    assert answer["passed"] is False
    results = answer["reports"][0]["results"]
    assert [(result["check"], result["passed"], result["failed"]) for result in results] == [
        ("between", False, 1),
        ("unique", True, 0),
    ]
    assert results[0]["examples"] == [{"row": 2, "value": 30}]


def test_data_that_is_good_exits_0(project: Path, mlo: Any) -> None:
    (project / "rows.csv").write_text(ROWS.replace("30", "3"))
    assert "all passed" in mlo("data", "check").stdout


def test_a_warning_is_shown_and_exits_0(project: Path, mlo: Any) -> None:
    path = project / "checks" / "rows.yaml"
    path.write_text(path.read_text().replace("[0, 9]", "[0, 9], severity: warn"))
    answer = mlo("data", "check")
    assert "0 failures, 1 warning" in answer.stdout
    assert "warning  rows.yaml:3:17" in answer.stdout


def test_a_file_is_found_from_another_folder(project: Path, mlo: Any) -> None:
    for line in (("data", "check", "-C", "checks", "rows.yaml"), ("-C", "checks", "data", "check", "rows.yaml")):
        assert mlo(*line, exit_code=3).stdout.startswith("checks/rows.yaml")


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("data: none.csv\nchecks: [{row_count: [1, 2]}]\n", 6, "there is no none.csv to check"),
        ("data: ../rows.csv\nchecks: [{row_count: [1, 2]}]\n", 7, "'../rows.csv' is not a path inside"),
        ("data: rows.csv\nchecks: [{colunm: a}]\n", 5, "rows.yaml:2:11: unknown key colunm"),
        ("data: rows.csv\n", 5, "checks"),
        ("- a\n", 5, "not a mapping"),
    ],
)
def test_what_cannot_be_checked_is_an_error(project: Path, mlo: Any, text: str, code: int, message: str) -> None:
    (project / "checks" / "rows.yaml").write_text(text)
    answer = mlo("data", "check", exit_code=code)
    assert message in answer.stderr
    assert "hint: " in answer.stderr
    assert answer.stdout == ""


def test_no_checks_at_all_is_not_found(project: Path, mlo: Any) -> None:
    (project / "checks" / "rows.yaml").unlink()
    assert "there are no checks" in mlo("data", "check", exit_code=6).stderr


def test_a_failed_check_stops_a_run_without_keeping_values(project: Path, mlo: Any) -> None:
    (project / "mlo.yaml").write_text(
        "name: tiny\nstages:\n"
        "  make: {cmd: cp rows.csv made.csv, deps: [rows.csv], outs: [made.csv], checks: [checks/rows.yaml]}\n"
    )
    path = project / "checks" / "rows.yaml"
    path.write_text(path.read_text().replace("rows.csv", "made.csv"))
    (project / "rows.csv").write_text(ROWS.replace("30", "30303"))
    answer = mlo("run", exit_code=3)
    assert "1 of 2 checks failed:\n  rows.yaml:3:17: a between: 1 of 3" in answer.stderr
    assert "30303" not in answer.stderr
    assert not (project / "mlo.lock").exists()
