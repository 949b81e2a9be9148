"""The data commands beside DVC's and cp: the table of the README, all of it or one row at a time.

    python tests/benchmarks/data.py --list
    python tests/benchmarks/data.py --only add-small --only status-same
    python tests/benchmarks/data.py --scale 0.02 --repeats 1

Every time is a whole process's, taken twice: until it ends, and until a `sync` after it ends. Budgets are judged by
the second. Memory is the process's peak. What each tool did is checked after each run, and a wrong result stops all.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from contestants import Contestant, Cp, Dvc, Mlo, same_bytes
from harness import BENCH_DIR, Cost, machine, peer
from s3_server import S3, s3_server

SEED = 7
RACY_S = 2.1  # an index trusts a file only if it had rested this long when it was read


# -- test data: made once for each size, then copied -----------------------------------------------------------------


def make_small(folder: Path, scale: float) -> None:
    """50,000 files of 1-8 KB in flat folders of 500."""
    source = random.Random(SEED)
    for number in range(max(10, int(50_000 * scale))):
        place = folder / f"{number // 500:03}"
        if number % 500 == 0:
            place.mkdir(parents=True)
        (place / f"{number:05}.bin").write_bytes(source.randbytes(source.randint(1_000, 8_000)))


def make_big(folder: Path, scale: float) -> None:
    """One file of 2 GB."""
    source = random.Random(SEED)
    folder.mkdir()
    left = int(2_000_000_000 * scale)
    with (folder / "big.bin").open("wb") as file:
        while left:
            file.write(source.randbytes(min(left, 1 << 22)))
            left -= min(left, 1 << 22)


def make_deep(folder: Path, scale: float) -> None:
    """5,000 files on 200 levels of folders."""
    source = random.Random(SEED)
    levels, files = max(4, int(200 * min(scale, 1))), max(20, int(5_000 * scale))
    place = folder
    for level in range(levels):
        place.mkdir(parents=True)
        for number in range(files * level // levels, files * (level + 1) // levels):
            (place / f"{number:05}.bin").write_bytes(source.randbytes(source.randint(1_000, 8_000)))
        place = place / "d"


def make_twins(folder: Path, scale: float) -> None:
    """20,000 files that hold 200 contents."""
    source = random.Random(SEED)
    contents = [source.randbytes(source.randint(1_000, 8_000)) for _ in range(max(4, int(200 * scale)))]
    for number in range(max(20, int(20_000 * scale))):
        place = folder / f"{number // 500:03}"
        if number % 500 == 0:
            place.mkdir(parents=True)
        (place / f"{number:05}.bin").write_bytes(contents[number % len(contents)])


MAKERS = {"small": make_small, "big": make_big, "deep": make_deep, "twins": make_twins}


class World:
    """Where the contestants stand, and the data that they are given."""

    def __init__(self, root: Path, scale: float, *, alone: bool) -> None:
        self.root = root
        self.scale = scale
        self.alone = alone
        self._stack = contextlib.ExitStack()
        self._s3: S3 | None = None
        self._made = 0

    def data(self, kind: str) -> Path:
        place = BENCH_DIR / "data" / f"{kind}-{self.scale:g}"
        if not place.exists():
            making = place.with_name(f"{place.name}.{os.getpid()}")
            shutil.rmtree(making, ignore_errors=True)
            making.parent.mkdir(parents=True, exist_ok=True)
            MAKERS[kind](making, self.scale)
            making.rename(place)
        return place

    def contestants(self, name: str, *, s3: bool = False) -> list[Contestant]:
        """mlo, and DVC unless mlo runs alone."""
        environ = self.s3.environ if s3 else {}
        found: list[Contestant] = [Mlo(self.root / f"{name}-mlo", environ)]
        if not self.alone:
            dvc = peer("dvc-s3", "dvc[s3]") if s3 else peer("dvc", "dvc")
            found.append(Dvc(self.root / f"{name}-dvc", environ, dvc / "dvc"))
        return found

    @property
    def s3(self) -> S3:
        if self._s3 is None:
            self._s3 = self._stack.enter_context(s3_server())
        return self._s3

    def new_remote(self, *, s3: bool, instead_of_all: bool = False) -> str:
        """The URL of an empty remote that nothing knows of yet; `instead_of_all` others, which are removed."""
        if instead_of_all and s3:
            self.s3.reset()
        elif instead_of_all:
            shutil.rmtree(self.root / f"remote-{self._made}", ignore_errors=True)
        self._made += 1
        if s3:
            self.s3.make_bucket(f"bucket-{self._made}")
            return f"s3://bucket-{self._made}/remote"
        place = self.root / f"remote-{self._made}"
        place.mkdir()
        return str(place)

    def close(self) -> None:
        self._stack.close()


@dataclass
class Result:
    """What one contestant needed, in each run."""

    label: str
    costs: list[Cost] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)

    def median(self, of: Callable[[Cost], float]) -> float:
        return statistics.median(of(cost) for cost in self.costs)

    @property
    def seconds(self) -> float:
        return self.median(lambda cost: cost.seconds)

    @property
    def synced(self) -> float:
        return self.median(lambda cost: cost.synced)

    @property
    def text(self) -> str:
        memory = self.median(lambda cost: cost.peak_mib)
        asked = f", {statistics.median(self.requests):,.0f} requests" if self.requests else ""
        return f"{self.seconds:.2f} s, {self.synced:.2f} s with sync, {memory:.0f} MiB{asked}"


@dataclass(frozen=True)
class Step:
    """One contestant's part of a row. `prepare` and `check` are not timed; `times` does the work and times it."""

    label: str
    prepare: Callable[[], None]
    times: Callable[[], Cost]
    check: Callable[[], None]
    server: S3 | None = None


