"""A saved model comes back predicting the same, or does not come back at all."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from model_kit import fit_flights
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.cluster import KMeans
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import LinearSVC

from mlops_cli.core.errors import Exit, NotFound, ProjectError, WouldOverwrite
from mlops_cli.core.models import skops_file
from mlops_cli.core.models.errors import ModelCorrupt, ModelUnsupported, ModelUntrusted
from mlops_cli.core.models.load import load_model
from mlops_cli.core.models.manifest import FILE_NAME, hash_files, read_manifest
from mlops_cli.core.models.save import save_model


class OddClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A class of the user's own, which no list of mlo's names."""

    def fit(self, X: Any, y: Any) -> OddClassifier:  # noqa: N803
        self.classes_ = np.unique(y)
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X: Any) -> Any:  # noqa: N803
        return np.full(len(X), self.classes_[0])


def test_the_flights_pipeline_comes_back_with_the_same_probabilities(
    tmp_path: Path, model: Any, inputs: pd.DataFrame
) -> None:
    saved = save_model(model, tmp_path / "model", example=inputs)
    loaded = load_model(tmp_path / "model", registered=saved.files)
    predicted = loaded.predict(pa.Table.from_pandas(inputs, preserve_index=False))
    assert np.array_equal(predicted.scores, model.predict_proba(inputs))
    assert np.array_equal(predicted.labels, model.predict(inputs))


def test_every_file_of_the_folder_has_its_sha256_recorded(tmp_path: Path, model: Any, inputs: pd.DataFrame) -> None:
    saved = save_model(model, tmp_path / "model", example=inputs)
    assert set(saved.files) == {FILE_NAME, "model.skops", "example.parquet"}
    assert saved.files == hash_files(tmp_path / "model")


def test_the_same_model_trained_again_is_the_same_bytes(
    tmp_path: Path, rows: pd.DataFrame, inputs: pd.DataFrame
) -> None:
    first = save_model(fit_flights(rows), tmp_path / "one", example=inputs)
    second = save_model(fit_flights(rows), tmp_path / "two", example=inputs)
    assert first.files == second.files


@pytest.mark.parametrize("name", [FILE_NAME, "model.skops", "example.parquet"])
def test_a_changed_file_is_refused_with_exit_7(tmp_path: Path, model: Any, inputs: pd.DataFrame, name: str) -> None:
    saved = save_model(model, tmp_path / "model", example=inputs)
    path = tmp_path / "model" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelCorrupt, match=name) as caught:
        load_model(tmp_path / "model", registered=saved.files)
    assert caught.value.exit_code == Exit.INTEGRITY


def test_a_changed_model_is_noticed_without_a_registry_too(tmp_path: Path, model: Any, inputs: pd.DataFrame) -> None:
    save_model(model, tmp_path / "model", example=inputs)
    path = tmp_path / "model" / "model.skops"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelCorrupt, match="not the file that was recorded"):
        load_model(tmp_path / "model")


def test_a_missing_file_is_named(tmp_path: Path, model: Any, inputs: pd.DataFrame) -> None:
    saved = save_model(model, tmp_path / "model", example=inputs)
    (tmp_path / "model" / "example.parquet").unlink()
    with pytest.raises(ModelCorrupt, match=r"lacks example\.parquet"):
        load_model(tmp_path / "model", registered=saved.files)


def test_a_manifest_that_names_a_file_outside_is_refused(tmp_path: Path, model: Any, inputs: pd.DataFrame) -> None:
    save_model(model, tmp_path / "model", example=inputs)
    path = tmp_path / "model" / FILE_NAME
    path.write_text(path.read_text().replace('"model.skops"', '"../model.skops"'))
    with pytest.raises(ModelCorrupt) as caught:
        load_model(tmp_path / "model", registered=hash_files(tmp_path / "model"))
    assert "no recorded sha256" in caught.value.message


def test_a_folder_without_a_model_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="is not a model") as caught:
        read_manifest(tmp_path)
    assert "log_model" in (caught.value.hint or "")


