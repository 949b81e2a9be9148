"""What `mlo run` and `mlo why` say when something is not there, and how a sweep's points are told."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import Mlo
from pipeline_kit import run, statuses, workspace, write_project

from mlops_cli.core.errors import NotFound
from mlops_cli.core.pipeline.errors import DependencyMissing
from mlops_cli.core.workflows.asking import command_line_of
from mlops_cli.core.workflows.copies import run_isolated
from mlops_cli.core.workflows.data import add_paths
from mlops_cli.core.workflows.plan import RunRequest, assemble
from mlops_cli.core.workflows.runs import compare_runs, list_runs, show_run
from mlops_cli.core.workflows.sweep import run_sweep

TRAIN = {"cmd": "cp raw.csv model.txt", "deps": ["raw.csv"], "outs": ["model.txt"]}


@pytest.fixture
def without_data(here: Path) -> Path:
    """A clone whose data is on a remote, and neither here nor in the cache."""
    (here / "raw.csv").write_text("x" * 300_000)
    write_project(here, {"train": TRAIN}, remotes={"origin": {"url": str(here.parent / "far")}})
    add_paths(workspace(here), [here / "raw.csv"])
    shutil.rmtree(here / ".mlo" / "cache" / "objects")
    (here / "raw.csv").unlink()
    return here


def test_overrides_that_no_stage_declares_count_as_params(here: Path) -> None:
    write_project(here, {"s": {"cmd": "echo ${params.x} > out.txt", "outs": ["out.txt"]}}, {"x": 1})
    done = run_sweep(workspace(here), RunRequest(overrides={"x": "2,3"}, isolated=True, sweep=True))
    assert done.status == "finished"
    found = list_runs(workspace(here), parent=done.run)
    assert found.varying == ("x",)
    assert sorted(row.params["x"] for row in found.runs) == [2, 3]
    [x] = compare_runs(workspace(here), [done.run]).params
    assert (x.key, x.values, x.same) == ("x", (2, 3), False)
    assert show_run(workspace(here), done.points[0].run).run.params == {"x": 2}
    assert workspace(here).runs.get(done.points[0].run).params == {}  # the record stays as it is
    assert show_run(workspace(here), done.run).run.params == {}  # a grid is no value
    said = [it.values for it in compare_runs(workspace(here), [done.run]).code if it.key == "command"]
    assert said == [("mlo run -P x=2 --isolated", "mlo run -P x=3 --isolated")]


def test_a_point_is_told_as_a_person_would_type_it() -> None:
    request = RunRequest(stages=("fit",), overrides={"note": "a b"}, isolated=True, parent="97e2")
    assert command_line_of(request, "prod") == "mlo run fit -P 'note=a b' --isolated --env prod"


def test_a_copy_names_the_data_that_the_cache_lacks(without_data: Path) -> None:
    digest = workspace(without_data).read_lock().data["raw.csv"].digest
    with pytest.raises(NotFound) as caught:
        run_isolated(workspace(without_data), RunRequest(stages=("train",), isolated=True))
    assert caught.value.message == f"the cache does not have raw.csv ({digest})"
    assert str(caught.value.hint).startswith("run `mlo run --pull`, or `mlo pull`")


def test_a_run_without_its_data_names_the_run_that_pulls(without_data: Path) -> None:
    with pytest.raises(DependencyMissing, match=r"raw\.csv") as caught:
        assemble(workspace(without_data))
    assert str(caught.value.hint).startswith("run `mlo run --pull`, or `mlo pull`")
    with pytest.raises(DependencyMissing) as caught:
        assemble(workspace(without_data), RunRequest(pull=True))
    assert caught.value.hint == workspace(without_data).refill


def test_an_unknown_member_of_a_known_group_names_the_members(here: Path, mlo: Mlo) -> None:
    write_project(here, {"train": {"matrix": {"depth": [2, 3]}, "cmd": "echo ${key}"}})
    said = mlo("why", "train@depth-2", exit_code=6).stderr
    assert "there is no stage train@depth-2" in said
    assert "the stages of train are train@2, train@3" in said
    assert "train@2" in mlo("run", "train@depth-2", exit_code=6).stderr
    assert "no model is registered" in mlo("why", "other@2", exit_code=6).stderr


@pytest.mark.parametrize("whose", ["stage", "project"])
@pytest.mark.parametrize(
    ("env", "key", "line"),
    [
        ({"lock": "requirements.lock"}, "env.lock", "uv pip compile requirements.in -o requirements.lock"),
        ({"conda": "conda.txt"}, "env.conda", "conda list --explicit > conda.txt"),
    ],
)
def test_an_absent_lock_is_named_with_the_line_that_makes_it(
    here: Path, whose: str, env: dict[str, Any], key: str, line: str
) -> None:
    stage: dict[str, Any] = {"cmd": "echo 1 > o.txt", "outs": ["o.txt"]}
    if whose == "stage":
        write_project(here, {"s": {**stage, "env": env}})
    else:
        write_project(here, {"s": stage}, env=env)
    with pytest.raises(DependencyMissing, match=f"stage s runs in {key}: ") as caught:
        assemble(workspace(here))
    assert line in str(caught.value.hint)
    write_project(here, {"s": {**stage, "env": env, "frozen": True}})
    assert assemble(workspace(here)).nodes  # of a frozen stage nothing is asked


def test_a_skipped_stage_leaves_what_stands_there(here: Path) -> None:
    stage = {"cmd": "echo ${params.x} > o.txt", "outs": ["o.txt"], "when": "x < 2"}
    write_project(here, {"s": stage}, {"x": 1})
    run(here)
    locked = workspace(here).read_lock().stages["s"]
    write_project(here, {"s": stage}, {"x": 5})
    assert statuses(run(here)) == {"s": "skipped"}
    assert (here / "o.txt").read_text() == "1\n"
    assert workspace(here).read_lock().stages["s"] == locked
