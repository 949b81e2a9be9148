"""Every estimator of scikit-learn that skops can save is saved and loaded without trusting anything new."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process import kernels as k
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils import all_estimators

from mlops_cli.core.models import skops_file
from mlops_cli.core.models.errors import ModelUnsupported
from mlops_cli.core.models.trusted import TRUSTED

ROWS = 90
X = np.abs(np.random.default_rng(0).normal(size=(ROWS, 4))) + 0.01
CLASSES = np.array([0, 1, 2] * (ROWS // 3))
TWO = (X[:, 0] > np.median(X[:, 0])).astype(int)
NUMBERS = 3 + 2 * X[:, 0] + 0.1 * X[:, 1]

# What cannot be fitted on a plain table of numbers: it takes images, counts, words, one column or several targets.
NOT_OF_A_TABLE = {
    "ClassifierChain",
    "MultiOutputClassifier",
    "MultiOutputRegressor",
    "RegressorChain",
    "MultiTaskElasticNet",
    "MultiTaskElasticNetCV",
    "MultiTaskLasso",
    "MultiTaskLassoCV",
    "CCA",
    "PLSCanonical",
    "PLSRegression",
    "PLSSVD",
    "IsotonicRegression",
    "GaussianRandomProjection",
    "SparseRandomProjection",
    "KernelCenterer",
    "PatchExtractor",
    "DictVectorizer",
    "FeatureHasher",
    "HashingVectorizer",
    "SparseCoder",
    "ColumnTransformer",
    "FeatureUnion",
    "TSNE",
    "MDS",
    "ClassicalMDS",
    "SpectralEmbedding",
    "LabelBinarizer",
    "LabelEncoder",
    "MultiLabelBinarizer",
    "CountVectorizer",
    "TfidfVectorizer",
}
UNSUPPORTED_BY_SKOPS = {"Birch"}


def made(kind: type[Any], inner: tuple[Any, Any], grid: dict[str, list[float]]) -> Any:
    """An instance: with its defaults, or around a simple estimator."""
    first, second = inner
    options: list[dict[str, Any]] = [
        {},
        {"estimator": first},
        {"estimators": [("a", first), ("b", second)]},
        {"estimator": first, "param_grid": grid},
        {"estimator": first, "param_distributions": grid, "n_iter": 1},
    ]
    for option in options:
        try:
            instance = kind(**option)
        except TypeError:
            continue
        if kind.__name__ == "SelfTrainingClassifier":  # the one default that cannot be fitted
            instance.set_params(estimator=first)
        return instance
    raise AssertionError(f"{kind.__name__} cannot be made")


def cases(kind: str) -> Iterator[tuple[str, Any]]:
    for name, estimator in all_estimators(kind):
        if name in NOT_OF_A_TABLE | UNSUPPORTED_BY_SKOPS or (kind == "transformer" and name.endswith("Regressor")):
            continue
        if kind == "regressor":
            yield name, made(estimator, (Ridge(), DecisionTreeRegressor(max_depth=2)), {"alpha": [0.1, 1.0]})
        else:
            yield name, made(estimator, (LogisticRegression(), DecisionTreeClassifier(max_depth=2)), {"C": [0.1, 1.0]})


def fit(estimator: Any, *targets: Any) -> Any:
    """Fitted with the first target it takes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for target in targets[:-1]:
            try:
                return clone(estimator).fit(X, target)
            except ValueError:
                continue
        return estimator.fit(X, targets[-1])


def answers(estimator: Any, method: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = getattr(estimator, method)(X)
    return np.asarray(found.toarray() if hasattr(found, "toarray") else found, dtype=float)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of fits that do not converge, of estimators that are on their way out
@pytest.mark.parametrize("kind", ["classifier", "regressor", "transformer"])
def test_every_estimator_comes_back_with_the_same_answers(kind: str) -> None:
    wrong = {}
    checked = 0
    for name, estimator in cases(kind):
        target = (NUMBERS,) if kind == "regressor" else (CLASSES, TWO)
        method = "transform" if kind == "transformer" else "predict"
        try:
            fitted = fit(estimator, *target)
            again = skops_file.load(skops_file.dump(fitted))
            np.testing.assert_allclose(answers(again, method), answers(fitted, method), err_msg=name)
            checked += 1
        except Exception as error:
            wrong[name] = f"{type(error).__name__}: {str(error)[:200]}"
    assert wrong == {}
    assert checked > 35


def common() -> dict[str, Any]:
    """Compositions that people really train, each with parts of its own in the file."""
    words = ["late again", "on time", "late late", "time flies"] * 10
    marks = [1, 0, 1, 0] * 10
    folds = StratifiedKFold(3, shuffle=True, random_state=np.random.RandomState(1))
    kernel = k.ConstantKernel() * k.Matern(nu=1.5) + k.WhiteKernel() + k.DotProduct() ** 2
    return {
        "words": make_pipeline(TfidfVectorizer(), KNeighborsClassifier(3)).fit(words, marks),
        "search": GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, scoring="roc_auc", cv=folds).fit(X, TWO),
        "search two": GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, scoring=["accuracy", "f1"], refit="f1").fit(
            X, TWO
        ),
        "minkowski": KNeighborsClassifier(3, metric="minkowski", p=3, algorithm="ball_tree").fit(X, TWO),
        "manhattan": KNeighborsClassifier(3, p=1, algorithm="kd_tree").fit(X.astype("float32"), TWO),
        "poisson": HistGradientBoostingRegressor(loss="poisson", max_iter=3).fit(X, NUMBERS),
        "gamma": HistGradientBoostingRegressor(loss="gamma", max_iter=3).fit(X, NUMBERS),
        "quantile": HistGradientBoostingRegressor(loss="quantile", quantile=0.9, max_iter=3).fit(X, NUMBERS),
        "absolute": HistGradientBoostingRegressor(loss="absolute_error", max_iter=3).fit(X, NUMBERS),
        "many classes": HistGradientBoostingClassifier(max_iter=3, categorical_features=[0]).fit(
            np.column_stack([CLASSES, X]), CLASSES
        ),
        "process": GaussianProcessRegressor(kernel, optimizer=None).fit(X, NUMBERS),
    }


def test_common_compositions_need_no_trust() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        models = common()
    for fitted in models.values():
        assert type(skops_file.load(skops_file.dump(fitted))) is type(fitted)


def test_what_skops_cannot_save_is_unsupported_and_not_a_bug() -> None:
    from sklearn.cluster import Birch

    with pytest.raises(ModelUnsupported, match="Birch"):
        skops_file.dump(Birch().fit(X))


def test_every_entry_is_of_scikit_learn_numpy_scipy_or_the_standard_library() -> None:
    roots = {name.partition(".")[0] for name in TRUSTED}
    assert roots == {"sklearn", "numpy", "scipy", "functools", "_loss"}


def test_no_entry_can_run_what_a_file_names() -> None:
    """The entries that exist here are classes, or functions of a numeric library; none imports, evaluates or opens."""
    forbidden = ("eval", "exec", "compile", "open", "load", "import", "system", "memmap", "fromfile", "genfromtxt")
    for name in TRUSTED:
        module, _, attribute = name.rpartition(".")
        assert not any(word in attribute.lower() for word in forbidden), name
        try:
            found = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError):
            continue  # of another version of the library
        assert isinstance(found, type) or callable(found)
