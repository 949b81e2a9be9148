"""A DVC project made with DVC itself, once a session; tests get copies of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

_INSTALLED = Path(os.environ.get("MLO_BENCH_DIR", Path.home() / ".cache" / "mlo-benchmarks")) / "dvc" / "bin" / "dvc"
# Read here, because no test sees the machine's own variables.
DVC = os.environ.get("MLO_DVC") or (str(_INSTALLED) if _INSTALLED.exists() else shutil.which("dvc"))

CONVERT = """\
import pathlib, sys
source, target = map(pathlib.Path, sys.argv[1:3])
target.parent.mkdir(parents=True, exist_ok=True)
target.write_text(source.read_text().upper())
"""
TRAIN = """\
import json, pathlib, sys, yaml
params = yaml.safe_load(open("params.yaml"))
model = pathlib.Path("model")
model.mkdir(exist_ok=True)
(model / "weights.txt").write_text(f"{params['train']['lr']} {len(pathlib.Path('data/raw/a.txt').read_text())}")
(model / "notes").mkdir(exist_ok=True)
(model / "notes" / "read.me").write_text("of the model")
json.dump({"auc": 0.5 + params["train"]["lr"], "rows": 3}, open("metrics.json", "w"))
open("roc.csv", "w").write("fpr,tpr\\n0,0\\n1,1\\n")
"""
PIPELINE = """\
vars:
  - more.yaml
  - shape: {width: 3, deep: true}
stages:
  train:
    desc: Fit the model.
    cmd: python train.py
    deps: [data/raw, train.py]
    params: [train.lr, train.depth]
    outs: [model]
    metrics: [{metrics.json: {cache: false}}]
    plots: [{roc.csv: {x: fpr, y: tpr, title: ROC}}]
  old:
    cmd: python convert.py data/one.csv out/old.txt
    deps: [convert.py, data/one.csv]
    outs: [out/old.txt]
    frozen: true
  convert:
    foreach: [red, blue]
    do:
      cmd: python convert.py data/raw/${item}.txt out/${item}.txt
      deps: [convert.py, "data/raw/${item}.txt"]
      outs: ["out/${item}.txt"]
  grid:
    matrix:
      size: [1, 2]
      kind: "${kinds}"
    cmd: echo ${item.size} ${item.kind} ${shape.width} > out/grid-${item.size}-${item.kind}.txt
    outs: ["out/grid-${item.size}-${item.kind}.txt"]
  inside:
    wdir: sub
    cmd:
      - python ../convert.py ../data/one.csv here.txt
      - cat here.txt > there.txt
    deps: [../convert.py, ../data/one.csv]
    outs: [here.txt, there.txt]
  options:
    cmd: echo ${shape} > out/options.txt
    outs: [out/options.txt]
    always_changed: true
artifacts:
  best: {path: model, type: model}
"""
NESTED = """\
stages:
  train:
    cmd: cat ../data/one.csv > copy.txt
    deps: [../data/one.csv]
    outs: [copy.txt]
  count:
    cmd: wc -c < copy.txt > count.txt
    deps: [copy.txt]
    outs: [{count.txt: {persist: true}}]
metrics: [../metrics.json]
"""


def environment(folder: Path) -> dict[str, str]:
    """No configuration of the machine's user, and the python that runs the tests."""
    return {
        "HOME": str(folder.parent / "home"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(folder.parent / "site"),
        "GIT_CONFIG_NOSYSTEM": "1",
    }


def dvc(folder: Path, *words: str | Path) -> str:
    """Run DVC; fails with what it printed."""
    assert DVC is not None
    command = [DVC, *map(str, words)]
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, env=environment(folder))


def lay_out(folder: Path) -> None:
    """The user's own files: data, scripts, dvc.yaml."""
    raw = folder / "data" / "raw"
    (raw / "deep" / "er").mkdir(parents=True)
    for name in ("a", "red", "blue"):
        (raw / f"{name}.txt").write_text(f"{name}\n" * 5)
    (raw / "deep" / "er" / "same.txt").write_text("a\n" * 5)
    (raw / "big.bin").write_bytes(bytes(range(256)) * 2048)
    (raw / "crlf.txt").write_bytes(b"one\r\ntwo\r\n")
    (raw / "junk.tmp").write_text("not data")
    (folder / "data" / "one.csv").write_text("x,y\n1,2\n")
    (folder / ".dvcignore").write_text("*.tmp\n")
    (folder / "train.py").write_text(TRAIN)
    (folder / "convert.py").write_text(CONVERT)
    (folder / "params.yaml").write_text("train: {lr: 0.1, depth: 3}\nkinds: [x, y]\n")
    (folder / "more.yaml").write_text("other: 1\n")
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "sub").mkdir()
    (folder / "sub" / "keep").touch()
    (folder / "out").mkdir()
    (folder / "out" / "keep").touch()
    (folder / "nested").mkdir()
    (folder / "nested" / "dvc.yaml").write_text(NESTED)


def make(folder: Path) -> None:
    """Everything that DVC can be asked for, run and pushed to the folder `store` beside the project."""
    folder.mkdir(parents=True)
    lay_out(folder)
    git(folder, "init", "-q")
    dvc(folder, "init", "-q")
    dvc(folder, "remote", "add", "-q", "-d", "storage", "../store")
    (folder / ".dvc" / "config.local").write_text("['remote \"bucket\"']\n    secret_access_key = hunter2\n")
    with (folder / ".dvc" / "config").open("a") as config:
        config.write(
            "['remote \"bucket\"']\n    url = s3://bucket/path\n    endpointurl = http://minio:9000\n    sse = AES256\n"
        )
    dvc(folder, "add", "-q", "data/raw", "data/one.csv")
    frozen = folder / "dvc.yaml"
    frozen.write_text(PIPELINE.replace("    frozen: true\n", ""))
    dvc(folder, "repro", "-q", "--all-pipelines")
    frozen.write_text(PIPELINE)
    dvc(folder, "push", "-q", "-r", "storage")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "a DVC project")
