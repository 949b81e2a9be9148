"""Encoders of categories, by dictionary: what each known value becomes is asked of the fitted encoder once, at load.

One transform() of all its categories tells what the encoder does with them, whatever its options are (a dropped
category, rare ones in one group, a code for missing ones), without a look at its insides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlops_cli.core.models.arrays.sources import (
    Declined,
    Feature,
    Matrix,
    NoArrayPath,
    Source,
    Step,
    looked_up,
    plain,
    to_columns,
)
from mlops_cli.core.models.arrays.stripped import at_peace, stripped

MOST_COLUMNS = 4096  # of a one-hot matrix: it is dense here, and scikit-learn's sparse one would take less memory
_DROPPED = -1.0


def encoder(estimator: Any, source: Source) -> tuple[Step, Source]:
    """OrdinalEncoder, OneHotEncoder and TargetEncoder."""
    split, columns = to_columns(source)
    features = columns.features or ()
    for feature in features:
        if feature.kind == "datetime" or feature.dtype in {"float16", "float32"}:
            raise NoArrayPath(f"categories are looked up in a column of {feature.dtype}")
    known = [categories.tolist() for categories in estimator.categories_]
    if len(known) != len(features) or not all(known):
        raise NoArrayPath(f"a {type(estimator).__name__} of {len(known)} columns is given {len(features)}")
    name = type(estimator).__name__
    if name == "OneHotEncoder":
        step, width = _one_hot(estimator, known, features)
    else:
        step, width = _codes(estimator, known, features), len(features)
    return (lambda value, n: step(split(value, n), n)), Source(width)


def _codes(estimator: Any, known: list[list[Any]], features: Sequence[Feature]) -> Step:
    """(n, k) floats: the code, or the target's mean, of each value."""
    answers = _asked(estimator, known)
    if answers.shape[1] != len(known):
        raise NoArrayPath(f"a {type(estimator).__name__} gives several columns for one")
    unknown: list[float | None] = [None] * len(known)
    if type(estimator).__name__ == "TargetEncoder":
        unknown = [float(estimator.target_mean_)] * len(known)
    elif estimator.handle_unknown == "use_encoded_value":
        unknown = [float(estimator.unknown_value)] * len(known)
    tables = [
        _table(values, answers[: len(values), place].tolist(), features[place], unknown[place])
        for place, values in enumerate(known)
    ]
    kinds = [feature.kind for feature in features]
    parts = list(zip(tables, unknown, kinds, strict=True))

    def step(columns: Any, n: int) -> Matrix:
        out = np.empty((len(parts), n))
        for place, (table, other, kind) in enumerate(parts):
            out[place] = looked_up(plain(columns[place], kind), table, other, n)
        return out.T

    def one(columns: Any) -> Matrix:
        row = [
            table.get(plain(column, kind)[0], other)
            for column, (table, other, kind) in zip(columns, parts, strict=True)
        ]
        if None in row:
            raise Declined
        return np.array([row])

    return lambda columns, n: one(columns) if n == 1 else step(columns, n)


def _one_hot(estimator: Any, known: list[list[Any]], features: Sequence[Feature]) -> tuple[Step, int]:
    """(n, width) floats, a one in the place of each value's category."""
    widths = [int(width) for width in estimator._n_features_outs]
    total = sum(widths)
    if total > MOST_COLUMNS:
        raise NoArrayPath(f"the one-hot matrix has {total} columns; up to {MOST_COLUMNS} are held dense")
    answers = _asked(estimator, known)
    starts = np.cumsum([0, *widths])
    unknown = _unknown_places(estimator, known, answers, starts)
    parts = []
    for place, (values, feature) in enumerate(zip(known, features, strict=True)):
        block = answers[: len(values), starts[place] : starts[place + 1]]
        hot = block.argmax(axis=1) + starts[place] if block.shape[1] else np.zeros(len(values))
        places = np.where(block.any(axis=1), hot, _DROPPED).tolist()
        parts.append((_table(values, places, feature, unknown[place]), unknown[place], feature.kind))

    def step(columns: Any, n: int) -> Matrix:
        out = np.zeros((n, total))
        rows = np.arange(n)
        for column, (table, other, kind) in zip(columns, parts, strict=True):
            hot = looked_up(plain(column, kind), table, other, n).astype(np.intp)
            shown = hot >= 0
            out[rows[shown], hot[shown]] = 1.0
        return out

    def one(columns: Any) -> Matrix:
        out = np.zeros((1, total))
        row = out[0]
        for column, (table, other, kind) in zip(columns, parts, strict=True):
            hot = table.get(plain(column, kind)[0], other)
            if hot is None:
                raise Declined
            if hot >= 0:
                row[int(hot)] = 1.0
        return out

    return (lambda columns, n: one(columns) if n == 1 else step(columns, n)), total


def _unknown_places(estimator: Any, known: list[list[Any]], answers: Matrix, starts: Matrix) -> list[float | None]:
    """Where the one of an unknown value stands: nowhere, in the group of rare ones, or None if it is refused."""
    handling = estimator.handle_unknown
    if handling == "error":
        return [None] * len(known)
    if handling == "ignore":
        return [_DROPPED] * len(known)
    rare = getattr(estimator, "infrequent_categories_", [None] * len(known))
    unknown: list[float | None] = []
    for place, (values, group) in enumerate(zip(known, rare, strict=True)):
        if group is None or len(group) == 0:
            unknown.append(_DROPPED)
            continue
        row = answers[values.index(group.tolist()[0]), starts[place] : starts[place + 1]]
        unknown.append(float(row.argmax() + starts[place]) if row.any() else _DROPPED)
    return unknown


def _asked(estimator: Any, known: list[list[Any]]) -> Matrix:
    """(m, width): row k is what the encoder makes of the k-th category of each column, the last one repeated."""
    import pandas as pd

    names = getattr(estimator, "feature_names_in_", range(len(known)))
    length = max(map(len, known))
    frame = {}
    for name, categories in zip(names, estimator.categories_, strict=True):
        padded = categories[np.minimum(np.arange(length), len(categories) - 1)]
        frame[name] = pd.Series(padded, dtype=object if padded.dtype.kind in "OUS" else padded.dtype)
    with at_peace():
        answers = stripped(estimator, keep_names=True).transform(pd.DataFrame(frame))
    return np.asarray(answers.toarray() if hasattr(answers, "toarray") else answers, dtype=np.float64)


def _table(values: list[Any], answers: list[float], feature: Feature, unknown: float | None) -> dict[Any, float]:
    """From value to answer; None, a missing value, answers as whatever scikit-learn sees in its place."""
    table = {value: answer for value, answer in zip(values, answers, strict=True) if not _is_missing(value)}
    gap = next(
        (
            answer
            for value, answer in zip(values, answers, strict=True)
            if _is_missing(value) and (value is None) == (feature.missing == "none")
        ),
        unknown,
    )
    if gap is not None:
        table[None] = gap
    return table


def _is_missing(value: Any) -> bool:
    import pandas as pd

    return bool(pd.isna(value))
