"""Indices that lead out of their array are found before compiled code follows them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer
from sklearn.tree import DecisionTreeClassifier

from mlops_cli.core.models.errors import ModelCorrupt
from mlops_cli.core.models.soundness import check_soundness

X = np.random.default_rng(0).normal(size=(120, 3))
Y = (X[:, 0] + X[:, 1] > 0).astype(int)


def crafted_tree(**changes: Any) -> DecisionTreeClassifier:
    """A fitted tree, one field of whose first node says something else."""
    fitted = DecisionTreeClassifier(max_depth=3, random_state=0).fit(X, Y)
    state = fitted.tree_.__getstate__()
    state["nodes"] = state["nodes"].copy()
    for field, value in changes.items():
        state["nodes"][field][0] = value
    fitted.tree_.__setstate__(state)
    return fitted


def crafted_booster(**changes: Any) -> HistGradientBoostingClassifier:
    fitted = HistGradientBoostingClassifier(max_iter=2, max_depth=3).fit(X, Y)
    nodes = fitted._predictors[0][0].nodes
    for field, value in changes.items():
        nodes[field][0] = value
    return fitted


@pytest.mark.filterwarnings("ignore::FutureWarning")  # older versions say so of their own defaults
@pytest.mark.parametrize(
    "estimator",
    [
        DecisionTreeClassifier(),
        RandomForestClassifier(3),
        GradientBoostingClassifier(n_estimators=3),
        HistGradientBoostingClassifier(max_iter=3),
        AdaBoostClassifier(n_estimators=3),
        BaggingClassifier(n_estimators=3, max_features=2),
        KNeighborsClassifier(algorithm="kd_tree", leaf_size=2),
        KNeighborsClassifier(algorithm="ball_tree", leaf_size=2),
        make_pipeline(SplineTransformer(), RandomForestClassifier(3)),
        GridSearchCV(RandomForestClassifier(2), {"max_depth": [1, 2]}),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_whatever_was_really_fitted_is_sound(estimator: Any) -> None:
    check_soundness(estimator.fit(X, Y))


@pytest.mark.parametrize(
    "changes",
    [
        {"left_child": 10_000},
        {"left_child": 0},
        {"right_child": -7},
        {"right_child": 2**40},
        {"feature": 3},
        {"feature": -3},
        {"left_child": -1},
    ],
)
def test_a_crafted_tree_is_corrupt(changes: dict[str, int]) -> None:
    with pytest.raises(ModelCorrupt, match="Tree"):
        check_soundness(make_pipeline(crafted_tree(**changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {"left": 10_000},
        {"left": 0},
        {"right": 2**32 - 1},
        {"feature_idx": 3},
        {"feature_idx": -1},
        {"is_categorical": 1, "bitset_idx": 0},
    ],
)
def test_a_crafted_booster_is_corrupt(changes: dict[str, int]) -> None:
    with pytest.raises(ModelCorrupt, match="TreePredictor"):
        check_soundness(crafted_booster(**changes))


def test_trees_for_more_columns_than_their_forest_takes_are_corrupt() -> None:
    forest = RandomForestClassifier(2).fit(X, Y)
    forest.n_features_in_ = 1
    with pytest.raises(ModelCorrupt, match="RandomForestClassifier"):
        check_soundness(forest)


def test_a_booster_that_claims_fewer_columns_is_corrupt() -> None:
    fitted = HistGradientBoostingClassifier(max_iter=3).fit(X, Y)
    fitted.n_features_in_ = 1
    with pytest.raises(ModelCorrupt):
        check_soundness(fitted)


@pytest.mark.parametrize("algorithm", ["kd_tree", "ball_tree"])
@pytest.mark.parametrize(
    ("part", "field", "value"),
    [(1, None, 500), (1, None, -1), (2, "idx_end", 500), (2, "idx_start", -4), (2, "is_leaf", 0)],
)
def test_crafted_neighbours_are_corrupt(algorithm: str, part: int, field: str | None, value: int) -> None:
    fitted = KNeighborsClassifier(algorithm=algorithm, leaf_size=5).fit(X, Y)
    state = list(fitted._tree.__getstate__())
    state[part] = np.array(state[part])
    if field is None:
        state[part][0] = value
    else:
        state[part][field][-1] = value
    fitted._tree.__setstate__(tuple(state))
    with pytest.raises(ModelCorrupt, match="Tree"):
        check_soundness(fitted)


def test_a_sparse_matrix_with_a_column_it_does_not_have_is_corrupt() -> None:
    fitted = KNeighborsClassifier(algorithm="brute").fit(sparse.csr_matrix(np.abs(X)), Y)
    fitted._fit_X.indices[0] = 99
    with pytest.raises(ModelCorrupt, match="csr"):
        check_soundness(fitted)


def test_a_spline_with_too_few_coefficients_is_corrupt() -> None:
    fitted = SplineTransformer().fit(X)
    fitted.bsplines_[0].k = 60
    with pytest.raises(ModelCorrupt, match="BSpline"):
        check_soundness(fitted)
