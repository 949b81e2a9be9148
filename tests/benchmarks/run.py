"""The pipeline commands beside `dvc repro` and `mlflow run`: the table of the README.

    python tests/benchmarks/run.py
    python tests/benchmarks/run.py --only trivial --repeats 3

What each tool did is checked after each run, and a wrong result stops all.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import BENCH_DIR, Contender, Timing, alternate, machine, mlo, peer, run

CHAIN = 200
SIDE_BY_SIDE, JOBS, SLEEP_S = 32, 8, 1.0
OUTPUT_BYTES = 1_000_000_000
MLPROJECT = "name: bench\nentry_points:\n  main:\n    command: cp dep.txt out.txt\n"


@dataclass(frozen=True)
class Tools:
    dvc: Path
    mlflow: Path


@dataclass(frozen=True)
class Row:
    """One line of the table; `at_least` is the budget, for the ratio of the peer's time to mlo's."""

    what: str
    ours: Timing
    theirs: Timing
    at_least: float | None

    def show(self) -> None:
        ratio = self.theirs.median / self.ours.median
        budget = "" if self.at_least is None else f"≥ {self.at_least:.3g} x"
        missed = " missed" if self.at_least is not None and ratio < self.at_least else ""
        print(
            f"| {self.what} | {self.ours.median:.2f} s | {self.theirs.label} {self.theirs.median:.2f} s "
            f"| {ratio:.2f} x | {budget}{missed} |",
            flush=True,
        )


class Pair:
    """A project of mlo's and one of DVC's with the same stages, each in a git repository of its own."""

    def __init__(self, root: Path, tools: Tools, stages: str, files: dict[str, str]) -> None:
        self.ours, self.theirs = root / "mlo", root / "dvc"
        self.dvc = tools.dvc
        for folder in (self.ours, self.theirs):
            folder.mkdir(parents=True)
            run("git", "init", "--quiet", cwd=folder)
            for name, text in files.items():
                (folder / name).write_text(text)
        (self.ours / "mlo.yaml").write_text(f"name: bench\n{stages}")
        (self.theirs / "dvc.yaml").write_text(stages)
        run(self.dvc, "init", "--quiet", cwd=self.theirs)
        run(self.dvc, "config", "core.analytics", "false", cwd=self.theirs)

    def contenders(self, *arguments: str, prepare: Callable[[Path], None] = lambda folder: None) -> list[Contender]:
        return [
            Contender("mlo", lambda: run(mlo(), "run", *arguments, cwd=self.ours), lambda: prepare(self.ours)),
            Contender("DVC", lambda: run(self.dvc, "repro", cwd=self.theirs), lambda: prepare(self.theirs)),
        ]


def touch(folder: Path) -> None:
    (folder / "dep.txt").write_text(str(random.random()))


def trivial(root: Path, tools: Tools, repeats: int) -> list[Row]:
    """One stage that copies a file; MLflow runs the same command as a project."""
    stages = "stages:\n  main:\n    cmd: cp dep.txt out.txt\n    deps: [dep.txt]\n    outs: [out.txt]\n"
    pair = Pair(root, tools, stages, {"dep.txt": "0", "MLproject": MLPROJECT})
    project = Contender(
        "MLflow",
        lambda: run(tools.mlflow, "run", ".", "--env-manager", "local", cwd=pair.theirs),
        lambda: touch(pair.theirs),
    )
    ours, dvc, mlflow = alternate([*pair.contenders(prepare=touch), project], repeats=max(repeats, 5))
    said = (pair.ours / "out.txt").read_text()
    require(said == (pair.ours / "dep.txt").read_text(), "mlo ran the stage")
    what = "`run` of one trivial stage"
    return [Row(what, ours, dvc, 2), Row(what, ours, mlflow, 8)]


def chain(root: Path, tools: Tools, repeats: int) -> list[Row]:
    """200 stages, each reading what the one before wrote: from nothing, and again with nothing to do."""
    stages = "stages:\n" + "".join(
        f"  s{n}:\n    cmd: cp f{n} f{n + 1}\n    deps: [f{n}]\n    outs: [f{n + 1}]\n" for n in range(CHAIN)
    )
    pair = Pair(root, tools, stages, {"f0": "0"})

    def change(folder: Path) -> None:
        (folder / "f0").write_text(str(random.random()))

    ran = alternate(pair.contenders(prepare=change), repeats=repeats, warm_up=0)
    for folder in (pair.ours, pair.theirs):
        require((folder / f"f{CHAIN}").read_text() == (folder / "f0").read_text(), f"{folder.name} ran the chain")
    again = alternate(pair.contenders(), repeats=max(repeats, 5))
    return [
        Row(f"`run` of a chain of {CHAIN} trivial stages", *ran, 5),
        Row("the same with nothing to do", *again, 4),
    ]


def side_by_side(root: Path, tools: Tools, repeats: int) -> list[Row]:
    """32 stages of one second, eight at once; the peer is the time they need at the least."""
    stages = "name: bench\nstages:\n" + "".join(
        f"  s{n}:\n    cmd: sleep {SLEEP_S:g} && echo {n} > f{n}\n    deps: [dep.txt]\n    outs: [f{n}]\n"
        for n in range(SIDE_BY_SIDE)
    )
    root.mkdir(parents=True)
    (root / "mlo.yaml").write_text(stages)
    ours = Contender("mlo", lambda: run(mlo(), "run", "-j", str(JOBS), cwd=root), lambda: touch(root))
    (timing,) = alternate([ours], repeats=repeats, warm_up=0)
    require((root / f"f{SIDE_BY_SIDE - 1}").exists(), "mlo ran all of them")
    ideal = Timing("ideal", [SIDE_BY_SIDE / JOBS * SLEEP_S])
    return [Row(f"{SIDE_BY_SIDE} stages of one second, `-j {JOBS}`, 2 cores", timing, ideal, 1 / 1.15)]


def restored(root: Path, tools: Tools, repeats: int) -> list[Row]:
    """A stage with an output of 1 GB goes back to an earlier input; beside `dvc repro` and a plain copy."""
    cmd = "python3 -c \"import random; r = random.Random(open('dep.txt').read()); f = open('out.bin', 'wb'); "
    cmd += f'[f.write(r.randbytes(1 << 20)) for _ in range({OUTPUT_BYTES >> 20})]"'
    stages = f"stages:\n  main:\n    cmd: >-\n      {cmd}\n    deps: [dep.txt]\n    outs: [out.bin]\n"
    pair = Pair(root, tools, stages, {"dep.txt": "one"})

    def other(folder: Path) -> None:
        now = (folder / "dep.txt").read_text()
        (folder / "dep.txt").write_text("two" if now == "one" else "one")

    for _ in range(2):
        for contender in pair.contenders():
            contender.timed()
        for folder in (pair.ours, pair.theirs):
            other(folder)
    for contender in pair.contenders():
        contender.timed()
    copy = Contender(
        "cp",
        lambda: run("cp", pair.ours / "out.bin", root / "copy.bin"),
        lambda: (root / "copy.bin").unlink(missing_ok=True),
    )
    before = sum(1 for _ in (pair.ours / ".mlo/cache/results").rglob("*"))
    ours, dvc, cp = alternate([*pair.contenders(prepare=other), copy], repeats=repeats)
    require(before == sum(1 for _ in (pair.ours / ".mlo/cache/results").rglob("*")), "mlo restored, and did not run")
    what = "restore a cached output of 1 GB"
    return [Row(what, ours, dvc, None), Row(what, ours, cp, None)]


ROWS: dict[str, Callable[[Path, Tools, int], list[Row]]] = {
    "trivial": trivial,
    "chain": chain,
    "side-by-side": side_by_side,
    "restored": restored,
}


def require(holds: bool, what: str) -> None:
    if not holds:
        raise SystemExit(f"this should be so, and is not: {what}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=ROWS, help="this row alone; may be repeated")
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args(arguments)
    tools = Tools(peer("dvc", "dvc") / "dvc", peer("mlflow", "mlflow") / "mlflow")
    BENCH_DIR.mkdir(parents=True, exist_ok=True)
    print(f"\n{machine()}, medians of {asked.repeats} or more\n")
    print("| what | mlo | peer | faster by | budget |\n|---|---|---|---|---|", flush=True)
    for name in asked.only or ROWS:
        folder = Path(tempfile.mkdtemp(prefix="pipeline-", dir=BENCH_DIR))
        try:
            for row in ROWS[name](folder / name, tools, asked.repeats):
                row.show()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        subprocess.run(["sync"], check=True)


if __name__ == "__main__":
    main()
