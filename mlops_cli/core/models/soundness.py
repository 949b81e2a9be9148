"""Look at every index inside a loaded model before compiled code follows it.

A file of the right types can still be a crafted one: scikit-learn walks trees by the indices in their nodes and
checks none of them, so that one out of range reads foreign memory and one that points back never ends. Each
check here holds for whatever fit() makes, and rules out an index that leads out of its array.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlops_cli.core.models.errors import ModelCorrupt

_LEAF = -1  # sklearn.tree: both children of a leaf


def check_soundness(estimator: Any) -> None:
    """Raises ModelCorrupt if a part of the estimator holds an index that leads out of it, or in a circle."""
    from scipy import sparse
    from scipy.interpolate import BSpline
    from sklearn.ensemble._forest import BaseForest
    from sklearn.ensemble._gb import BaseGradientBoosting
    from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
    from sklearn.neighbors import BallTree, KDTree
    from sklearn.tree import BaseDecisionTree
    from sklearn.tree._tree import Tree

    for owner, part in _parts(estimator):
        if isinstance(part, Tree):
            sound = _tree_is_sound(part)
        elif isinstance(part, BaseDecisionTree):
            sound = not hasattr(part, "tree_") or part.tree_.n_features == part.n_features_in_
        elif isinstance(part, BaseForest | BaseGradientBoosting):
            # These hand their rows to their trees without looking at the number of columns again.
            sound = all(tree.n_features_in_ == part.n_features_in_ for tree in _members(part))
        elif isinstance(part, TreePredictor):
            sound = _predictor_is_sound(part, getattr(owner, "n_features_in_", None))
        elif isinstance(part, KDTree | BallTree):
            sound = _neighbours_are_sound(part, getattr(owner, "n_features_in_", None))
        elif sparse.issparse(part):
            sound = _sparse_is_sound(part)
        elif isinstance(part, BSpline):
            sound = _spline_is_sound(part)
        else:
            continue
        if not sound:
            raise ModelCorrupt(
                f"a {type(part).__name__} in the model holds indices that lead out of it; "
                "the file is damaged or was made to do harm",
                hint="do not use it; train the model again or restore a version from the registry",
            )


def _parts(root: Any) -> Iterator[tuple[Any, Any]]:
    """Every object below `root` with the estimator that owns it, each once; containers are opened, arrays of
    objects too."""
    import numpy as np

    seen: dict[int, Any] = {}
    stack: list[tuple[Any, Any]] = [(root, root)]
    while stack:
        owner, part = stack.pop()
        if isinstance(part, str | bytes | int | float | type(None)) or id(part) in seen:
            continue
        seen[id(part)] = part  # kept, or its id could be given to another
        yield owner, part
        if isinstance(part, dict):
            stack.extend((owner, value) for value in part.values())
        elif isinstance(part, list | tuple | set):
            stack.extend((owner, value) for value in part)
        elif isinstance(part, np.ndarray):
            if part.dtype == np.dtype(object):
                stack.extend((owner, value) for value in part.ravel())
        elif hasattr(part, "__dict__"):
            inner = part if hasattr(part, "get_params") else owner
            stack.extend((inner, value) for value in vars(part).values())


def _members(ensemble: Any) -> Iterator[Any]:
    import numpy as np

    # One that was not fitted, as the template inside a search, has none.
    yield from np.asarray(getattr(ensemble, "estimators_", []), dtype=object).ravel()


def _tree_is_sound(tree: Any) -> bool:
    """sklearn.tree._tree.Tree: a child always stands after its parent."""
    import numpy as np

    count = tree.node_count
    left, right, feature = tree.children_left, tree.children_right, tree.feature
    if count < 1 or not len(left) == len(right) == len(feature) == count:
        return False
    leaf = left == _LEAF
    inner = ~leaf
    own = np.arange(count)[inner]
    return (
        tree.value.shape[:2] == (count, tree.n_outputs)
        and bool(np.all(right[leaf] == _LEAF))
        and _within(left[inner], own + 1, count)
        and _within(right[inner], own + 1, count)
        and _within(feature[inner], 0, tree.n_features)
    )


def _predictor_is_sound(tree: Any, features: int | None) -> bool:
    """HistGradientBoosting's TreePredictor: node 0 is the root, a child always stands after its parent."""
    import numpy as np
    from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE

    nodes = tree.nodes
    if not isinstance(nodes, np.ndarray) or nodes.dtype != PREDICTOR_RECORD_DTYPE or nodes.ndim != 1 or not len(nodes):
        return False
    bitsets = (tree.raw_left_cat_bitsets, tree.binned_left_cat_bitsets)
    if not all(
        isinstance(bits, np.ndarray) and bits.ndim == 2 and bits.shape[1] == 8 and bits.dtype == np.uint32
        for bits in bitsets
    ):
        return False
    inner = nodes["is_leaf"] == 0
    own = np.arange(len(nodes))[inner]
    kept = nodes[inner]
    categorical = kept["bitset_idx"][kept["is_categorical"] != 0]
    return (
        features is not None
        and _within(kept["left"], own + 1, len(nodes))
        and _within(kept["right"], own + 1, len(nodes))
        and _within(kept["feature_idx"], 0, features)
        and _within(categorical, 0, min(len(bits) for bits in bitsets))
    )


def _neighbours_are_sound(tree: Any, features: int | None) -> bool:
    """KDTree and BallTree: node i has the children 2i + 1 and 2i + 2, and each node a range of the sorted rows."""
    import numpy as np

    state = tree.__getstate__()
    rows, order, nodes, bounds = (np.asarray(part) for part in state[:4])
    levels, count, metric = state[5], state[6], state[11]
    start, end, leaf = nodes["idx_start"], nodes["idx_end"], nodes["is_leaf"] != 0
    length = len(rows)
    # Of the distances that are trusted only Minkowski's reads weights, one for each column.
    power, weights = metric.__getstate__()[:2]
    weighs = type(metric).__name__.startswith("Minkowski")
    return (
        rows.ndim == 2
        and features in (None, rows.shape[1])
        and order.shape == (length,)
        and _within(order, 0, length)
        and len(nodes) == count == 2**levels - 1
        and bounds.ndim == 3
        and bounds.shape[1:] == (count, rows.shape[1])
        and _within(start, 0, length + 1)
        and _within(end, start, length + 1)
        and bool(np.all(2 * np.arange(count)[~leaf] + 2 < count))
        and not np.isnan(power)
        and (not weighs or np.size(weights) in (0, rows.shape[1]))
    )


def _sparse_is_sound(matrix: Any) -> bool:
    if not hasattr(matrix, "check_format"):
        return False
    try:
        matrix.check_format(full_check=True)
    except ValueError:
        return False
    return True


def _spline_is_sound(spline: Any) -> bool:
    """Knots in order, and a coefficient for each of the basis functions."""
    import numpy as np

    knots, coefficients = np.asarray(spline.t), np.asarray(spline.c)
    return (
        isinstance(spline.k, int)
        and 0 <= spline.k <= 100
        and knots.ndim == 1
        and knots.dtype == np.float64
        and bool(np.all(np.diff(knots) >= 0))
        and 0 <= spline.axis < coefficients.ndim
        and len(knots) >= 2 * spline.k + 2
        and coefficients.shape[0] >= len(knots) - spline.k - 1
    )


def _within(values: Any, low: Any, high: int) -> bool:
    """Whether low <= value < high for all of them, however their types are signed."""
    import numpy as np

    wide = np.asarray(values, dtype=np.int64)
    return bool(np.all((wide >= low) & (wide < high)))
