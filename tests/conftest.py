"""Fixtures that every room's tests share."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from buckets import S3Bucket

from mlops_cli.cli.main import main


@dataclass(frozen=True)
class Answer:
    """What a command printed."""

    stdout: str
    stderr: str
    exit_code: int

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


Mlo = Callable[..., Answer]

# A shell without job control starts background jobs with SIGINT ignored, and children inherit that. Tests that press
# Ctrl-C mean a process that was started by hand.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def quiet_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No MLO_* variable, no git or mlo configuration of the machine's user reaches a test."""
    for name in list(os.environ):
        if name.startswith(("MLO_", "GIT_")) and name != "MLO_REQUIRE_ALL":
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("MLO_ACTOR", "Ada <ada@example.org>")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder that is the working directory."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def mlo(capfd: pytest.CaptureFixture[str]) -> Mlo:
    """Run one mlo command line in this process, through the real main(); no failure passes unseen.

    `mlo("data", "add", "raw")` expects exit code 0; `exit_code=None` accepts any.
    """

    def run(*arguments: str | Path, exit_code: int | None = 0) -> Answer:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        answer = Answer(out, err, code)
        if exit_code is not None:
            assert code == exit_code, f"mlo {' '.join(map(str, arguments))} answered {code}\n{out}\n{err}"
        return answer

    return run


TINY_YAML = """\
name: tiny
params: {seed: 7, depth: 3}
stages:
  prepare:
    cmd: python prepare.py
    deps: [data/raw, prepare.py]
    params: [seed]
    outs: [data/train.parquet, data/test.parquet]
  train:
    cmd: python train.py
    deps: [data/train.parquet, train.py]
    params: [seed, depth]
    outs: [model]
  evaluate:
    cmd: python evaluate.py
    deps: [model, data/test.parquet, evaluate.py]
    metrics: [metrics.json]
model:
  name: tiny
  path: model
  reference: data/train.parquet
  evaluate: {data: data/test.parquet, target: late}
  time: at
  gates:
    production: ["auc >= 0.6", "auc >= champion.auc - 0.05"]
retrain: {metric: auc}
drift: {persistence: 1/1}
"""

TINY_PREPARE = """\
import pandas as pd
import mlops_cli as mlo

rows = pd.concat([pd.read_csv(p) for p in sorted(__import__("pathlib").Path("data/raw").glob("*.csv"))])
rows["at"] = pd.to_datetime(rows["at"], utc=True)
test = rows.sample(frac=0.3, random_state=mlo.params()["seed"])
test.to_parquet("data/test.parquet", index=False)
rows.drop(test.index).to_parquet("data/train.parquet", index=False)
"""

TINY_TRAIN = """\
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from sklearn.tree import DecisionTreeClassifier
import mlops_cli as mlo

params = mlo.params()
rows = pd.read_parquet("data/train.parquet")
X, y = rows.drop(columns=["late", "at"]), rows["late"]
codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
model = make_pipeline(
    ColumnTransformer([("codes", codes, ["carrier"])], remainder="passthrough"),
    DecisionTreeClassifier(max_depth=params["depth"], random_state=params["seed"]),
).fit(X, y)
mlo.log_metric("train_accuracy", model.score(X, y))
mlo.log_model(model, example=X)
"""

TINY_EVALUATE = """\
import json
import pandas as pd
from sklearn.metrics import roc_auc_score
import mlops_cli as mlo

rows = pd.read_parquet("data/test.parquet")
model = mlo.load_model("model").estimator
scores = model.predict_proba(rows.drop(columns=["late", "at"]))[:, 1]
json.dump({"auc": roc_auc_score(rows["late"], scores)}, open("metrics.json", "w"))
"""


def tiny_rows(seed: int, rows: int, *, warmer: float = 0.0, start: str = "2013-01-01") -> Any:
    """Labelled rows of a made-up flight table whose label follows temp and wind; `warmer` shifts temp."""
    import numpy as np
    import pandas as pd

    random = np.random.default_rng(seed)
    temp = random.normal(40 + warmer, 10, rows)
    wind = random.gamma(2, 4, rows)
    late = (random.random(rows) < 1 / (1 + np.exp(-(wind - 8 - (temp - 40) / 5) / 2))).astype(int)
    return pd.DataFrame(
        {
            "at": pd.date_range(start, periods=rows, freq="h", tz="UTC").strftime("%Y-%m-%dT%H:%M:%SZ"),
            "carrier": random.choice(["AA", "B6", "UA"], rows),
            "temp": np.where(random.random(rows) < 0.05, np.nan, temp),
            "wind": wind,
            "late": late,
        }
    )


def lay_out_tiny(folder: Path) -> None:
    """Write a small project with a real pipeline into `folder`, as a git repository with one commit."""
    (folder / "data" / "raw").mkdir(parents=True)
    tiny_rows(1, 1500).to_csv(folder / "data" / "raw" / "one.csv", index=False)
    for name, text in {
        "mlo.yaml": TINY_YAML,
        "prepare.py": TINY_PREPARE,
        "train.py": TINY_TRAIN,
        "evaluate.py": TINY_EVALUATE,
    }.items():
        (folder / name).write_text(text)
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "mlo.yaml", "prepare.py", "train.py", "evaluate.py")
    git(folder, "commit", "--quiet", "--message=Start")


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="session")
def trained_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny project after `data add`, `run`, `register` and `promote`; made once, copied for each test."""
    folder = tmp_path_factory.mktemp("template") / "tiny"
    folder.mkdir()
    lay_out_tiny(folder)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MLO_", "GIT_"))}
    environ |= {"HOME": str(folder.parent), "MLO_ACTOR": "Ada <ada@example.org>"}
    for line in ("data add data/raw", "run", "register", "promote tiny@1 production"):
        done = subprocess.run(
            [sys.executable, "-m", "mlops_cli", *line.split()],
            cwd=folder,
            env=environ,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"mlo {line}\n{done.stdout}\n{done.stderr}"
    return folder


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny project before anything was done, as the working directory."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    lay_out_tiny(folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def trained(trained_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the trained tiny project, as the working directory."""
    folder = tmp_path / "tiny"
    shutil.copytree(trained_template, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> S3Bucket:
    import fsspec

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    name = f"bucket-{uuid.uuid4().hex}"
    fsspec.filesystem("s3", endpoint_url=s3_endpoint, skip_instance_cache=True).mkdir(name)
    return S3Bucket(name, s3_endpoint)
