"""Worlds with a known answer: 50 mixed columns and predictions that do not drift, and ways to make one drift.

`python tests/drift/drift_worlds.py 2000` measures the figures that stand in mlops_cli/core/drift/RULE.md.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from mlops_cli.core.base.records import Column
from mlops_cli.core.drift.check import check
from mlops_cli.core.drift.profile import PREDICTION, SCORE, Profile
from mlops_cli.core.drift.profiling import make_profile
from mlops_cli.core.drift.records import DriftResult

Generator = np.random.Generator
Draw = Callable[[Generator, int], Any]


def _with_missing(draw: Draw, share: float) -> Draw:
    def drawn(generator: Generator, n: int) -> pa.Array:
        values = np.asarray(draw(generator, n), dtype=float)
        return pa.array(values, mask=generator.random(n) < share)

    return drawn


def _labels(weights: np.ndarray) -> Draw:
    names = np.array([f"v{place}" for place in range(len(weights))])
    return lambda generator, n: pa.array(names[generator.choice(len(weights), n, p=weights / weights.sum())])


def _ids(generator: Generator, n: int) -> pa.Array:
    return pa.array([f"{number:016x}" for number in generator.integers(0, 1 << 60, n)])


NUMERIC: dict[str, Draw] = {
    "normal": lambda generator, n: generator.normal(size=n),
    "lognormal": lambda generator, n: generator.lognormal(0, 1.5, n),
    "exponential": lambda generator, n: generator.exponential(size=n),
    "uniform": lambda generator, n: generator.random(n),
    "counts": lambda generator, n: generator.poisson(3, n),
    "mostly_zero": lambda generator, n: np.where(generator.random(n) < 0.9, 0.0, generator.exponential(size=n)),
    "cauchy": lambda generator, n: generator.standard_cauchy(n),
    "two_humps": lambda generator, n: generator.normal(size=n) + 4 * (generator.random(n) < 0.3),
    "rounded": lambda generator, n: np.round(generator.normal(20, 5, n), 1),
    "number_id": lambda generator, n: generator.integers(0, 1 << 52, n),
}
CATEGORICAL: dict[str, Draw] = {
    "two": _labels(np.array([0.7, 0.3])),
    "five": _labels(np.array([0.4, 0.3, 0.2, 0.07, 0.03])),
    "twenty": _labels(np.ones(20)),
    "zipf": _labels(1 / np.arange(1, 2001) ** 1.2),
    "flag": lambda generator, n: generator.random(n) < 0.1,
    "id": _ids,
}


def world() -> dict[str, Draw]:
    """50 columns: 30 numeric, of which 5 have missing rows, and 20 categorical, of which one is an id."""
    columns: dict[str, Draw] = {}
    for copy in range(3):
        columns |= {f"{name}_{copy}": draw for name, draw in NUMERIC.items() if name != "number_id" or copy == 0}
    columns |= {f"gaps_{copy}": _with_missing(NUMERIC["normal"], share) for copy, share in enumerate((0.01, 0.17))}
    for copy in range(4):
        columns |= {f"{name}_{copy}": draw for name, draw in CATEGORICAL.items() if name != "id" or copy == 0}
    del columns["flag_3"]
    return columns


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model of two classes answered: labels (n,), and scores (n, 2)."""

    labels: np.ndarray
    scores: np.ndarray


def answers(series: np.ndarray, label_share: float = 0.3, moved: float = 0.0) -> Answers:
    """Answers from standard normal series (n,): the logit of the score is `moved` by so many standard deviations, and
    the label of `label_share` of the rows is "yes", however the score moved."""
    score = 1 / (1 + np.exp(-(series + moved) - 0.5))
    at = -np.sqrt(2) * _inverse_error(2 * label_share - 1)
    return Answers(np.where(series > at, "yes", "no"), np.stack([1 - score, score], axis=1))


def _inverse_error(value: float) -> float:
    from scipy.special import erfinv

    return float(erfinv(value))


def with_answers(table: pa.Table, given: Answers) -> pa.Table:
    """Rows as the prediction log holds them."""
    return table.append_column(PREDICTION, pa.array(given.labels)).append_column(SCORE, pa.array(given.scores[:, 1]))


def inputs(columns: dict[str, Draw]) -> list[Column]:
    kinds = {"flag": "boolean", "counts": "integer", "number_id": "integer"}
    text = {"two", "five", "twenty", "zipf", "id"}
    return [
        Column(name, "string" if (stem := name.rpartition("_")[0]) in text else kinds.get(stem, "float"), True)
        for name in columns
    ]


def rows(columns: dict[str, Draw], generator: Generator, n: int) -> pa.Table:
    return pa.table({name: draw(generator, n) for name, draw in columns.items()})


