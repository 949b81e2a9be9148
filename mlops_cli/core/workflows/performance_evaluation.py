"""What the evaluation rows say of a version when it is registered: kept in its profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlops_cli.core.drift import columns as arrow
from mlops_cli.core.drift.performance.calibration import fit_map
from mlops_cli.core.drift.performance.estimates import fit_maps
from mlops_cli.core.drift.performance.evaluation import Evaluated
from mlops_cli.core.drift.performance.metrics import Outcomes, measure
from mlops_cli.core.errors import MloError

if TYPE_CHECKING:
    import pyarrow as pa

    from mlops_cli.core.models.load import LoadedModel


def evaluate_answers(loaded: LoadedModel, table: pa.Table, target: str, time: str | None) -> Evaluated | None:
    """The registered metrics with intervals, and the maps of a classifier's scores; None where no row can be
    scored, which registering has said already."""
    try:
        outcomes = outcomes_of(loaded, table, target, time)
    except MloError:
        return None
    calibration = None
    if outcomes.is_binary and outcomes.scores is not None:
        calibration = fit_map(outcomes.truth == 1, outcomes.scores)
    return Evaluated(
        rows=len(outcomes), metrics=measure(outcomes), calibration=calibration, calibrations=fit_maps(outcomes)
    )


def outcomes_of(loaded: LoadedModel, table: pa.Table, target: str, time: str | None) -> Outcomes:
    """A model's answers to labelled rows beside the truth, in order of `time`. Raises as `labelled`."""
    from mlops_cli.core.models.score import labelled

    truth, rows = labelled(loaded, table, target)
    predicted = loaded.predict(rows)
    order = arrow.time_order(rows.column(time)) if time is not None and time in rows.column_names else None
    places = np.arange(len(truth)) if order is None else order
    if loaded.signature.task == "regression":
        answers = np.asarray(predicted.labels, dtype=float)
        return Outcomes(truth=truth[places], answers=answers[places], is_ordered=order is not None)
    known = {value: place for place, value in enumerate(loaded.signature.classes)}
    answers = np.asarray([known[label] for label in predicted.labels.tolist()], dtype=np.intp)
    scores = predicted.scores
    if scores is not None and len(known) == 2:
        scores = scores[:, 1]
    return Outcomes(
        truth=truth[places],
        answers=answers[places],
        scores=None if scores is None else np.asarray(scores, dtype=float)[places],
        classes=tuple(str(label) for label in loaded.signature.classes),
        is_ordered=order is not None,
    )
