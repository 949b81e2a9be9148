"""What `mlo run` was asked for, done: in the work tree, in a working copy, or as a sweep of many."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mlops_cli.core.pipeline.watching import Watcher
from mlops_cli.core.workflows.plan import RunRequest
from mlops_cli.core.workflows.run import RunResult, plan_run, run_pipeline
from mlops_cli.core.workflows.workspace import Workspace

if TYPE_CHECKING:
    from mlops_cli.core.workflows.check_repeats import CheckResult
    from mlops_cli.core.workflows.sweep import SweepResult


def perform(
    workspace: Workspace, request: RunRequest, *, dry: bool = False, watcher: Watcher | None = None
) -> RunResult | SweepResult | CheckResult:
    """Do it, or say with `dry` what would be done. Raises what a stage raises; a sweep says that of its points."""
    if request.check:
        from mlops_cli.core.workflows.check_repeats import check_repeats

        return check_repeats(workspace, request, watcher=watcher)
    if request.sweep:
        from mlops_cli.core.workflows.sweep import plan_sweep, run_sweep

        return plan_sweep(workspace, request) if dry else run_sweep(workspace, request, watcher=watcher)
    if request.isolated:
        from mlops_cli.core.workflows.copies import plan_isolated, run_isolated

        return plan_isolated(workspace, request) if dry else run_isolated(workspace, request, watcher=watcher)
    if not dry:
        _clear_leftovers(workspace)
    return plan_run(workspace, request) if dry else run_pipeline(workspace, request, watcher=watcher)


def _clear_leftovers(workspace: Workspace) -> None:
    """End and remove what runs left in working copies when they were killed."""
    try:
        with os.scandir(workspace.paths.copies) as found:
            are_there = any(entry.is_dir() for entry in found)
    except FileNotFoundError:
        return
    if are_there:
        from mlops_cli.core.workflows.copies import clear_leftovers

        clear_leftovers(workspace)
