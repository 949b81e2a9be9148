"""Small projects of shell stages, and ways to run them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from notes import Notes

from mlops_cli.core.project import yaml12
from mlops_cli.core.workflows.plan import RunRequest
from mlops_cli.core.workflows.run import RunResult, plan_run, run_pipeline
from mlops_cli.core.workflows.workspace import Workspace


def write_project(folder: Path, stages: dict[str, Any], params: dict[str, Any] | None = None, **more: Any) -> None:
    document = {"name": "kit", "params": params or {}, "stages": stages, **more}
    (folder / "mlo.yaml").write_text(yaml12.dump(document))


def workspace(folder: Path, **environ: str) -> Workspace:
    return Workspace.find(folder, {**os.environ, **environ}, command_line="mlo run", progress=Notes())


def run(folder: Path, *stages: str, **options: Any) -> RunResult:
    """`options` are RunRequest's; with `dry` only the plan."""
    act = plan_run if options.pop("dry", False) else run_pipeline
    return act(workspace(folder), RunRequest(stages=stages, **options))


def statuses(result: RunResult) -> dict[str, str]:
    return {record.name: record.status for record in result.stages}


CHAIN = {
    "a": {"cmd": "cat in.txt > a.txt", "deps": ["in.txt"], "outs": ["a.txt"]},
    "b": {"cmd": "cat a.txt > b.txt; echo $MLO_PARAMS >> b.txt", "deps": ["a.txt"], "params": ["x"], "outs": ["b.txt"]},
    "c": {"cmd": "wc -c < b.txt > c.txt", "deps": ["b.txt"], "outs": ["c.txt"]},
}


def chain(folder: Path) -> None:
    """in.txt -> a -> b (reads the parameter x) -> c."""
    (folder / "in.txt").write_text("first\n")
    write_project(folder, CHAIN, {"x": 1, "unread": 2})
