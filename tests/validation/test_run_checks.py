"""Each check on small tables with a known answer, and against plain Python on random ones."""

from __future__ import annotations

import datetime as dt
import math
import re
import statistics
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.core.errors import NotFound, ProjectError
from mlops_cli.core.project import yaml12
from mlops_cli.core.validation.checks import run_checks
from mlops_cli.core.validation.records import CheckReport, CheckResult
from mlops_cli.core.validation.rules import load_suite

NAN = math.nan
UTC = dt.UTC


def report_of(folder: Path, columns: dict[str, Any], *checks: dict[str, Any]) -> CheckReport:
    data = folder / "rows.parquet"
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), data)
    file = folder / "rows.yaml"
    file.write_text(yaml12.dump({"data": "rows.parquet", "checks": list(checks)}))
    return run_checks(load_suite(file), data)


def result_of(folder: Path, rows: Any, /, **check: Any) -> CheckResult:
    return report_of(folder, rows, check).results[0]


@pytest.mark.parametrize(
    ("values", "check", "failed"),
    [
        ([1.0, 2.0, NAN, None], {"between": [1, 2]}, 0),
        ([0, 1, 2, None], {"between": [1, None]}, 1),
        ([0.5, math.inf, -math.inf], {"between": [0, 1]}, 2),
        ([1, 2, 3], {"between": [1.5, 2.5]}, 2),
        ([dt.date(2013, 1, 1), dt.date(2014, 1, 1)], {"between": ["2013-01-01", "2013-12-31"]}, 1),
        ([dt.datetime(2013, 1, 1), None], {"between": [None, "2012-12-31"]}, 1),
        ([dt.datetime(2013, 1, 1, tzinfo=UTC)], {"between": ["2013-01-01", "2013-01-01"]}, 0),
        (["a", "b", None], {"in_set": ["a"]}, 1),
        (["a", "b", None], {"not_in_set": ["a"]}, 1),
        ([0, 1, 2], {"in_set": [0, 1]}, 1),
        ([0, 1, 2], {"in_set": [0.0, 1.5]}, 2),
        ([0.0, -0.0, NAN], {"in_set": [0]}, 0),
        ([2**53 + 1], {"in_set": [2**53]}, 1),
        ([True, False], {"in_set": [True]}, 1),
        (["ab", "abc", ""], {"regex": "[a-c]{2}"}, 2),
        (["ab\n"], {"regex": "ab"}, 1),
        (["äöü", "a", None], {"length_between": [3, 3]}, 1),
        ([1, 2, 2, 3, 3, 3, None, None], {"unique": True}, 5),
        ([0.0, -0.0, NAN, NAN], {"unique": True}, 2),
        ([], {"unique": True}, 0),
        ([None, None], {"between": [0, 1]}, 0),
        ([None, None], {"in_set": [1, "a"]}, 0),
        ([None], {"regex": "a"}, 0),
    ],
)
def test_checks_of_values_count_the_bad_rows(
    tmp_path: Path, values: list[Any], check: dict[str, Any], failed: int
) -> None:
    result = result_of(tmp_path, {"a": values}, column="a", **check)
    assert (result.failed, result.passed) == (failed, failed == 0), result.detail
    assert len(result.examples) == min(failed, 10) or "unique" in check


@pytest.mark.parametrize(
    ("values", "check", "passed"),
    [
        ([1.0], {"type": "float"}, True),
        ([1], {"type": "float"}, False),
        ([1], {"type": "number"}, True),
        ([1.5], {"type": "number"}, True),
        ([True], {"type": "integer"}, False),
        (["a"], {"type": "string"}, True),
        ([dt.datetime(2013, 1, 1)], {"type": "datetime"}, True),
        ([None], {"type": "datetime"}, True),
        ([1.0, NAN, None], {"max_null": 0.5}, False),
        ([1.0, NAN, 2.0, None], {"max_null": 0.5}, True),
        ([], {"max_null": 0}, True),
        ([1, 2, 3, None], {"mean": [2, 2]}, True),
        ([1, 2, 4], {"median": [2, 2]}, True),
        ([1, 2, 4], {"min": [1, None]}, True),
        ([1, 2, 4], {"max": [None, 3]}, False),
        ([1, 3], {"stdev": [1.41, 1.42]}, True),
        ([1], {"stdev": [0, 1]}, False),
        ([2**62, 2**62, 2**62], {"sum": [2**63, None]}, True),
        ([0, 10], {"quantile": {"q": 0.25, "between": [2.5, 2.5]}}, True),
        ([None], {"mean": [0, 1]}, False),
        ([], {"sum": [0, 0]}, False),
        ([math.inf, -math.inf], {"mean": [None, 0]}, False),
        ([dt.datetime(2013, 5, 1)], {"max": [None, "2013-06-01"]}, True),
    ],
)
def test_checks_of_a_column(tmp_path: Path, values: list[Any], check: dict[str, Any], passed: bool) -> None:
    result = result_of(tmp_path, {"a": values}, column="a", **check)
    assert result.passed is passed, result.detail


