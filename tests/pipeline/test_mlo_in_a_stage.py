"""A stage that calls mlo: reading works, and what would wait for the stage's own run is refused at once."""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline_kit import run, statuses, workspace, write_project


def test_a_stage_reads_its_project_but_does_not_wait_for_its_own_run(here: Path) -> None:
    mlo = f"{sys.executable} -m mlops_cli"
    (here / "raw").write_text("1")
    cmd = f"{mlo} runs list --json > runs; {mlo} data add raw 2> said; echo $? > code"
    write_project(here, {"one": {"cmd": cmd, "outs": ["runs", "said", "code"]}})
    assert statuses(run(here)) == {"one": "ran"}
    assert '"running"' in (here / "runs").read_text()
    assert (here / "code").read_text() == "10\n"
    assert "its stage one" in (here / "said").read_text()
    assert "before or after mlo run" in (here / "said").read_text()
    assert not workspace(here).read_lock().data


def test_what_a_stage_left_running_may_change_the_project_later(here: Path) -> None:
    marks = {"MLO_RUN_ID": "ab" * 16, "MLO_STAGE": "one", "MLO_ROOT": str(here)}
    write_project(here, {})
    with workspace(here, **marks).exclusive():
        pass
