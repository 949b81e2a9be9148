"""The way round pandas answers as the model itself does, or leaves the answer to it."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from arrays_kit import FLOATS, MIXED, MODELS, encoded, late, loaded_model, ordinal, rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler

from mlops_cli.core.models.arrays import ArrayPath, NoArrayPath, array_path, as_table
from mlops_cli.core.models.arrays.parity import plain_columns
from mlops_cli.core.models.arrays.sources import Declined
from mlops_cli.core.models.errors import WrongInputs
from mlops_cli.core.models.load import LoadedModel
from mlops_cli.core.models.predictions import Predictions

Built = tuple[LoadedModel, ArrayPath]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model of the table by its name, loaded, and its array path; each is fitted once."""
    made: dict[str, Built] = {}

    def build(name: str) -> Built:
        if name not in made:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what scikit-learn says of tiny data
                loaded, example = loaded_model(*MODELS[name](), tmp_path_factory.mktemp("model") / "model")
            made[name] = loaded, array_path(loaded, example)
        return made[name]

    return build


def path_of(model: Any, example: Any, folder: Path) -> Built:
    loaded, table = loaded_model(model, example, folder / "model")
    return loaded, array_path(loaded, table)


def plain(loaded: LoadedModel, frame: pd.DataFrame) -> dict[str, list[Any]]:
    names = [column.name for column in loaded.signature.inputs]
    if names[0] == "x0":
        frame = frame.rename(columns=dict(zip(FLOATS, names, strict=True)))
    return plain_columns(loaded.signature, pa.Table.from_pandas(frame[names], preserve_index=False))


def assert_same(found: Predictions, expected: Predictions) -> None:
    assert found.labels.dtype == expected.labels.dtype
    if expected.labels.dtype.kind == "f":
        np.testing.assert_allclose(found.labels, expected.labels, rtol=1e-9)
    else:
        assert found.labels.tolist() == expected.labels.tolist()
    assert (found.scores is None) == (expected.scores is None)
    if expected.scores is not None:
        np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_unseen_rows_are_predicted_as_by_the_model(built: Any, name: str) -> None:
    loaded, path = built(name)
    columns = plain(loaded, rows(60, seed=11))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Found unknown categories")
        expected = loaded.predict(as_table(loaded.signature, columns))
    assert_same(path.direct(columns, 60), expected)
    for row in range(3):
        alone = {key: values[row : row + 1] for key, values in columns.items()}
        assert_same(path.direct(alone, 1), loaded.predict(as_table(loaded.signature, alone)))


@pytest.mark.parametrize("name", ["flights", "boosted regression", "forest", "categories by place", "masks and slices"])
def test_trees_answer_the_same_bits_whichever_way_they_are_walked(built: Any, name: str) -> None:
    loaded, path = built(name)
    for count in (1, 5, 700):
        columns = plain(loaded, rows(count, seed=count))
        expected = loaded.predict(as_table(loaded.signature, columns))
        found = path.direct(columns, count)
        assert np.array_equal(found.labels, expected.labels)
        assert expected.scores is None or np.array_equal(found.scores, expected.scores)


def answered(predict: Any, columns: dict[str, Any], count: int) -> Any:
    """The predictions, or what they were refused with."""
    try:
        return predict(columns, count)
    except WrongInputs as refused:
        return refused.message


_CELLS: dict[str, st.SearchStrategy[Any]] = {
    "float": st.floats(-1e6, 1e6, allow_nan=False) | st.sampled_from([0.0, 1e-300, 40.0]),
    "integer": st.integers(-(2**40), 2**40) | st.integers(0, 40),
    "boolean": st.booleans(),
    "string": st.sampled_from(["UA", "B6", "DL", "ewr", "jfk", ""]) | st.text(max_size=3),
}


