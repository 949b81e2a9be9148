"""Reading checks files: every mistake has a line, none is skipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlops_cli.core.errors import ProjectError
from mlops_cli.core.validation.rules import OF_A_COLUMN, OF_THE_TABLE, Check, load_suite, parse_compare


def suite_of(folder: Path, *items: str):
    path = folder / "rows.yaml"
    path.write_text("data: rows.parquet\nchecks:\n" + "".join(f"  - {item}\n" for item in items))
    return load_suite(path)


def test_one_item_may_ask_several_things(tmp_path: Path) -> None:
    suite = suite_of(tmp_path, "{column: a, type: float, between: [0, 1], mostly: 0.9, severity: warn}")
    assert [(a.kind, a.mostly, a.severity) for a in suite.assertions] == [
        ("type", 1.0, "warn"),
        ("between", 0.9, "warn"),
    ]


@pytest.mark.parametrize(
    ("item", "message", "hint"),
    [
        ("{column: a, betwen: [0, 1]}", "rows.yaml:3:17: unknown key betwen", "did you mean between?"),
        ("{column: a, type: int}", "rows.yaml:3:17: checks.0.type", "mend"),
        ("{column: a}", "this checks nothing", "mend"),
        ("{between: [0, 1]}", "between asks about a column, and none is named", "mend"),
        ("{column: a, row_count: [0, 1]}", "row_count asks about the whole table", "mend"),
        ("{column: a, mean: [0, 1], mostly: 0.9}", "mostly does not go with mean", "mend"),
        ("{column: a, between: [2, 1]}", "the lower bound 2 is above the upper one 1", "mend"),
        ("{column: a, between: [null, null]}", "lets everything pass", "mend"),
        ("{column: a, between: [0, soon]}", "'soon' is not a time", "mend"),
        ('{column: a, between: [0, "2013-01-01"]}', "of two kinds", "mend"),
        ("{column: a, between: [.nan, 1]}", "NaN is no bound", "mend"),
        ("{column: a, between: [0]}", "checks.0.between", "mend"),
        ("{column: a, max_null: 1.5}", "checks.0.max_null", "mend"),
        ("{column: a, mostly: 0, unique: true}", "checks.0.mostly", "mend"),
        ("{column: a, unique: false}", "checks.0.unique", "mend"),
        ("{column: a, severity: fatal, unique: true}", "checks.0.severity", "mend"),
        ("{column: a, quantile: {q: 2, between: [0, 1]}}", "checks.0.quantile.q", "mend"),
        ("{column: a, quantile: {p: 0.5, between: [0, 1]}}", "unknown key p", "q, between"),
        ("{compound_unique: [a]}", "checks.0.compound_unique", "mend"),
        ("{compare: a is b}", "is not two columns", "mend"),
        ('{column: a, regex: "(a"}', "rows.yaml:3:17: regex '(a' does not read", "RE2"),
    ],
)
def test_a_mistake_is_an_error_with_its_line(tmp_path: Path, item: str, message: str, hint: str) -> None:
    with pytest.raises(ProjectError) as caught:
        suite_of(tmp_path, item)
    assert message in caught.value.message
    assert caught.value.message.startswith("rows.yaml:3:")
    assert hint in str(caught.value.hint)


def test_a_file_that_is_not_there_or_empty_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="there is no checks file"):
        load_suite(tmp_path / "none.yaml")
    (tmp_path / "empty.yaml").write_text("data: a.csv\nchecks: []\n")
    with pytest.raises(ProjectError, match="checks"):
        load_suite(tmp_path / "empty.yaml")
    (tmp_path / "no_data.yaml").write_text("checks: [{row_count: [1, 2]}]\n")
    with pytest.raises(ProjectError, match="data"):
        load_suite(tmp_path / "no_data.yaml")


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("temp >= dewp", ("temp", ">=", "dewp")),
        ("a<b", ("a", "<", "b")),
        ("`one two` != `three`", ("one two", "!=", "three")),
    ],
)
def test_compare_reads_two_names_and_an_operator(text: str, parsed: tuple[str, str, str]) -> None:
    assert parse_compare(text) == parsed


def test_every_key_is_in_the_document() -> None:
    document = (Path(__file__).parents[2] / "mlops_cli/core/validation/CHECKS.md").read_text()
    asked = {*OF_A_COLUMN, *OF_THE_TABLE}
    assert asked | {"column", "mostly", "severity"} == set(Check.__struct_fields__)
    assert not [key for key in Check.__struct_fields__ if f"`{key}" not in document]
