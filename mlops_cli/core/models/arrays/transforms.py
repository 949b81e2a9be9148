"""Scalers, imputers, and what joins transformers: ColumnTransformer, FeatureUnion and Pipeline.

Each does to an array what the transform() of its estimator does, operation for operation, so that the numbers are
the same to the last bit; what has no step here is called as it is, see stripped.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mlops_cli.core.models.arrays.encoders import encoder
from mlops_cli.core.models.arrays.sources import (
    Feature,
    Matrix,
    NoArrayPath,
    Source,
    Step,
    Values,
    choose,
    plain,
    refuse_infinite,
    to_matrix,
)
from mlops_cli.core.models.arrays.stripped import transformer

Built = tuple[Step, Source]


def transform(estimator: Any, source: Source) -> Built:
    """The steps of a fitted transformer, and what they give. Raises NoArrayPath."""
    if estimator is None or (isinstance(estimator, str) and estimator == "passthrough"):
        return (lambda value, n: value), source
    kind = type(estimator)
    build = _BUILT.get(kind.__name__) if kind.__module__.startswith("sklearn.") else None
    return (build or transformer)(estimator, source)


def pipeline(estimator: Any, source: Source) -> Built:
    steps: list[Step] = []
    for _, part in estimator.steps:
        step, source = transform(part, source)
        steps.append(step)
    return chained(steps), source


def chained(steps: Sequence[Step]) -> Step:
    if len(steps) == 1:
        return steps[0]

    def step(value: Any, n: int) -> Any:
        for each in steps:
            value = each(value, n)
        return value

    return step


def _column_transformer(estimator: Any, source: Source) -> Built:
    places = estimator._transformer_to_input_indices
    blocks = []
    for name, part, _ in estimator.transformers_:
        chosen = [int(place) for place in places[name]]
        if (isinstance(part, str) and part == "drop") or not chosen:
            continue
        weight = (estimator.transformer_weights or {}).get(name)
        blocks.append((chosen, part, weight))
    return beside(blocks, source)


def _feature_union(estimator: Any, source: Source) -> Built:
    weights = estimator.transformer_weights or {}
    every = range(source.width)
    return beside(
        [
            (every, part, weights.get(name))
            for name, part in estimator.transformer_list
            if not (isinstance(part, str) and part == "drop")
        ],
        source,
    )


def beside(blocks: Sequence[tuple[Sequence[int], Any, float | None]], source: Source) -> Built:
    """Several transformers, each of its own columns, and their answers side by side."""
    steps = []
    width = 0
    for places, part, weight in blocks:
        inner, given = transform(part, source.chosen(places))
        steps.append((choose(source, places), inner, to_matrix(given), weight))
        width += given.width
    if not steps:
        raise NoArrayPath("no column goes into the model")

    def step(value: Any, n: int) -> Matrix:
        parts = []
        for choice, inner, stack, weight in steps:
            part = stack(inner(choice(value, n), n), n)
            parts.append(part if weight is None else part * weight)
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    return step, Source(width)


def _function(estimator: Any, source: Source) -> Built:
    if estimator.func is None:
        return (lambda value, n: value), source
    if not isinstance(estimator.func, np.ufunc) or estimator.func.nin != 1 or estimator.validate:
        raise NoArrayPath("a FunctionTransformer's function may want a DataFrame")
    function: Any = estimator.func
    stack, options = to_matrix(source), estimator.kw_args or {}
    return (lambda value, n: function(stack(value, n), **options)), Source(source.width)


def _scaler(*operations: tuple[Callable[..., Any], str, str | None]) -> Callable[[Any, Source], Built]:
    """A scaler that applies each operation with one of its attributes, if its option is on, in place and in turn."""

    def build(estimator: Any, source: Source) -> Built:
        stack = to_matrix(source)
        applied = [
            (function, np.asarray(getattr(estimator, attribute)))
            for function, attribute, option in operations
            if (option is None or getattr(estimator, option)) and getattr(estimator, attribute) is not None
        ]
        itself, given_by_itself = transformer(estimator, source)
        limits = getattr(estimator, "feature_range", None) if getattr(estimator, "clip", False) else None
        if limits is None and getattr(estimator, "clip", False):
            return itself, given_by_itself

        def step(value: Any, n: int) -> Any:
            matrix: Matrix = stack(value, n)
            if matrix.dtype != np.float64:  # where float32 is rounded differs from one scikit-learn to the next
                return itself(value, n)
            refuse_infinite(matrix)
            matrix = matrix.copy("K")
            for function, operand in applied:
                function(matrix, operand, out=matrix)
            if limits is not None:
                np.clip(matrix, *limits, out=matrix)
            return matrix

        return step, Source(source.width)

    return build


def _imputer(estimator: Any, source: Source) -> Built:
    """SimpleImputer."""
    if source.features is not None and any(feature.kind == "string" for feature in source.features):
        return _text_imputer(estimator, source)
    wanted = estimator.missing_values
    if not (isinstance(wanted, float) and np.isnan(wanted)):
        return transformer(estimator, source)
    stack = to_matrix(source)
    fill = np.asarray(estimator.statistics_, dtype=np.float64)
    kept = np.flatnonzero(~np.isnan(fill)) if np.isnan(fill).any() else None
    marked = estimator.indicator_.features_ if estimator.add_indicator else None

    def step(value: Any, n: int) -> Matrix:
        matrix: Matrix = stack(value, n)
        if marked is None and kept is None and np.isfinite(np.add.reduce(matrix, axis=None)):
            return matrix
        refuse_infinite(matrix)
        gaps = np.isnan(matrix)
        filled = np.where(gaps, fill.astype(matrix.dtype, copy=False), matrix)
        if kept is not None:
            filled = filled[:, kept]
        return filled if marked is None else np.concatenate([filled, gaps[:, marked]], axis=1)

    width = (source.width if kept is None else len(kept)) + (0 if marked is None else len(marked))
    return step, Source(width)


def _text_imputer(estimator: Any, source: Source) -> Built:
    """SimpleImputer of columns of text: columns stay columns, with the fill in the gaps that it sees as gaps."""
    features = source.features or ()
    wanted = estimator.missing_values
    sees = "none" if wanted is None else "nan" if isinstance(wanted, float) and np.isnan(wanted) else "na"
    fills = estimator.statistics_.tolist()
    if (
        estimator.add_indicator
        or not all(isinstance(fill, str) for fill in fills)
        or any(feature.kind != "string" or (feature.nullable and feature.missing != sees) for feature in features)
    ):
        raise NoArrayPath("a SimpleImputer of text with gaps of another kind than it fills, or with an indicator")

    def step(columns: Sequence[Values], n: int) -> list[Values]:
        return [
            [fill if value is None else value for value in plain(column, "string")]
            for column, fill in zip(columns, fills, strict=True)
        ]

    return step, Source.of([Feature("string", "object", nullable=False)] * len(features))


_BUILT: dict[str, Callable[[Any, Source], Built]] = {
    "Pipeline": pipeline,
    "ColumnTransformer": _column_transformer,
    "FeatureUnion": _feature_union,
    "FunctionTransformer": _function,
    "StandardScaler": _scaler((np.subtract, "mean_", "with_mean"), (np.true_divide, "scale_", "with_std")),
    "MinMaxScaler": _scaler((np.multiply, "scale_", None), (np.add, "min_", None)),
    "MaxAbsScaler": _scaler((np.true_divide, "scale_", None)),
    "RobustScaler": _scaler((np.subtract, "center_", "with_centering"), (np.true_divide, "scale_", "with_scaling")),
    "SimpleImputer": _imputer,
    "OrdinalEncoder": encoder,
    "OneHotEncoder": encoder,
    "TargetEncoder": encoder,
}
