"""Many trees walked at once end in the leaves that each of them finds alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from arrays_kit import FLOATS, rows
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

from mlops_cli.core.models.arrays.sources import NoArrayPath
from mlops_cli.core.models.arrays.trees import Tree, Trees, in_turn, of_histogram, of_sklearn, packed

COLUMNS = [*FLOATS, "gap", "count"]


def numbers(n: int, seed: int) -> Any:
    """Rows with gaps, infinities and numbers that are no category."""
    given = rows(n, seed)[COLUMNS].to_numpy(dtype=np.float64)
    random = np.random.default_rng(seed)
    odd = random.random(given.shape) < 0.05
    given[odd] = random.choice([np.nan, np.inf, -np.inf, -3.0, 0.0, 39.0], odd.sum())
    given[:, 4] = np.where(np.isfinite(given[:, 4]), given[:, 4], 7)
    return given


@pytest.mark.parametrize("depth", [2, None])
@pytest.mark.parametrize("n", [1, 6, 200])
def test_a_forest_ends_in_its_own_leaves(n: int, depth: int | None) -> None:
    frame = rows()
    forest = RandomForestClassifier(15, max_depth=depth, random_state=1).fit(frame[COLUMNS].to_numpy(), frame["size"])
    trees = Trees([of_sklearn(each.tree_) for each in forest.estimators_], len(COLUMNS))
    given = np.where(np.isinf(numbers(n, 4)), 1e6, numbers(n, 4)).astype(np.float32)
    assert np.array_equal(trees.leaves(given.astype(np.float64)) - trees.roots, forest.apply(given))


@pytest.mark.parametrize("categorical", [None, [4]])
@pytest.mark.parametrize("n", [1, 6, 200])
def test_histogram_trees_answer_what_compiled_code_answers(n: int, categorical: list[int] | None) -> None:
    frame = rows()
    model = HistGradientBoostingClassifier(max_iter=9, min_samples_leaf=4, categorical_features=categorical)
    model.fit(frame[COLUMNS].to_numpy(), frame["size"])
    known, places = model._bin_mapper.make_known_categories_bitsets()
    every = [one for each in model._predictors for one in each]
    trees = Trees([of_histogram(one, known, places) for one in every], len(COLUMNS))
    given = numbers(n, 8)
    if categorical:
        given = given[:, [4, 0, 1, 2, 3]]  # its own order: categories first
        given[: n // 3, 0] = np.resize([np.nan, -1.0, 200.0], n // 3)
    expected = np.stack([one.predict(given, known, places, 1) for one in every], axis=1)
    assert np.array_equal(trees.value.take(trees.leaves(given)), expected)


def test_trees_of_one_leaf_are_trees() -> None:
    frame = rows()
    model = HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=500).fit(frame[FLOATS], frame["late"])
    known, places = model._bin_mapper.make_known_categories_bitsets()
    trees = Trees([of_histogram(one, known, places) for each in model._predictors for one in each], 3)
    assert trees.leaves(np.zeros((1, 3))).tolist() == [[0, 1, 2]]
    assert trees.leaves(np.zeros((2, 3))).tolist() == [[0, 1, 2]] * 2


def crafted(left: list[int], right: list[int]) -> Tree:
    nothing = np.zeros(len(left))
    return Tree(
        left=np.array(left),
        right=np.array(right),
        feature=nothing.astype(np.intp),
        threshold=nothing,
        missing_left=nothing.astype(bool),
        value=nothing,
    )


@pytest.mark.parametrize("left", [[*range(1, 60), -1], [1, 0, -1]])
def test_nodes_whose_ways_meet_or_turn_back_are_refused(left: list[int]) -> None:
    with pytest.raises(NoArrayPath, match="no trees"):
        Trees([crafted(left, left)], 1)


def test_very_many_nodes_are_not_held_twice() -> None:
    assert packed(10**9, iter([]), 3) is None


def test_terms_are_added_one_after_another() -> None:
    terms = np.random.default_rng(0).normal(size=(2, 1000))
    expected = np.zeros(2)
    for column in terms.T:
        expected += column
    assert np.array_equal(in_turn(terms), expected)
