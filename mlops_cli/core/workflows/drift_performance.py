"""What labels say of the window that a drift check looked at."""

from __future__ import annotations

import msgspec

from mlops_cli.core.drift.records import DriftAnswer
from mlops_cli.core.predictions.labels import has_labels
from mlops_cli.core.workflows.drift_asked import DriftRequest
from mlops_cli.core.workflows.drift_log import Log
from mlops_cli.core.workflows.drift_rows import Rows
from mlops_cli.core.workflows.workspace import Workspace


def with_performance(workspace: Workspace, answer: DriftAnswer, rows: Rows) -> DriftAnswer:
    """The answer with the version's performance in the window, where the window is of the log and has labels."""
    if not rows.is_logged or rows.period is None or not has_labels(Log.of(workspace).source):
        return answer
    # Here, so that a check without labels reads none of it.
    from mlops_cli.core.workflows.performance import performance_of

    return msgspec.structs.replace(answer, performance=performance_of(workspace, answer.model, rows.period))


def over_windows(workspace: Workspace, answer: DriftAnswer, request: DriftRequest, earlier: int) -> DriftAnswer:
    """The answer for a page: performance in the checked window and `earlier` ones before it, where labels are known."""
    if answer.performance is None or not earlier or request.since is not None or request.until is not None:
        return answer
    from mlops_cli.core.workflows.performance import PerformanceRequest, check_performance

    asked = PerformanceRequest(ref=answer.model, window=request.window, windows=earlier + 1, record=False)
    return msgspec.structs.replace(answer, performance=check_performance(workspace, asked))
