"""Sweeps and working copies whose processes are killed, and interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pipeline_faults import hear_hangups

from mlops_cli.core.pipeline.process import marked
from mlops_cli.core.project import yaml12
from mlops_cli.core.tracking.records import Run
from mlops_cli.core.workflows.copies import clear_leftovers
from mlops_cli.core.workflows.workspace import Workspace

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")

PATIENCE_S = 30.0


@pytest.fixture
def project(here: Path) -> Iterator[Path]:
    """Points of x: 1 ends at once; others wait, half an output written, until `go` stands beside the project."""
    stages = {
        "s": {
            "cmd": f"sh s.sh {here.parent}",
            "params": ["x"],
            "deps": ["s.sh"],
            "outs": ["o.txt"],
        }
    }
    (here / "mlo.yaml").write_text(yaml12.dump({"name": "kit", "params": {"x": 1}, "stages": stages}))
    (here / "s.sh").write_text(
        'echo half > o.txt; echo "$MLO_PARAMS" > $1/began-$MLO_RUN_ID; '
        """case "$MLO_PARAMS" in *'"x":1}') ;; *) until [ -e $1/go ]; do sleep 0.05; done;; esac; """
        'echo "$MLO_PARAMS" > o.txt\n'
    )
    yield here
    (here.parent / "go").touch()  # whatever a failed test left behind ends


def workspace(folder: Path) -> Workspace:
    return Workspace.find(folder, dict(os.environ), command_line="mlo run")


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "mlops_cli", "run", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hear_hangups,  # noqa: PLW1509 - it starts no thread and takes no lock
    )


def code_of(process: subprocess.Popen[str]) -> int:
    process.communicate(timeout=PATIENCE_S)
    return process.returncode


def until(what: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come to that")


def began(folder: Path) -> dict[int, str]:
    """The value of each point whose stage runs or ran, with its run."""
    found = {}
    for path in folder.parent.glob("began-*"):
        text = path.read_text()
        if text:
            found[json.loads(text)["x"]] = path.name.removeprefix("began-")
    return found


def both(folder: Path, count: int) -> Callable[[], bool]:
    return lambda: len(began(folder)) == count


def pid_of(folder: Path, run: str) -> int:
    return workspace(folder).runs.get(run).pid


def of_sweep(folder: Path) -> tuple[Run, dict[Any, Run]]:
    runs = workspace(folder).runs.list()
    (parent,) = (run for run in runs if "mlo.sweep" in run.tags)
    return parent, {run.overrides["x"]: run for run in runs if run.parent == parent.id}


def nothing_is_left(folder: Path) -> None:
    assert not marked({"MLO_ROOT": str(folder)})
    for run in workspace(folder).runs.list():
        assert not marked({"MLO_RUN_ID": run.id})


def copies(folder: Path) -> list[str]:
    return [path.name for path in (folder / ".mlo" / "copies").iterdir() if path.is_dir()]


def test_a_point_that_is_killed_is_said_to_be_and_the_sweep_goes_on(project: Path) -> None:
    process = start(project, "-P", "x=2,1,3", "--sweep", "-j", "2", "--json")
    until(both(project, 3))
    os.kill(pid_of(project, began(project)[2]), signal.SIGKILL)
    until(lambda: of_sweep(project)[1][2].status == "killed")
    until(lambda: not marked({"MLO_RUN_ID": began(project)[2]}))  # its stage, too
    (project.parent / "go").touch()
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 9, out + err
    result = json.loads(out)
    assert [point["status"] for point in result["points"]] == ["killed", "finished", "finished"]
    assert result["points"][0]["error"] == "it was killed by signal 9"
    parent, points = of_sweep(project)
    assert parent.status == "failed"
    assert {x: run.status for x, run in points.items()} == {1: "finished", 2: "killed", 3: "finished"}
    assert (project / ".mlo" / "failed" / points[2].id / "o.txt").read_text() == "half\n"
    assert copies(project) == []
    nothing_is_left(project)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_ends_every_point(project: Path, number: signal.Signals) -> None:
    process = start(project, "-P", "x=2,3,4", "--sweep", "-j", "2")
    until(both(project, 2))
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, out + err
    assert "Traceback" not in out + err
    parent, points = of_sweep(project)
    assert parent.status == "killed"
    assert {run.status for run in points.values()} == {"killed"}
    assert len(points) == 2
    assert copies(project) == []
    nothing_is_left(project)
    (project.parent / "go").touch()
    assert code_of(start(project, "-P", "x=2,3,4", "--sweep", "-j", "2")) == 0


def test_a_sweep_that_is_killed_takes_its_points_along(project: Path) -> None:
    process = start(project, "-P", "x=2,3,1", "--sweep", "-j", "2")
    until(both(project, 2))
    process.kill()
    process.communicate()
    until(lambda: {run.status for run in workspace(project).runs.list()} == {"killed"})
    until(lambda: not any(marked({"MLO_RUN_ID": run}) for run in began(project).values()))
    until(lambda: not copies(project))
    (project.parent / "go").touch()
    again = start(project, "-P", "x=2,3,1", "--sweep", "-j", "2", "--json")
    out, err = again.communicate(timeout=PATIENCE_S)
    assert again.returncode == 0, out + err
    assert {tuple(point["stages"].values()) for point in json.loads(out)["points"]} == {("ran",)}
    nothing_is_left(project)


@pytest.mark.parametrize("plain", [False, True])
def test_a_copy_of_a_killed_run_is_cleared_by_the_next(project: Path, *, plain: bool) -> None:
    process = start(project, "--isolated", "-P", "x=2")
    until(both(project, 1))
    process.kill()
    process.communicate()
    run = began(project)[2]
    assert len(copies(project)) == 1
    assert marked({"MLO_RUN_ID": run})
    if plain:  # any run will do, also one in the work tree that needs no copy
        assert code_of(start(project)) == 0
    else:
        assert clear_leftovers(workspace(project)) == 1
    assert not marked({"MLO_RUN_ID": run})
    assert (project / ".mlo" / "failed" / run / "o.txt").read_text() == "half\n"
    assert copies(project) == []
    assert workspace(project).runs.get(run).status == "killed"
    (project.parent / "go").touch()
    assert code_of(start(project, "--isolated", "-P", "x=2")) == 0


def test_two_sweeps_at_once_compute_what_both_want_once(project: Path) -> None:
    first = start(project, "-P", "x=2,3", "--sweep", "-j", "2", "--json")
    second = start(project, "-P", "x=3,2", "--sweep", "-j", "2", "--json")
    until(lambda: len(workspace(project).runs.list()) == 6)
    (project.parent / "go").touch()
    done = [json.loads(process.communicate(timeout=PATIENCE_S)[0]) for process in (first, second)]
    stages = [status for sweep in done for point in sweep["points"] for status in point["stages"].values()]
    assert sorted(stages) == ["ran", "ran", "restored", "restored"]
    assert len(began(project)) == 2
    nothing_is_left(project)


def test_a_point_without_its_sweep_is_refused(project: Path) -> None:
    (project.parent / "go").touch()
    process = start(project, "-P", "x=2", "--sweep", "--json")
    parent = json.loads(process.communicate(timeout=PATIENCE_S)[0])["run"]
    late = start(project, "-P", "x=3", "--isolated", "--parent", parent)
    assert "nothing can belong to it" in late.communicate(timeout=PATIENCE_S)[1]
    assert late.returncode != 0
