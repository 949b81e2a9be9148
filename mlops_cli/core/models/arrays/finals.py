"""The last step: from a matrix to labels and probabilities, as predict() and predict_proba() of the estimator do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlops_cli.core.models.arrays.sources import (
    Declined,
    Matrix,
    NoArrayPath,
    Source,
    Step,
    refuse_infinite,
    refuse_odd,
    to_matrix,
)
from mlops_cli.core.models.arrays.stripped import called
from mlops_cli.core.models.arrays.transforms import beside
from mlops_cli.core.models.arrays.trees import in_turn, of_histogram, of_sklearn, packed
from mlops_cli.core.models.predictions import Predictions

Final = Callable[[Any, int], Predictions]

_LINEAR_CLASSIFIERS = frozenset(
    {
        *("LogisticRegression", "LogisticRegressionCV", "SGDClassifier", "LinearSVC", "Perceptron"),
        *("RidgeClassifier", "RidgeClassifierCV", "PassiveAggressiveClassifier"),
    }
)
_LINEAR_REGRESSORS = frozenset(
    {
        *("LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV", "SGDRegressor"),
        *(
            "Lars",
            "LarsCV",
            "LassoLars",
            "LassoLarsCV",
            "LassoLarsIC",
            "HuberRegressor",
            "LinearSVR",
            "QuantileRegressor",
        ),
        *("BayesianRidge", "ARDRegression", "TheilSenRegressor", "OrthogonalMatchingPursuit"),
    }
)
_FORESTS = frozenset({"RandomForestClassifier", "ExtraTreesClassifier", "RandomForestRegressor", "ExtraTreesRegressor"})


def final(estimator: Any, source: Source, *, scores: bool, argmax: bool) -> Final:
    """The estimator that predicts. `scores`: it gives probabilities; `argmax`: its labels are the likeliest classes.
    Raises NoArrayPath."""
    kind = type(estimator)
    name = kind.__name__ if kind.__module__.startswith("sklearn.") else ""
    if name in _LINEAR_CLASSIFIERS and not (scores and name == "SGDClassifier" and estimator.loss != "log_loss"):
        return _linear_classifier(estimator, to_matrix(source), scores, argmax)
    if name in _LINEAR_REGRESSORS and np.ndim(estimator.intercept_) <= 1 and np.ndim(estimator.coef_) <= 2:
        return _linear_regressor(estimator, to_matrix(source))
    if name in {"HistGradientBoostingClassifier", "HistGradientBoostingRegressor"}:
        return _boosted(estimator, source)
    if name in _FORESTS:
        return _forest(estimator, source)
    return _any(estimator, to_matrix(source), scores, argmax)


def _linear(estimator: Any) -> Callable[[Matrix], Matrix]:
    """X @ coefficients + intercept: (n,) for one row of coefficients, else (n, classes)."""
    coefficients, intercept = np.asarray(estimator.coef_), np.asarray(estimator.intercept_)
    turned = coefficients.T
    if coefficients.ndim == 2 and len(coefficients) == 1:
        turned, intercept = np.ascontiguousarray(coefficients[0]), intercept.reshape(-1)[0]

    def decide(matrix: Matrix) -> Matrix:
        decision: Matrix = matrix @ turned + intercept
        # A missing or infinite input cannot hide in here: it times anything is NaN or infinite.
        if not np.isfinite(decision).all():
            raise Declined
        return decision

    return decide


def _linear_classifier(estimator: Any, stack: Step, scores: bool, argmax: bool) -> Final:
    from scipy.special import expit, softmax

    classes, decide = np.asarray(estimator.classes_), _linear(estimator)
    binary = len(classes) <= 2
    together = "Logistic" in type(estimator).__name__ and _is_multinomial(estimator, binary)

    def predict(value: Any, n: int) -> Predictions:
        decision = decide(stack(value, n))
        if not scores:
            return Predictions(classes[(decision > 0).astype(np.intp) if binary else decision.argmax(axis=1)])
        if binary and not together:
            chance = np.empty((n, 2), dtype=decision.dtype)  # float32 throughout, if the numbers are
            expit(decision, out=chance[:, 1])
            np.subtract(1.0, chance[:, 1], out=chance[:, 0])
        elif together:
            chance = softmax(np.stack([-decision, decision], axis=1) if binary else decision, axis=1)
        else:
            chance = _shared(expit(decision))
        if argmax:
            places = chance.argmax(axis=1)
        else:
            places = (decision > 0).astype(np.intp) if binary else decision.argmax(axis=1)
        return Predictions(classes[places], chance.astype(np.float64, copy=False))

    return predict


def _is_multinomial(estimator: Any, binary: bool) -> bool:
    """Whether the classes share one softmax; scikit-learn below 1.8 can also fit one against the rest."""
    chosen = getattr(estimator, "multi_class", "auto")
    if chosen in {"ovr", "warn"} or (chosen in {"auto", "deprecated"} and estimator.solver == "liblinear"):
        return False
    return chosen == "multinomial" or not binary


def _shared(chance: Matrix) -> Matrix:
    """Chances of one class against the rest, made to sum to 1."""
    whole = chance.sum(axis=1)
    if not whole.all():
        raise Declined  # all are 0: scikit-learn has answered that in several ways
    shared: Matrix = chance / whole[:, np.newaxis]
    return shared


def _linear_regressor(estimator: Any, stack: Step) -> Final:
    decide = _linear(estimator)
    return lambda value, n: Predictions(np.asarray(decide(stack(value, n)), dtype=np.float64).reshape(n))


def _boosted(estimator: Any, source: Source) -> Final:
    """HistGradientBoosting: the sum over trees, started at the baseline, through the link of the loss."""
    preprocessor = estimator._preprocessor
    if preprocessor is None:
        stack = to_matrix(source)
    else:
        coded = np.asarray(estimator.is_categorical_, dtype=bool)
        encode = preprocessor.named_transformers_["encoder"]
        # Its own order: categories first.
        numbers = np.flatnonzero(_given_as_categories(preprocessor, len(coded)) == 0)
        first = [place for place in range(len(coded)) if place not in set(numbers.tolist())]
        stack, _ = beside([(first, encode, None), (numbers.tolist(), None, None)], source)
    known, places = estimator._bin_mapper.make_known_categories_bitsets()
    predictors = estimator._predictors
    per_round = estimator.n_trees_per_iteration_
    baseline = np.asarray(estimator._baseline_prediction, dtype=np.float64).reshape(1, per_round)
    width = len(estimator._bin_mapper.is_categorical_)
    every = [one for each in predictors for one in each]
    trees = packed(sum(len(one.nodes) for one in every), (of_histogram(one, known, places) for one in every), width)

    def raw(matrix: Matrix) -> Matrix:
        n = len(matrix)
        if trees is not None and trees.quicker(n):
            terms = np.empty((n, len(predictors) + 1, per_round))
            terms[:, 0] = baseline
            terms[:, 1:] = trees.value.take(trees.leaves(matrix)).reshape(n, len(predictors), per_round)
            return in_turn(terms)
        summed = np.repeat(baseline, n, axis=0)
        for each in predictors:
            for place, one in enumerate(each):
                summed[:, place] += one.predict(matrix, known, places, 1)
        return summed

    link = estimator._loss.link
    if not hasattr(estimator, "classes_"):
        return lambda value, n: Predictions(
            np.asarray(link.inverse(raw(_floats(stack(value, n))).reshape(n)), dtype=np.float64)
        )
    classes = np.asarray(estimator.classes_)

    def predict(value: Any, n: int) -> Predictions:
        decision = raw(_floats(stack(value, n)))
        if per_round == 1:
            chance = np.empty((n, 2))
            chance[:, 1] = link.inverse(decision.reshape(n))
            np.subtract(1.0, chance[:, 1], out=chance[:, 0])
        else:
            chance = link.inverse(decision)
        return Predictions(classes[chance.argmax(axis=1)], chance)

    return predict


def _given_as_categories(preprocessor: Any, width: int) -> Matrix:
    chosen = np.zeros(width, dtype=np.intp)
    chosen[list(preprocessor._transformer_to_input_indices["encoder"])] = 1
    return chosen


def _floats(matrix: Matrix) -> Matrix:
    return matrix if matrix.dtype == np.float64 else matrix.astype(np.float64)


def _forest(estimator: Any, source: Source) -> Final:
    """A forest, or a tree alone: the mean of what the trees answer, on numbers rounded to float32 as in fit()."""
    stack = to_matrix(source)
    grown = [each.tree_ for each in getattr(estimator, "estimators_", [estimator])]
    trees = packed(sum(tree.node_count for tree in grown), map(of_sklearn, grown), source.width)
    outputs = grown[0].value.shape[2]
    takes_gaps = _takes_gaps(estimator)

    def mean(value: Any, n: int) -> Matrix:
        rounded = stack(value, n).astype(np.float32, order="C")
        (refuse_infinite if takes_gaps else refuse_odd)(rounded)
        if trees is not None and trees.quicker(n):
            return in_turn(trees.value.take(trees.leaves(rounded.astype(np.float64)), axis=0)) / len(grown)
        summed = np.zeros((n, outputs))
        for tree in grown:
            summed += tree.predict(rounded).reshape(n, outputs)
        return summed / len(grown)

    if not hasattr(estimator, "classes_"):
        return lambda value, n: Predictions(mean(value, n).reshape(n))
    classes = np.asarray(estimator.classes_)

    def predict(value: Any, n: int) -> Predictions:
        chance = mean(value, n)
        return Predictions(classes[chance.argmax(axis=1)], chance)

    return predict


def _takes_gaps(estimator: Any) -> bool:
    try:
        from sklearn.utils import get_tags
    except ImportError:  # scikit-learn 1.5
        return bool(estimator._get_tags()["allow_nan"])
    return bool(get_tags(estimator).input_tags.allow_nan)


def _any(estimator: Any, stack: Step, scores: bool, argmax: bool) -> Final:
    """Any other estimator, called as it is, on an array."""
    if hasattr(estimator, "best_estimator_") or not hasattr(estimator, "predict"):
        raise NoArrayPath(f"a {type(estimator).__name__} is not taken apart")
    predict = called(estimator, "predict")
    if not hasattr(estimator, "classes_"):
        return lambda value, n: Predictions(np.asarray(predict(stack(value, n)), dtype=np.float64).reshape(n))
    classes = np.asarray(estimator.classes_)
    if not scores:
        return lambda value, n: Predictions(np.asarray(predict(stack(value, n))))
    chances = called(estimator, "predict_proba")

    def both(value: Any, n: int) -> Predictions:
        matrix = stack(value, n)
        chance = np.asarray(chances(matrix), dtype=np.float64)
        labels = classes[chance.argmax(axis=1)] if argmax else np.asarray(predict(matrix))
        return Predictions(labels, chance)

    return both
