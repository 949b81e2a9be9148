"""Pipelines of every kind that an array path takes apart, and the rows they are fitted on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.feature_selection import SelectKBest
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import (
    ElasticNet,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
)
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from mlops_cli.core.models.load import LoadedModel, load_model
from mlops_cli.core.models.save import save_model

FLOATS = ["a", "b", "c"]
MIXED = [*FLOATS, "gap", "count", "flag", "carrier", "city"]


def rows(n: int = 160, seed: int = 3) -> pd.DataFrame:
    """Floats, one of them often missing, an integer, a boolean and texts, one of them sometimes missing."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame({name: random.normal(place, 1 + place, n) for place, name in enumerate(FLOATS)})
    frame["gap"] = np.where(random.random(n) < 0.2, np.nan, random.normal(5, 2, n))
    frame["count"] = random.integers(0, 40, n)
    frame["flag"] = random.random(n) < 0.4
    frame["carrier"] = random.choice(["UA", "B6", "EV", "DL"], n, p=[0.5, 0.3, 0.15, 0.05]).astype(object)
    city = random.choice(["ewr", "jfk", "lga"], n).astype(object)
    city[random.random(n) < 0.15] = np.nan
    frame["city"] = city
    odds = frame["a"] + frame["count"] / 20 - (frame["carrier"] == "UA") - 0.3
    frame["late"] = (random.random(n) < 1 / (1 + np.exp(-odds))).astype(int)
    frame["size"] = np.digitize(odds, [-1, 1])
    frame["delay"] = odds * 3 + random.normal(0, 1, n)
    return frame


def encoded(codes: Any, numbers: Any = "passthrough", **options: Any) -> ColumnTransformer:
    return ColumnTransformer(
        [("codes", codes, ["carrier", "city"]), ("numbers", numbers, [*FLOATS, "gap", "count"])], **options
    )


def numeric(**options: Any) -> Any:
    return make_pipeline(SimpleImputer(**options), StandardScaler())


def ordinal(**options: Any) -> OrdinalEncoder:
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=float("nan"), **options)


def late(estimator: Any, columns: list[str] = FLOATS) -> tuple[Any, Any]:
    frame = rows()
    return estimator.fit(frame[columns], frame["late"]), frame[columns]


def size(estimator: Any, columns: list[str] = FLOATS) -> tuple[Any, Any]:
    frame = rows()
    return estimator.fit(frame[columns], np.array(["small", "mid", "big"])[frame["size"]]), frame[columns]


def delay(estimator: Any, columns: list[str] = FLOATS) -> tuple[Any, Any]:
    frame = rows()
    return estimator.fit(frame[columns], frame["delay"]), frame[columns]


def _on_array() -> tuple[Any, Any]:
    frame = rows()
    array = frame[FLOATS].to_numpy()
    return make_pipeline(RobustScaler(), LogisticRegression()).fit(array, frame["late"]), array


def _single_precision() -> tuple[Any, Any]:
    frame = rows()
    inputs = frame[FLOATS].astype("float32")
    return make_pipeline(StandardScaler(), RandomForestRegressor(5, random_state=0)).fit(inputs, frame["delay"]), inputs


def _single_precision_logistic() -> tuple[Any, Any]:
    frame = rows()
    inputs = frame[FLOATS].astype("float32")
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(inputs, frame["late"]), inputs


def _categorical_dtype() -> tuple[Any, Any]:
    frame = rows()
    inputs = frame[MIXED].astype({"carrier": "category", "city": "category"})
    model = HistGradientBoostingClassifier(max_iter=12, categorical_features="from_dtype", min_samples_leaf=5)
    return model.fit(inputs, frame["late"]), inputs


def _own_string_dtype() -> tuple[Any, Any]:
    frame = rows()
    inputs = frame[["carrier", "a"]].astype({"carrier": "str"})
    model = make_pipeline(
        ColumnTransformer([("codes", OneHotEncoder(handle_unknown="ignore"), [0])], remainder="passthrough"),
        LogisticRegression(),
    )
    return model.fit(inputs, frame["late"]), inputs


def _coded_categories() -> tuple[Any, Any]:
    frame = rows()
    model = HistGradientBoostingClassifier(max_iter=12, categorical_features=[4, 5], min_samples_leaf=5)
    columns = [*FLOATS, "gap", "count", "flag"]
    return model.fit(frame[columns], frame["size"]), frame[columns]


def _poisson() -> tuple[Any, Any]:
    frame = rows()
    return PoissonRegressor().fit(frame[FLOATS], frame["count"]), frame[FLOATS]


def _boosted_counts() -> tuple[Any, Any]:
    frame = rows()
    model = HistGradientBoostingRegressor(max_iter=8, loss="poisson")
    return model.fit(frame[FLOATS], frame["count"]), frame[FLOATS]


