"""A drift check beside Evidently's DataDriftPreset; its memory at ten million rows; a small window; the profile's size.

    python tests/benchmarks/drift.py
    python tests/benchmarks/drift.py --scale 0.02 --rounds 1 --peer-rounds 1
    python tests/benchmarks/drift.py --only stream --only window

Every time and every peak of memory is a whole process's, start-up included. What each tool answered is checked after
each run, and a wrong answer stops all. Data is made once for each size, in `data` below the folder of the benchmarks.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import harness
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from harness import Cost, machine, measure, mlo, peer

from mlops_cli.core.base.records import Column, Entry, Signature
from mlops_cli.core.drift.profile import Profile
from mlops_cli.core.registry.records import Version
from mlops_cli.core.workflows.workspace import Workspace

FLOATS, TEXTS = 50, 10
ROWS, STREAMED_ROWS, WINDOW_ROWS = 1_000_000, 10_000_000, 10_000
GROUP_ROWS = 200_000
VALUES = (2, 3, 5, 8, 12, 20, 50, 200, 500, 2_000)  # of each text column
EVIDENTLY = ("evidently==0.7.21", "pandas<3", "pyarrow")

MAKE_PROFILE = """
import sys
from pathlib import Path
from mlops_cli.core.base.records import Column
from mlops_cli.core.drift.profiling import make_profile
from mlops_cli.core.drift.sources.open import open_rows
window = open_rows(Path(sys.argv[1]))
inputs = [Column(field.name, "string" if str(field.type) == "string" else "float", True) for field in window.schema]
Path(sys.argv[2]).write_bytes(make_profile(window, inputs=inputs).to_bytes())
"""
RUN_EVIDENTLY = """
import sys
import pandas
from evidently import Report
from evidently.presets import DataDriftPreset
reference, current = (pandas.read_parquet(path) for path in sys.argv[1:3])
snapshot = Report([DataDriftPreset()]).run(current, reference)
open(sys.argv[3], "w").write(snapshot.json())
"""


# -- data ----------------------------------------------------------------------------------------------------


def columns(rows: int, generator: np.random.Generator) -> dict[str, pa.Array]:
    """50 floats of several shapes and 10 texts of 2 to 2,000 values, without drift."""
    shapes: list[Callable[[], np.ndarray]] = [
        lambda: generator.normal(size=rows),
        lambda: generator.lognormal(size=rows),
        lambda: generator.exponential(size=rows),
        lambda: generator.uniform(size=rows),
        lambda: generator.poisson(5, rows).astype(float),
    ]
    made = {f"x{number:02}": pa.array(shapes[number % len(shapes)]()) for number in range(FLOATS)}
    for number, values in zip(range(TEXTS), VALUES, strict=True):
        names = pa.array([f"value-{value:04}" for value in range(values)])
        made[f"s{number}"] = names.take(pa.array(generator.integers(0, values, rows)))
    return made


def rows_file(rows: int, seed: int) -> Path:
    """A Parquet file of so many rows, made once."""
    path = harness.BENCH_DIR / "data" / f"drift-{rows}-{seed}.parquet"
    if not path.exists():
        print(f"making {path} ...", file=sys.stderr)
        path.parent.mkdir(parents=True, exist_ok=True)
        making, generator = path.with_suffix(".making"), np.random.default_rng(seed)
        writer: pq.ParquetWriter | None = None
        for start in range(0, rows, GROUP_ROWS):
            table = pa.table(columns(min(GROUP_ROWS, rows - start), generator))
            writer = writer or pq.ParquetWriter(making, table.schema)
            writer.write_table(table)
        if writer is not None:
            writer.close()
        making.rename(path)
    return path


def version_of(folder: Path, profile: bytes) -> None:
    """A project with one version in production that has the profile, as registration leaves it; no model is loaded."""
    folder.mkdir(parents=True)
    (folder / "mlo.yaml").write_text("name: bench\nmodel: {name: bench}\n")
    workspace = Workspace.find(folder, {"MLO_ACTOR": "benchmark"})
    schema = pa.table(columns(1, np.random.default_rng(0))).schema
    inputs = tuple(Column(one.name, "string" if one.type == pa.string() else "float", True) for one in schema)
    version = Version(
        name="bench",
        version=0,
        run="0" * 32,
        model=Entry("xxh128:" + "0" * 32, "dir", 0),
        files={},
        signature=Signature(inputs, "classification", (0, 1)),
        profile=str(workspace.store.put_bytes(profile)),
    )
    workspace.registry.add_version(version)
    workspace.registry.record("promote", "bench@1", {"alias": "production", "before": None, "gates": []})


# -- contestants ---------------------------------------------------------------------------------------------


@dataclass
class World:
    root: Path
    scale: float
    rounds: int
    peer_rounds: int
    _profiles: list[Cost] = field(default_factory=list)

    def rows(self, full: int) -> int:
        return max(2_000, int(full * self.scale))

    @property
    def reference(self) -> Path:
        return rows_file(self.rows(ROWS), 1)

    @property
    def project(self) -> Path:
        folder = self.root / "project"
        if not folder.exists():
            self.profile()
            version_of(folder, (self.root / "profile").read_bytes())
        return folder

    def profile(self) -> Cost:
        """Made once per run of the benchmark, as it is made once per version."""
        if not self._profiles:
            python = Path(sys.executable)
            self._profiles.append(measure(python, "-c", MAKE_PROFILE, self.reference, self.root / "profile"))
        return self._profiles[0]

    def check(self, current: Path) -> Cost:
        out = self.root / "answer.sh"
        out.write_text(f'exec "{mlo()}" drift check --current "$1" --json > "{self.root / "answer.json"}"\n')
        cost = measure("sh", out, current, cwd=self.project)
        answer = json.loads((self.root / "answer.json").read_text())
        rows = pq.read_metadata(current).num_rows
        if (answer["verdict"], answer["rows"], len(answer["columns"])) != ("quiet", rows, FLOATS + TEXTS):
            raise SystemExit(f"mlo: {rows} rows without drift should be quiet, but: {answer['verdict']}")
        return cost

    def evidently(self, current: Path) -> Cost:
        python = peer("evidently", *EVIDENTLY) / "python"
        answer = self.root / "evidently.json"
        cost = measure(python, "-W", "ignore", "-c", RUN_EVIDENTLY, self.reference, current, answer)
        metrics = json.loads(answer.read_text())["metrics"]
        if len(metrics) < FLOATS + TEXTS:
            raise SystemExit(f"Evidently: {FLOATS + TEXTS} columns were given, and it answered on {len(metrics)}")
        return cost


def median(costs: Sequence[Cost], what: str) -> float:
    return statistics.median(getattr(cost, what) for cost in costs)


def show(what: str, ours: str, theirs: str, ratio: str, budget: str, *, held: bool = True) -> None:
    print(f"| {what} | {ours} | {theirs} | {ratio} | {budget}{'' if held else ' missed'} |", flush=True)


# -- rows of the table ---------------------------------------------------------------------------------------


def against(world: World) -> None:
    """The check of as many rows as the reference has, alternating with Evidently while both have rounds left."""
    current = rows_file(world.rows(ROWS), 2)
    world.check(current)  # a first run compiles, and fills the page cache for both
    ours: list[Cost] = []
    theirs: list[Cost] = []
    for turn in range(max(world.rounds, world.peer_rounds)):
        if turn < world.rounds:
            ours.append(world.check(current))
        if turn < world.peer_rounds:
            theirs.append(world.evidently(current))
    what = f"`drift check`, {world.rows(ROWS):,} rows × ({FLOATS} floats + {TEXTS} strings)"
    if not theirs:
        show(what, f"{median(ours, 'seconds'):.2f} s", "", "", "")
        show("the same, peak memory", f"{median(ours, 'peak_mib'):,.0f} MiB", "", "", "")
    else:
        for name, measured, unit, least in (
            ("", "seconds", "s", 100),
            ("the same, peak memory", "peak_mib", "MiB", 10),
        ):
            mine, other = median(ours, measured), median(theirs, measured)
            digits = 2 if unit == "s" else 0
            show(
                name or what,
                f"{mine:,.{digits}f} {unit}",
                f"Evidently {other:,.{digits}f} {unit}",
                f"{other / mine:.1f} x",
                f"≥ {least} x",
                held=other / mine >= least or world.scale < 1,
            )
    cost = world.profile()
    show("the profile of the reference, made once", f"{cost.seconds:.2f} s, {cost.peak_mib:,.0f} MiB", "", "", "")


def size(world: World) -> None:
    world.profile()
    profile = Profile.from_bytes((world.root / "profile").read_bytes())
    sizes = [len(msgspec.msgpack.encode(column)) for column in profile.columns]
    mean, most = statistics.mean(sizes) / 1000, max(sizes) / 1000
    show("the profile, per column", f"{mean:.1f} KB, at most {most:.1f} KB", "", "", "≤ 64 KB", held=mean <= 64)


def stream(world: World) -> None:
    cost = world.check(rows_file(world.rows(STREAMED_ROWS), 3))
    what = f"`drift check`, {world.rows(STREAMED_ROWS):,} rows × {FLOATS + TEXTS} columns of Parquet, peak memory"
    show(what, f"{cost.peak_mib:,.0f} MiB in {cost.seconds:.1f} s", "", "", "≤ 1,024 MiB", held=cost.peak_mib <= 1024)


def window(world: World) -> None:
    current = rows_file(WINDOW_ROWS, 4)
    costs = [world.check(current) for _ in range(world.rounds + 1)][1:]
    seconds = median(costs, "seconds")
    show(
        f"`drift check`, a window of {WINDOW_ROWS:,} rows × {FLOATS + TEXTS} columns, start-up included",
        f"{seconds:.2f} s",
        "",
        "",
        "≤ 1 s",
        held=seconds <= 1,
    )


ROWS_OF_TABLE: dict[str, Callable[[World], None]] = {
    "window": window,
    "size": size,
    "stream": stream,
    "against": against,
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=ROWS_OF_TABLE, help="this part alone; may be repeated")
    parser.add_argument("--bench-dir", type=Path, help="instead of $MLO_BENCH_DIR")
    parser.add_argument("--rounds", type=int, default=5, help="runs of mlo (default: 5)")
    parser.add_argument(
        "--peer-rounds", type=int, default=1, help="runs of Evidently, minutes each (default: 1; 0: none)"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="of the rows; the small window stays what it is")
    asked = parser.parse_args(arguments)
    if asked.bench_dir is not None:
        harness.BENCH_DIR = asked.bench_dir
    harness.BENCH_DIR.mkdir(parents=True, exist_ok=True)
    print(f"\n{machine()}, medians of {asked.rounds}, of Evidently {asked.peer_rounds}\n")
    print("| what | mlo | peer | ratio | budget |\n|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="drift-", dir=harness.BENCH_DIR) as folder:
        world = World(Path(folder), asked.scale, asked.rounds, asked.peer_rounds)
        for name in asked.only or ROWS_OF_TABLE:
            ROWS_OF_TABLE[name](world)


if __name__ == "__main__":
    main()
