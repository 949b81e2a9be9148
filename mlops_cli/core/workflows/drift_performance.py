"""What labels say of the window that a drift check looked at."""

from __future__ import annotations

import msgspec

from mlops_cli.core.drift.records import DriftAnswer
from mlops_cli.core.predictions.labels import has_labels
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
