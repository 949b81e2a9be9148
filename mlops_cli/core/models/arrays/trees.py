"""Many trees walked at once: one NumPy operation a level instead of one call a tree.

scikit-learn calls compiled code once for each tree, which for a row or a few costs far more than the walk itself. Here
the nodes of all trees lie in one array. A node asks `value <= threshold`; where a missing value goes is in which of
two copies of the value it looks at (NaN is never <= anything, and goes right; -inf always is, and goes left), and a
leaf leads to itself. For many rows the compiled code of each tree is quicker, and is called as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.models.arrays.sources import Matrix, NoArrayPath

_MOST_NODES = 4_000_000  # of all trees; beyond, a second copy of them takes more memory than it is worth
_LEAVE_BEHIND = 4  # levels
# A level takes as long as asking 1,500 nodes or calling 1.6 trees; beyond 12,000 pairs of a row and a tree compiled
# code is ahead. These choose the quicker of ways that give the same; nothing else depends on them.
_NODES_A_LEVEL = 1_500
_CALLS_A_LEVEL = 1.6
_MOST_PAIRS = 12_000

Ints = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree's nodes: children (-1 at a leaf), what an inner node asks of which column, and what leaves answer.

    `sides` (nodes, 256 + 1) says for each node that splits by category which go right, the last one being missing
    values; `categorical` (nodes,) which of its rows is a node's, -1 for one that splits by number.
    """

    left: Ints
    right: Ints
    feature: Ints
    threshold: Matrix
    missing_left: NDArray[np.bool_]
    value: Matrix
    categorical: Ints | None = None
    sides: Matrix | None = None


class Trees:
    """Trees that share their columns. `leaves(matrix)` -> (n, trees): the node each row ends in, for `value`."""

    def __init__(self, trees: Sequence[Tree], width: int) -> None:
        sizes = [len(tree.left) for tree in trees]
        total = sum(sizes)
        self.roots = np.cumsum([0, *sizes[:-1]])
        self.value = np.concatenate([tree.value for tree in trees])
        own = np.arange(total)
        shift = np.repeat(self.roots, sizes)
        left = np.concatenate([tree.left for tree in trees])
        is_leaf = left < 0
        children = np.empty((total, 2), dtype=np.intp)
        children[:, 1] = np.where(is_leaf, own, left + shift)
        children[:, 0] = np.where(is_leaf, own, np.concatenate([tree.right for tree in trees]) + shift)
        self._children = children.ravel()
        missing_left = np.concatenate([tree.missing_left for tree in trees])
        feature = np.concatenate([tree.feature for tree in trees]) + np.where(missing_left, width, 0)
        threshold = np.concatenate([tree.threshold for tree in trees])
        self._side_of, self._sides = self._categories(trees, sizes, feature, threshold, width)
        self._is_inner = ~is_leaf
        self._feature = np.where(is_leaf, 0, feature)
        self._threshold = threshold
        self._pairs = own * 2
        self._depth = _depth(self._children, self.roots)
        self._asks_all_at_once = total <= _NODES_A_LEVEL * self._depth
        self._most_rows = _MOST_PAIRS // len(trees) if self._depth * _CALLS_A_LEVEL <= len(trees) else 0

    def quicker(self, n: int) -> bool:
        """Whether n rows are sooner walked here than through the compiled code of each tree."""
        return n <= self._most_rows

    @staticmethod
    def _categories(
        trees: Sequence[Tree], sizes: Sequence[int], feature: Ints, threshold: Matrix, width: int
    ) -> tuple[Ints | None, Matrix | None]:
        """A node that splits by category asks a column of its own, which holds 0 or 1, for `<= 0.5`."""
        sides = [tree.sides for tree in trees if tree.sides is not None and len(tree.sides)]
        if not sides:
            return None, None
        asked: list[int] = []
        start = 0
        for tree, size in zip(trees, sizes, strict=True):
            if tree.categorical is not None:
                nodes = np.flatnonzero(tree.categorical >= 0)
                for node in nodes[np.argsort(tree.categorical[nodes])]:
                    place = start + int(node)
                    asked.append(int(tree.feature[node]))
                    feature[place] = 2 * width + len(asked) - 1
                    threshold[place] = 0.5
            start += size
        return np.asarray(asked, dtype=np.intp), np.concatenate(sides)

    def leaves(self, matrix: Matrix) -> Ints:
        """`matrix` (n, width) of float64, NaN where missing."""
        values = self._asked(matrix)
        n = len(values)
        if n == 1 and self._asks_all_at_once:
            goes_left = values[0].take(self._feature) <= self._threshold
            following = self._children.take(self._pairs + goes_left)
            node = self.roots
            for _ in range(self._depth):
                node = following.take(node)
            return node.reshape(1, -1)
        return self._walked(values.ravel(), np.arange(n) * values.shape[1])

    def _walked(self, flat: Matrix, starts: Ints) -> Ints:
        """(rows, trees) leaves, level by level; `starts` says where in `flat` each row begins. Pairs of a row and a
        tree that have come to a leaf are left behind every few levels, as few trees are as deep as the deepest."""
        count = len(self.roots)
        found = np.tile(self.roots, len(starts))
        node, row = found, np.repeat(starts, count)
        places: Ints | None = None  # where in `found` each pair belongs; None: all, in order
        for level in range(1, self._depth + 1):
            asked = flat.take(self._feature.take(node) + row)
            node = self._children.take(node * 2 + (asked <= self._threshold.take(node)))
            if level % _LEAVE_BEHIND == 0 or level == self._depth:
                if places is None:
                    found = node
                else:
                    found[places] = node
                walking = np.flatnonzero(self._is_inner.take(node))
                places = walking if places is None else places.take(walking)
                node, row = node.take(walking), row.take(walking)
        return found.reshape(len(starts), count)

    def _asked(self, matrix: Matrix) -> Matrix:
        """What nodes look at, (n, 2 * width + categorical nodes): the values, those with -inf for NaN, and sides."""
        gaps = np.isnan(matrix)
        parts = [matrix, np.where(gaps, -np.inf, matrix)]
        if self._side_of is not None and self._sides is not None:
            codes = np.where(gaps | (matrix < 0), 256.0, matrix)[:, self._side_of].astype(np.intp)
            parts.append(self._sides[np.arange(len(self._side_of)), codes])
        return np.concatenate(parts, axis=1)


