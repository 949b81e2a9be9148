"""The models that servers are compared on, and each server set up for them in an environment of its own."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import joblib
import numpy as np
import pandas as pd
import sklearn
from harness import mlo, peer, run
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder, StandardScaler

from mlops_cli.core.models.manifest import hash_files, read_manifest
from mlops_cli.core.models.save import save_model
from mlops_cli.core.registry.records import Version
from mlops_cli.core.store.snapshot import record
from mlops_cli.core.workflows.workspace import Workspace

FEATURES = 30
SLA_MS = 50
SKLEARN = f"scikit-learn=={sklearn.__version__}"  # the models are pickled here and loaded there
MLFLOW = ("mlflow", "mlflow==3.17.2", SKLEARN)
MLSERVER = ("mlserver", "mlserver==1.7.1", "mlserver-sklearn==1.7.1", "uvloop<0.22", SKLEARN)
BENTOML = ("bentoml", "bentoml==1.4.39", "pandas", SKLEARN)
LABELS = (
    "mlo",
    "mlo, no log",
    "mlo --workers 2",
    "mlflow",
    "mlserver",
    "mlserver-batching",
    "mlserver-alone",
    "bentoml",
)

SAVE_MLFLOW = """
import sys, joblib, mlflow.sklearn, pandas
mlflow.sklearn.save_model(
    joblib.load(sys.argv[1]),
    sys.argv[2],
    input_example=pandas.read_parquet(sys.argv[3]),
    skops_trusted_types=["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"],
)
"""
BENTO = """
import bentoml, joblib, numpy
@bentoml.service(workers=1)
class Linear:
    def __init__(self):
        self.model = joblib.load("model.joblib")
    @bentoml.api
    def predict(self, rows: list[list[float]]) -> list[int]:
        return self.model.predict(numpy.array(rows)).tolist()
