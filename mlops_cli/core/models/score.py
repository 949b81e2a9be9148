"""Score a model on labelled rows, under the names that gates and tables use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlops_cli.core.errors import ProjectError, TooLittleData, UsageError
from mlops_cli.core.models.load import LoadedModel
from mlops_cli.core.models.predictions import Predictions

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

CLASSIFICATION = ("auc", "accuracy", "precision", "recall", "f1", "log_loss", "brier")
REGRESSION = ("rmse", "mae", "r2")
SCORES = (*CLASSIFICATION, *REGRESSION)
_PROBABILITY = ("auc", "log_loss", "brier")


def default_scores(loaded: LoadedModel) -> tuple[str, ...]:
    """Every score that the model can have."""
    if loaded.signature.task == "regression":
        return REGRESSION
    return tuple(name for name in CLASSIFICATION if loaded.gives_scores or name not in _PROBABILITY)


def score(loaded: LoadedModel, table: pa.Table, target: str, names: Sequence[str]) -> dict[str, float]:
    """The scores `names` of the model on the rows of `table` whose `target` is known.

    Two classes: auc is the area under the ROC curve of P(classes[1]), which is also what precision, recall, f1 and
    brier are about. More classes: auc (one against the rest), precision, recall and f1 are macro averages, unweighted
    means over classes; brier sums over them. log_loss is in nats. rmse and mae are in the target's unit.
    Raises UsageError for a name that is not a score of this task, ProjectError for a target that is absent or holds
    labels the model does not know, TooLittleData if no row is labelled or auc lacks a class, WrongInputs.
    """
    fitting = REGRESSION if loaded.signature.task == "regression" else CLASSIFICATION
    for name in names:
        if name not in fitting:
            raise UsageError(
                f"{name} is not a score of a {loaded.signature.task} model", hint=f"its scores are {', '.join(fitting)}"
            )
        if name in _PROBABILITY and not loaded.gives_scores:
            raise UsageError(
                f"{name} needs probabilities, which {type(loaded.estimator).__name__} does not give",
                hint="wrap it in CalibratedClassifierCV, or use accuracy",
            )
    truth, rows = labelled(loaded, table, target)
    predicted = loaded.predict(rows)
    if loaded.signature.task == "regression":
        return {name: _regression(name, truth, predicted) for name in names}
    return {name: _classification(name, truth, predicted, loaded) for name in names}


def labelled(loaded: LoadedModel, table: pa.Table, target: str) -> tuple[np.ndarray[Any, Any], pa.Table]:
    """The known values of `target` in the labels' own type, (n,), and their rows. Raises as `score` does."""
    import numpy as np
    import pyarrow.compute as pc

    if target not in table.column_names:
        raise ProjectError(
            f"the rows have no column {target}; they have {', '.join(table.column_names)}",
            hint="name the target in mlo.yaml: model: {evaluate: {data: ..., target: ...}}",
        )
    column = table.column(target)
    known = pc.is_valid(column)
    if str(column.type) in {"double", "float", "halffloat"}:
        known = pc.and_(known, pc.invert(pc.is_nan(pc.fill_null(column, 0.0))))
    rows = table.filter(known)
    if rows.num_rows == 0:
        raise TooLittleData(f"none of {table.num_rows} rows has a {target}", hint="give labelled rows")
    values = rows.column(target).to_pylist()
    if loaded.signature.task == "regression":
        try:
            return np.asarray(values, dtype=np.float64), rows
        except (TypeError, ValueError):
            raise ProjectError(f"{target} holds values that are not numbers", hint="name another target") from None
    classes = loaded.signature.classes
    places = {value: place for place, value in enumerate(classes)}  # True is 1 is 1.0: equal labels are one label
    unknown = next((value for value in values if value not in places), None)
    if unknown is not None:
        known_classes = ", ".join(map(repr, classes))
        raise ProjectError(
            f"{target} holds {unknown!r}, which the model does not know; its classes are {known_classes}",
            hint="label the rows as the training data was labelled",
        )
    return np.asarray([places[value] for value in values], dtype=np.intp), rows


def _classification(name: str, truth: Any, predicted: Predictions, loaded: LoadedModel) -> float:
    """`truth` (n,) holds places in the signature's classes."""
    import numpy as np
    from sklearn import metrics

    classes = loaded.signature.classes
    places = np.arange(len(classes))
    order = {value: place for place, value in enumerate(classes)}
    labels = np.asarray([order[value] for value in predicted.labels.tolist()], dtype=np.intp)
    scores: Any = predicted.scores
    if name == "accuracy":
        return float(np.mean(labels == truth))
    if name in {"precision", "recall", "f1"}:
        binary = len(classes) == 2
        function = getattr(metrics, f"{name}_score")
        kind = {"average": "binary", "pos_label": 1} if binary else {"average": "macro", "labels": places}
        return float(function(truth, labels, zero_division=0.0, **kind))
    if name == "log_loss":
        return float(metrics.log_loss(truth, scores, labels=places))
    if name == "brier":
        if len(classes) == 2:
            return float(np.mean((scores[:, 1] - truth) ** 2))
        return float(np.mean(np.sum((scores - np.eye(len(classes))[truth]) ** 2, axis=1)))
    return _auc(truth, scores, loaded)


def _auc(truth: Any, scores: Any, loaded: LoadedModel) -> float:
    import numpy as np
    from sklearn import metrics

    classes = loaded.signature.classes
    present = np.unique(truth)
    if len(present) < len(classes):
        absent = ", ".join(repr(value) for place, value in enumerate(classes) if place not in present)
        raise TooLittleData(
            f"auc needs rows of every class, and none of {len(truth)} rows is {absent}", hint="give more labelled rows"
        )
    if len(classes) == 2:
        return float(metrics.roc_auc_score(truth, scores[:, 1]))
    return float(
        metrics.roc_auc_score(truth, scores, multi_class="ovr", average="macro", labels=np.arange(len(classes)))
    )


def _regression(name: str, truth: Any, predicted: Predictions) -> float:
    import numpy as np

    residual = truth - predicted.labels
    if name == "rmse":
        return float(np.sqrt(np.mean(residual**2)))
    if name == "mae":
        return float(np.mean(np.abs(residual)))
    spread = float(np.sum((truth - np.mean(truth)) ** 2))
    if spread == 0:
        raise TooLittleData(
            f"r2 needs targets that differ, and all {len(truth)} are {truth[0]}", hint="give more labelled rows"
        )
    return float(1 - np.sum(residual**2) / spread)