def test_a_manifest_of_a_newer_mlo_asks_for_an_upgrade(tmp_path: Path, model: Any, inputs: pd.DataFrame) -> None:
    save_model(model, tmp_path / "model", example=inputs)
    path = tmp_path / "model" / FILE_NAME
    path.write_text(json.dumps({"version": 99, "all else": "unknown"}))
    with pytest.raises(ProjectError, match="version 99") as caught:
        load_model(tmp_path / "model")
    assert "upgrade" in (caught.value.hint or "")


@pytest.mark.parametrize("data", [b"", b"not json", b"[]", b'{"version": 1}', b"\xff\xfe"])
def test_a_damaged_manifest_is_corrupt_and_no_bug(tmp_path: Path, data: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(data)
    with pytest.raises(ModelCorrupt):
        load_model(tmp_path)


def test_a_class_of_ones_own_is_refused_at_saving_and_named(tmp_path: Path) -> None:
    fitted = OddClassifier().fit(np.zeros((4, 2)), [0, 1, 0, 1])
    with pytest.raises(ModelUntrusted, match="OddClassifier") as caught:
        save_model(fitted, tmp_path / "model", example=np.zeros((4, 2)))
    assert any(name.endswith(".OddClassifier") for name in caught.value.types)
    assert "trusted" in (caught.value.hint or "")
    assert not (tmp_path / "model").exists()


def test_a_class_the_project_trusts_is_saved_and_loaded(tmp_path: Path) -> None:
    fitted = OddClassifier().fit(np.zeros((4, 2)), [0, 1, 0, 1])
    name = f"{OddClassifier.__module__}.OddClassifier"
    save_model(fitted, tmp_path / "model", example=np.zeros((4, 2)), trusted=[name])
    assert load_model(tmp_path / "model", trusted=[name]).predict({"x0": [1.0], "x1": [2.0]}).labels.tolist() == [0]
    with pytest.raises(ModelUntrusted, match="OddClassifier"):
        load_model(tmp_path / "model")


def test_a_crafted_file_that_asks_for_a_shell_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    data = skops_file.dump(LogisticRegression().fit([[0.0], [1.0]], [0, 1]))
    path = tmp_path / "model.skops"
    path.write_bytes(data)
    with zipfile.ZipFile(path) as archive:
        schema = archive.read("schema.json").decode()
        others = {name: archive.read(name) for name in archive.namelist() if name != "schema.json"}
    schema = schema.replace('"__class__":"LogisticRegression"', '"__class__":"system"')
    schema = schema.replace('"__module__":"sklearn.linear_model._logistic"', '"__module__":"os"')
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("schema.json", schema)
        for name, content in others.items():
            archive.writestr(name, content)
    with pytest.raises(ModelUntrusted, match=r"os\.system") as caught:
        skops_file.load(path.read_bytes())
    assert caught.value.types == ("os.system",)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"not a zip file at all"])
def test_bytes_that_are_no_skops_file_are_corrupt(data: bytes) -> None:
    with pytest.raises(ModelCorrupt):
        skops_file.load(data)


def test_a_truncated_skops_file_is_corrupt() -> None:
    data = skops_file.dump(LogisticRegression().fit([[0.0], [1.0]], [0, 1]))
    for length in range(0, len(data), 97):
        with pytest.raises(ModelCorrupt):
            skops_file.load(data[:length])


def test_a_lambda_in_a_pipeline_cannot_be_saved_safely(tmp_path: Path) -> None:
    fitted = make_pipeline(FunctionTransformer(lambda rows: rows), GaussianNB()).fit([[0.0], [1.0]], [0, 1])
    with pytest.raises((ModelUnsupported, ModelUntrusted)):
        save_model(fitted, tmp_path / "model", example=np.array([[0.0], [1.0]]))