"""


@dataclass(frozen=True)
class Server:
    """A server to start in `folder`. `reads` takes the predicted label out of its answer, which must be `expected`."""

    label: str
    command: Sequence[str | Path]
    folder: Path
    url: str
    body: str
    reads: Callable[[Any], Any]
    expected: Any
    environ: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return str(parts.hostname), parts.port or 80


@dataclass(frozen=True)
class World:
    title: str
    servers: list[Server]
    budgets: list[tuple[str, int, float, float | None]]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def linear(root: Path) -> World:
    """A scaler and a logistic regression of 30 numbers."""
    draw = np.random.default_rng(7)
    frame = pd.DataFrame(draw.normal(size=(2_000, FEATURES)), columns=[f"f{place}" for place in range(FEATURES)])
    labels = (frame.sum(axis=1) > 0).astype(int)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, labels)
    plain = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame.to_numpy(), labels)
    row = frame.iloc[3]
    expected = int(model.predict(frame.iloc[3:4])[0])
    folder = root / "linear"
    folder.mkdir(exist_ok=True)
    joblib.dump(plain, folder / "model.joblib")
    ours = project(folder / "project", model, frame.iloc[:20])
    split = json.dumps({"dataframe_split": {"columns": list(row.index), "data": [row.tolist()]}})
    return World(
        f"a scaler and a logistic regression, {FEATURES} numbers, one row a request",
        [
            of_mlo("mlo", ours, split, expected),
            of_mlo("mlo, no log", ours, split, expected, "--no-log"),
            of_mlo("mlo --workers 2", ours, split, expected, "--workers", "2"),
            of_mlflow(folder, model, frame.iloc[:20], split, expected),
            *(of_mlserver(folder, name, row.tolist(), expected) for name in LABELS[4:7]),
            of_bentoml(folder, row.tolist(), expected),
        ],
        [
            ("mlflow", 8, 30, 30),
            ("mlserver-alone", 1, 1.3, None),
            ("mlserver-alone", 8, 3, None),
            ("mlserver-alone", 64, 8, None),
        ],
    )


def flights(root: Path) -> World:
    """The pipeline of the example: ordinal codes of carriers and airports, and gradient boosted trees."""
    months = Path(__file__).parents[2] / "examples" / "flights" / "months"
    frame = pd.concat([pd.read_parquet(months / f"2013-0{month}.parquet") for month in (1, 2, 3)], ignore_index=True)
    codes = [name for name in ("carrier", "origin", "dest") if name in frame]
    numbers = [
        name
        for name in frame.columns
        if name not in (*codes, "arr_delay") and pd.api.types.is_numeric_dtype(frame[name])
    ]
    late = (frame["arr_delay"] >= 15).astype(int)
    features = frame[[*codes, *numbers]].astype(dict.fromkeys(numbers, float) | dict.fromkeys(codes, object))
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=float("nan"))
    columns = ColumnTransformer([("codes", encode, codes), ("numbers", "passthrough", numbers)])
    trees = HistGradientBoostingClassifier(max_iter=120, early_stopping=False, random_state=7)
    model = make_pipeline(columns, trees).fit(features, late)
    whole = features.dropna()
    row = whole.iloc[0]
    expected = int(model.predict(whole.iloc[:1])[0])
    folder = root / "flights"
    folder.mkdir(exist_ok=True)
    split = json.dumps({"dataframe_split": {"columns": list(row.index), "data": [row.tolist()]}})
    ours = project(folder / "project", model, whole.iloc[:50])
    return World(
        f"flights: {len(codes)} categories and {len(numbers)} numbers, 120 boosted trees, one row a request",
        [of_mlo("mlo", ours, split, expected), of_mlflow(folder, model, whole.iloc[:20], split, expected)],
        [("mlflow", 8, 5, None)],
    )


def overloaded(root: Path) -> Server:
    """A model that takes milliseconds for each row, however many at once, and a server that has promised an answer
    within 50: what it can do a second is one number, and so little that the client beside it is no load."""
    draw = np.random.default_rng(7)
    frame = pd.DataFrame(draw.normal(size=(40_000, FEATURES)), columns=[f"f{place}" for place in range(FEATURES)])
    labels = (frame.sum(axis=1) > 0).astype(int)
    model = KNeighborsClassifier(5, algorithm="kd_tree").fit(frame, labels)
    folder = root / "overload"
    folder.mkdir(exist_ok=True)
    row = frame.iloc[3]
    serve = f"serve: {{sla_ms: {SLA_MS}, queue: 256, timeout_ms: 2000}}\n"
    ours = project(folder / "project", model, frame.iloc[:20], serve)
    split = json.dumps({"dataframe_split": {"columns": list(row.index), "data": [row.tolist()]}})
    return of_mlo("mlo", ours, split, int(model.predict(frame.iloc[3:4])[0]))


def project(folder: Path, model: Any, example: pd.DataFrame, more: str = "") -> Path:
    """A project with the model registered in it, as `mlo register` does."""
    if folder.exists():
        return folder
    folder.mkdir(parents=True)
    save_model(model, folder / "model", example=example)
    (folder / "mlo.yaml").write_text(f"name: bench\nmodel: {{name: bench}}\n{more}")
    workspace = Workspace.find(folder, {"MLO_ACTOR": "bench"})
    entry = record(workspace.store, workspace.index, folder / "model")
    signature = read_manifest(folder / "model").signature
    files = hash_files(folder / "model")
    facts = Version(name="bench", version=0, run="b" * 32, model=entry, files=files, signature=signature)
    workspace.registry.add_version(facts)
    return folder


def of_mlo(label: str, folder: Path, body: str, expected: Any, *flags: str) -> Server:
    port = free_port()
    command = [mlo(), "serve", "bench@1", "--port", str(port), *flags]
    url = f"http://127.0.0.1:{port}/invocations"
    return Server(label, command, folder, url, body, lambda answer: answer["predictions"][0], expected)


def of_mlflow(folder: Path, model: Any, example: pd.DataFrame, body: str, expected: Any) -> Server:
    place = peer(*MLFLOW)
    joblib.dump(model, folder / "frame.joblib")
    example.to_parquet(folder / "example.parquet")
    saved = [place / "python", "-c", SAVE_MLFLOW, "frame.joblib", "mlflow-model", "example.parquet"]
    if not (folder / "mlflow-model").exists():
        run(*saved, cwd=folder)
    port = free_port()
    command = [place / "mlflow", "models", "serve", "-m", "mlflow-model", "--env-manager", "local", "-p", str(port)]
    environ = {"PATH": f"{place}:/usr/bin:/bin", "MLFLOW_DISABLE_TELEMETRY": "true"}
    url = f"http://127.0.0.1:{port}/invocations"
    return Server("mlflow", command, folder, url, body, lambda answer: answer["predictions"][0], expected, environ)


def of_mlserver(folder: Path, label: str, row: list[float], expected: Any) -> Server:
    """Its default of one inference process, with adaptive batching (32 rows, 5 ms), or predicting in the server."""
    place = peer(*MLSERVER)
    own = folder / label
    own.mkdir(exist_ok=True)
    port = free_port()
    settings: dict[str, Any] = {"debug": False, "host": "127.0.0.1", "http_port": port, "metrics_port": free_port()}
    settings |= {"grpc_port": free_port(), "parallel_workers": 0 if label == "mlserver-alone" else 1}
    model: dict[str, Any] = {"name": "m", "implementation": "mlserver_sklearn.SKLearnModel"}
    model["parameters"] = {"uri": str(folder / "model.joblib")}
    if label == "mlserver-batching":
        model |= {"max_batch_size": 32, "max_batch_time": 0.005}
    (own / "settings.json").write_text(json.dumps(settings))
    (own / "model-settings.json").write_text(json.dumps(model))
    tensor = {"name": "x", "shape": [1, FEATURES], "datatype": "FP64", "data": row}
    return Server(
        label,
        [place / "mlserver", "start", "."],
        own,
        f"http://127.0.0.1:{port}/v2/models/m/infer",
        json.dumps({"inputs": [tensor]}),
        lambda answer: answer["outputs"][0]["data"][0],
        expected,
    )


def of_bentoml(folder: Path, row: list[float], expected: Any) -> Server:
    place = peer(*BENTOML)
    own = folder / "bentoml"
    own.mkdir(exist_ok=True)
    (own / "service.py").write_text(BENTO)
    (own / "model.joblib").write_bytes((folder / "model.joblib").read_bytes())
    port = free_port()
    command = [place / "bentoml", "serve", "service:Linear", "--host", "127.0.0.1", "--port", str(port)]
    environ = {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(own), "PATH": f"{place}:/usr/bin:/bin"}
    url = f"http://127.0.0.1:{port}/predict"
    return Server(
        "bentoml", command, own, url, json.dumps({"rows": [row]}), lambda answer: answer[0], expected, environ
    )
