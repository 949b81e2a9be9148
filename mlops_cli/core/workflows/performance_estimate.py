"""Estimate a regression's losses from the rows it was registered with. This, unlike a check, loads the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from mlops_cli.core.drift import columns as arrow
from mlops_cli.core.drift.performance.losses import LossModel
from mlops_cli.core.drift.performance.records import Estimate
from mlops_cli.core.errors import ProjectError
from mlops_cli.core.models.score import labelled
from mlops_cli.core.registry.records import Version
from mlops_cli.core.workflows.performance_rows import PREDICTION, Answered, rows_at
from mlops_cli.core.workflows.resolve import load_resolved, resolved_version
from mlops_cli.core.workflows.rows import read_rows
from mlops_cli.core.workflows.workspace import Workspace


def estimator_of(workspace: Workspace, version: Version) -> Callable[[Answered, Any], dict[str, Estimate]]:
    """What foretells the losses of rows (n,) chosen of a table of inputs and answers.

    Raises ProjectError for a version without recorded evaluation rows, TooLittleData for few of them.
    """
    if version.evaluate is None:
        raise ProjectError(
            f"{version.title} was registered without evaluation rows, so its losses cannot be foretold",
            hint="set model: {evaluate: ...} in mlo.yaml and register it again, or leave out --estimate",
        )
    loaded = load_resolved(workspace, resolved_version(version))
    table = read_rows(workspace, version.evaluate.data, version.evaluate.path or "evaluate.parquet")
    truth, rows = labelled(loaded, table, version.evaluate.target)
    model = LossModel.fit(version.signature.inputs, rows, np.asarray(loaded.predict(rows).labels, float), truth)

    def guess(answered: Answered, inside: Any) -> dict[str, Estimate]:
        chosen = rows_at(answered.table, np.flatnonzero(inside))
        if any(column.name not in chosen.column_names for column in version.signature.inputs):
            return {}
        return model.estimate(chosen, arrow.filled(chosen[PREDICTION].cast(pa.float64()), np.nan))

    return guess