MODELS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "scaled logistic": lambda: late(make_pipeline(StandardScaler(), LogisticRegression())),
    "scaled logistic on an array": _on_array,
    "multinomial logistic": lambda: size(make_pipeline(MinMaxScaler(clip=True), LogisticRegression())),
    "sgd of three classes": lambda: size(make_pipeline(MaxAbsScaler(), SGDClassifier(loss="log_loss", random_state=0))),
    "sgd of two classes": lambda: late(
        make_pipeline(StandardScaler(with_mean=False), SGDClassifier(loss="log_loss", random_state=0))
    ),
    "huber sgd": lambda: late(make_pipeline(StandardScaler(), SGDClassifier(loss="modified_huber", random_state=0))),
    "linear svm": lambda: late(make_pipeline(RobustScaler(with_scaling=False), LinearSVC(random_state=0))),
    "ridge classifier": lambda: size(RidgeClassifier()),
    "linear regression": lambda: delay(LinearRegression()),
    "ridge on normed rows": lambda: delay(make_pipeline(Normalizer(), Ridge())),
    "elastic net on polynomials": lambda: delay(
        make_pipeline(StandardScaler(), PolynomialFeatures(2), ElasticNet(alpha=0.1))
    ),
    "poisson": _poisson,
    "one hot, dropped": lambda: late(
        make_pipeline(encoded(OneHotEncoder(drop="first", handle_unknown="ignore"), numeric()), LogisticRegression()),
        MIXED,
    ),
    "one hot, refusing": lambda: late(
        make_pipeline(encoded(OneHotEncoder(sparse_output=False), numeric(add_indicator=True)), LogisticRegression()),
        MIXED,
    ),
    "one hot, rare ones together": lambda: late(
        make_pipeline(
            encoded(OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=20), numeric(strategy="median")),
            LogisticRegression(),
        ),
        MIXED,
    ),
    "one hot after filling text": lambda: late(
        make_pipeline(
            encoded(
                make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")),
                numeric(strategy="constant", fill_value=-1.0),
            ),
            LogisticRegression(),
        ),
        MIXED,
    ),
    "target encoder": lambda: late(
        make_pipeline(encoded(TargetEncoder(random_state=0), numeric()), LogisticRegression()), MIXED
    ),
    "flights": lambda: late(
        make_pipeline(encoded(ordinal()), HistGradientBoostingClassifier(max_iter=20, min_samples_leaf=5)), MIXED
    ),
    "coded missing": lambda: late(
        make_pipeline(
            encoded(ordinal(encoded_missing_value=-2), remainder="drop"), HistGradientBoostingClassifier(max_iter=5)
        ),
        MIXED,
    ),
    "refusing codes": lambda: late(
        make_pipeline(encoded(OrdinalEncoder(), remainder=FunctionTransformer()), HistGradientBoostingClassifier()),
        MIXED,
    ),
    "masks and slices": lambda: size(
        make_pipeline(
            ColumnTransformer(
                [
                    ("scaled", StandardScaler(), slice(0, 2)),
                    ("mask", "passthrough", [False, False, True, False, False, True, False, False]),
                    ("codes", ordinal(max_categories=3), [6]),
                ],
                transformer_weights={"scaled": 2.0},
            ),
            HistGradientBoostingClassifier(max_iter=8),
        ),
        MIXED,
    ),
    "boosted regression": lambda: delay(
        HistGradientBoostingRegressor(max_iter=20, loss="absolute_error"), [*FLOATS, "gap"]
    ),
    "boosted counts": _boosted_counts,
    "categories from dtype": _categorical_dtype,
    "categories by place": _coded_categories,
    "str columns": _own_string_dtype,
    "forest": lambda: size(RandomForestClassifier(12, random_state=0, n_jobs=-1), [*FLOATS, "gap", "count"]),
    "extra trees": lambda: late(make_pipeline(StandardScaler(), ExtraTreesClassifier(10, random_state=0))),
    "float32 forest": _single_precision,
    "float32 logistic": _single_precision_logistic,
    "tree": lambda: late(DecisionTreeClassifier(max_depth=5, random_state=0)),
    "gradient boosting": lambda: late(GradientBoostingClassifier(n_estimators=8, random_state=0)),
    "principal components": lambda: late(
        make_pipeline(
            PowerTransformer(),
            PCA(2, random_state=0),
            QuantileTransformer(n_quantiles=20, random_state=0),
            GaussianNB(),
        )
    ),
    "bins and selection": lambda: late(
        make_pipeline(
            KBinsDiscretizer(4, strategy="uniform"),
            SelectKBest(k=5),
            MLPClassifier((4,), max_iter=2000, tol=1e-2, random_state=0),
        )
    ),
    "union": lambda: late(
        make_pipeline(FeatureUnion([("as is", "passthrough"), ("pca", PCA(1))]), KNeighborsClassifier())
    ),
    "neighbours fill": lambda: late(make_pipeline(KNNImputer(), LinearDiscriminantAnalysis()), [*FLOATS, "gap"]),
    "logarithms": lambda: late(make_pipeline(FunctionTransformer(np.arcsinh), LogisticRegression())),
    "support vectors": lambda: late(SVC()),
    "search": lambda: late(
        GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C": [1.0]}, cv=2)
    ),
    "calibrated": lambda: late(CalibratedClassifierCV(LinearSVC(random_state=0), cv=2)),
    "votes": lambda: late(
        VotingClassifier(
            [("a", GaussianNB()), ("b", DecisionTreeClassifier(max_depth=3, random_state=0))], voting="soft"
        )
    ),
    "one against the rest": lambda: size(OneVsRestClassifier(LogisticRegression())),
}


def loaded_model(model: Any, example: Any, folder: Path) -> tuple[LoadedModel, pa.Table]:
    """The model as it is loaded for serving, and its example."""
    saved = save_model(model, folder, example=example, pickle=True)
    frame = pd.DataFrame(example, columns=None if isinstance(example, pd.DataFrame) else ["x0", "x1", "x2"])
    table = pa.Table.from_pandas(frame.head(20), preserve_index=False)
    return load_model(folder, registered=saved.files), table