@pytest.mark.parametrize(
    ("check", "passed"),
    [
        ({"row_count": [3, 3]}, True),
        ({"row_count": [4, None]}, False),
        ({"columns": ["a", "b"]}, True),
        ({"columns": ["b", "a"]}, False),
        ({"column_set": ["b", "a"]}, True),
        ({"column_set": ["a"]}, False),
        ({"columns_include": ["b"]}, True),
        ({"columns_include": ["c"]}, False),
        ({"compound_unique": ["a", "b"]}, False),
        ({"compare": "a <= b"}, False),
        ({"compare": "a <= b", "mostly": 0.5}, True),
        ({"compare": "a != b"}, False),
    ],
)
def test_checks_of_the_table(tmp_path: Path, check: dict[str, Any], passed: bool) -> None:
    assert result_of(tmp_path, {"a": [1, 1, 5], "b": [1, 1, 3.5]}, **check).passed is passed


def test_columns_out_of_order_say_where(tmp_path: Path) -> None:
    assert result_of(tmp_path, {"a": [1], "b": [1]}, columns=["b", "a"]).detail == "out of order: column 1 is a, not b"


def test_rows_with_a_missing_part_are_not_compared(tmp_path: Path) -> None:
    columns = {"a": [1, 1, None, None], "b": ["x", "x", "x", "x"], "c": [2.0, None, 0.0, NAN]}
    twice = result_of(tmp_path, columns, compound_unique=["a", "b"])
    assert (twice.checked, twice.failed, [e.value for e in twice.examples]) == (2, 2, [[1, "x"]])
    less = result_of(tmp_path, columns, compare="a < c")
    assert (less.checked, less.failed) == (1, 0)


def test_mostly_is_a_share_of_the_values_that_are_there(tmp_path: Path) -> None:
    values = [1] * 9 + [5] + [None] * 90
    assert result_of(tmp_path, {"a": values}, column="a", between=[0, 1], mostly=0.9).passed
    assert not result_of(tmp_path, {"a": values}, column="a", between=[0, 1], mostly=0.91).passed


def test_a_warning_does_not_fail_the_report(tmp_path: Path) -> None:
    report = report_of(tmp_path, {"a": [9]}, {"column": "a", "between": [0, 1], "severity": "warn"})
    assert report.passed
    assert [result.severity for result in report.failures] == ["warn"]


def test_errors_come_before_warnings(tmp_path: Path) -> None:
    wrong = {"column": "a", "between": [0, 1]}
    report = report_of(tmp_path, {"a": [9]}, {**wrong, "severity": "warn"}, wrong)
    assert not report.passed
    assert [result.severity for result in report.failures] == ["error", "warn"]


def test_at_most_ten_examples_are_reported(tmp_path: Path) -> None:
    result = result_of(tmp_path, {"a": list(range(100))}, column="a", between=[0, 9])
    assert [(e.row, e.value) for e in result.examples] == [(n, n) for n in range(10, 20)]
    assert result.failed == 90


@pytest.mark.parametrize(
    ("check", "detail"),
    [
        ({"column": "temq", "between": [0, 1]}, "there is no column temq; did you mean temp?"),
        ({"column": "name", "between": [0, 1]}, "between needs numbers or times, and name is string"),
        ({"column": "temp", "between": ["2013-01-01", None]}, "the bound '2013-01-01' does not compare"),
        ({"column": "temp", "regex": "a"}, "regex needs text, and temp is float"),
        ({"column": "name", "mean": [0, 1]}, "mean needs numbers, and name is string"),
        ({"column": "temp", "in_set": ["a"]}, "in_set holds strings, and temp is float"),
        ({"column": "flag", "in_set": [1]}, "in_set holds numbers, and flag is boolean"),
        ({"compare": "temp > name"}, "cannot be compared"),
        ({"column": "list", "between": [0, 1]}, "between needs numbers or times, and list is list"),
        ({"column": "list", "unique": True}, "cannot compare values of list"),
    ],
)
def test_what_cannot_be_asked_has_failed(tmp_path: Path, check: dict[str, Any], detail: str) -> None:
    columns = {"temp": [1.0], "name": ["a"], "flag": [True], "list": [[1]]}
    result = result_of(tmp_path, columns, **check)
    assert not result.passed
    assert detail in result.detail


def test_numbers_of_unlike_types_are_compared_by_value(tmp_path: Path) -> None:
    big = pa.array([2**63 + 5, 3], pa.uint64())
    table = pa.table({"big": big, "small": pa.array([-1, 3], pa.int64())})
    assert result_of(tmp_path, table, compare="big >= small").passed
    assert result_of(tmp_path, table, column="big", between=[-1, None]).passed
    assert result_of(tmp_path, table, column="big", in_set=[3]).failed == 1


def test_dictionaries_and_small_floats_are_read_as_their_values(tmp_path: Path) -> None:
    table = pa.table({"a": pa.array(["x", "y", "x"]).dictionary_encode(), "b": pa.array([0.5, NAN, 1], pa.float32())})
    assert result_of(tmp_path, table, column="a", in_set=["x"]).failed == 1
    assert result_of(tmp_path, table, column="b", max_null=0.5).observed == pytest.approx(1 / 3)


