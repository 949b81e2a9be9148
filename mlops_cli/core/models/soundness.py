"""Look at every index inside a loaded model's trees before compiled code follows it.

A file of the right types can still be a crafted one: scikit-learn walks a tree by the indices in its nodes
and checks none of them, so that one out of range reads foreign memory and one that points back never ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlops_cli.core.models.errors import ModelCorrupt

_LEAF = -1  # sklearn.tree: both children of a leaf


def check_soundness(estimator: Any) -> None:
    """Raises ModelCorrupt if a tree in the estimator holds an index that leads out of it, or in a circle."""
    from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
    from sklearn.tree._tree import Tree

    for owner, part in _parts(estimator):
        if isinstance(part, Tree):
            _check_tree(part)
        elif isinstance(part, TreePredictor):
            _check_predictor(part, getattr(owner, "_n_features", None))


def _parts(root: Any) -> Iterator[tuple[Any, Any]]:
    """Every object below `root` with the estimator that owns it, each once; containers are opened, arrays of
    objects too."""
    import numpy as np

    seen: set[int] = set()
    stack: list[tuple[Any, Any]] = [(root, root)]
    while stack:
        owner, part = stack.pop()
        if isinstance(part, str | bytes | int | float | type(None)) or id(part) in seen:
            continue
        seen.add(id(part))
        yield owner, part
        if isinstance(part, dict):
            stack.extend((owner, value) for value in part.values())
        elif isinstance(part, list | tuple | set):
            stack.extend((owner, value) for value in part)
        elif isinstance(part, np.ndarray):
            if part.dtype == object:
                stack.extend((owner, value) for value in part.ravel())
        elif hasattr(part, "__dict__"):
            inner = part if hasattr(part, "get_params") else owner
            stack.extend((inner, value) for value in vars(part).values())


def _check_tree(tree: Any) -> None:
    """sklearn.tree._tree.Tree: preorder, so that a child always stands after its parent."""
    import numpy as np

    count = tree.node_count
    left, right, feature = tree.children_left, tree.children_right, tree.feature
    leaf = left == _LEAF
    own = np.arange(count)
    inner = ~leaf
    sound = (
        count >= 1
        and len(left) == count
        and tree.value.shape[:2] == (count, tree.n_outputs)
        and bool(np.all(right[leaf] == _LEAF))
        and bool(np.all((left[inner] > own[inner]) & (left[inner] < count)))
        and bool(np.all((right[inner] > own[inner]) & (right[inner] < count)))
        and bool(np.all((feature[inner] >= 0) & (feature[inner] < tree.n_features)))
    )
    if not sound:
        raise _unsound("Tree")


def _check_predictor(tree: Any, features: int | None) -> None:
    """HistGradientBoosting's TreePredictor: node 0 is the root, a child always stands after its parent."""
    import numpy as np
    from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE

    nodes = tree.nodes
    sound = (
        isinstance(nodes, np.ndarray) and nodes.dtype == PREDICTOR_RECORD_DTYPE and nodes.ndim == 1 and len(nodes) > 0
    )
    if sound:
        own = np.arange(len(nodes))
        inner = nodes["is_leaf"] == 0
        kept = nodes[inner]
        bitsets = (tree.raw_left_cat_bitsets, tree.binned_left_cat_bitsets)
        categorical = kept["bitset_idx"][kept["is_categorical"] != 0]
        sound = (
            bool(np.all((kept["left"] > own[inner]) & (kept["left"] < len(nodes))))
            and bool(np.all((kept["right"] > own[inner]) & (kept["right"] < len(nodes))))
            and bool(np.all(kept["feature_idx"] >= 0))
            and (features is None or bool(np.all(kept["feature_idx"] < features)))
            and all(bits.ndim == 2 and bits.shape[1] == 8 and bits.dtype == np.uint32 for bits in bitsets)
            and bool(np.all(categorical < min(len(bits) for bits in bitsets)))
        )
    if not sound:
        raise _unsound("TreePredictor")


def _unsound(kind: str) -> ModelCorrupt:
    return ModelCorrupt(
        f"a {kind} in the model holds indices that lead out of it; the file is damaged or was made to do harm",
        hint="do not use it; train the model again or restore a version from the registry",
    )
