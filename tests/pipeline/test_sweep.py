"""`mlo run --sweep`: every combination of values as a run of its own under one parent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pipeline_kit import run, workspace, write_project

from mlops_cli.core.errors import NotFound, ProjectError, UsageError
from mlops_cli.core.pipeline.watching import State
from mlops_cli.core.workflows.data import add_paths
from mlops_cli.core.workflows.grid import axes_of
from mlops_cli.core.workflows.plan import RunRequest
from mlops_cli.core.workflows.sweep import SweepResult, plan_sweep, run_sweep

FIT = "sh fit.sh"
SCRIPT = """\
echo "$MLO_PARAMS" > model.txt; cat base.txt >> model.txt
case "$MLO_PARAMS" in *'"lr":0.9'*) echo too large; exit 3;; esac
echo "$MLO_PARAMS" | sed 's/.*"lr":\\([0-9.]*\\).*/{"score": \\1}/' > m.json
"""


def project(folder: Path, **fit: Any) -> Path:
    """base (counts how often it runs, in a file outside) -> fit (reads lr and depth)."""
    count = folder.parent / "count"
    write_project(
        folder,
        {
            "base": {
                "cmd": f"echo x >> {count}; sleep 0.2; cat in.txt > base.txt",
                "deps": ["in.txt"],
                "outs": ["base.txt"],
            },
            "fit": {
                "cmd": FIT,
                "deps": ["base.txt", "fit.sh"],
                "params": ["lr", "depth"],
                "outs": ["model.txt"],
                "metrics": ["m.json"],
                **fit,
            },
        },
        {"lr": 0.1, "depth": 3},
    )
    (folder / "in.txt").write_text("in\n")
    (folder / "fit.sh").write_text(SCRIPT)
    return count


def sweep(folder: Path, *stages: str, jobs: int = 2, watcher: Any = None, **overrides: str) -> SweepResult:
    request = RunRequest(stages=stages, overrides=overrides, jobs=jobs, isolated=True, sweep=True)
    return run_sweep(workspace(folder), request, watcher=watcher)


class Watching:
    listens = False

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.turns: list[tuple[str, str]] = []

    def planned(self, stages: Sequence[str], jobs: int) -> None:
        self.stages = list(stages)

    def turned(self, stage: str, state: State, text: str) -> None:
        self.turns.append((stage, state))

    def printed(self, stage: str, data: bytes) -> None: ...
    def over(self) -> None:
        self.turns.append(("", "over"))


def test_every_combination_is_a_run_of_its_own_and_what_they_share_is_computed_once(here: Path) -> None:
    count = project(here)
    before = {path.name for path in here.iterdir()}
    watching = Watching()
    result = sweep(here, lr="0.1,0.2", depth="3,4", jobs=4, watcher=watching)
    assert count.read_text() == "x\n"  # four points wanted it at the same time
    assert result.status == "finished"
    assert result.exit_code == 0
    assert result.grid == {"lr": [0.1, 0.2], "depth": [3, 4]}
    assert [point.overrides for point in result.points] == [
        {"lr": 0.1, "depth": 3},
        {"lr": 0.1, "depth": 4},
        {"lr": 0.2, "depth": 3},
        {"lr": 0.2, "depth": 4},
    ]
    assert [point.metrics for point in result.points] == [
        {"score": 0.1},
        {"score": 0.1},
        {"score": 0.2},
        {"score": 0.2},
    ]
    # The work tree is as it was.
    assert {path.name for path in here.iterdir()} == before | {".mlo"}
    assert not (here / ".mlo" / "worktree.json").exists()
    assert [path.name for path in (here / ".mlo" / "copies").iterdir()] == ["lock"]
    # The records.
    runs = workspace(here).runs
    parent = runs.get(result.run)
    assert (parent.status, parent.overrides) == ("finished", {"lr": [0.1, 0.2], "depth": [3, 4]})
    children = runs.list(parent=parent.id)
    assert {run.id for run in children} == {point.run for point in result.points}
    assert all(run.status == "finished" and run.parent == parent.id for run in children)
    assert len(runs.list()) == 5
    # Who watched heard of each point, and of the end.
    assert watching.stages == ["lr=0.1 depth=3", "lr=0.1 depth=4", "lr=0.2 depth=3", "lr=0.2 depth=4"]
    assert watching.turns[-1] == ("", "over")
    assert {turn for _, turn in watching.turns[:-1]} == {"running", "ran"}
    # Once more: nothing is computed, neither there nor here.
    again = sweep(here, lr="0.2,0.1", depth="3,4", jobs=3)
    assert all(set(point.stages.values()) == {"restored"} for point in again.points)
    assert {record.status for record in run(here, overrides={"lr": "0.2"}).stages} == {"restored"}
    assert count.read_text() == "x\n"


def test_a_point_that_fails_leaves_the_others_alone(here: Path) -> None:
    project(here)
    result = sweep(here, lr="0.1,0.9,0.2")
    assert [point.status for point in result.points] == ["finished", "failed", "finished"]
    assert (result.status, result.exit_code) == ("failed", 9)
    failed = result.points[1]
    assert "stage fit failed with exit code 3" in str(failed.error)
    assert failed.stages == {"base": "restored", "fit": "failed"} or failed.stages == {"base": "ran", "fit": "failed"}
    assert workspace(here).runs.get(result.run).status == "failed"
    assert (here / ".mlo" / "failed" / failed.run / "model.txt").exists()
    assert (here / ".mlo" / "failed" / f"{failed.run}.fit.log").read_text() == "too large\n"


def test_points_read_added_data_and_a_commit(here: Path) -> None:
    import subprocess

    count = project(here)
    add_paths(workspace(here), [here / "in.txt"])
    for arguments in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=A", "-c", "user.email=a@b", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", *arguments], cwd=here, check=True)
    (here / "fit.sh").write_text("exit 1\n")
    (here / "in.txt").chmod(0o644)
    (here / "in.txt").write_text("not added\n")
    request = RunRequest(overrides={"lr": "0.3,0.4"}, isolated=True, sweep=True, revision="HEAD")
    result = run_sweep(workspace(here), request)
    assert [point.metrics for point in result.points] == [{"score": 0.3}, {"score": 0.4}]
    assert count.read_text() == "x\n"
    parent, *_ = [found for found in workspace(here).runs.list() if found.id == result.run]
    assert parent.tags["mlo.revision"] == "HEAD"
    assert not parent.dirty
    outputs = workspace(here).runs.get(result.points[0].run).outputs
    assert b"in\n" in workspace(here).store.read(outputs["model.txt"].name)


def test_a_plan_says_what_each_point_would_run(here: Path) -> None:
    project(here)
    sweep(here, lr="0.1")
    request = RunRequest(overrides={"lr": "0.1,0.2"}, isolated=True, sweep=True)
    plan = plan_sweep(workspace(here), request)
    assert plan.status == "planned"
    assert [[it.action for it in point.plan] for point in plan.points] == [
        ["restored", "restored"],
        ["restored", "run"],
    ]
    assert len(workspace(here).runs.list()) == 2


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("lr=0.1, 0.2", [0.1, 0.2]),
        ("lr=1,2", [1.0, 2.0]),
        ("depth=3", [3]),
        ("depth=-1,0,1", [-1, 0, 1]),
        ("name=ridge,lasso", ["ridge", "lasso"]),
        ("name='a,b',c", ["a,b", "c"]),
        ('name="a",on', ["a", "on"]),
        ("name=don't,do", ["don't", "do"]),
        ("layers=[4,2],[8,4]", [[4, 2], [8, 4]]),
        ('layers=["a,b"],[]', [["a,b"], []]),
        ("on=true,false", [True, False]),
        ("free=1,x,1.0", [1, "x", 1.0]),
        ("model.depth=3,4", [3, 4]),
        ("model={depth: 1, x: 2},{depth: 2, x: 3}", [{"depth": 1, "x": 2}, {"depth": 2, "x": 3}]),
    ],
)
def test_values_take_the_type_of_the_default(text: str, values: list[Any]) -> None:
    params = {
        "lr": 0.1, "depth": 3, "name": "ridge", "layers": [1], "on": False, "free": None, "model": {"depth": 3, "x": 1}
    }  # fmt: skip
    name, _, value = text.partition("=")
    (axis,) = axes_of(params, {name: value})
    assert list(axis.values) == values
    assert [type(it) for it in axis.values] == [type(it) for it in values]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({}, "--sweep needs values"),
        ({"lr": "0.1,,0.2"}, "is empty"),
        ({"lr": ","}, "is empty"),
        ({"lr": "0.1,0.10"}, "stands there twice"),
        ({"lr": "0.1,x"}, "lr is a number"),
        ({"depth": "3,0.5"}, "depth is a whole number"),
        ({"nothing": "1,2"}, "no parameter nothing"),
        ({"depth": ",".join(map(str, range(101))), "lr": ",".join(map(str, range(100)))}, "10,100 points"),
    ],
)
def test_what_is_no_grid_is_refused(here: Path, overrides: dict[str, str], message: str) -> None:
    project(here)
    with pytest.raises(UsageError, match=message):
        sweep(here, **overrides)
    assert workspace(here).runs.count() == 0


def test_what_is_wrong_with_a_point_is_said_before_any_runs(here: Path) -> None:
    write_project(here, {"s": {"cmd": "true", "outs": ["${params.out}"]}}, {"out": "a.txt"})
    with pytest.raises(ProjectError, match="outside the project"):
        sweep(here, out="b.txt,../c.txt")
    with pytest.raises(NotFound, match="no stage t"):
        sweep(here, "t", out="b.txt")
    assert workspace(here).runs.count() == 0


def test_several_values_without_sweep_are_told_of_it(here: Path, mlo: Any) -> None:
    project(here)
    answer = mlo("run", "-P", "lr=0.1,0.2", exit_code=2)
    assert "--sweep" in answer.stderr


def test_points_are_listed_shown_compared_and_applied(here: Path, mlo: Any) -> None:
    project(here)
    done = json.loads(mlo("run", "-P", "lr=0.1,0.3,0.2", "--sweep", "--json").stdout)
    parent, points = done["run"], done["points"]
    listed = json.loads(mlo("runs", "list", "--parent", parent[:8], "--sort", "score", "--json").stdout)
    assert [row["metrics"]["score"] for row in listed["runs"]] == [0.3, 0.2, 0.1]
    shown = mlo("runs", "list").stdout
    lines = [line.split()[0] for line in shown.splitlines()]
    assert lines[1] == parent[:8]
    assert all(line.startswith("  ") for line in shown.splitlines()[2:5])
    assert points[1]["run"][:8] in mlo("runs", "show", parent).stdout
    assert "lr" in mlo("runs", "compare", parent).stdout
    assert "name one of them" in mlo("runs", "apply", parent, exit_code=2).stderr
    answer = mlo("runs", "apply", points[1]["run"][:8])
    assert '"lr":0.3' in (here / "model.txt").read_text()
    assert "lr: 0.3" in answer.stdout
    assert "lr=0.3" in mlo("status").stdout
    lock = here / "mlo.lock"
    assert not lock.exists()
    mlo("run")  # mlo.yaml says 0.1
    assert '"lr":0.1' in (here / "model.txt").read_text()
    assert not (here / ".mlo" / "worktree.json").exists()


def test_apply_keeps_what_nobody_has_a_copy_of(here: Path, mlo: Any) -> None:
    project(here)
    done = json.loads(mlo("run", "-P", "lr=0.1,0.9", "--sweep", "--json", exit_code=9).stdout)
    good, bad = (point["run"] for point in done["points"])
    (here / "model.txt").write_text("mine")
    answer = mlo("runs", "apply", good, exit_code=5)
    assert "model.txt" in answer.stderr
    assert (here / "model.txt").read_text() == "mine"
    mlo("runs", "apply", good, "--force")
    assert '"lr":0.1' in (here / "model.txt").read_text()
    assert "failed" in mlo("runs", "apply", bad, exit_code=5).stderr
    mlo("runs", "apply", "dead", exit_code=6)


def test_a_sweep_is_told_as_a_table(here: Path, mlo: Any) -> None:
    project(here)
    answer = mlo("run", "-P", "lr=0.1,0.9", "--sweep", exit_code=9)
    assert "lr=0.9 failed" in answer.stdout
    assert "stage fit failed with exit code 3" in answer.stdout
    assert "mlo runs apply RUN" in answer.stdout
    assert "1 of 2 points" in answer.stdout
    dry = mlo("run", "-P", "lr=0.1,0.5", "--sweep", "--dry")
    assert "1 of 2 points would run something" in dry.stdout
    assert "lr=0.9: running" in answer.stderr


def test_a_mutex_holds_across_points(here: Path) -> None:
    alone = here.parent / "alone"
    cmd = f"mkdir {alone} || exit 4; sleep 0.1; rmdir {alone}; echo $MLO_PARAMS > o.txt"
    write_project(here, {"s": {"cmd": cmd, "params": ["x"], "outs": ["o.txt"], "mutex": "port"}}, {"x": 1})
    result = sweep(here, x="1,2,3,4", jobs=4)
    assert [point.status for point in result.points] == ["finished"] * 4


def test_threads_are_divided_among_points(here: Path) -> None:
    write_project(
        here, {"s": {"cmd": "echo $OMP_NUM_THREADS$MLO_PARAMS > o.txt", "params": ["x"], "outs": ["o.txt"]}}, {"x": 1}
    )
    result = sweep(here, x="1,2", jobs=200)
    store, runs = workspace(here).store, workspace(here).runs
    told = [store.read(runs.get(point.run).outputs["o.txt"].name).decode() for point in result.points]
    assert all(text.partition("{")[0].isdigit() for text in told)


def test_apply_says_what_else_has_changed(here: Path, mlo: Any) -> None:
    project(here)
    mlo("run")
    first = json.loads(mlo("runs", "list", "--json").stdout)["runs"][0]["id"]
    (here / "in.txt").write_text("other\n")
    mlo("run")
    lock = (here / "mlo.lock").read_bytes()
    answer = json.loads(mlo("runs", "apply", first, "--json").stdout)
    assert answer["others"] == ["base", "fit"]
    assert answer["edits"] == []
    assert "in\n" in (here / "model.txt").read_text()
    assert "mlo run would not keep it: base, fit would be made anew" in mlo("runs", "apply", first).stdout
    assert f"holds run {first[:8]};" in mlo("status").stdout
    mlo("run")
    assert "other\n" in (here / "model.txt").read_text()
    assert (here / "mlo.lock").read_bytes() == lock
    (here / "in.txt").write_text("in\n")
    answer = mlo("runs", "apply", first)
    assert "mlo.yaml says its parameters already" in answer.stdout
    assert mlo("run").stdout.count("up to date") == 1
    assert (here / "mlo.lock").read_bytes() != lock


def test_sorting_by_a_metric_leaves_out_who_has_none(here: Path, mlo: Any) -> None:
    project(here)
    mlo("run", "-P", "lr=0.2,0.1", "--sweep")
    listed = json.loads(mlo("runs", "list", "--sort", "score", "--ascending", "--json").stdout)
    assert [row["metrics"]["score"] for row in listed["runs"]] == [0.1, 0.2]
    assert "they have score" in mlo("runs", "list", "--sort", "nothing", exit_code=6).stderr


def test_each_point_has_gpus_of_its_own(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = {
        "cmd": "echo $CUDA_VISIBLE_DEVICES > o.txt; sleep 0.2",
        "params": ["x"],
        "outs": ["o.txt"],
        "resources": {"gpus": 1},
    }
    write_project(here, {"s": stage}, {"x": 1})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    result = sweep(here, x="1,2,3", jobs=3)
    assert result.status == "finished"
    store, runs = workspace(here).store, workspace(here).runs
    told = [store.read(runs.get(point.run).outputs["o.txt"].name).decode().strip() for point in result.points]
    assert told[:2] == ["4", "7"]
    assert told[2] in ("4", "7")


def test_a_sweep_travels_with_its_points(here: Path, mlo: Any) -> None:
    project(here)
    parent = json.loads(mlo("run", "-P", "lr=0.1,0.2", "--sweep", "--json").stdout)["run"]
    there = workspace(here).runs
    manifests = [there.manifest(run.id) for run in there.list()]
    clone = here.parent / "clone"
    clone.mkdir()
    write_project(clone, {"s": {"cmd": "true", "outs": ["o"]}})
    for manifest in manifests:
        workspace(clone).runs.add_manifest(manifest)
    assert len(workspace(clone).runs.list(parent=parent)) == 2
