"""Rows reach the estimator as it was fitted with them, whatever they came as."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from mlops_cli.core.base.records import Column, Signature
from mlops_cli.core.models import frames
from mlops_cli.core.models.errors import WrongInputs
from mlops_cli.core.models.load import LoadedModel, load_model
from mlops_cli.core.models.manifest import ColumnType, ModelManifest
from mlops_cli.core.models.save import save_model


def manifest(kind: Any, dtype: str, **more: Any) -> ModelManifest:
    """Of a model with one input `a`, held as `dtype` when it was fitted."""
    return ModelManifest(
        flavor="sklearn-skops",
        file="model.skops",
        estimator="",
        signature=Signature((Column("a", kind, nullable=True),), "classification", (0, 1)),
        container="frame",
        columns=(ColumnType(dtype, **more),),
        python="",
        packages={},
        files={},
    )


def built(kind: Any, dtype: str, values: Any, **more: Any) -> pd.Series[Any]:
    return frames.build(manifest(kind, dtype, **more), pa.table({"a": values}))["a"]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory, model: Any, inputs: pd.DataFrame) -> LoadedModel:
    folder = tmp_path_factory.mktemp("frames") / "model"
    save_model(model, folder, example=inputs)
    return load_model(folder)


def test_columns_are_taken_by_name_and_others_ignored(loaded: LoadedModel, inputs: pd.DataFrame) -> None:
    mixed = inputs[inputs.columns[::-1]].assign(time_hour="2013-01-01", extra=1)
    assert np.array_equal(loaded.predict(mixed).labels, loaded.predict(inputs).labels)


def test_frame_table_batch_and_mapping_are_rows_alike(loaded: LoadedModel, inputs: pd.DataFrame) -> None:
    table = pa.Table.from_pandas(inputs, preserve_index=False)
    expected = loaded.predict(inputs).labels
    for rows in (table, table.combine_chunks().to_batches()[0], inputs.to_dict(orient="list")):
        assert np.array_equal(loaded.predict(rows).labels, expected)


def test_a_missing_column_is_named_with_what_the_model_takes(loaded: LoadedModel, inputs: pd.DataFrame) -> None:
    with pytest.raises(WrongInputs, match="no column distance, temp") as caught:
        loaded.predict(inputs.drop(columns=["temp", "distance"]))
    assert "carrier" in (caught.value.hint or "")


def test_null_and_nan_are_the_same_missing_number(loaded: LoadedModel, inputs: pd.DataFrame) -> None:
    one = pa.Table.from_pandas(inputs.head(1), preserve_index=False)
    place = one.column_names.index("pressure")
    with_null = one.set_column(place, "pressure", pa.array([None], pa.float64()))
    with_nan = one.set_column(place, "pressure", pa.array([float("nan")]))
    assert loaded.predict(with_null).scores.tolist() == loaded.predict(with_nan).scores.tolist()  # type: ignore[union-attr]


def test_a_column_of_nulls_without_a_type_is_all_missing(loaded: LoadedModel, inputs: pd.DataFrame) -> None:
    rows = {**inputs.head(2).to_dict(orient="list"), "pressure": [None, None]}
    assert len(loaded.predict(rows)) == 2


@pytest.mark.parametrize(
    ("kind", "values", "says"),
    [
        ("float", ["warm"], "'warm', which is not a float"),
        ("float", ["1.5"], "'1.5', which is not a float"),
        ("integer", [1.5], "1.5, which is not an integer"),
        ("integer", ["7"], "'7', which is not an integer"),
        ("boolean", [2], "2, which is not a boolean"),
        ("boolean", ["yes"], "'yes', which is not a boolean"),
        ("string", [7], "7, which is not a string"),
        ("datetime", ["noon"], "'noon', which is not a datetime"),
        ("integer", [float("inf")], "inf, which is not an integer"),
        ("float", [[1.0]], "which is not a float"),
    ],
)
def test_a_value_of_another_kind_is_shown(kind: str, values: Any, says: str) -> None:
    with pytest.raises(WrongInputs, match=says):
        built(kind, "float64", values)


@pytest.mark.parametrize(
    ("kind", "dtype", "values", "expected"),
    [
        ("float", "float64", [1, 2], [1.0, 2.0]),
        ("float", "float32", [1.5, None], [np.float32(1.5), np.float32("nan")]),
        ("float", "float64", [Decimal("1.5")], [1.5]),
        ("float", "float64", [True], [1.0]),
        ("integer", "int64", [1.0, 2.0], [1, 2]),
        ("integer", "int16", [1, 2], [1, 2]),
        ("integer", "int64", [1, None], [1.0, float("nan")]),
        ("integer", "Int64", [1, None], [1.0, float("nan")]),
        ("integer", "int64", [1.0, float("nan")], [1.0, float("nan")]),
        ("boolean", "bool", [1, 0], [True, False]),
        ("boolean", "boolean", [True, None], [1.0, float("nan")]),
    ],
)
def test_numbers_have_the_type_they_were_fitted_with_and_floats_where_missing(
    kind: str, dtype: str, values: Any, expected: Any
) -> None:
    np.testing.assert_array_equal(built(kind, dtype, values).to_numpy(), np.asarray(expected))


@pytest.mark.parametrize("values", [pa.array(["a", None]), pa.array(["a", None], pa.large_string())])
def test_text_misses_values_as_the_example_did(values: pa.Array) -> None:
    assert built("string", "object", values, missing="none").tolist() == ["a", None]
    second = built("string", "object", values, missing="nan").tolist()[1]
    assert isinstance(second, float)
    assert np.isnan(second)


def test_text_held_as_pandas_strings_misses_values_and_never_spells_them() -> None:
    for dtype in ("str", "string"):
        values = built("string", dtype, ["a", None])
        assert values.isna().tolist() == [False, True]
        assert values[0] == "a"


def test_dictionary_encoded_text_is_text() -> None:
    assert built("string", "object", pa.array(["a", "b", "a"]).dictionary_encode()).tolist() == ["a", "b", "a"]


def test_times_keep_the_zone_and_unit_of_the_example() -> None:
    noon = dt.datetime(2013, 1, 1, 12, tzinfo=dt.UTC)
    zoned = built("datetime", "datetime64[us, UTC]", [noon])
    assert str(zoned.dtype) == "datetime64[us, UTC]"
    assert zoned[0] == noon
    naive = built("datetime", "datetime64[ns]", ["2013-01-01T12:00:00Z"])
    assert str(naive.dtype) == "datetime64[ns]"
    assert naive[0] == pd.Timestamp("2013-01-01 12:00")


def test_an_unseen_category_comes_after_the_known_ones() -> None:
    values = built("string", "category", ["m", "xl", None], categories=("s", "m"))
    assert values.cat.categories.tolist() == ["s", "m", "xl"]
    assert values.cat.codes.tolist() == [1, 2, -1]
    numbers = built("integer", "category", [2, 9], categories=(1, 2))
    assert numbers.cat.categories.tolist() == [1, 2, 9]


def test_what_is_no_table_is_refused(loaded: LoadedModel) -> None:
    for rows in ([1, 2], {"a": [1], "b": [1, 2]}, "text"):
        with pytest.raises(WrongInputs, match="no table"):
            loaded.predict(rows)  # type: ignore[arg-type]


def test_what_the_estimator_refuses_is_wrong_inputs_and_no_bug(tmp_path: Path) -> None:
    fitted = LogisticRegression().fit(np.array([[0.0], [1.0]]), [0, 1])
    save_model(fitted, tmp_path / "model", example=np.array([[0.0], [1.0]]))
    with pytest.raises(WrongInputs, match="NaN"):
        load_model(tmp_path / "model").predict({"x0": [None, 1.0]})


def test_a_model_with_native_categories_predicts_the_same_from_arrow(tmp_path: Path) -> None:
    frame = pd.DataFrame({"size": pd.Categorical(list("smlx") * 30), "n": np.arange(120.0)})
    fitted = HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=5).fit(frame, [0, 1, 1, 0] * 30)
    save_model(fitted, tmp_path / "model", example=frame)
    plain = pa.table({"size": list("smlx") * 30, "n": np.arange(120.0)})
    predicted = load_model(tmp_path / "model").predict(plain)
    assert np.array_equal(predicted.scores, fitted.predict_proba(frame))


def test_one_hot_columns_meet_missing_text_as_they_were_fitted(tmp_path: Path) -> None:
    frame = pd.DataFrame({"color": ["red", None, "blue", "red", None, "blue"]})
    fitted = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression()).fit(frame, [0, 1, 0, 0, 1, 0])
    save_model(fitted, tmp_path / "model", example=frame)
    predicted = load_model(tmp_path / "model").predict({"color": ["red", None]})
    np.testing.assert_allclose(predicted.scores, fitted.predict_proba(frame.head(2)))


@given(values=st.lists(st.one_of(st.none(), st.floats(width=64)), min_size=1, max_size=20))
def test_any_float_survives_the_way_to_the_frame(values: list[float | None]) -> None:
    got = built("float", "float64", pa.array(values, pa.float64())).tolist()
    expected = [float("nan") if value is None else value for value in values]
    np.testing.assert_array_equal(got, expected)


@given(values=st.lists(st.one_of(st.none(), st.text(max_size=5)), min_size=1, max_size=20))
def test_any_text_survives_the_way_to_the_frame(values: list[str | None]) -> None:
    encodable = [value if value is None or value.isprintable() else "x" for value in values]
    assert built("string", "object", pa.array(encodable, pa.string()), missing="none").tolist() == encodable
