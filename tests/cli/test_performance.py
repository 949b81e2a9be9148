"""mlo drift performance: labels, windows, verdicts, estimates."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LinearRegression

from mlops_cli.core.base.records import Column, Entry, Signature
from mlops_cli.core.drift.performance.calibration import fit_map
from mlops_cli.core.drift.performance.estimates import fit_maps
from mlops_cli.core.drift.performance.evaluation import Evaluated
from mlops_cli.core.drift.performance.metrics import Outcomes, measure
from mlops_cli.core.drift.profile import Profile
from mlops_cli.core.drift.profiling import make_profile
from mlops_cli.core.models.manifest import hash_files, read_manifest
from mlops_cli.core.models.save import save_model
from mlops_cli.core.predictions.segment import Answered, encode, segment_name
from mlops_cli.core.registry.records import Evaluation, Version
from mlops_cli.core.store.snapshot import record
from mlops_cli.core.workflows.workspace import Workspace

YAML = """\
name: flights
model: {name: flights, time: at, evaluate: {data: test.parquet, target: late}}
drift: {window: 24h, min_rows: 100}
"""
NOW = "2013-05-01T06:00:00Z"
DAY = datetime(2013, 4, 30, 12, tzinfo=UTC)
SIGNATURE = Signature((Column("x", "float"),), "classification", (0, 1))
NOTHING = Entry("xxh128:" + "0" * 32, "dir", 0)
Log = Callable[..., np.ndarray]


def opened(folder: Path) -> Workspace:
    return Workspace.find(folder, {"MLO_NOW": NOW, "MLO_ACTOR": "Ada"})


def rows(seed: int, n: int, *, flipped: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, scores and truths; `flipped` is the share whose truth is the other one (concept drift)."""
    random = np.random.default_rng(seed)
    x = random.normal(0, 1.5, n)
    scores = 1 / (1 + np.exp(-x))
    return x, scores, (random.random(n) < scores) ^ (random.random(n) < flipped)


def evaluated() -> tuple[bytes, dict[str, float | None]]:
    x, scores, truth = rows(0, 2000)
    outcomes = Outcomes(truth=truth.astype(int), answers=(scores > 0.5).astype(int), scores=scores, classes=("0", "1"))
    metrics = measure(outcomes)
    profile = make_profile(pa.table({"x": x}), inputs=SIGNATURE.inputs)
    kept = Evaluated(rows=2000, metrics=metrics, calibration=fit_map(truth, scores))
    data = msgspec.structs.replace(profile, evaluation=kept).to_bytes()
    assert Profile.from_bytes(data).evaluation == kept
    return data, {name: one.value for name, one in metrics.items()}


