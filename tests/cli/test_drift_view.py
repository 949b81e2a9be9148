"""How a check looks in a terminal: what fits, what is left out, and how to see it."""

from __future__ import annotations

import pytest

from mlops_cli.cli.output import Output
from mlops_cli.cli.views import drift as view
from mlops_cli.core.drift.records import Bounds, ColumnResult, DriftAnswer, Rules, SchemaChange
from mlops_cli.core.drift.records import Test as OneTest

DAY = Bounds("2013-04-30T00:00:00.000000Z", "2013-05-01T00:00:00.000000Z")


def column(name: str, *, alarm: bool = False) -> ColumnResult:
    test = OneTest(
        part="distribution",
        method="Kolmogorov-Smirnov",
        statistic=0.25,
        effect=0.25,
        floor=0.05,
        p_value=0.5,
        alarm=alarm,
    )
    return ColumnResult(
        column=name,
        kind="float",
        status="drift" if alarm else "quiet",
        effect=0.25,
        p_adjusted=0.5,
        importance=0.1,
        n=4000,
        n_effective=94.0,
        smallest_detectable=0.32,
        tests=(test,),
        note="something that is long enough to be in the way",
    )


def answer(quiet: int) -> DriftAnswer:
    columns = (column("temp", alarm=True), *(column(f"calm_{place:02}") for place in range(quiet)))
    return DriftAnswer(
        verdict="drift", exit_code=3, model="flights@1", source="log", window=DAY, rows=9, rows_reference=99,
        alarms=("tailnum", "temp"), answers=(), columns=columns, tests=3, level=0.01, rules=Rules(), notes=(),
        profile="", schema=(SchemaChange(column="tailnum", change="new", now="string"),),
    )  # fmt: skip


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_the_table_fits_and_keeps_what_decides(width: int) -> None:
    headers, rows = view._table([column("temp", alarm=True), column("distance")], width)
    texts = {"column", "verdict", "test", "remark"}
    widths = [max(map(len, cells)) for cells in zip(headers, *rows, strict=True)]
    assert sum(min(18, one) if header in texts else one for header, one in zip(headers, widths, strict=True)) < width
    assert {"column", "verdict", "effect", "test", "p", "rows", "detects"} <= set(headers)
    assert ("remark" in headers) == (width > 100)


def test_the_verdict_comes_first_then_the_schema_then_alarms_and_some_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    view.show_drift(answer(40), Output())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "drift: tailnum, temp"
    assert lines[2] == "schema: tailnum is new: the reference does not have it"
    assert lines[5].startswith("temp")
    assert sum(line.startswith("calm_") for line in lines) == view.SHOWN
    assert "25 more columns without an alarm: --all shows them" in lines
    assert lines[-1] == "if the change is real and here to stay: mlo retrain"


def test_all_columns_are_shown_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    view.show_drift(answer(40), Output(), everything=True)
    assert capsys.readouterr().out.count("\ncalm_") == 40
