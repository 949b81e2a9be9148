"""Write a drift check as a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from mlops_cli.core.base.files import write_atomic
from mlops_cli.core.drift.records import DriftAnswer
from mlops_cli.core.drift.report.page import drift_report
from mlops_cli.core.errors import UsageError, WouldOverwrite
from mlops_cli.core.reports.html import GENERATOR, render
from mlops_cli.core.workflows.drift_asked import DriftRequest, shown
from mlops_cli.core.workflows.workspace import Workspace

_BEGINNING = 1024  # bytes of a page within which it says what wrote it


class DriftReport(msgspec.Struct, frozen=True):
    """Where a report was written, and the answer it shows."""

    path: str
    answer: DriftAnswer


def refuse_overwriting(workspace: Workspace, request: DriftRequest) -> None:
    """Raise WouldOverwrite if the report would replace a file that it may not: any without --force, and with it any
    that is no report of mlo's. Raises UsageError for a folder, and for settings of a report that is not asked for."""
    if request.html is None:
        for option, given in (("--windows", request.windows is not None), ("--force", request.force)):
            if given:
                raise UsageError(f"{option} is of a report, and none is asked for", hint="name its file: --html FILE")
        return
    name = shown(workspace, request.html)
    if request.html.is_dir():
        raise UsageError(f"{name} is a folder", hint="name a file: drift.html")
    if request.html.exists() and not request.force:
        raise WouldOverwrite(f"{name} exists", hint="name another file, or replace it with --force")
    if request.html.exists() and not _is_report(request.html):
        raise WouldOverwrite(
            f"{name} is no report that mlo wrote, and --force replaces nothing else", hint="name another file"
        )


def _is_report(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return GENERATOR in file.read(_BEGINNING)


def write_page(out: Path, answer: DriftAnswer, history: Sequence[DriftAnswer] = ()) -> None:
    """The page of one check, in one step; `history` are checks of other windows, oldest first."""
    write_atomic(out, render(drift_report(answer, history)))