Row = Callable[[World], list[Step]]


def race(steps: Sequence[Step], repeats: int) -> list[Result]:
    """Every step in turn, so that a machine that slows down slows all of them."""
    results = [Result(step.label) for step in steps]
    for _ in range(repeats):
        for step, result in zip(steps, results, strict=True):
            step.prepare()
            os.sync()  # what the preparation wrote is not the contestant's to flush
            before = step.server.requests() if step.server else 0
            result.costs.append(step.times())
            if step.server:
                result.requests.append(step.server.requests() - before)
            step.check()
    return results


# -- the rows --------------------------------------------------------------------------------------------------------


def adding(kind: str, *, floor: bool = False) -> Row:
    def steps(world: World) -> list[Step]:
        data = world.data(kind)
        everyone = world.contestants(f"add-{kind}")
        if floor:
            everyone.append(Cp(world.root / f"add-{kind}-cp", {}))
        return [
            Step(one.label, lambda one=one: one.start_with(data), one.add, one.must_be_clean)  # type: ignore[misc]
            for one in everyone
        ]

    return steps


def added(world: World, name: str) -> list[Contestant]:
    everyone = world.contestants(name)
    for one in everyone:
        one.start_with(world.data("small"))
    time.sleep(RACY_S)
    for one in everyone:
        one.add()
        one.status()
    return everyone


def unchanged(world: World) -> list[Step]:
    return [Step(one.label, lambda: None, one.status, one.must_be_clean) for one in added(world, "status-same")]


def change(one: Contestant) -> None:
    place = one.raw / "000" / "00003.bin"
    place.write_bytes(random.randbytes(4_000))


def changed(world: World) -> list[Step]:
    return [
        Step(one.label, lambda one=one: change(one), one.status, one.must_be_changed)  # type: ignore[misc]
        for one in added(world, "status-one")
    ]


def added_again(world: World) -> list[Step]:
    return [
        Step(one.label, lambda one=one: change(one), one.add, one.must_be_clean)  # type: ignore[misc]
        for one in added(world, "readd-one")
    ]


def pushing(kind: str, *, s3: bool) -> Row:
    def steps(world: World) -> list[Step]:
        everyone = world.contestants(f"push-{kind}{'-s3' if s3 else ''}", s3=s3)
        for one in everyone:
            one.start_with(world.data(kind))
            one.add()
        server = world.s3 if s3 else None
        return [
            Step(
                one.label,
                lambda one=one: one.name_remote(world.new_remote(s3=s3, instead_of_all=True)),  # type: ignore[misc]
                one.push,
                one.must_be_pushed,
                server,
            )
            for one in everyone
        ]

    return steps


