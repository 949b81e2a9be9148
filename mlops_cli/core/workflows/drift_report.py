"""Write a drift check as a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from mlops_cli.core.base.files import write_atomic
from mlops_cli.core.drift.records import DriftAnswer
from mlops_cli.core.drift.report.page import drift_report
from mlops_cli.core.errors import UsageError, WouldOverwrite
from mlops_cli.core.reports.html import render
from mlops_cli.core.workflows.drift_asked import DriftRequest, shown
from mlops_cli.core.workflows.workspace import Workspace


class DriftReport(msgspec.Struct, frozen=True):
    """Where a report was written, and the answer it shows."""

    path: str
    answer: DriftAnswer


def refuse_overwriting(workspace: Workspace, request: DriftRequest) -> None:
    """Raise WouldOverwrite if the report would replace a file that it may not, UsageError for a folder."""
    if request.html is None:
        return
    name = shown(workspace, request.html)
    if request.html.is_dir():
        raise UsageError(f"{name} is a folder", hint="name a file: drift.html")
    if request.html.exists() and not request.force:
        raise WouldOverwrite(f"{name} exists", hint="name another file, or replace it with --force")


def write_page(out: Path, answer: DriftAnswer, history: Sequence[DriftAnswer] = ()) -> None:
    """The page of one check, in one step; `history` are checks of other windows, oldest first."""
    write_atomic(out, render(drift_report(answer, history)))
