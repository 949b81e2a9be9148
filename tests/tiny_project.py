"""A small project with a real pipeline: made-up flights, a tree that learns which are late."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

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
