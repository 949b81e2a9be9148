"""`mlo runs list`, `show` and `compare`."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlops_cli.cli.views.runs import duration, number, sparkline
from mlops_cli.core.base.database import Database
from mlops_cli.core.base.records import Column, Entry, Logged, LoggedModel, Metric, Signature, StageRecord
from mlops_cli.core.tracking.records import Run
from mlops_cli.core.tracking.store import RunStore

FIRST, SECOND = "aaaa" + "1" * 28, "bbbb" + "2" * 28
Mlo = Callable[..., Any]

ENVIRONMENT = {
    "python": "3.11.7",
    "platform": "Linux-6.1-x86_64",
    "cpu": {"model": "EPYC", "count": 2, "flags": ["avx2"]},
    "packages": {"numpy": "2.0", "pandas": "3.0"},
}


@pytest.fixture
def project(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two finished runs, an hour and a minute old."""
    (here / "mlo.yaml").write_text("name: tiny\n")
    monkeypatch.setenv("MLO_NOW", "2013-05-01T13:00:00Z")
    runs = RunStore(Database(here / ".mlo" / "mlo.db"))
    first = Run(
        id=FIRST,
        name="brave-otter",
        start="2013-05-01T12:00:00.000000Z",
        command="mlo run",
        actor="Ada",
        params={"lr": 0.1, "seed": 7},
        tags={"kind": "first"},
        artifacts={"roc.svg": Entry("xxh128:" + "0" * 32, "file", 1234)},
        model=LoggedModel("model", "sklearn-skops", {}, Signature((Column("x", "float"),), "regression")),
        commit="c" * 40,
        branch="main",
        dirty=True,
        environment=ENVIRONMENT,
        host="here",
    )
    runs.start(first)
    losses = tuple(Metric("loss", 1 / (step + 1), step, 1000 + step) for step in range(100))
    runs.log(FIRST, Logged(metrics=(*losses, Metric("auc", 0.69), Metric("odd", math.nan))))
    ended = msgspec.structs.replace(
        first,
        status="finished",
        end="2013-05-01T12:05:10.000000Z",
        inputs={"data/raw": "xxh128:" + "1" * 32},
        outputs={"model": Entry("xxh128:" + "2" * 32, "dir", 70_000, 3)},
        stages=(StageRecord("train", "k", "ran", FIRST, seconds=4.2),),
        overrides={"lr": 0.1},
    )
    runs.finish(ended)
    second = msgspec.structs.replace(
        first,
        id=SECOND,
        name="calm-heron",
        start="2013-05-01T12:58:00.000000Z",
        params={"lr": 0.2, "seed": 7},
        artifacts={},
        model=None,
        environment={**ENVIRONMENT, "packages": {"numpy": "2.1", "pandas": "3.0"}},
    )
    runs.start(second)
    runs.log(SECOND, Logged(metrics=(Metric("auc", 0.74),)))
    runs.finish(
        msgspec.structs.replace(
            second, status="failed", end="2013-05-01T12:58:01.000000Z", inputs={"data/raw": "xxh128:" + "9" * 32}
        )
    )
    return here


def test_the_list_shows_what_differs_and_the_metrics(project: Path, mlo: Mlo) -> None:
    lines = mlo("runs", "list").stdout.splitlines()
    assert lines[0].split() == ["run", "name", "status", "when", "lr", "auc", "loss", "odd"]
    assert lines[1].split() == ["bbbb2222", "calm-heron", "failed", "2", "minutes", "ago", "0.2", "0.74"]
    assert lines[2].split()[:6] == ["aaaa1111", "brave-otter", "finished", "1", "hour", "ago"]
    assert lines[2].split()[6:] == ["0.1", "0.69", "0.01", "nan"]


def test_the_list_can_be_short_and_of_one_status(project: Path, mlo: Mlo) -> None:
    assert "brave-otter" not in mlo("runs", "list", "--limit", "1").stdout
    assert "calm-heron" not in mlo("runs", "list", "--status", "finished").stdout
    assert "failed and killed" in mlo("runs", "list", "--status", "done", exit_code=2).stderr


def test_the_list_is_one_json_object(project: Path, mlo: Mlo) -> None:
    document = mlo("runs", "list", "--json").json
    assert [run["id"] for run in document["runs"]] == [SECOND, FIRST]
    assert document["varying"] == ["lr"]
    assert document["runs"][1]["metrics"] == {"auc": 0.69, "loss": 0.01, "odd": None}
    assert document["runs"][1]["seconds"] == 310.0


