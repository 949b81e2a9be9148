"""`mlo run -j 3` killed, or its disk filled up, at every step: the next one finishes, and nothing half-done counts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dying import unmeasured

from mlops_cli.core.pipeline.process import marked
from mlops_cli.core.project import yaml12
from mlops_cli.core.workflows.plan import RunRequest
from mlops_cli.core.workflows.run import RunResult, run_pipeline
from mlops_cli.core.workflows.workspace import Workspace

DRIVER = Path(__file__).with_name("crash_driver.py")
LETTERS = "abc"


def lay_out(folder: Path) -> None:
    """Three independent stages that each write a file and a folder, and one that reads them all."""
    single = {
        name: {
            "cmd": f"printf half > {name}.txt; cat in > {name}.txt; mkdir {name}.d; cp in {name}.d",
            "deps": ["in"],
            "outs": [f"{name}.txt", f"{name}.d"],
        }
        for name in LETTERS
    }
    joined = {
        "cmd": "cat a.txt b.txt c.d/in > all",
        "deps": ["a.txt", "b.txt", "c.d"],
        "outs": ["all"],
        "metrics": ["m.json"],
    }
    joined["cmd"] += "; printf '{\"lines\": 3}' > m.json"
    (folder / "mlo.yaml").write_text(yaml12.dump({"name": "kit", "stages": {**single, "join": joined}}))


def open_workspace(folder: Path) -> Workspace:
    return Workspace.find(folder, dict(os.environ), command_line="mlo run")


def run(folder: Path, **options: object) -> RunResult:
    return run_pipeline(open_workspace(folder), RunRequest(**options))  # type: ignore[arg-type]


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A project that ran once, and whose input changed since."""
    folder = tmp_path / "template"
    folder.mkdir()
    lay_out(folder)
    (folder / "in").write_text("first\n")
    run(folder)
    (folder / "in").write_text("second\n")
    return folder


def crash(template: Path, way: str) -> list[tuple[Path, int]]:
    copies = template.with_name("copies")
    subprocess.run(
        [sys.executable, str(DRIVER), str(template), str(copies), way, "-j", "3"], check=True, env=unmeasured()
    )
    codes = [int(line) for line in (copies / "codes").read_text().split()]
    return [(copies / str(number), code) for number, code in enumerate(codes, 1)]


def assert_mended(folder: Path, lock: bytes) -> None:
    """The next run ends well, with what a run that nothing happened to gives."""
    result = run(folder, jobs=3)
    assert {record.status for record in result.stages} <= {"ran", "cached", "restored"}, folder
    for name in LETTERS:
        assert (folder / f"{name}.txt").read_text() == (folder / f"{name}.d" / "in").read_text() == "second\n", folder
    assert (folder / "all").read_text() == "second\n" * 3, folder
    assert (folder / "mlo.lock").read_bytes() == lock, folder
    assert {record.status for record in run(folder).stages} == {"cached"}, folder
    assert list((folder / ".mlo" / "running").iterdir()) == [], folder
    assert not [path for path in folder.iterdir() if path.name.endswith(".tmp")], folder
    runs = open_workspace(folder).runs.list()
    assert "running" not in {found.status for found in runs}, folder
    assert [found.id for found in runs if marked({"MLO_RUN_ID": found.id})] == [], folder


def finished(template: Path) -> bytes:
    """mlo.lock after a run that nothing happened to."""
    whole = template.with_name("whole")
    shutil.copytree(template, whole)
    run(whole, jobs=3)
    return (whole / "mlo.lock").read_bytes()


@pytest.mark.slow
def test_a_run_of_several_stages_at_once_killed_at_any_step_is_finished_by_the_next(template: Path) -> None:
    lock = finished(template)
    crashed = crash(template, "kill")
    assert len(crashed) > 80
    assert {code for _, code in crashed} == {-9}
    for folder, _ in crashed:
        assert_mended(folder, lock)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["full", "once"])
def test_a_disk_that_is_full_from_any_step_on_is_an_error_and_loses_nothing(template: Path, way: str) -> None:
    lock = finished(template)
    crashed = crash(template, way)
    assert len(crashed) > 40
    # 0: what failed was not needed, as a note for people; 11: the machine refused.
    assert {code for _, code in crashed} <= {0, 11}, crashed
    for folder, _ in crashed:
        assert_mended(folder, lock)
