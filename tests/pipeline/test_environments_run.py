"""Stages that run in an environment of their own, and what the run's record says of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from environments_kit import made, need_uv, offline, wheel
from pipeline_kit import statuses, workspace, write_project

from mlops_cli.core.errors import ProjectError, StageFailed
from mlops_cli.core.workflows.plan import RunRequest
from mlops_cli.core.workflows.run import RunResult, plan_run, run_pipeline

LOCK = "requirements.lock"
Mlo = Callable[..., Any]


@pytest.fixture
def shell(tmp_path: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    need_uv()
    for version in ("1.0", "2.0"):
        wheel(tmp_path / "wheels", "small", version)
    (here / LOCK).write_text("small==1.0\n")
    shell = offline(tmp_path / "wheels")
    for name, value in shell.items():
        monkeypatch.setenv(name, value)
    return shell


SHOW = "python -c 'import small, sys; open(sys.argv[1], \"w\").write(small.VERSION)' {}.txt"


def stage(name: str, **more: Any) -> dict[str, Any]:
    return {"cmd": SHOW.format(name), "outs": [f"{name}.txt"], **more}


def go(here: Path, shell: dict[str, str], **options: Any) -> RunResult:
    return run_pipeline(workspace(here, **shell), RunRequest(**options))


def test_stages_share_the_projects_environment(here: Path, shell: dict[str, str], mlo: Mlo) -> None:
    write_project(here, {"a": stage("a"), "b": stage("b")}, env={"lock": LOCK})
    result = go(here, shell, jobs=2)
    assert (here / "a.txt").read_text() == (here / "b.txt").read_text() == "1.0"
    assert len(made(here)) == 1
    kept = workspace(here).runs.get(result.run)
    (key,) = {record.env for record in kept.stages}
    found = kept.environment["environments"][key]
    assert (found["source"], found["packages"]) == (LOCK, {"small": "1.0"})
    assert mlo("runs", "show", "--requirements").stdout == "small==1.0\n"
    assert mlo("runs", "show", "--requirements", "--json").json["environments"] == [
        {"source": LOCK, "python": found["python"], "stages": ["a", "b"], "lines": ["small==1.0"]}
    ]
    assert f"stages also ran in {LOCK}: 1 package" in mlo("runs", "show").stdout
    again = go(here, shell)
    assert statuses(again) == {"a": "cached", "b": "cached"}
    assert {record.env for record in again.stages} == {""}


def test_another_lock_runs_it_again_in_another_environment(here: Path, shell: dict[str, str], mlo: Mlo) -> None:
    write_project(here, {"a": stage("a", env={"lock": LOCK}), "own": {"cmd": "echo > own.txt", "outs": ["own.txt"]}})
    first = go(here, shell)
    (here / LOCK).write_text("small==2.0\n")
    second = go(here, shell)
    assert statuses(second) == {"a": "ran", "own": "cached"}
    assert (here / "a.txt").read_text() == "2.0"
    assert len(made(here)) == 2
    differing = mlo("runs", "compare", first.run, second.run, "--json").json["packages"]
    assert [row["values"] for row in differing if row["key"] == f"small ({LOCK})"] == [["1.0", "2.0"]]
    listed = mlo("runs", "show", first.run, "--requirements").stdout.splitlines()
    assert f"# a: {LOCK}, Python {'.'.join(map(str, sys.version_info[:3]))}" in listed
    assert [line for line in listed if line.startswith("# own: what mlo ran in")]
    assert [line for line in listed if line.startswith("numpy==")]


def test_an_environment_that_cannot_be_had_leaves_everything_as_it_is(here: Path, shell: dict[str, str]) -> None:
    write_project(here, {"a": stage("a", env={"lock": LOCK})})
    go(here, shell)
    (here / LOCK).write_text("absent==1.0\n")
    with pytest.raises(ProjectError, match="could not be made"):
        go(here, shell)
    assert (here / "a.txt").read_text() == "1.0"
    (here / LOCK).write_text("small==1.0\n")
    assert statuses(go(here, shell)) == {"a": "cached"}


def test_a_lock_that_fixes_nothing_is_refused_before_anything_runs(here: Path, shell: dict[str, str]) -> None:
    write_project(here, {"first": {"cmd": "echo > f.txt", "outs": ["f.txt"]}, "a": stage("a", env={"lock": LOCK})})
    (here / LOCK).write_text("small\n")
    for act in (run_pipeline, plan_run):
        with pytest.raises(ProjectError, match=r"requirements\.lock:1: small names no exact version"):
            act(workspace(here, **shell), RunRequest())
    assert not (here / "f.txt").exists()
    assert workspace(here).runs.count() == 0


def test_a_script_that_imports_what_the_lock_lacks_is_told_so(here: Path, shell: dict[str, str]) -> None:
    write_project(here, {"a": {"cmd": "python -c 'import mlops_cli'", "outs": ["a"], "env": {"lock": LOCK}}})
    with pytest.raises(StageFailed) as caught:
        go(here, shell)
    assert caught.value.hint is not None
    assert caught.value.hint.startswith(f"{LOCK} must name mlops-cli if the stage imports it")


def test_a_working_copy_shares_the_environment(here: Path, shell: dict[str, str], tmp_path: Path) -> None:
    write_project(here, {"a": stage("a", env={"lock": LOCK}, params=["x"])}, {"x": 1})
    go(here, shell)
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("mlo.yaml", LOCK):
        (copy / name).write_bytes((here / name).read_bytes())
    space = workspace(here, **shell).at(copy)
    result = run_pipeline(space, RunRequest(overrides={"x": "2"}))
    assert statuses(result) == {"a": "ran"}
    assert len(made(here)) == 1
    assert not (copy / ".mlo/cache").exists()


def test_an_environment_that_somebody_activated_is_told_of(here: Path, shell: dict[str, str], tmp_path: Path) -> None:
    active = tmp_path / "active"
    subprocess.run(["uv", "venv", "-q", "--python", sys.executable, str(active)], env=shell, check=True)
    (next(active.glob("lib/python*/site-packages")) / "small-3.0.dist-info").mkdir()
    write_project(here, {"a": {"cmd": "python -c 'import sys; print(sys.prefix)' > a.txt", "outs": ["a.txt"]}})
    space = workspace(here, **{**shell, "VIRTUAL_ENV": str(active), "PATH": f"{active / 'bin'}:{shell['PATH']}"})
    run = space.runs.get(run_pipeline(space, RunRequest()).run)
    assert (here / "a.txt").read_text().strip() == str(active)
    assert [record.env for record in run.stages] == ["active"]
    assert run.environment["environments"] == {
        "active": {
            "source": str(active),
            "python": ".".join(map(str, sys.version_info[:3])),
            "packages": {"small": "3.0"},
        }
    }


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"lock": LOCK, "conda": "environment.yml"}, "names lock and conda"),
        ({}, "names no environment"),
        ({"docker": "python:3.11"}, "does not name an image by its digest"),
        ({"conda": "environment.yml", "python": "3.11"}, "python goes with lock"),
    ],
)
def test_an_environment_that_fixes_nothing_is_refused_for_a_stage_and_for_the_project(
    here: Path, env: dict[str, str], said: str
) -> None:
    write_project(here, {"a": stage("a", env=env)})
    with pytest.raises(ProjectError, match=f"mlo.yaml:.*stages.a: .*{said}"):
        workspace(here)
    write_project(here, {"a": stage("a")}, env=env)
    with pytest.raises(ProjectError, match=f"mlo.yaml:.*the project: .*{said}"):
        workspace(here)
