"""What people do all day, beside DVC and MLflow: 5,000 small files, metrics one at a time.

Stages are in run.py, and the larger sizes of data in data.py.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import Contender, Timing, alternate, header, mlo, peer, run, show

FILES = 5_000
POINTS = 2_000

LOG_MLO = f"""
import mlops_cli as mlo
with mlo.start_run():
    for step in range({POINTS}):
        mlo.log_metric("loss", 1 / (step + 1), step=step)
"""
LOG_MLFLOW = f"""
import mlflow
mlflow.set_tracking_uri("sqlite:///mlflow.db")
with mlflow.start_run():
    for step in range({POINTS}):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
"""


class Places:
    """A project for each tool, side by side in one temporary folder."""

    def __init__(self, root: Path, dvc: Path) -> None:
        self.root = root
        self.dvc = dvc
        self.ours, self.theirs = root / "mlo", root / "dvc"
        for folder in (self.ours, self.theirs):
            folder.mkdir()
            run("git", "init", "--quiet", cwd=folder)
        (self.ours / "mlo.yaml").write_text("name: bench\n")
        run(dvc, "init", "--quiet", cwd=self.theirs)
        run(dvc, "config", "core.analytics", "false", cwd=self.theirs)

    def fill(self, folder: Path) -> None:
        """A fresh folder of small files, and nothing of it in any cache."""
        for name in ("raw", ".mlo", ".dvc/cache", ".dvc/tmp"):
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in ("raw.dvc", "mlo.lock"):
            (folder / name).unlink(missing_ok=True)
        (folder / "raw").mkdir()
        for number in range(FILES):
            (folder / "raw" / f"{number:05}.bin").write_bytes(random.randbytes(random.randint(1_000, 8_000)))


def added(places: Places) -> tuple[Timing, Timing]:
    def add(tool: Path | str, *words: str, cwd: Path) -> None:
        run(tool, *words, cwd=cwd)
        run("sync")

    ours, theirs = alternate(
        [
            Contender(
                "mlo", lambda: add(mlo(), "data", "add", "raw", cwd=places.ours), lambda: places.fill(places.ours)
            ),
            Contender(
                "DVC", lambda: add(places.dvc, "add", "raw", cwd=places.theirs), lambda: places.fill(places.theirs)
            ),
        ],
        repeats=3,
        warm_up=0,
    )
    return ours, theirs


def unchanged(places: Places) -> tuple[Timing, Timing]:
    ours, theirs = alternate(
        [
            Contender("mlo", lambda: run(mlo(), "data", "status", cwd=places.ours)),
            Contender("DVC", lambda: run(places.dvc, "status", "raw.dvc", cwd=places.theirs)),
        ],
        repeats=7,
    )
    return ours, theirs


def logged(places: Places, mlflow: Path) -> tuple[Timing, Timing]:
    python = mlflow.parent / "python"
    (places.root / "ours.py").write_text(LOG_MLO)
    (places.root / "theirs.py").write_text(LOG_MLFLOW)
    ours, theirs = alternate(
        [
            Contender("mlo", lambda: run(sys.executable, "../ours.py", cwd=places.ours)),
            Contender("MLflow", lambda: run(python, "../theirs.py", cwd=places.theirs)),
        ],
        repeats=3,
    )
    return ours, theirs


def main() -> None:
    dvc = peer("dvc", "dvc") / "dvc"
    mlflow = peer("mlflow", "mlflow") / "mlflow"
    with tempfile.TemporaryDirectory(prefix="mlo-bench-", dir=Path.home()) as name:
        places = Places(Path(name), dvc)
        header()
        show(f"{POINTS:,} × `log_metric`, whole script", *logged(places, mlflow), "")
        show(f"`data add`, {FILES:,} files of 1-8 KB, then `sync`", *added(places), "")
        show("`data status` of them, nothing changed", *unchanged(places), "")
        subprocess.run(["sync"], check=True)


if __name__ == "__main__":
    main()
