"""Scores under the names that gates use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from model_kit import flights
from sklearn import metrics
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.svm import LinearSVC

from mlops_cli.core.errors import Exit, ProjectError, TooLittleData, UsageError
from mlops_cli.core.models.load import LoadedModel, load_model
from mlops_cli.core.models.save import save_model
from mlops_cli.core.models.score import CLASSIFICATION, REGRESSION, SCORES, default_scores, score


def saved(folder: Path, estimator: Any, example: Any) -> LoadedModel:
    save_model(estimator, folder / "model", example=example)
    return load_model(folder / "model")


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory, model: Any, inputs: pd.DataFrame) -> LoadedModel:
    return saved(tmp_path_factory.mktemp("score"), model, inputs)


@pytest.fixture(scope="module")
def fresh() -> pd.DataFrame:
    return flights(400, seed=9)


def test_scores_of_two_classes_are_scikit_learns(binary: LoadedModel, fresh: pd.DataFrame, model: Any) -> None:
    got = score(binary, pa.Table.from_pandas(fresh), "late", CLASSIFICATION)
    truth, rows = fresh["late"], fresh.drop(columns="late")
    probability, labels = model.predict_proba(rows)[:, 1], model.predict(rows)
    assert got == pytest.approx(
        {
            "auc": metrics.roc_auc_score(truth, probability),
            "accuracy": metrics.accuracy_score(truth, labels),
            "precision": metrics.precision_score(truth, labels),
            "recall": metrics.recall_score(truth, labels),
            "f1": metrics.f1_score(truth, labels),
            "log_loss": metrics.log_loss(truth, probability),
            "brier": metrics.brier_score_loss(truth, probability),
        }
    )
    assert all(type(value) is float for value in got.values())


def test_auc_is_about_the_second_class_whatever_the_labels_are_called(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(200, 1))
    words = np.where(rows[:, 0] + random.normal(size=200) > 0, "yes", "no")
    loaded = saved(tmp_path, LogisticRegression().fit(rows, words), rows)
    table = pa.table({"x0": rows[:, 0], "answer": words})
    expected = metrics.roc_auc_score(words == "yes", loaded.estimator.predict_proba(rows)[:, 1])
    assert score(loaded, table, "answer", ["auc"])["auc"] == pytest.approx(expected)


def test_scores_of_three_classes_are_means_over_classes(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    rows = random.normal(size=(300, 2))
    truth = random.integers(0, 3, 300) + 5
    rows[:, 0] += truth
    fitted = LogisticRegression().fit(rows, truth)
    loaded = saved(tmp_path, fitted, rows)
    table = pa.table({"x0": rows[:, 0], "x1": rows[:, 1], "y": truth})
    got = score(loaded, table, "y", CLASSIFICATION)
    probability, labels = fitted.predict_proba(rows), fitted.predict(rows)
    one_hot = (truth[:, None] == fitted.classes_).astype(float)
    assert got == pytest.approx(
        {
            "auc": metrics.roc_auc_score(truth, probability, multi_class="ovr"),
            "accuracy": metrics.accuracy_score(truth, labels),
            "precision": metrics.precision_score(truth, labels, average="macro"),
            "recall": metrics.recall_score(truth, labels, average="macro"),
            "f1": metrics.f1_score(truth, labels, average="macro"),
            "log_loss": metrics.log_loss(truth, probability),
            "brier": float(np.mean(np.sum((probability - one_hot) ** 2, axis=1))),
        }
    )


def test_scores_of_a_regression(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    rows = random.normal(size=(100, 1))
    truth = 3 * rows[:, 0] + random.normal(size=100)
    fitted = LinearRegression().fit(rows, truth)
    loaded = saved(tmp_path, fitted, rows)
    got = score(loaded, pa.table({"x0": rows[:, 0], "y": truth}), "y", REGRESSION)
    answers = fitted.predict(rows)
    assert got == pytest.approx(
        {
            "rmse": metrics.root_mean_squared_error(truth, answers),
            "mae": metrics.mean_absolute_error(truth, answers),
            "r2": metrics.r2_score(truth, answers),
        }
    )
    with pytest.raises(TooLittleData, match="targets that differ"):
        score(loaded, pa.table({"x0": [1.0, 2.0], "y": [1.0, 1.0]}), "y", ["r2"])


def test_rows_without_a_label_are_left_out(binary: LoadedModel, fresh: pd.DataFrame) -> None:
    table = pa.Table.from_pandas(fresh)
    place = table.column_names.index("late")
    holed = pa.array([None if row % 2 else value for row, value in enumerate(fresh["late"])], pa.int64())
    half = score(binary, table.set_column(place, "late", holed), "late", ["accuracy"])
    assert half == score(binary, pa.Table.from_pandas(fresh.iloc[::2]), "late", ["accuracy"])
    as_floats = holed.cast(pa.float64()).fill_null(float("nan"))
    assert score(binary, table.set_column(place, "late", as_floats), "late", ["accuracy"]) == half


@pytest.mark.parametrize("kind", ["bool", "float64", "int8"])
def test_labels_of_another_type_are_the_same_labels(binary: LoadedModel, fresh: pd.DataFrame, kind: str) -> None:
    other = fresh.assign(late=fresh["late"].astype(kind))  # type: ignore[call-overload]
    names = ["auc", "accuracy"]
    assert score(binary, pa.Table.from_pandas(other), "late", names) == score(
        binary, pa.Table.from_pandas(fresh), "late", names
    )


def test_no_labelled_row_is_too_little(binary: LoadedModel, fresh: pd.DataFrame) -> None:
    table = pa.Table.from_pandas(fresh.drop(columns="late")).append_column("late", pa.nulls(len(fresh), pa.int64()))
    with pytest.raises(TooLittleData, match="none of 400 rows has a late") as caught:
        score(binary, table, "late", ["accuracy"])
    assert caught.value.exit_code == Exit.TOO_LITTLE


def test_auc_needs_both_classes_and_accuracy_does_not(binary: LoadedModel, fresh: pd.DataFrame) -> None:
    table = pa.Table.from_pandas(fresh[fresh["late"] == 0])
    with pytest.raises(TooLittleData, match="is 1"):
        score(binary, table, "late", ["auc"])
    assert set(score(binary, table, "late", ["accuracy", "log_loss", "precision"])) == {
        "accuracy",
        "log_loss",
        "precision",
    }


def test_an_unknown_label_is_shown(binary: LoadedModel, fresh: pd.DataFrame) -> None:
    table = pa.Table.from_pandas(fresh.assign(late=2))
    with pytest.raises(ProjectError, match="holds 2, which the model does not know; its classes are 0, 1"):
        score(binary, table, "late", ["accuracy"])


def test_an_absent_target_is_named(binary: LoadedModel, fresh: pd.DataFrame) -> None:
    with pytest.raises(ProjectError, match="no column delayed"):
        score(binary, pa.Table.from_pandas(fresh), "delayed", ["auc"])


@pytest.mark.parametrize("name", ["rmse", "AUC", "roc", ""])
def test_a_name_that_is_no_score_of_the_task_is_refused(binary: LoadedModel, fresh: pd.DataFrame, name: str) -> None:
    with pytest.raises(UsageError, match="not a score of a classification model") as caught:
        score(binary, pa.Table.from_pandas(fresh), "late", [name])
    assert "auc" in (caught.value.hint or "")


def test_scores_that_need_probabilities_say_so(tmp_path: Path) -> None:
    loaded = saved(tmp_path, LinearSVC().fit([[0.0], [1.0]], [0, 1]), np.array([[0.0], [1.0]]))
    assert default_scores(loaded) == ("accuracy", "precision", "recall", "f1")
    with pytest.raises(UsageError, match="needs probabilities"):
        score(loaded, pa.table({"x0": [0.0, 1.0], "y": [0, 1]}), "y", ["auc"])


def test_every_score_belongs_to_one_task() -> None:
    assert sorted(SCORES) == sorted({*CLASSIFICATION, *REGRESSION})