def _depth(children: Ints, roots: Ints) -> int:
    """The longest way from a root to a leaf, in edges. Raises NoArrayPath if ways meet, as a crafted file's might."""
    level = roots
    depth = 0
    while True:
        following = children[(level * 2)[:, np.newaxis] + np.arange(2)]
        inner = following[:, 0] != level
        if not inner.any():
            return depth
        level = following[inner].ravel()
        depth += 1
        if len(level) > len(children) or depth > len(children):
            raise NoArrayPath("its trees are no trees")


def packed(count: int, trees: Iterator[Tree], width: int) -> Trees | None:
    """The trees as one, or None if they have more than `_MOST_NODES` nodes; `count` says how many they have."""
    return Trees(list(trees), width) if count <= _MOST_NODES else None


def of_sklearn(tree: Any) -> Tree:
    """A sklearn.tree Tree of one output."""
    value = np.asarray(tree.value, dtype=np.float64)
    if value.shape[1] != 1:
        raise NoArrayPath("its trees predict several targets at once")
    return Tree(
        left=np.asarray(tree.children_left, dtype=np.intp),
        right=np.asarray(tree.children_right, dtype=np.intp),
        feature=np.asarray(tree.feature, dtype=np.intp),
        threshold=np.asarray(tree.threshold, dtype=np.float64),
        missing_left=np.asarray(tree.missing_go_to_left, dtype=bool),
        value=value[:, 0, :],
    )


def of_histogram(predictor: Any, known: Matrix, places: Matrix) -> Tree:
    """HistGradientBoosting's TreePredictor. `known` are the bit sets of the categories of fit(), one a categorical
    column, and `places` say which is a column's."""
    nodes = predictor.nodes
    is_leaf = nodes["is_leaf"].astype(bool)
    missing_left = nodes["missing_go_to_left"].astype(bool)
    splits = np.flatnonzero((nodes["is_categorical"] != 0) & ~is_leaf)
    categorical = np.full(len(nodes), -1, dtype=np.intp)
    categorical[splits] = np.arange(len(splits))
    sides = np.empty((len(splits), 257))
    for row, node in enumerate(nodes[splits]):
        goes_left = _bits(predictor.raw_left_cat_bitsets[node["bitset_idx"]])
        is_known = _bits(known[places[node["feature_idx"]]])
        gap = not node["missing_go_to_left"]
        sides[row, :256] = np.where(goes_left, False, np.where(is_known, True, gap))
        sides[row, 256] = gap
    return Tree(
        left=np.where(is_leaf, -1, nodes["left"].astype(np.intp)),
        right=np.where(is_leaf, -1, nodes["right"].astype(np.intp)),
        feature=nodes["feature_idx"].astype(np.intp),
        threshold=np.where(is_leaf, 0.0, nodes["num_threshold"]),
        missing_left=missing_left,
        value=nodes["value"].astype(np.float64),
        categorical=categorical,
        sides=sides,
    )


def _bits(words: Matrix) -> NDArray[np.bool_]:
    """256 booleans of eight 32-bit words, the lowest bit first."""
    return ((words[:, np.newaxis] >> np.arange(32, dtype=np.uint32)) & 1).astype(bool).ravel()


def in_turn(terms: Matrix) -> Matrix:
    """The sum over axis 1, one after another as a loop over trees adds them: np.sum would pair them up and round
    otherwise."""
    return np.add.accumulate(terms, axis=1)[:, -1]
