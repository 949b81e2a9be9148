"""How much a model's answers rest on each of its inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlops_cli.core.errors import TooLittleData

if TYPE_CHECKING:
    import pyarrow as pa

    from mlops_cli.core.models.load import LoadedModel

ROWS, REPEATS, SEED = 2_000, 3, 0


def measure_importances(loaded: LoadedModel, rows: pa.Table, target: str) -> dict[str, float] | None:
    """How much the model's score falls when a column is shuffled: the mean of 3 seeded shuffles of up to 2,000 rows.

    In nats of log loss where the model gives probabilities, of accuracy where it does not, in units of the target
    (rmse) for a regression. None where the rows cannot be scored.
    """
    # Here, since scoring brings scikit-learn, which a check never needs.
    from mlops_cli.core.models.score import labelled, score

    name = "rmse" if loaded.signature.task == "regression" else "log_loss" if loaded.gives_scores else "accuracy"
    sign = 1.0 if name == "accuracy" else -1.0
    generator = np.random.default_rng(SEED)
    try:
        known = labelled(loaded, rows, target)[1]
        if known.num_rows > ROWS:
            known = known.take(np.sort(generator.choice(known.num_rows, ROWS, replace=False)))
        base = score(loaded, known, target, [name])[name]
        found = {}
        for column in loaded.signature.inputs:
            place = known.schema.get_field_index(column.name)
            losses = []
            for _ in range(REPEATS):
                shuffled = known.column(place).take(generator.permutation(known.num_rows))
                shuffled_rows = known.set_column(place, known.schema.field(place), shuffled)
                losses.append(sign * (base - score(loaded, shuffled_rows, target, [name])[name]))
            found[column.name] = float(np.mean(losses))
    except TooLittleData:
        return None
    return found
