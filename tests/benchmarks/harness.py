"""Time whole commands of mlo and of a peer, alternating, and print medians and ratios."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LAUNCHER = Path(__file__).with_name("launch.py")
BENCH_DIR = Path(os.environ.get("MLO_BENCH_DIR", Path.home() / ".cache" / "mlo-benchmarks"))


def mlo() -> str:
    """The mlo of the environment that runs the benchmark."""
    return str(Path(sys.executable).parent / "mlo")


def peer(name: str, *packages: str) -> Path:
    """The `bin` folder of an environment that holds `packages`, made on first use."""
    folder = BENCH_DIR / name
    if not (folder / "ready").exists():
        print(f"installing {' '.join(packages)} into {folder} ...", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", *packages], check=True)
        (folder / "ready").touch()
    return folder / "bin"


def run(*command: str | Path, cwd: Path | None = None, environ: Mapping[str, str] | None = None) -> None:
    """Run a command and fail loudly, with what it printed, if it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **(environ or {})},
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} answered {done.returncode}\n{done.stdout}\n{done.stderr}")


@dataclass(frozen=True)
class Cost:
    """What one command needed: seconds until it ended, and until a `sync` after it did; its peak memory."""

    seconds: float
    synced: float
    peak_mib: float


def measure(*command: str | Path, cwd: Path | None = None, environ: Mapping[str, str] | None = None) -> Cost:
    """Run a command with a closing `sync`, and fail loudly, with what it printed, if it fails."""
    with tempfile.TemporaryDirectory() as place:
        answer = Path(place) / "answer"
        run(sys.executable, "-I", "-S", LAUNCHER, answer, *command, cwd=cwd, environ=environ)
        return Cost(**json.loads(answer.read_text()))


def machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"


@dataclass(frozen=True)
class Timing:
    """One contender's wall times in seconds."""

    label: str
    seconds: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Contender:
    """Something to time. `prepare` runs before each timed run and is not timed."""

    label: str
    timed: Callable[[], None]
    prepare: Callable[[], None] = lambda: None


def alternate(contenders: Sequence[Contender], *, repeats: int, warm_up: int = 1) -> list[Timing]:
    """Time the contenders in turn, so that a machine that slows down slows all of them."""
    seconds: dict[str, list[float]] = {contender.label: [] for contender in contenders}
    for turn in range(-warm_up, repeats):
        for contender in contenders:
            contender.prepare()
            start = time.perf_counter()
            contender.timed()
            if turn >= 0:
                seconds[contender.label].append(time.perf_counter() - start)
    return [Timing(label, values) for label, values in seconds.items()]


def show(title: str, ours: Timing, theirs: Timing, budget: str) -> None:
    ratio = theirs.median / ours.median
    print(f"| {title} | {ours.median:.3f} s | {theirs.label} {theirs.median:.3f} s | {ratio:.1f} x | {budget} |")


def header() -> None:
    print(f"\n{machine()}\n")
    print("| what | mlo | peer | faster by | budget |")
    print("|---|---|---|---|---|")