@pytest.fixture
def project(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose flights@1 is in production; no model file is anywhere."""
    (here / "mlo.yaml").write_text(YAML)
    monkeypatch.setenv("MLO_NOW", NOW)
    workspace = opened(here)
    data, scores = evaluated()
    register(workspace, SIGNATURE, scores, str(workspace.store.put_bytes(data)))
    return here


def register(workspace: Workspace, signature: Signature, scores: dict[str, Any], profile: str | None) -> None:
    version = Version(
        name="flights",
        version=0,
        run="ab" * 16,
        model=NOTHING,
        files={},
        signature=signature,
        scores=scores,
        evaluate=Evaluation(NOTHING, "late", "test.parquet"),
        profile=profile,
    )
    workspace.registry.add_version(version)
    workspace.registry.record("promote", "flights@1", {"alias": "production", "before": None, "gates": []})


@pytest.fixture
def log(project: Path) -> Log:
    """Append one request to the log, and return the truths of its rows."""

    def append(seed: int, n: int = 600, *, days_ago: int = 0, flipped: float = 0.0) -> np.ndarray:
        x, scores, truth = rows(seed, n, flipped=flipped)
        arrived = DAY - timedelta(days=days_ago)
        batch = Answered(
            request=f"r{seed}",
            arrived=arrived,
            model="flights",
            version=1,
            signature=SIGNATURE,
            columns={"x": x.tolist()},
            predictions=(scores > 0.5).astype(int).tolist(),
            scores=scores.tolist(),
            time_column="at",
            times=[arrived + timedelta(seconds=row) for row in range(n)],
        )
        path = project / ".mlo" / "predictions" / segment_name([batch])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode([batch]))
        return truth.astype(int)

    return append


def label(mlo: Any, seed: int, truth: np.ndarray, count: int | None = None) -> None:
    kept = truth[:count]
    table = {"_request": [f"r{seed}"] * len(kept), "_row": list(range(len(kept))), "late": kept.tolist()}
    pq.write_table(pa.table(table), "labels.parquet")
    mlo("feedback", "--file", "labels.parquet")


def events(folder: Path) -> list[Any]:
    return [event for event in opened(folder).registry.history("flights") if event.kind == "performance"]


def test_a_quiet_week_answers_0_beside_the_training_value(mlo: Any, project: Path, log: Log) -> None:
    for days in range(3):
        label(mlo, days + 1, log(days + 1, days_ago=days))
    answer = mlo("drift", "performance", "--windows", "3")
    assert answer.stdout.startswith("quiet: auc of flights@1 is 0.")
    assert "at registration" in answer.stdout.splitlines()[3]
    assert "2013-04-30 to 2013-05-01" in answer.stdout
    assert "calibration, expected error 0.0" in answer.stdout
    (event,) = events(project)
    assert (event.subject, event.data["verdict"], event.data["metric"]) == ("flights@1", "quiet", "auc")
    mlo("drift", "performance", "--windows", "3")
    assert len(events(project)) == 1


def test_a_change_of_concept_is_a_breach_with_the_time_it_began(mlo: Any, log: Log) -> None:
    label(mlo, 1, log(1, 3500, days_ago=1))  # more than the detector's warm-up
    label(mlo, 2, log(2, 2000, flipped=0.45))
    document = mlo("drift", "performance", "--windows", "2", "--json", exit_code=3).json
    assert (document["verdict"], document["exit_code"]) == ("breach", 3)
    assert [window["verdict"] for window in document["windows"]] == ["quiet", "breach"]
    assert "auc" in document["windows"][1]["breaches"]
    assert document["windows"][1]["metrics"]["auc"]["upper"] < document["training"]["auc"]
    assert document["watched"]
    first = document["changes"][0]
    assert "2013-04-30T12:00:00" < first < "2013-04-30T12:33:20"
    # Without labels the same window looks as good as ever, which is what the caveat says.
    guess = document["windows"][1]["estimated"]["auc"]
    assert abs(guess["value"] - document["training"]["auc"]) < 0.05
    assert any("blind to concept drift" in note for note in document["notes"])


def test_three_classes_are_judged_calibrated_and_estimated_by_all_their_scores(
    mlo: Any, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "mlo.yaml").write_text(YAML)
    monkeypatch.setenv("MLO_NOW", NOW)
    classes = ("early", "late", "never")
    signature = Signature((Column("x", "float"),), "classification", classes)

    def draw(seed: int, n: int) -> Outcomes:
        random = np.random.default_rng(seed)
        scores = random.dirichlet((1.0, 2.0, 3.0), n)
        truth = (scores.cumsum(axis=1) < random.random((n, 1))).sum(axis=1)
        return Outcomes(truth=truth, answers=scores.argmax(axis=1), scores=scores, classes=classes)

    workspace, known = opened(here), draw(1, 3000)
    kept = Evaluated(rows=3000, metrics=measure(known), calibrations=fit_maps(known))
    profile = make_profile(pa.table({"x": np.zeros(30)}), inputs=signature.inputs)
    data = msgspec.structs.replace(profile, evaluation=kept).to_bytes()
    values = {name: one.value for name, one in kept.metrics.items()}
    register(workspace, signature, values, str(workspace.store.put_bytes(data)))
    asked = draw(2, 900)
    assert asked.scores is not None
    batch = Answered(
        request="r2",
        arrived=DAY,
        model="flights",
        version=1,
        signature=signature,
        columns={"x": [0.0] * 900},
        predictions=[classes[place] for place in asked.answers],
        all_scores=asked.scores.tolist(),
        time_column="at",
        times=[DAY + timedelta(seconds=row) for row in range(900)],
    )
    path = here / ".mlo" / "predictions" / segment_name([batch])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode([batch]))
    truth = [classes[place] for place in asked.truth]
    table = {"_request": ["r2"] * 600, "_row": list(range(600)), "late": truth[:600]}
    pq.write_table(pa.table(table), "labels.parquet")
    mlo("feedback", "--file", "labels.parquet")
    document = mlo("drift", "performance", "--windows", "1", "--json").json
    (window,) = document["windows"]
    assert (document["metric"], document["verdict"], window["labelled"]) == ("auc", "quiet", 600)
    assert set(window["metrics"]) == {"auc", "accuracy", "precision", "recall", "f1", "log_loss", "brier"}
    for name, guess in window["estimated"].items():
        assert guess["lower"] <= window["metrics"][name]["upper"], name
        assert guess["upper"] >= window["metrics"][name]["lower"], name
    assert set(window["estimated"]) == set(window["metrics"])
    assert document["calibration_error"] < 0.1
    assert sum(one["n"] for one in document["calibration"]) == 600


def test_estimates_stand_where_labels_are_missing_and_decide_nothing(mlo: Any, log: Log) -> None:
    log(1)
    answer = mlo("drift", "performance", "--windows", "1", exit_code=4)
    assert answer.stdout.startswith("too few labels to tell")
    assert "≈ 0." in answer.stdout
    assert "note: estimated without labels: it holds if the inputs drift and their meaning does not" in answer.stdout
    assert "mlo feedback records them" in answer.stdout


def test_few_labels_decide_nothing(mlo: Any, log: Log) -> None:
    label(mlo, 1, log(1), 20)
    document = mlo("drift", "performance", "--windows", "1", "--json", exit_code=4).json
    assert (document["windows"][0]["labelled"], document["verdict"]) == (20, "too_little")


def test_labels_too_few_for_the_detector_of_changes_are_said_to_be(mlo: Any, project: Path, log: Log) -> None:
    label(mlo, 1, log(1, 1240))
    answer = mlo("drift", "performance", "--windows", "1")
    assert "note: 1,240 labelled rows: the detector of changes, effective, needs 3,000\n" in answer.stdout
    document = mlo("drift", "performance", "--windows", "1", "--json").json
    assert (document["detector"], document["changes"], document["watched"]) == ("effective", [], False)
    assert events(project)[-1].data["watched"] is False
    other = mlo("drift", "performance", "--windows", "1", "--detector", "adwin", "--json").json
    assert other["watched"]
    assert not any("detector of changes" in note for note in other["notes"])


def test_labels_that_come_weeks_later_and_unknown_ones_are_taken(
    mlo: Any, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = log(1)
    monkeypatch.setenv("MLO_NOW", "2013-05-29T06:00:00Z")
    label(mlo, 1, truth)
    mlo("feedback", "nobody", "1")
    document = mlo("drift", "performance", "--window", "1d", "--windows", "29", "--json").json
    assert [window["labelled"] for window in document["windows"]] == [600, *[0] * 28]
    assert document["unknown"] == 1


def test_a_later_label_counts(mlo: Any, log: Log) -> None:
    truth = log(1)
    label(mlo, 1, 1 - truth)
    assert mlo("drift", "performance", "--windows", "1", "--json", exit_code=3).json["windows"][0]["labelled"] == 600
    label(mlo, 1, truth)
    mlo("drift", "performance", "--windows", "1")


def test_names_that_there_are_not_are_refused_before_a_row_is_read(mlo: Any, project: Path) -> None:
    """Without a log: what is asked for in vain is said all the same."""
    stderr = mlo("drift", "performance", "--metric", "rocauc", exit_code=2).stderr
    assert "rocauc is no metric" in stderr
    assert "use one of auc, accuracy" in stderr
    assert "adwinn" in mlo("drift", "performance", "--detector", "adwinn", exit_code=2).stderr


def test_the_metric_may_be_chosen(mlo: Any, log: Log) -> None:
    label(mlo, 1, log(1))
    assert mlo("drift", "performance", "--metric", "brier", "--json").json["metric"] == "brier"
    stderr = mlo("drift", "performance", "--metric", "rmse", exit_code=2).stderr
    assert "rmse is no metric of the logged answers of flights@1" in stderr
    assert "there is no detector 'x'" in mlo("drift", "performance", "--detector", "x", exit_code=2).stderr


def test_labels_of_a_file_by_request_are_used_and_not_kept(mlo: Any, project: Path, log: Log) -> None:
    truth = log(1)
    lines = [f"r1,{row},{value}" for row, value in enumerate(truth)]
    (project / "labels.csv").write_text("\n".join(["request_id,row,label", *lines]))
    document = mlo("drift", "performance", "--labels", "labels.csv", "--windows", "1", "--json").json
    assert document["windows"][0]["labelled"] == 600
    assert not (project / ".mlo" / "predictions" / "labels").exists()


def test_a_file_of_scores_and_truths_is_judged_by_itself(mlo: Any, project: Path) -> None:
    _, scores, truth = rows(5, 800)
    pq.write_table(pa.table({"_score": scores, "late": truth.astype(int)}), "scored.parquet")
    document = mlo("drift", "performance", "--labels", "scored.parquet", "--json").json
    (window,) = document["windows"]
    assert (window["rows"], window["labelled"], document["source"]) == (800, 800, "scored.parquet")
    assert window["metrics"]["accuracy"]["value"] == pytest.approx(np.mean((scores > 0.5) == truth))
    assert events(project) == []
    pq.write_table(pa.table({"_score": scores}), "scored.parquet")
    assert "has no column late" in mlo("drift", "performance", "--labels", "scored.parquet", exit_code=2).stderr


def test_an_empty_log_answers_4_and_says_where_it_looked(mlo: Any, project: Path) -> None:
    stderr = mlo("drift", "performance", exit_code=4).stderr
    assert "no prediction of flights@1 arrived between 2013-04-24T00:00:00" in stderr
    assert "--labels FILE" in stderr


def test_a_check_shows_the_performance_of_its_window_once_labels_are_there(mlo: Any, log: Log) -> None:
    truth = log(1)
    assert mlo("drift", "check", "--json", exit_code=None).json["performance"] is None
    label(mlo, 1, truth)
    performance = mlo("drift", "check", "--json", exit_code=None).json["performance"]
    assert (performance["verdict"], performance["windows"][0]["labelled"]) == ("quiet", 600)


def test_a_log_on_a_remote_is_judged_with_its_labels(mlo: Any, project: Path, log: Log, tmp_path: Path) -> None:
    truth = log(1)
    far = tmp_path / "far"
    far.mkdir()
    (project / ".mlo" / "predictions").rename(far / "predictions")
    (project / "mlo.yaml").write_text(f"{YAML}serve: {{log: store}}\nremotes: {{store: '{far.as_uri()}'}}\n")
    label(mlo, 1, truth)
    assert list((far / "predictions" / "labels").rglob("*.arrow"))
    assert mlo("drift", "performance", "--windows", "1", "--json").json["windows"][0]["labelled"] == 600


def test_a_regression_is_judged_by_its_errors(mlo: Any, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "mlo.yaml").write_text(YAML)
    monkeypatch.setenv("MLO_NOW", NOW)
    register(opened(here), Signature((Column("x", "float"),), "regression"), {"rmse": 1.0, "mae": 0.8}, None)
    random = np.random.default_rng(1)
    truth = random.normal(size=500)
    pq.write_table(pa.table({"_prediction": truth + random.normal(size=500), "late": truth}), "good.parquet")
    pq.write_table(pa.table({"_prediction": truth + 2 * random.normal(size=500), "late": truth}), "bad.parquet")
    assert "quiet: rmse of flights@1" in mlo("drift", "performance", "--labels", "good.parquet").stdout
    assert "breach: rmse of flights@1" in mlo("drift", "performance", "--labels", "bad.parquet", exit_code=3).stdout


def test_losses_of_a_registered_regression_are_estimated_without_labels(
    mlo: Any, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "mlo.yaml").write_text(YAML)
    monkeypatch.setenv("MLO_NOW", NOW)
    workspace = opened(here)
    random = np.random.default_rng(3)

    def world(n: int, low: float, high: float) -> pd.DataFrame:
        x = random.uniform(low, high, n)
        return pd.DataFrame({"x": x, "late": 3 * x + random.normal(0, 0.2 + x)})  # the error grows with x

    train = world(1500, 0.0, 1.0)
    save_model(LinearRegression().fit(train[["x"]], train["late"]), here / "m", example=train[["x"]])
    world(2500, 0.0, 1.6).to_parquet(here / "test.parquet")
    facts = {
        "name": "flights",
        "version": 0,
        "run": "ab" * 16,
        "model": record(workspace.store, workspace.index, here / "m"),
        "files": hash_files(here / "m"),
        "signature": read_manifest(here / "m").signature,
        "evaluate": Evaluation(record(workspace.store, workspace.index, here / "test.parquet"), "late", "test.parquet"),
    }
    version, _ = workspace.registry.add_version(Version(**facts))
    workspace.registry.record("promote", "flights@1", {"alias": "production", "before": None, "gates": []})
    real = []
    for days, low in ((1, 0.0), (0, 0.6)):
        rows, arrived = world(1200, low, low + 1), DAY - timedelta(days=days)
        answers = 3 * rows["x"]
        real.append(float(np.abs(answers - rows["late"]).mean()))
        batch = Answered(
            request=f"r{days}",
            arrived=arrived,
            model="flights",
            version=1,
            signature=version.signature,
            columns={"x": rows["x"].tolist()},
            predictions=answers.tolist(),
            scores=None,
            time_column="at",
            times=[arrived + timedelta(seconds=row) for row in range(len(rows))],
        )
        path = here / ".mlo" / "predictions" / segment_name([batch])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode([batch]))
    document = mlo("drift", "performance", "--estimate", "--windows", "2", "--json", exit_code=4).json
    estimated = [window["estimated"]["mae"] for window in document["windows"]]
    for found, mae in zip(estimated, real, strict=True):
        assert found["value"] == pytest.approx(mae, rel=0.15)
        assert found["lower"] < found["value"] < found["upper"]
    assert estimated[1]["value"] > 1.5 * estimated[0]["value"]
    assert any("blind to concept drift" in note for note in document["notes"])
    told = mlo("drift", "performance", "--estimate", "--windows", "2", exit_code=4).stdout
    assert "≈ estimated without labels" in told
    assert mlo("drift", "performance", "--windows", "1", "--json", exit_code=4).json["windows"][0]["estimated"] == {}


def test_performance_needs_neither_models_nor_their_libraries(project: Path, log: Log, mlo: Any) -> None:
    label(mlo, 1, log(1))
    script = (
        "import sys\nfrom mlops_cli.cli.main import main\n"
        "code = main(['drift', 'performance', '--quiet'])\n"
        "heavy = ('sklearn', 'scipy.stats', 'skops', 'fastapi', 'rich', 'joblib')\n"
        "print(code, *[name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=project)
    assert done.stdout == "0\n"


def test_the_kept_report_is_the_answer(mlo: Any, project: Path, log: Log) -> None:
    label(mlo, 1, log(1))
    document = mlo("drift", "performance", "--json").json
    kept = json.loads(opened(project).store.read(Entry(document["report"], "file", 0).name))
    assert kept["windows"] == document["windows"]