def test_runs_are_found_by_what_they_measured_were_given_and_are(project: Path, mlo: Mlo) -> None:
    lines = mlo("runs", "search", "metrics.auc > 0.7 or params.lr <= 0.1", "--order-by", "metrics.auc desc").stdout
    header, *rows = lines.splitlines()
    assert header.split() == ["run", "name", "status", "when", "metrics.auc", "params.lr"]
    assert [row.split()[0] for row in rows] == ["bbbb2222", "aaaa1111"]
    assert rows[0].split()[-2:] == ["0.74", "0.2"]
    one = mlo("runs", "search", "tags.kind = 'first' and status = 'finished'", "--columns", "branch, metrics.loss")
    assert one.stdout.splitlines()[0].split()[-2:] == ["branch", "metrics.loss"]
    assert one.stdout.splitlines()[1].split()[-2:] == ["main", "0.01"]
    assert mlo("runs", "search", "metrics.auc > 1").stdout == "no run passes\n"


def test_a_search_goes_on_where_a_page_ended(project: Path, mlo: Mlo) -> None:
    first = mlo("runs", "search", "--order-by", "metrics.auc", "-n", "1", "--json").json
    assert [run["id"] for run in first["runs"]] == [FIRST]
    assert f"--after {first['next']}" in mlo("runs", "search", "--order-by", "metrics.auc", "-n", "1").stdout
    second = mlo("runs", "search", "--order-by", "metrics.auc", "-n", "1", "--after", first["next"], "--json").json
    assert ([run["id"] for run in second["runs"]], second["next"]) == ([SECOND], None)
    assert "no place in this order" in mlo("runs", "search", "--after", "x", exit_code=2).stderr


def test_a_filter_that_is_none_says_where(project: Path, mlo: Mlo) -> None:
    stderr = mlo("runs", "search", "metric.auc > high", exit_code=2).stderr
    assert "column 14: high stands where a value is wanted" in stderr
    assert "put a text into quotes: 'high'" in stderr
    assert "auc is nothing that runs have" in mlo("runs", "search", "--order-by", "auc", exit_code=2).stderr


def test_an_empty_project_says_how_to_make_a_run(here: Path, mlo: Mlo) -> None:
    (here / "mlo.yaml").write_text("name: tiny\n")
    assert mlo("runs", "list").stdout == "There is no run yet. Make one: mlo run\n"
    assert "there is no run yet" in mlo("runs", "show", exit_code=6).stderr


def test_a_run_is_shown_whole(project: Path, mlo: Mlo) -> None:
    shown = mlo("runs", "show", "aaaa").stdout
    for part in (
        f"run {FIRST}  brave-otter",
        "finished  started 1 hour ago (2013-05-01T12:00:00Z), took 5 m 10 s",
        "cccccccccc (main), with uncommitted changes",
        "overrides lr=0.1",
        "data/raw  xxh128:11111111…",
        "model  xxh128:22222222…  70.0 kB",
        "roc.svg  xxh128:00000000…  1.2 kB",
        "model at model: regression, 1 input, sklearn-skops",
        "kind  first",
        "Python 3.11.7 on Linux-6.1-x86_64",
        "2 x EPYC (avx2)",
        "train  ran     4.2 s  aaaa1111",
    ):
        assert part in shown
    loss = next(line for line in shown.splitlines() if line.startswith("loss"))
    assert loss.split()[:6] == ["loss", "0.01", "100", "0.01", "..", "1"]
    assert loss.split()[6].startswith("█")
    assert loss.split()[6].endswith("▁")


def test_the_newest_run_is_shown_without_an_id(project: Path, mlo: Mlo) -> None:
    assert "calm-heron" in mlo("runs", "show").stdout
    assert mlo("runs", "show", "latest", "--json").json["run"]["id"] == SECOND


def test_the_history_is_in_the_json(project: Path, mlo: Mlo) -> None:
    document = mlo("runs", "show", "aaaa", "--json").json
    loss = next(entry for entry in document["history"] if entry["key"] == "loss")
    assert (loss["points"], loss["first_step"], loss["last_step"]) == (100, 0, 99)
    assert len(loss["curve"]) == 60
    assert (loss["curve"][0], loss["curve"][-1]) == (1.0, 0.01)


