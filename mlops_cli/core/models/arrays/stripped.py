"""Estimators as an array path calls them: without the names of fit(), on arrays, on one thread, unvalidated."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from mlops_cli.core.models.arrays.sources import Matrix, NoArrayPath, Source, Step, to_matrix

_FLOAT32_MAX = 3.4e38


def at_peace(*, assume_finite: bool = False) -> AbstractContextManager[Any]:
    """Where scikit-learn checks no parameters and answers with arrays, whatever the process says."""
    from sklearn import config_context

    return config_context(  # type: ignore[no-any-return]
        assume_finite=assume_finite, skip_parameter_validation=True, transform_output="default"
    )


def stripped(estimator: Any, *, keep_names: bool = False) -> Any:
    """A copy that shares the fitted arrays, but knows no names of columns, which it would miss in an array (and say so
    each time), starts no second thread and answers with arrays. The estimators in it are copied likewise."""
    if isinstance(estimator, list | tuple):
        parts = [stripped(part, keep_names=keep_names) for part in estimator]
        same = all(new is old for new, old in zip(parts, estimator, strict=True))
        return estimator if same or type(estimator) not in (list, tuple) else type(estimator)(parts)
    if isinstance(estimator, np.ndarray) and estimator.dtype == object:
        copied = estimator.copy()
        for place, part in np.ndenumerate(estimator):
            copied[place] = stripped(part, keep_names=keep_names)
        return copied
    if isinstance(estimator, type) or not (hasattr(estimator, "get_params") or _wraps_estimator(estimator)):
        return estimator
    bare = copy.copy(estimator)
    state = vars(bare)
    state.pop("_sklearn_output_config", None)
    if not keep_names:
        state.pop("feature_names_in_", None)
    for name, value in list(state.items()):
        state[name] = stripped(value, keep_names=keep_names)
    if isinstance(state.get("n_jobs"), int):
        state["n_jobs"] = 1
    return bare


def called(estimator: Any, method: str) -> Callable[[Matrix], Any]:
    """`method` of the estimator on a matrix. What it refuses it refuses here: numbers that are not finite, or would not
    be in float32, are left to its own checks, as it alone knows whether it takes them."""
    bare = stripped(estimator)
    function = getattr(bare, method)

    def call(matrix: Matrix) -> Any:
        is_plain = bool(np.add.reduce(np.abs(matrix), axis=None) <= _FLOAT32_MAX)
        with at_peace(assume_finite=is_plain):
            return function(matrix)

    return call


def _wraps_estimator(part: Any) -> bool:
    """Such as the parts of a CalibratedClassifierCV, which are no estimators but hold one."""
    return type(part).__module__.startswith("sklearn.") and "estimator" in getattr(part, "__dict__", ())


def transformer(estimator: Any, source: Source) -> tuple[Step, Source]:
    """Any transformer that takes and gives numbers."""
    if not hasattr(estimator, "transform"):
        raise NoArrayPath(f"a {type(estimator).__name__} does not transform")
    stack, call = to_matrix(source), called(estimator, "transform")

    def step(value: Any, n: int) -> Matrix:
        given = call(stack(value, n))
        return np.asarray(given.toarray() if hasattr(given, "toarray") else given)

    width = getattr(estimator, "_n_features_out", None)
    if width is None:
        with at_peace():
            width = len(stripped(estimator).get_feature_names_out())
    return step, Source(int(width))
