"""A small project with finished runs and real models, made by hand: what registry tests stand on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from mlops_cli.core.base.digest import sha256_bytes
from mlops_cli.core.base.git import head
from mlops_cli.core.base.records import Entry, Logged, LoggedModel, Metric, StageRecord
from mlops_cli.core.models.save import save_model
from mlops_cli.core.project.lock import Lock, StageLock, write_lock
from mlops_cli.core.store.snapshot import record
from mlops_cli.core.tracking.records import Run
from mlops_cli.core.workflows.workspace import Workspace

MLO_YAML = """\
name: flights
stages:
  prepare: {cmd: python prepare.py, deps: [data/raw, prepare.py], outs: [data/train.csv, data/test.csv]}
  train: {cmd: python train.py, deps: [data/train.csv], outs: [model]}
model:
  name: flights
  path: model
  evaluate: {data: data/test.csv, target: late}
  gates:
    production: ["auc >= 0.65", "auc >= champion.auc - 0.005"]
"""


def rows(seed: int, count: int = 120) -> pd.DataFrame:
    """x tells the target, with noise; z tells nothing."""
    random = np.random.default_rng(seed)
    x = random.normal(size=count)
    late = (x + 0.5 * random.normal(size=count) > 0).astype(int)
    return pd.DataFrame({"x": x.round(4), "z": random.normal(size=count).round(4), "late": late})


class RegistryProject:
    """The project at `root`. Each `workspace()` opens it afresh, as another command would."""

    def __init__(self, root: Path, text: str = MLO_YAML) -> None:
        self.root = root
        self.runs = 0
        (root / "data" / "raw").mkdir(parents=True)
        (root / "mlo.yaml").write_text(text)
        (root / "prepare.py").write_text("print('prepare')\n")
        (root / "data" / "raw" / "a.csv").write_text("x,z,late\n1,2,0\n")
        (root / "data" / "raw" / "b.csv").write_text("x,z,late\n3,4,1\n")

    def configure(self, old: str, new: str) -> None:
        text = (self.root / "mlo.yaml").read_text()
        assert old in text
        (self.root / "mlo.yaml").write_text(text.replace(old, new))

    def workspace(self, environ: Mapping[str, str] | None = None) -> Workspace:
        return Workspace.find(self.root, dict(os.environ) if environ is None else environ)

    def run(
        self,
        *,
        skill: float = 1.0,
        seed: int = 1,
        metrics: Mapping[str, float] | None = None,
        model: bool = True,
        status: str = "finished",
        params: Mapping[str, Any] | None = None,
        pickle: bool = False,
        overrides: Mapping[str, Any] | None = None,
        lock: bool = True,
    ) -> str:
        """A run as `mlo run` records it; one with overrides, or with `lock` off, leaves mlo.lock as it is.

        `skill` 1 learns x, 0 learns nothing, -1 the opposite; answers its id."""
        workspace = self.workspace()
        train, test = rows(seed), rows(seed + 1000)
        train.to_csv(self.root / "data" / "train.csv", index=False)
        test.to_csv(self.root / "data" / "test.csv", index=False)
        self.runs += 1
        run_id = f"{self.runs:032x}"[::-1]
        saved = self._save(train, skill, pickle=pickle) if model else None
        paths = ["data/raw", "prepare.py", "data/train.csv", "data/test.csv", *(["model"] if model else [])]
        held = {path: record(workspace.store, workspace.index, self.root / path) for path in paths}
        inputs = {path: held[path].digest for path in ("data/raw", "prepare.py")}
        outputs = {path: entry for path, entry in held.items() if path not in inputs}
        logged = None
        if saved is not None:
            logged = LoggedModel("model", saved.flavor, saved.files, saved.signature, held["model"])
        commit = head(self.root)
        run = Run(
            id=run_id,
            name=f"run-{self.runs}",
            start=f"2026-01-{self.runs:02d}T10:00:00.000000Z",
            command="mlo run",
            actor="Ada <ada@example.org>",
            params=dict(params or {"seed": seed}),
            inputs=inputs,
            overrides=dict(overrides or {}),
            pid=os.getpid(),
            commit=commit.sha if commit else None,
            branch=commit.branch if commit else None,
        )
        workspace.runs.start(run)
        points = tuple(Metric(key, value) for key, value in (metrics or {}).items())
        workspace.runs.log(run_id, Logged(metrics=points))
        stages = _stages(run_id, held, with_model=model)
        ending = {"status": status, "end": f"2026-01-{self.runs:02d}T10:00:09.000000Z"}
        workspace.runs.finish(_replace(run, **ending, outputs=outputs, stages=stages, model=logged))
        if lock and not overrides and status == "finished":
            self._lock(workspace, held, stages)
        return run_id

    def _save(self, train: pd.DataFrame, skill: float, *, pickle: bool) -> Any:
        if not skill:
            target = np.random.default_rng(5).integers(0, 2, len(train))
        else:
            target = train["late"] if skill > 0 else 1 - train["late"]
        estimator = LogisticRegression().fit(train[["x", "z"]], target)
        return save_model(estimator, self.root / "model", example=train[["x", "z"]], pickle=pickle)

    def _lock(self, workspace: Workspace, held: dict[str, Entry], stages: tuple[StageRecord, ...]) -> None:
        locks = {
            stage.name: StageLock(stage.key, f"python {stage.name}.py", stage.deps, {}, stage.outs) for stage in stages
        }
        write_lock(workspace.paths.lock, Lock({"data/raw": held["data/raw"]}, locks))

    def git(self, *arguments: str) -> str:
        options = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *options, *arguments], cwd=self.root, check=True, capture_output=True, text=True)
        return done.stdout

    def commit(self, message: str) -> None:
        if not (self.root / ".git").exists():
            self.git("init", "-q", "-b", "main")
            (self.root / ".gitignore").write_text(".mlo/\ndata/\nmodel/\n")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)


def _stages(run_id: str, held: dict[str, Entry], *, with_model: bool) -> tuple[StageRecord, ...]:
    def stage(name: str, deps: list[str], outs: list[str], seconds: float) -> StageRecord:
        return StageRecord(
            name,
            sha256_bytes(name.encode()),
            "ran",
            run_id,
            {path: held[path].digest for path in deps},
            {},
            {path: held[path] for path in outs},
            seconds,
        )

    prepare = stage("prepare", ["data/raw", "prepare.py"], ["data/train.csv", "data/test.csv"], 0.5)
    train = stage("train", ["data/train.csv"], ["model"] if with_model else [], 2.0)
    return (prepare, train)


def _replace(run: Run, **changes: Any) -> Run:
    import msgspec

    return msgspec.structs.replace(run, **changes)
