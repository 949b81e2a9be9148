"""Worlds in which columns drift together or not at all.

`python tests/drift/joint_worlds.py 300` measures the figures of the domain classifier in mlops_cli/core/drift/RULE.md.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import pyarrow as pa

from mlops_cli.core.base.records import Column
from mlops_cli.core.drift.family import check_family
from mlops_cli.core.drift.multivariate import effect_floor
from mlops_cli.core.drift.profiling import make_profile
from mlops_cli.core.drift.records import Multivariate
from mlops_cli.core.drift.window import Window

CALM = 6  # columns that belong to nothing


def pair(seed: int, n: int, correlation: float, calm: int = 2) -> pa.Table:
    """Two normal columns of a correlation, a and b, and `calm` others."""
    generator = np.random.default_rng([seed, n])
    a = generator.normal(size=n)
    b = correlation * a + np.sqrt(1 - correlation**2) * generator.normal(size=n)
    return pa.table({"a": a, "b": b} | {f"calm{place}": generator.normal(size=n) for place in range(calm)})


def dependent(seed: int, n: int, phi: float, columns: int = 3) -> pa.Table:
    """AR(1) columns, and the time that orders them."""
    generator = np.random.default_rng([seed, n])
    noise = generator.normal(size=(n, columns))
    series = np.empty((n, columns))
    series[0] = noise[0]
    for row in range(1, n):
        series[row] = phi * series[row - 1] + np.sqrt(1 - phi * phi) * noise[row]
    return pa.table({f"x{place}": series[:, place] for place in range(columns)} | {"at": np.arange(n)})


def judged(reference: pa.Table, window: pa.Table) -> Multivariate:
    names = [name for name in reference.column_names if name != "at"]
    clock = "at" if "at" in reference.column_names else None
    profile = make_profile(reference, inputs=[Column(name, "float", True) for name in names], time=clock)
    family = check_family(profile, window, lambda: Window.of_table(reference), multivariate=True)
    assert family.multivariate is not None, family.result.notes
    return family.multivariate


def null_p_values(seed: int, runs: int, reference: int, window: int, *, phi: float = 0.0) -> list[float]:
    found = []
    for run in range(runs):
        at = 2 * (1000 * seed + run)
        if phi:
            tables = dependent(at, reference, phi), dependent(at + 1, window, phi)
        else:
            tables = pair(at, reference, 0.5), pair(at + 1, window, 0.5)
        found.append(judged(*tables).p_value)
    return found


# -- the figures of RULE.md ----------------------------------------------------------------------------------


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(runs: int, only: str = "") -> None:
    started = time.time()
    if only in ("", "null"):
        for reference, window, phi in ((600, 300, 0.0), (5000, 500, 0.0), (4000, 1500, 0.9), (10_000, 5000, 0.9)):
            p = np.array(null_p_values(1, runs, reference, window, phi=phi))
            shares = ", ".join(f"p <= {level}: {np.mean(p <= level):.2%}" for level in (0.05, 0.01, 0.002))
            say(f"null, phi {phi}, {reference:,} against {window:,}, {runs} runs: {shares}")
    if only in ("", "power"):
        for correlation, window in ((0.3, 5000), (0.5, 5000), (0.7, 1000), (0.8, 1000), (0.9, 500)):
            hits, effects = [], []
            for run in range(max(1, runs // 20)):
                found = judged(pair(run, 10_000, 0.0, CALM), pair(run + 999, window, correlation, CALM))
                hits.append(found.alarm)
                effects.append(found.effect)
            say(
                f"correlation 0 to {correlation}, {window:,} rows of {2 + CALM} columns: found {np.mean(hits):.0%}, "
                f"effect {np.mean(effects):.3f} (floor {effect_floor(0.05):.3f})"
            )
    say(f"{time.time() - started:.0f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:3])
