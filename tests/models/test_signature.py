"""What a model takes and gives, read from an example and the estimator."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier

from mlops_cli.core.base.records import Column
from mlops_cli.core.models.errors import ModelUnsupported
from mlops_cli.core.models.signature import infer


def kinds(frame: pd.DataFrame) -> dict[str, tuple[str, bool]]:
    """Kinds and nullability as inferred for a model that takes a frame as it is."""
    accepting = make_pipeline(FunctionTransformer(_ones), LogisticRegression())
    accepting.fit(frame, [0, 1] * (len(frame) // 2))
    return {column.name: (column.kind, column.nullable) for column in infer(accepting, frame).signature.inputs}


def _ones(frame: Any) -> Any:
    return np.ones((len(frame), 1))


def test_kinds_and_missing_values_are_read_from_every_row(model: Any, inputs: pd.DataFrame) -> None:
    signature = infer(model, inputs).signature
    assert signature.task == "classification"
    assert signature.classes == (0, 1)
    assert signature.inputs == (
        Column("carrier", "string"),
        Column("origin", "string"),
        Column("sched_dep_time", "integer"),
        Column("distance", "integer"),
        Column("temp", "float"),
        Column("wind_speed", "float"),
        Column("pressure", "float", nullable=True),
    )


@pytest.mark.parametrize(
    ("values", "kind", "nullable"),
    [
        ([1, 2], "integer", False),
        ([1, None], "float", True),
        (pd.array([1, None], dtype="Int64"), "integer", True),
        (pd.array([1, 2], dtype="UInt8"), "integer", False),
        ([1.5, np.nan], "float", True),
        (np.array([1, 2], dtype="float32"), "float", False),
        ([True, False], "boolean", False),
        (pd.array([True, None], dtype="boolean"), "boolean", True),
        (["a", "b"], "string", False),
        (["a", None], "string", True),
        (pd.array(["a", None], dtype="string"), "string", True),
        (pd.Series(["a", "b"], dtype=object), "string", False),
        (pd.Categorical(["a", "b"]), "string", False),
        (pd.Categorical([1, 2]), "integer", False),
        (pd.Categorical(["a", None]), "string", True),
        (pd.to_datetime(["2013-01-01", "2013-01-02"]), "datetime", False),
        (pd.to_datetime(["2013-01-01", None], utc=True), "datetime", True),
        (pd.Series([True, None], dtype=object), "boolean", True),
        (pd.Series([None, None], dtype=object), "float", True),
    ],
)
def test_each_way_of_holding_values_has_a_kind(values: Any, kind: str, nullable: bool) -> None:
    assert kinds(pd.DataFrame({"a": values})) == {"a": (kind, nullable)}


@pytest.mark.parametrize(
    "values", [[[1], [2]], [1 + 2j, 3j], pd.to_timedelta([1, 2], unit="s"), [dt.time(1), dt.time(2)], ["a", 1]]
)
def test_values_of_no_kind_are_refused_by_column(values: Any) -> None:
    with pytest.raises(ModelUnsupported, match="column odd"):
        kinds(pd.DataFrame({"odd": pd.Series(values)}))


def test_an_array_gets_numbered_names() -> None:
    fitted = LogisticRegression().fit(np.arange(8.0).reshape(4, 2), [0, 1, 0, 1])
    inferred = infer(fitted, np.arange(8.0).reshape(4, 2))
    assert [column.name for column in inferred.signature.inputs] == ["x0", "x1"]
    assert inferred.container == "array"


def test_a_frame_for_a_model_fitted_on_an_array_names_its_columns_and_stays_an_array() -> None:
    fitted = LogisticRegression().fit(np.arange(8.0).reshape(4, 2), [0, 1, 0, 1])
    inferred = infer(fitted, pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}))
    assert [column.name for column in inferred.signature.inputs] == ["a", "b"]
    assert inferred.container == "array"


@pytest.mark.parametrize("wrap", [dict, pa.table, pd.DataFrame])
def test_mappings_tables_and_frames_are_examples_alike(wrap: Any) -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": [0, 1, 0, 1]})
    fitted = DecisionTreeClassifier().fit(frame, [0, 1, 0, 1])
    inferred = infer(fitted, wrap({"a": [1.0, 2.0, 3.0, 4.0], "b": [0, 1, 0, 1]}))
    assert inferred.signature.inputs == (Column("a", "float"), Column("b", "integer"))


def test_without_an_example_only_a_plain_array_model_is_known() -> None:
    fitted = LinearRegression().fit([[0.0, 1.0], [1.0, 0.0]], [1.0, 2.0])
    assert infer(fitted, None).signature.inputs == (Column("x0", "float"), Column("x1", "float"))
    named = LinearRegression().fit(pd.DataFrame({"a": [0.0, 1.0]}), [1.0, 2.0])
    with pytest.raises(ModelUnsupported, match="without an example") as caught:
        infer(named, None)
    assert "example=" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("example", "says"),
    [
        (np.zeros((2, 3)), "has 3 columns"),
        (np.zeros(4), "shape"),
        (np.zeros((0, 2)), "empty"),
        (pd.DataFrame([[1.0, 2.0]], columns=["a", "a"]), "two columns named a"),
        (pd.DataFrame([[1.0, 2.0]], columns=[0, 1]), "not text"),
        ({"a": [1, 2], "b": [1]}, "no table"),
        ("text", "shape"),
    ],
)
def test_an_example_that_is_no_table_of_the_inputs_is_refused(example: Any, says: str) -> None:
    fitted = LogisticRegression().fit(np.arange(8.0).reshape(4, 2), [0, 1, 0, 1])
    with pytest.raises(ModelUnsupported, match=says):
        infer(fitted, example)


@pytest.mark.parametrize(
    "labels", [["no", "yes"] * 2, [True, False] * 2, [1.0, 2.0] * 2, np.array([3, 9, 3, 9], dtype="int8")]
)
def test_classes_are_plain_values_in_the_order_of_the_probabilities(labels: Any) -> None:
    fitted = DecisionTreeClassifier().fit([[0.0], [1.0], [2.0], [3.0]], labels)
    classes = infer(fitted, np.zeros((1, 1))).signature.classes
    assert classes == tuple(sorted(set(np.asarray(labels).tolist())))
    assert all(type(value) in {str, bool, int, float} for value in classes)


def test_a_model_of_several_targets_is_refused() -> None:
    fitted = DecisionTreeClassifier().fit([[0.0], [1.0]], [[0, 1], [1, 0]])
    with pytest.raises(ModelUnsupported, match="2 targets"):
        infer(fitted, np.zeros((1, 1)))


def test_categories_of_a_pandas_categorical_are_kept_in_order() -> None:
    frame = pd.DataFrame({"size": pd.Categorical(["s", "l"] * 10, categories=["s", "m", "l"]), "n": np.arange(20.0)})
    fitted = HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=2).fit(frame, [0, 1] * 10)
    inferred = infer(fitted, frame)
    assert inferred.columns[0].dtype == "category"
    assert inferred.columns[0].categories == ("s", "m", "l")


def test_a_regressor_has_no_classes() -> None:
    fitted = KNeighborsRegressor(1).fit([[0.0], [1.0]], [1.0, 2.0])
    assert infer(fitted, np.zeros((1, 1))).signature.classes == ()