@pytest.mark.parametrize(("run", "code"), [("cccc", 6), ("aaa", 2), ("zzzz", 2)])
def test_a_run_that_is_not_there_is_named(project: Path, mlo: Mlo, run: str, code: int) -> None:
    answer = mlo("runs", "show", run, exit_code=code)
    assert run in answer.stderr
    assert "hint:" in answer.stderr


def test_two_runs_side_by_side(project: Path, mlo: Mlo) -> None:
    shown = mlo("runs", "compare", "aaaa", "bbbb").stdout
    lines = [line.split() for line in shown.splitlines()]
    assert ["lr", "0.1", "0.2"] in lines
    assert ["auc", "0.69", "0.74", "+0.05"] in lines
    assert ["data/raw", "xxh128:11111111…", "xxh128:99999999…"] in lines
    assert ["numpy", "2.0", "2.1"] in lines
    assert "seed" not in shown
    assert "the same in both: code, environment" in shown


def test_everything_side_by_side(project: Path, mlo: Mlo) -> None:
    shown = mlo("runs", "compare", "aaaa", "latest", "--all").stdout
    assert ["seed", "7", "7"] in [line.split() for line in shown.splitlines()]


def test_a_comparison_is_one_json_object(project: Path, mlo: Mlo) -> None:
    document = mlo("runs", "compare", "aaaa", "bbbb", "--json").json
    assert document["params"] == [
        {"key": "lr", "values": [0.1, 0.2], "same": False},
        {"key": "seed", "values": [7, 7], "same": True},
    ]
    assert [row["key"] for row in document["packages"]] == ["numpy"]


def test_one_run_is_not_compared_with_itself(project: Path, mlo: Mlo) -> None:
    assert "two different runs" in mlo("runs", "compare", "aaaa", FIRST, exit_code=2).stderr


def test_what_was_spooled_is_read_before_it_is_shown(project: Path, mlo: Mlo) -> None:
    from mlops_cli.core.tracking.spool import Spool
    from mlops_cli.core.tracking.spooled import Begin, Point

    spooled = Run(id="cccc" + "3" * 28, name="late-owl", start="2013-05-01T12:59:00.000000Z", pid=os.getpid())
    Spool(project / ".mlo" / "spool" / spooled.id / "script").append(Begin(spooled), Point("auc", 0.8, 0, 0))
    assert mlo("runs", "list").stdout.splitlines()[1].split()[:3] == ["cccc3333", "late-owl", "running"]


def test_a_sparkline_shows_the_shape_and_survives_odd_values() -> None:
    assert sparkline([0, 1, 2, 3]) == "▁▃▆█"
    assert sparkline([1, math.nan, 2]) == "▁·█"
    assert sparkline([5, 5]) == "▄▄"
    assert sparkline([5]) == ""
    assert sparkline([math.inf, math.nan]) == ""
    assert sparkline([-1e308, 1e308]) == "▁█"


@pytest.mark.parametrize(
    ("value", "text"), [(0.123456, "0.12346"), (3.0, "3"), (1e20, "1e+20"), (math.inf, "inf"), (-0.5, "-0.5")]
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.04, "0.0 s"), (72, "72 s"), (310, "5 m 10 s"), (10_900, "3 h 1 m")])
def test_durations_are_read_at_a_glance(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_what_a_stage_printed_is_kept_also_when_it_failed(here: Path, mlo: Mlo) -> None:
    (here / "mlo.yaml").write_text(
        "name: x\nstages:\n  talk: {cmd: echo hello > out; echo said hello, outs: [out]}\n"
        "  fail: {cmd: echo about to fail; exit 3, deps: [out]}\n"
    )
    mlo("run", exit_code=9)
    run = mlo("runs", "list", "--json").json["runs"][0]["id"]
    both = mlo("runs", "logs", run[:8]).stdout
    assert both == "talk:\nsaid hello\nfail:\nabout to fail\n"
    assert mlo("runs", "logs", run[:8], "talk").stdout == "said hello\n"
    assert mlo("runs", "logs", run[:8], "--json").json[1]["stage"] == "fail"
    assert "talk, fail" in mlo("runs", "logs", run[:8], "evaluate", exit_code=6).stderr
