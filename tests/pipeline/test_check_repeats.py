"""`mlo run --check`: a stage run twice, and what differs."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import Mlo
from pipeline_kit import chain, run, statuses, workspace, write_project

from mlops_cli.core.project.lock import read_lock

COUNTS = "echo again >> ../count; wc -l < ../count | tr -d ' '"  # another number each time it runs


def test_a_stage_that_repeats_itself_is_done_and_ran_twice(here: Path, mlo: Mlo) -> None:
    chain(here)
    said = mlo("run", "--check", "b").stdout
    assert "b gave the same twice" in said
    runs = workspace(here).runs.list()
    assert [[record.name for record in run.stages] for run in runs] == [["b"], ["a", "b"]]
    assert [run.stages[-1].status for run in runs] == ["ran", "ran"]
    assert statuses(run(here, "b")) == {"a": "cached", "b": "cached"}


def test_what_differs_is_named_and_the_second_result_stands_everywhere(here: Path, mlo: Mlo) -> None:
    write_project(
        here,
        {
            "s": {
                "cmd": f"mkdir -p out; echo same > out/kept; {COUNTS} > out/n; "
                'echo "{\\"n\\": $(cat out/n), \\"k\\": 1}" > m.json; echo x > x.txt',
                "outs": ["out", "x.txt"],
                "metrics": ["m.json"],
            }
        },
    )
    answer = mlo("run", "--check", "s", "--json", exit_code=3).json
    [check] = answer["stages"]
    assert not answer["repeats"]
    found = {(it["kind"], it["name"]): it for it in check["differing"]}
    assert set(found) == {("output", "out"), ("output", "m.json"), ("metric", "n")}
    assert found["output", "out"]["inside"] == [{"path": "out/n", "change": "modified"}]
    assert (found["metric", "n"]["first"], found["metric", "n"]["second"]) == (1.0, 2.0)
    assert (here / "out/n").read_text() == "2\n"
    assert read_lock(here / "mlo.lock").stages["s"].outs["out"].digest == found["output", "out"]["second"]
    assert statuses(run(here)) == {"s": "cached"}
    assert mlo("data", "status", "--exit-code").exit_code == 0
    said = mlo("run", "--check", "s", exit_code=3).stdout
    assert "modified out/n" in said
    assert "metric n: 3.0 -> 4.0" in said


def test_a_stage_that_says_so_may_differ(here: Path, mlo: Mlo) -> None:
    write_project(here, {"s": {"cmd": f"{COUNTS} > n", "outs": ["n"], "deterministic": False}})
    assert "as its deterministic: false says" in mlo("run", "--check", "s").stdout


def test_a_stage_that_fails_fails_the_check(here: Path, mlo: Mlo) -> None:
    write_project(here, {"s": {"cmd": "mkdir ../once && echo x > n", "outs": ["n"]}})
    assert "stage s failed" in mlo("run", "--check", "s", exit_code=9).stderr
    assert (here / "n").read_text() == "x\n"  # the first result is back


def test_a_skipped_stage_has_nothing_to_compare(here: Path, mlo: Mlo) -> None:
    write_project(here, {"s": {"cmd": "echo x > n", "outs": ["n"], "when": "x > 1"}}, {"x": 1})
    assert "skipped" in mlo("run", "--check", "s").stdout


def test_bytes_of_ones_own_are_not_overwritten(here: Path, mlo: Mlo) -> None:
    write_project(here, {"s": {"cmd": "echo x > n", "outs": ["n"]}})
    (here / "n").write_text("mine\n")
    assert "--force" in mlo("run", "--check", "s", exit_code=5).stderr
    assert (here / "n").read_text() == "mine\n"


@pytest.mark.parametrize("more", [(), ("s", "--dry"), ("s", "--sweep", "-P", "x=1,2"), ("s", "--from", "s")])
def test_it_wants_names_and_nothing_that_contradicts_it(here: Path, mlo: Mlo, more: tuple[str, ...]) -> None:
    write_project(here, {"s": {"cmd": "echo x > n", "outs": ["n"]}}, {"x": 1})
    assert "--check" in mlo("run", "--check", *more, exit_code=2).stderr
    assert not (here / "n").exists()