def autoregressive(generator: Generator, n: int, columns: int, phi: float) -> np.ndarray:
    """(n, columns) stationary AR(1) series of variance 1."""
    noise = generator.normal(size=(n, columns))
    series = np.empty((n, columns))
    series[0] = noise[0]
    scale = np.sqrt(1 - phi * phi)
    for row in range(1, n):
        series[row] = phi * series[row - 1] + scale * noise[row]
    return series


def dependent_rows(generator: Generator, n: int, phi: float, start: int = 0) -> tuple[pa.Table, Answers]:
    """50 columns of AR(1) numbers, ten of them as categories, with the time that orders them; and such answers."""
    series = autoregressive(generator, n, 51, phi)
    columns: dict[str, Any] = {f"n{place}": series[:, place] for place in range(40)}
    cuts = np.array([-1.0, 0.0, 0.8])
    columns |= {
        f"c{place}": [f"k{code}" for code in np.searchsorted(cuts, series[:, place])] for place in range(40, 50)
    }
    columns["at"] = np.arange(start, start + n)
    return pa.table(columns), answers(series[:, 50])


def dependent_inputs() -> list[Column]:
    return [Column(f"n{place}", "float") for place in range(40)] + [
        Column(f"c{place}", "string") for place in range(40, 50)
    ]


def null_runs(runs: int, reference: int, windows: tuple[int, ...], seed: int) -> Iterator[tuple[int, DriftResult]]:
    columns = world()
    for run in range(runs):
        generator = np.random.default_rng([seed, run])
        table = rows(columns, generator, reference)
        profile = make_profile(table, inputs=inputs(columns), prediction=answers(generator.normal(size=reference)))
        for window in windows:
            replies = answers(generator.normal(size=window))
            yield window, check(profile, with_answers(rows(columns, generator, window), replies))


def dependent_runs(
    runs: int, reference: int, windows: tuple[int, ...], phi: float, seed: int
) -> Iterator[tuple[int, DriftResult]]:
    for run in range(runs):
        generator = np.random.default_rng([seed, run])
        table, replies = dependent_rows(generator, reference, phi)
        profile = make_profile(table, inputs=dependent_inputs(), time="at", prediction=replies)
        for window in windows:
            yield window, check(profile, with_answers(*dependent_rows(generator, window, phi, reference)))


# -- drift that must be found --------------------------------------------------------------------------------


def _some(generator: Generator, values: Any, share: float, put: Any) -> np.ndarray:
    values = np.array(values, dtype=object if isinstance(put, str) else float)
    values[generator.random(len(values)) < share] = put
    return values


def _gaps(generator: Generator, share: float, n: int) -> pa.Array:
    return pa.array(generator.normal(size=n), mask=generator.random(n) < share)


FIVE = np.array(["a", "b", "c", "d", "e"], dtype=object)


def _five(generator: Generator, n: int, first: float = 0.3) -> np.ndarray:
    return generator.choice(FIVE, n, p=[first, 0.7 - first, 0.15, 0.1, 0.05])


def _thousandfold(generator: Generator, n: int) -> np.ndarray:
    return generator.normal(size=n) * np.where(generator.random(n) < 0.1, 1000, 1)


# name -> (kind, reference, window)
DRIFTS: dict[str, tuple[str, Draw, Draw]] = {
    "mean 0.2 sigma": ("float", NUMERIC["normal"], lambda g, n: g.normal(0.2, 1, n)),
    "mean 0.3 sigma": ("float", NUMERIC["normal"], lambda g, n: g.normal(0.3, 1, n)),
    "mean 0.5 sigma": ("float", NUMERIC["normal"], lambda g, n: g.normal(0.5, 1, n)),
    "variance x 1.5": ("float", NUMERIC["normal"], lambda g, n: g.normal(0, np.sqrt(1.5), n)),
    "category share +10 points": ("string", _five, lambda g, n: _five(g, n, 0.4)),
    "new category 3%": ("string", _five, lambda g, n: _some(g, _five(g, n), 0.03, "new")),
    "new category 5%": ("string", _five, lambda g, n: _some(g, _five(g, n), 0.05, "new")),
    "missing 0 to 5%": ("float", NUMERIC["normal"], lambda g, n: _gaps(g, 0.05, n)),
    "missing 0 to 10%": ("float", NUMERIC["normal"], lambda g, n: _gaps(g, 0.10, n)),
    "x1000 on 10%": ("float", NUMERIC["normal"], _thousandfold),
    "sentinel 3%": ("float", NUMERIC["normal"], lambda g, n: _some(g, g.normal(size=n), 0.03, -999.0)),
    "sentinel 5%": ("float", NUMERIC["normal"], lambda g, n: _some(g, g.normal(size=n), 0.05, -999.0)),
    "zeros 0 to 5%": ("float", NUMERIC["normal"], lambda g, n: _some(g, g.normal(size=n), 0.05, 0.0)),
    "Cauchy +1": ("float", NUMERIC["cauchy"], lambda g, n: g.standard_cauchy(n) + 1),
    "mean 0.02 sigma": ("float", NUMERIC["normal"], lambda g, n: g.normal(0.02, 1, n)),
}