def pulling(kind: str, *, s3: bool) -> Row:
    def steps(world: World) -> list[Step]:
        name = f"pull-{kind}{'-s3' if s3 else ''}"
        data = world.data(kind)
        there, here = world.contestants(name, s3=s3), world.contestants(f"{name}-clone", s3=s3)
        for one in there:
            one.start_with(data)
            one.add()
            one.name_remote(world.new_remote(s3=s3))
            one.push()

        def check(clone: Contestant) -> None:
            same_bytes(data, clone.raw)
            clone.must_be_clean()

        server = world.s3 if s3 else None
        return [
            Step(
                clone.label,
                lambda clone=clone, origin=origin: clone.clone_of(origin),  # type: ignore[misc]
                clone.pull,
                lambda clone=clone: check(clone),  # type: ignore[misc]
                server,
            )
            for origin, clone in zip(there, here, strict=True)
        ]

    return steps


@dataclass(frozen=True)
class Line:
    title: str
    row: Row
    budget: str  # of mlo's time with sync, as the design has it; empty where it has none


LINES = {
    "add-small": Line(
        "`add`, 50,000 files of 1-8 KB", adding("small", floor=True), "DVC ≥ 10 x; no slower than `cp -r`"
    ),
    "add-big": Line(
        "`add`, one 2 GB file",
        adding("big", floor=True),
        "DVC ≥ 5 x, ≥ 2 x with sync; `cp` ≥ 1/1.2 with sync; ≤ 150 MiB",
    ),
    "add-deep": Line("`add`, 5,000 files 200 levels deep", adding("deep"), ""),
    "add-twins": Line("`add`, 20,000 files with 200 contents", adding("twins"), ""),
    "status-same": Line("`status` of the 50,000, nothing changed", unchanged, "DVC ≥ 6 x"),
    "status-one": Line("`status` after one change", changed, ""),
    "readd-one": Line("`add` again after one change", added_again, ""),
    "push-small": Line("`push` of the 50,000, local remote", pushing("small", s3=False), "DVC ≥ 5 x"),
    "pull-small": Line("`pull` of the 50,000, local remote", pulling("small", s3=False), "DVC ≥ 8 x"),
    "push-big": Line("`push` of the 2 GB, local remote", pushing("big", s3=False), ""),
    "pull-big": Line("`pull` of the 2 GB, local remote", pulling("big", s3=False), ""),
    "push-small-s3": Line("`push` of the 50,000, S3", pushing("small", s3=True), "DVC ≥ 20 x"),
    "pull-small-s3": Line("`pull` of the 50,000, S3", pulling("small", s3=True), "DVC ≥ 20 x"),
    "push-big-s3": Line("`push` of the 2 GB, S3", pushing("big", s3=True), ""),
    "pull-big-s3": Line("`pull` of the 2 GB, S3", pulling("big", s3=True), ""),
}


def show(line: Line, results: Sequence[Result]) -> None:
    ours, *others = results
    for place, other in enumerate(others):
        ratios = f"{other.seconds / ours.seconds:.1f} x | {other.synced / ours.synced:.1f} x"
        budget = line.budget if place == 0 else ""
        print(f"| {line.title} | {ours.text} | {other.label}: {other.text} | {ratios} | {budget} |", flush=True)
    if not others:
        print(f"| {line.title} | {ours.text} | | | | {line.budget} |", flush=True)


@contextlib.contextmanager
def world_for(scale: float, *, alone: bool) -> Iterator[World]:
    BENCH_DIR.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="work-", dir=BENCH_DIR) as name:
        world = World(Path(name), scale, alone=alone)
        try:
            yield world
        finally:
            world.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Time mlo's data commands beside DVC's and cp.")
    parser.add_argument("--only", action="append", choices=LINES, metavar="NAME", help="this row; may be repeated")
    parser.add_argument("--scale", type=float, default=1.0, help="of the design's sizes; 1 is the whole")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="mlo without DVC, while one works on it")
    parser.add_argument("--list", action="store_true", help="name the rows and stop")
    options = parser.parse_args()
    if options.list:
        for name, line in LINES.items():
            print(f"{name:14}  {line.title}  {line.budget}")
        return
    print(f"\n{machine()}, scale {options.scale:g}, medians of {options.repeats}\n")
    print("| what | mlo | peer | faster by | with sync | budget |")
    print("|---|---|---|---|---|---|", flush=True)
    for name in options.only or LINES:
        with world_for(options.scale, alone=options.alone) as world:
            show(LINES[name], race(LINES[name].row(world), options.repeats))


if __name__ == "__main__":
    main()