@pytest.mark.parametrize(
    ("thing", "says"),
    [
        ({"a": 1}, "builtins.dict"),
        (LogisticRegression, "the class LogisticRegression"),
        (LogisticRegression(), "not fitted"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_fitted_estimator_is_named(tmp_path: Path, thing: Any, says: str) -> None:
    with pytest.raises(ModelUnsupported, match=says):
        save_model(thing, tmp_path / "model", example=np.zeros((2, 1)))


def test_a_clusterer_is_neither_classifier_nor_regressor(tmp_path: Path) -> None:
    fitted = KMeans(2, n_init=1).fit(np.random.default_rng(0).normal(size=(20, 2)))
    with pytest.raises(ModelUnsupported, match="neither a classifier nor a regressor"):
        save_model(fitted, tmp_path / "model", example=np.zeros((2, 2)))


def test_an_example_with_the_target_still_in_it_is_refused(tmp_path: Path, model: Any, rows: pd.DataFrame) -> None:
    with pytest.raises(ModelUnsupported, match="late only in the example"):
        save_model(model, tmp_path / "model", example=rows)


def test_columns_in_another_order_are_refused(tmp_path: Path, model: Any, inputs: pd.DataFrame) -> None:
    with pytest.raises(ModelUnsupported, match="another order"):
        save_model(model, tmp_path / "model", example=inputs[inputs.columns[::-1]])


def test_a_model_is_replaced_whole_and_a_failed_save_leaves_the_old_one(
    tmp_path: Path, model: Any, inputs: pd.DataFrame
) -> None:
    before = save_model(model, tmp_path / "model", example=inputs)
    with pytest.raises(ModelUnsupported):
        save_model(model, tmp_path / "model", example=inputs.drop(columns="temp"))
    assert hash_files(tmp_path / "model") == before.files
    simple = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    save_model(simple, tmp_path / "model", example=np.array([[0.0], [1.0]]))
    assert load_model(tmp_path / "model").signature.inputs[0].name == "x0"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_with_other_files_is_not_overwritten(tmp_path: Path, model: Any, inputs: pd.DataFrame) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("keep me")
    with pytest.raises(WouldOverwrite):
        save_model(model, tmp_path / "notes", example=inputs)
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_a_pickle_loads_only_when_its_sha256_is_registered(tmp_path: Path, model: Any, inputs: pd.DataFrame) -> None:
    saved = save_model(model, tmp_path / "model", example=inputs, pickle=True)
    assert saved.flavor == "sklearn-pickle"
    with pytest.raises(ModelUntrusted, match="pickle"):
        load_model(tmp_path / "model")
    with pytest.raises(ModelUntrusted, match="pickle"):
        load_model(tmp_path / "model", registered={})
    loaded = load_model(tmp_path / "model", registered=saved.files)
    assert np.array_equal(loaded.predict(inputs).labels, model.predict(inputs))
    others = {**saved.files, "model.joblib": "0" * 64}
    with pytest.raises(ModelCorrupt):
        load_model(tmp_path / "model", registered=others)


def test_a_regression_answers_floats_and_no_scores(tmp_path: Path) -> None:
    fitted = LinearRegression().fit([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0])
    save_model(fitted, tmp_path / "model", example=np.array([[0.0], [1.0], [2.0]]))
    loaded = load_model(tmp_path / "model")
    predicted = loaded.predict({"x0": [3.0]})
    assert loaded.signature.task == "regression"
    assert predicted.labels.tolist() == pytest.approx([7.0])
    assert predicted.scores is None


def test_a_classifier_without_probabilities_answers_labels_alone(tmp_path: Path) -> None:
    fitted = LinearSVC().fit([[0.0], [1.0], [2.0], [3.0]], ["no", "no", "yes", "yes"])
    save_model(fitted, tmp_path / "model", example=np.array([[0.0], [1.0]]))
    predicted = load_model(tmp_path / "model").predict({"x0": [-5.0, 9.0]})
    assert predicted.labels.tolist() == ["no", "yes"]
    assert predicted.scores is None


def test_no_rows_get_no_answers(tmp_path: Path, model: Any, inputs: pd.DataFrame) -> None:
    save_model(model, tmp_path / "model", example=inputs)
    predicted = load_model(tmp_path / "model").predict(inputs.head(0))
    assert len(predicted) == 0
    assert predicted.scores is not None
    assert predicted.scores.shape == (0, 2)
