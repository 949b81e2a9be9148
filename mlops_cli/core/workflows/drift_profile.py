"""Make the profile of a version: what later windows are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mlops_cli.core.drift.importance import measure_importances
from mlops_cli.core.drift.profiling import make_profile
from mlops_cli.core.workflows.performance_evaluation import evaluate_answers
from mlops_cli.core.workflows.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

    from mlops_cli.core.models.load import LoadedModel


def build_profile(
    workspace: Workspace,
    loaded: LoadedModel,
    reference: pa.Table,
    evaluate: pa.Table | None = None,
    target: str | None = None,
) -> bytes:
    """The bytes of a version's profile: its inputs over `reference`, its answers over `evaluate`.

    The answers are those on rows the model was not fitted on, if there are any: on its training rows a model is surer
    than it will ever be again. Importances need `evaluate` with its `target`. Raises ProjectError, WrongInputs.
    """
    time = workspace.project.model.time if workspace.project.model else None
    judged = evaluate if evaluate is not None and evaluate.num_rows else None
    rows = reference if judged is None else judged
    profile = make_profile(
        reference,
        inputs=loaded.signature.inputs,
        time=time,
        prediction=loaded.predict(rows),
        predicted=judged,
        task=loaded.signature.task,
        importances=measure_importances(loaded, judged, target) if judged is not None and target else None,
    )
    evaluation = evaluate_answers(loaded, judged, target, time) if judged is not None and target else None
    return msgspec.structs.replace(profile, evaluation=evaluation).to_bytes()