# name -> (what the answers of the window differ in, the answer that must alarm)
ANSWER_DRIFTS: dict[str, tuple[dict[str, float], str]] = {
    "label share +10 points": ({"label_share": 0.4}, PREDICTION),
    "score +0.3 sigma": ({"moved": 0.3}, SCORE),
}


def drifting_answers(name: str, generator: Generator, reference: int, window: int) -> tuple[Profile, pa.Table]:
    """The world of 50 columns without drift, with answers that drift as `name` says."""
    columns = world()
    table = rows(columns, generator, reference)
    profile = make_profile(table, inputs=inputs(columns), prediction=answers(generator.normal(size=reference)))
    replies = answers(generator.normal(size=window), **ANSWER_DRIFTS[name][0])
    return profile, with_answers(rows(columns, generator, window), replies)


def drifting(name: str, generator: Generator, reference: int, window: int) -> tuple[Profile, pa.Table]:
    """The world of 50 columns without drift, and one more that drifts as `name` says."""
    columns = world()
    kind, before, after = DRIFTS[name]
    table = rows(columns, generator, reference).append_column("drifting", _as_array(before(generator, reference)))
    profile = make_profile(table, inputs=[*inputs(columns), Column("drifting", kind, True)])  # type: ignore[arg-type]
    return profile, rows(columns, generator, window).append_column("drifting", _as_array(after(generator, window)))


def _as_array(values: Any) -> pa.Array:
    return values if isinstance(values, pa.Array) else pa.array(values)


def found(result: DriftResult, column: str = "drifting") -> bool:
    return any(one.column == column and one.alarm for one in (*result.answers, *result.columns))


# -- the figures of RULE.md ----------------------------------------------------------------------------------


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _false_alarms(title: str, runs: Iterator[tuple[int, DriftResult]]) -> None:
    counted: dict[int, list[int]] = {}
    culprits: dict[str, int] = {}
    for window, result in runs:
        counted.setdefault(window, []).append(bool(result.alarms))
        for column in (*result.answers, *result.columns):
            if column.alarm and column.leading:
                key = f"{column.column.rpartition('_')[0] or column.column}/{column.leading.part}"
                culprits[key] = culprits.get(key, 0) + 1
    for window, alarms in counted.items():
        share = np.mean(alarms)
        error = np.sqrt(share * (1 - share) / len(alarms))
        say(f"{title}, window {window:,}: {share:.2%} +/- {error:.2%} of {len(alarms):,}")
    say(f"    {dict(sorted(culprits.items(), key=lambda item: -item[1])[:8])}")


def _power(runs: int) -> None:
    for size, names in (
        (5_000, [*DRIFTS][:-1]),
        (500, ["mean 0.5 sigma", "missing 0 to 10%", "new category 5%", "sentinel 5%"]),
    ):
        for name in names:
            hits = [found(check(*drifting(name, _seeded(run), 10_000, size))) for run in range(runs)]
            say(f"n = {size:,}, {name}: found {np.mean(hits):.1%} of {len(hits)}")
    for name, (_, column) in ANSWER_DRIFTS.items():
        hits = [found(check(*drifting_answers(name, _seeded(run), 10_000, 5_000)), column) for run in range(runs)]
        say(f"n = 5,000, {name}: found {np.mean(hits):.1%} of {len(hits)}")


def _seeded(run: int) -> Generator:
    return np.random.default_rng([4, run])


def main(runs: int, only: str = "") -> None:
    """`only`: null, ar or power, with so many runs; else all, half as many of `ar` and a tenth of `power`."""
    started = time.time()
    if only in ("", "null"):
        _false_alarms("reference 10,000", null_runs(runs, 10_000, (200, 1_000, 10_000), 1))
        _false_alarms("reference 1,000", null_runs(runs, 1_000, (200, 1_000, 5_000), 2))
    if only in ("", "ar"):
        count = runs if only else runs // 2
        _false_alarms("AR(1) 0.9, reference 10,000", dependent_runs(count, 10_000, (1_000, 5_000), 0.9, 3))
    if only in ("", "power"):
        _power(runs if only else max(1, runs // 10))
    say(f"{time.time() - started:.0f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:3])