@pytest.mark.parametrize(
    "name", ["flights", "one hot, rare ones together", "one hot, refusing", "categories from dtype", "forest"]
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_row_is_answered_or_refused_as_by_the_model(built: Any, name: str, data: st.DataObject) -> None:
    loaded, path = built(name)
    count = data.draw(st.integers(1, 3))
    columns = {}
    for column in loaded.signature.inputs:
        cell = _CELLS[column.kind] | st.none() if column.nullable else _CELLS[column.kind]
        columns[column.name] = data.draw(st.lists(cell, min_size=count, max_size=count))
    expected, found = (answered(way, columns, count) for way in (path.whole, path))
    if isinstance(expected, str):
        assert found == expected
    else:
        assert_same(found, expected)


def test_numpy_columns_are_taken_as_lists_are(built: Any) -> None:
    loaded, path = built("flights")
    columns = plain(loaded, rows(30, seed=5))
    arrays: dict[str, Any] = dict(columns)
    arrays["gap"] = np.array([np.nan if value is None else value for value in columns["gap"]])
    arrays["count"] = np.array(columns["count"])
    assert_same(path.direct(arrays, 30), path.direct(columns, 30))
    assert_same(path.whole(arrays, 30), path.direct(columns, 30))


def test_a_gap_in_an_array_is_a_missing_value_to_an_encoder_too(tmp_path: Path) -> None:
    frame = rows()
    frame["grade"] = frame["count"].astype("Int64").where(frame["count"] % 5 != 0)
    model = make_pipeline(ordinal(encoded_missing_value=-9), HistGradientBoostingClassifier(max_iter=5))
    inputs = frame[["grade"]].astype("float64")
    _, path = path_of(model.fit(inputs, frame["late"]), inputs, tmp_path)
    columns = {"grade": [None, 3.0, 11.0]}
    assert_same(path.direct({"grade": np.array([np.nan, 3.0, 11.0])}, 3), path.whole(columns, 3))


def test_a_number_that_the_model_refuses_is_refused_in_its_words(built: Any) -> None:
    loaded, path = built("scaled logistic")
    columns = {"a": [1.0], "b": [float("inf")], "c": [0.0]}
    with pytest.raises(WrongInputs, match="infinity") as caught:
        path(columns, 1)
    with pytest.raises(WrongInputs) as expected:
        loaded.predict(as_table(loaded.signature, columns))
    assert caught.value.message == expected.value.message


def test_a_missing_value_that_the_model_refuses_is_refused(built: Any) -> None:
    _, path = built("scaled logistic")
    with pytest.raises(WrongInputs, match="NaN"):
        path({"a": [1.0], "b": [None], "c": [0.0]}, 1)


def test_no_rows_have_no_answers(built: Any) -> None:
    _, path = built("scaled logistic")
    found = path({"a": [], "b": [], "c": []}, 0)
    assert len(found) == 0
    assert found.scores is not None
    assert found.scores.shape == (0, 2)


def test_columns_that_are_no_inputs_are_ignored(built: Any) -> None:
    _, path = built("scaled logistic")
    columns = {"c": [0.5], "time": ["later"], "b": [2.0], "a": [1.0]}
    assert_same(path.direct(columns, 1), path.whole(columns, 1))


def test_a_function_of_the_users_own_keeps_the_data_frame(tmp_path: Path) -> None:
    model = make_pipeline(FunctionTransformer(pd.DataFrame.abs), LogisticRegression())
    with pytest.raises(NoArrayPath) as caught:
        path_of(*late(model), tmp_path)
    assert "FunctionTransformer" in caught.value.reason


class ByName(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Looks at the names of the columns, as an array has none."""

    def fit(self, X: Any, y: Any) -> ByName:  # noqa: N803
        self.classes_ = np.unique(y)
        self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        return self

    def predict(self, X: Any) -> Any:  # noqa: N803
        named = getattr(X, "columns", None) is not None
        return np.full(len(X), self.classes_[int(named)])


def test_a_model_that_answers_arrays_otherwise_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(NoArrayPath, match="otherwise"):
        path_of(*late(ByName()), tmp_path)


class Carriers(ByName):
    """Takes text as it is."""

    def predict(self, X: Any) -> Any:  # noqa: N803
        return self.classes_[(X["carrier"] == "UA").astype(int)]


def test_text_that_reaches_a_step_of_numbers_is_no_way(tmp_path: Path) -> None:
    with pytest.raises(NoArrayPath, match="string column"):
        path_of(*late(Carriers(), ["carrier"]), tmp_path)


def test_without_an_example_there_is_no_way_to_check(built: Any) -> None:
    loaded, _ = built("scaled logistic")
    with pytest.raises(NoArrayPath, match="no example"):
        array_path(loaded, None)


def test_the_loaded_model_is_left_as_it_was(built: Any) -> None:
    loaded, _ = built("calibrated")
    assert loaded.estimator.feature_names_in_.tolist() == FLOATS
    assert loaded.estimator.calibrated_classifiers_[0].estimator.feature_names_in_.tolist() == FLOATS


def test_a_one_hot_matrix_of_very_many_columns_stays_sparse(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": [f"n{place}" for place in range(5000)]})
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression(max_iter=5, tol=1.0))
    with pytest.raises(NoArrayPath, match="5000 columns"):
        path_of(model.fit(frame, np.arange(5000) % 2), frame, tmp_path)


def test_a_time_that_no_step_looks_at_is_no_hindrance(tmp_path: Path) -> None:
    frame = rows()
    frame["when"] = pd.Timestamp("2013-05-01", tz="UTC")
    chosen = ColumnTransformer([("scaled", StandardScaler(), FLOATS)])
    columns = [*FLOATS, "when"]
    loaded, path = path_of(
        make_pipeline(chosen, LogisticRegression()).fit(frame[columns], frame["late"]), frame[columns], tmp_path
    )
    given_rows = plain(loaded, frame[columns].head(4))
    assert_same(path.direct(given_rows, 4), path.whole(given_rows, 4))


def test_an_integer_beyond_the_type_of_fit_is_left_to_the_model(tmp_path: Path) -> None:
    frame = rows()
    small = frame[["count"]].astype("int8")
    _, path = path_of(HistGradientBoostingClassifier(max_iter=3).fit(small, frame["late"]), small, tmp_path)
    inside = {"count": [12]}
    assert_same(path.direct(inside, 1), path.whole(inside, 1))
    with pytest.raises(Declined):
        path.direct({"count": [300]}, 1)
    assert_same(path({"count": [300]}, 1), path.whole({"count": [300]}, 1))


@pytest.mark.parametrize("gap", [None, np.nan])
def test_a_gap_is_what_it_was_in_fit(tmp_path: Path, gap: Any) -> None:
    frame = rows()
    frame["city"] = frame["city"].astype(object).where(frame["city"].notna(), gap)
    frame["carrier"] = frame["carrier"].astype(object)
    frame["city"] = pd.Series(
        [gap if value != value or value is None else value for value in frame["city"]], dtype=object
    )
    model = make_pipeline(encoded(ordinal(encoded_missing_value=-5)), HistGradientBoostingClassifier(max_iter=5))
    loaded, path = path_of(model.fit(frame[MIXED], frame["late"]), frame[MIXED], tmp_path)
    columns = plain(loaded, frame.head(40))
    assert None in columns["city"]
    assert_same(path.direct(columns, 40), path.whole(columns, 40))


def test_a_forest_fitted_on_all_processors_starts_no_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = RandomForestClassifier(6, random_state=0, n_jobs=-1)
    loaded, path = path_of(*late(model), tmp_path)
    columns = plain(loaded, rows(4))
    expected = path.whole(columns, 4)
    monkeypatch.setattr("joblib.Parallel.__call__", None)
    assert_same(path.direct(columns, 4), expected)


def test_a_pandas_answer_of_a_step_makes_no_difference(tmp_path: Path) -> None:
    scaled = make_pipeline(StandardScaler(), LogisticRegression()).set_output(transform="pandas")
    loaded, path = path_of(*late(scaled), tmp_path)
    columns = plain(loaded, rows(9))
    assert_same(path.direct(columns, 9), path.whole(columns, 9))


def test_codes_of_numbers_are_looked_up_too(tmp_path: Path) -> None:
    frame = rows()
    frame["gap"] = frame["gap"].round()
    columns = ["gap", "count", "flag"]
    model = make_pipeline(
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), HistGradientBoostingClassifier(max_iter=5)
    ).fit(frame[columns], frame["late"])
    loaded, path = path_of(model, frame[columns], tmp_path)
    table = plain(loaded, frame.head(30))
    table["count"][3] = 4_000
    assert_same(path.direct(table, 30), path.whole(table, 30))


def test_importing_the_package_imports_none_of_it() -> None:
    script = (
        "import sys, mlops_cli; sys.exit(any('models.arrays' in name or name == 'sklearn' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
