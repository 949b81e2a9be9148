"""A project that retrains in about two seconds: one stage, a small model, months of made-up rows, no server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from mlops_cli.core.base.records import ModelRef
from mlops_cli.core.events.protocol import Event
from mlops_cli.core.predictions.labels import Label, record_labels
from mlops_cli.core.predictions.segment import Answered, encode, segment_name
from mlops_cli.core.workflows.promote import promote_model
from mlops_cli.core.workflows.register import register_model
from mlops_cli.core.workflows.run import run_pipeline
from mlops_cli.core.workflows.workspace import Workspace

MLO_YAML = """\
name: world
stages:
  train:
    cmd: python train.py
    deps: [raw, train.py]
    outs: [train.parquet, test.parquet, model]
model:
  name: world
  path: model
  reference: train.parquet
  evaluate: {data: test.parquet, target: y}
  time: at
  gates: {production: ["auc >= 0.3"]}
drift: {persistence: 1/1}
retrain: {triggers: [drift], holdout: holdout.parquet, min_labels: 200, cooldown: 7d}
"""

TRAIN = """\
from pathlib import Path
import pandas as pd
from sklearn.linear_model import LogisticRegression
import mlops_cli as mlo

rows = pd.concat([pd.read_parquet(path) for path in sorted(Path("raw").glob("*.parquet"))], ignore_index=True)
test = rows.iloc[::4]
train = rows.drop(test.index)
train.to_parquet("train.parquet")
test.to_parquet("test.parquet")
X = train[["x", "z"]]
mlo.log_model(LogisticRegression().fit(X, train["y"]), example=X)
"""

JANUARY_TO_MARCH = (("2013-01-01", 0), ("2013-02-01", 0), ("2013-03-01", 0))
NOW = "2013-05-01T06:00:00Z"


def month(start: str, skill: float, *, seed: int, count: int = 400) -> pd.DataFrame:
    """Rows of one month. `skill` is how much x tells of y; z tells nothing."""
    random = np.random.default_rng(seed)
    y = random.integers(0, 2, count)
    x = random.normal(size=count) + skill * (2 * y - 1)
    at = pd.Timestamp(start, tz="UTC") + pd.to_timedelta(np.arange(count), unit="h")
    return pd.DataFrame({"at": at, "x": x, "z": random.normal(size=count), "y": y})


class World:
    """A project in which world@1, trained on three months without a pattern, serves in production."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def build(cls, root: Path) -> World:
        world = cls(root)
        (root / "raw").mkdir(parents=True)
        (root / "mlo.yaml").write_text(MLO_YAML)
        (root / "train.py").write_text(TRAIN)
        for number, (start, skill) in enumerate(JANUARY_TO_MARCH):
            world.add(start, skill, seed=number)
        workspace = world.workspace(now="2013-04-01T06:00:00Z")
        run = run_pipeline(workspace)
        register_model(workspace, run.run)
        promote_model(workspace, "world@1")
        world.hold_out("2013-07-01", 1.0)
        return world

    def copy(self, root: Path) -> World:
        shutil.copytree(self.root, root, symlinks=True)
        return World(root)

    def workspace(self, *, now: str = NOW, environ: Mapping[str, str] | None = None) -> Workspace:
        return Workspace.find(self.root, {**os.environ, **(environ or {}), "MLO_NOW": now})

    def add(self, start: str, skill: float, *, seed: int) -> None:
        month(start, skill, seed=seed).to_parquet(self.root / "raw" / f"{start}.parquet")

    def learnable(self) -> None:
        """Add three months in which x does tell y, so that the pipeline makes a better model."""
        for number, start in enumerate(("2013-04-01", "2013-05-01", "2013-06-01")):
            self.add(start, 1.0, seed=10 + number)

    def useless(self) -> None:
        """Add a month without a pattern, so that the pipeline makes another model that is no better."""
        self.add("2013-04-01", 0, seed=20)

    def hold_out(self, start: str, skill: float, *, count: int = 400) -> Path:
        path = self.root / "holdout.parquet"
        month(start, skill, seed=99, count=count).to_parquet(path)
        return path

    def configure(self, old: str, new: str) -> None:
        text = (self.root / "mlo.yaml").read_text()
        assert old in text
        (self.root / "mlo.yaml").write_text(text.replace(old, new))

    def alarm(self, day: str = "2013-04-30", verdict: str = "drift") -> Event:
        """Record what `mlo drift check` records."""
        end = (pd.Timestamp(day) + pd.Timedelta(days=1)).strftime("%Y-%m-%d")
        window = {"start": f"{day}T00:00:00.000000Z", "end": f"{end}T00:00:00.000000Z"}
        alarms = ["x"] if verdict == "drift" else []
        data = {"verdict": verdict, "window": window, "rows": 4000, "alarms": alarms}
        champion = self.workspace().registry.resolve(ModelRef("world", alias="production"))
        return self.workspace().registry.record("drift", champion.title, data)

    def answered(self, *, wrong: bool, labels: int = 300) -> None:
        """Log 300 answers of world@1 on the day before NOW, all right or all wrong, and the first `labels` labels."""
        workspace, count = self.workspace(), 300
        arrived = datetime(2013, 4, 30, 12, tzinfo=UTC)
        truth = [row % 2 for row in range(count)]
        answers = [1 - label if wrong else label for label in truth]
        batch = Answered(
            request="r1",
            arrived=arrived,
            model="world",
            version=1,
            signature=workspace.registry.version("world", 1).signature,
            columns={"x": [0.5] * count, "z": [0.5] * count},
            predictions=answers,
            scores=[0.2 + 0.6 * answer + 0.001 * row for row, answer in enumerate(answers)],
            time_column="at",
            times=[arrived + timedelta(seconds=row) for row in range(count)],
        )
        path = self.root / ".mlo" / "predictions" / segment_name([batch])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode([batch]))
        known = [Label("r1", row, str(label)) for row, label in enumerate(truth[:labels])]
        record_labels(self.root / ".mlo" / "predictions", known, arrived)

    def production(self) -> int | None:
        return self.workspace().registry.alias("world", "production")

    def events(self, kind: str) -> list[Event]:
        return [event for event in self.workspace().registry.history() if event.kind == kind]

    def state(self) -> object:
        """All that a dry run must leave as it is."""
        files = {
            path.relative_to(self.root).as_posix(): path.read_bytes()
            for path in self.root.rglob("*")
            if path.is_file() and ".mlo" not in path.relative_to(self.root).parts
        }
        workspace = self.workspace()
        return (
            files,
            workspace.registry.history(),
            len(workspace.runs.list(limit=100)),
            sorted(map(str, workspace.store)),
        )