def test_csv_is_read_with_empty_cells_as_missing(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,b\n1,x\n,\n3,y\n")
    (tmp_path / "rows.yaml").write_text(
        "data: rows.csv\nchecks:\n"
        "- {column: a, type: integer, max_null: 0.4}\n- {column: b, max_null: 0, in_set: [x, y]}\n"
    )
    report = run_checks(load_suite(tmp_path / "rows.yaml"), tmp_path / "rows.csv")
    assert [result.passed for result in report.results] == [True, True, False, True]
    assert report.rows == 3


def test_a_folder_is_one_table(tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    pq.write_table(pa.table({"a": [1, 2]}), folder / "1.parquet")
    pq.write_table(pa.table({"a": [2.5, None]}), folder / "2.parquet")
    (tmp_path / "rows.yaml").write_text("data: raw\nchecks: [{column: a, between: [1, 2], max_null: 0.25}]\n")
    report = run_checks(load_suite(tmp_path / "rows.yaml"), folder)
    assert report.rows == 4
    assert {result.check: result.failed for result in report.results} == {"max_null": 0, "between": 1}


def test_data_that_cannot_be_read_is_an_error_not_an_answer(tmp_path: Path) -> None:
    (tmp_path / "rows.yaml").write_text("data: rows.parquet\nchecks: [{row_count: [1, 2]}]\n")
    suite = load_suite(tmp_path / "rows.yaml")
    with pytest.raises(NotFound, match=r"there is no rows\.parquet"):
        run_checks(suite, tmp_path / "rows.parquet")
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 this is not it PAR1")
    with pytest.raises(ProjectError, match=r"cannot read rows\.parquet"):
        run_checks(suite, tmp_path / "rows.parquet")
    (tmp_path / "rows.txt").write_text("a")
    with pytest.raises(ProjectError, match="neither Parquet nor CSV"):
        run_checks(suite, tmp_path / "rows.txt")


numbers = st.lists(
    st.one_of(st.none(), st.integers(-5, 5), st.floats(-5, 5), st.just(NAN)).map(
        lambda value: None if value is None else float(value)
    ),
    max_size=30,
)
texts = st.lists(st.one_of(st.none(), st.text("abc\n", max_size=4)), max_size=30)
folder_of_the_laws = pytest.fixture(scope="module")(lambda tmp_path_factory: tmp_path_factory.mktemp("laws"))


def there(values: list[Any]) -> list[Any]:
    return [value for value in values if value is not None and value == value]


@settings(deadline=None, max_examples=60)
@given(numbers, st.floats(-5, 5), st.floats(0, 5))
def test_numbers_are_judged_as_plain_python_would(
    folder_of_the_laws: Path, values: list[Any], low: float, width: float
) -> None:
    high = low + width
    table = pa.table({"a": pa.array(values, pa.float64())})
    present = there(values)
    report = report_of(
        folder_of_the_laws,
        table,
        {"column": "a", "between": [low, high]},
        {"column": "a", "in_set": [0, 1, 2]},
        {"column": "a", "unique": True},
        {"column": "a", "mean": [low, high]},
        {"column": "a", "median": [low, high]},
        {"column": "a", "max": [low, high]},
        {"column": "a", "max_null": 0.5},
    )
    answers = {result.check: result for result in report.results}
    assert answers["between"].failed == sum(not low <= value <= high for value in present)
    assert answers["in_set"].failed == sum(value not in (0, 1, 2) for value in present)
    assert answers["unique"].failed == sum(present.count(value) > 1 for value in present)
    assert answers["max_null"].failed == (
        len(values) - len(present) if 2 * (len(values) - len(present)) > len(values) else 0
    )
    if present:
        assert answers["mean"].observed == pytest.approx(statistics.fmean(present))
        assert answers["median"].observed == pytest.approx(statistics.median(present))
        assert answers["max"].passed == (low <= max(present) <= high)
    else:
        assert not any(answers[name].passed for name in ("mean", "median", "max"))


@settings(deadline=None, max_examples=60)
@given(texts, st.sampled_from(["a*", "a|b", "[ab]c?", "(a+)b", ".b."]))
def test_texts_are_judged_as_plain_python_would(folder_of_the_laws: Path, values: list[Any], regex: str) -> None:
    table = pa.table({"a": pa.array(values, pa.string())})
    present = there(values)
    report = report_of(
        folder_of_the_laws,
        table,
        {"column": "a", "regex": regex},
        {"column": "a", "length_between": [1, 2]},
        {"column": "a", "not_in_set": ["a", "b"]},
    )
    assert {result.check: result.failed for result in report.results} == {
        "regex": sum(re.fullmatch(regex, value) is None for value in present),
        "length_between": sum(len(value) not in (1, 2) for value in present),
        "not_in_set": sum(value in ("a", "b") for value in present),
    }
