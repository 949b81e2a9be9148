"""Losses of a regression foretold without labels, and what registration keeps of the evaluation rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression

from mlops_cli.core.base.records import Column
from mlops_cli.core.drift.performance.losses import LossModel
from mlops_cli.core.drift.performance.metrics import Outcomes, measure
from mlops_cli.core.errors import TooLittleData
from mlops_cli.core.models.load import load_model
from mlops_cli.core.models.save import save_model
from mlops_cli.core.workflows.performance_evaluation import evaluate_answers

INPUTS = (Column("x", "float", nullable=True), Column("kind", "string"), Column("late", "boolean"))


def world(seed: int, n: int, *, shift: float = 0.0, bias: float = 0.0) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """Rows, answers and truths; the error grows with x, and `bias` is a change that no input shows."""
    random = np.random.default_rng(seed)
    x = random.uniform(0, 1, n) + shift
    answers = 3 * x
    truth = answers + bias + random.normal(0, 0.5 + x, n)
    held = np.where(random.random(n) < 0.02, np.nan, x)
    table = pa.table({"x": held, "kind": random.choice(["a", "b"], n), "late": random.random(n) < 0.5})
    return table, answers, truth


def test_losses_follow_covariate_shift_and_miss_concept_drift() -> None:
    model = LossModel.fit(INPUTS, *world(0, 1500, shift=0.25)[:2], world(0, 1500, shift=0.25)[2])
    for shift in (0.0, 0.5):
        table, answers, truth = world(1, 1200, shift=shift)
        found, real = model.estimate(table, answers), measure(Outcomes(truth=truth, answers=answers))
        for name in ("mae", "rmse"):
            assert found[name].value == pytest.approx(real[name].value, rel=0.15)
            assert found[name].lower < found[name].value < found[name].upper
    table, answers, truth = world(2, 1200, shift=0.25, bias=5)
    assert (
        measure(Outcomes(truth=truth, answers=answers))["mae"].lower > 2 * model.estimate(table, answers)["mae"].upper
    )
    assert model.estimate(table.slice(0, 0), answers[:0]) == {}


def test_few_evaluation_rows_foretell_nothing() -> None:
    table, answers, truth = world(0, 99)
    with pytest.raises(TooLittleData, match="needs 100 evaluation rows; there are 99"):
        LossModel.fit(INPUTS, table, answers, truth)


def test_registration_keeps_metrics_with_intervals_and_what_scores_meant(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    frame = pd.DataFrame({"x": random.normal(size=900)})
    late = (frame["x"] + random.normal(size=900) > 0).astype(int)
    save_model(LogisticRegression().fit(frame[:400], late[:400]), tmp_path / "m", example=frame[:400])
    table = pa.Table.from_pandas(frame.assign(late=late), preserve_index=False).slice(400)
    kept = evaluate_answers(load_model(tmp_path / "m"), table, "late", None)
    assert kept is not None
    assert kept.calibration is not None
    assert (kept.rows, kept.calibration.rows) == (500, 500)
    assert kept.metrics["auc"].lower < kept.metrics["auc"].value < kept.metrics["auc"].upper
    assert evaluate_answers(load_model(tmp_path / "m"), table, "nothing", None) is None
