"""Worlds of prose, times and vectors with a known answer.

`python tests/drift/drift_kinds.py 200 20` measures the figures that stand in mlops_cli/core/drift/RULE.md; with
`vector` after it, those of vectors alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import pyarrow as pa

from mlops_cli.core.base.records import Column
from mlops_cli.core.drift.check import check
from mlops_cli.core.drift.profile import Profile
from mlops_cli.core.drift.profiling import make_profile

Generator = np.random.Generator
DAY = 86_400_000_000
WIDTH = 64
KINDS = {"text": "string", "vector": "vector", "when": "datetime"}
WIDE = ((384, 1_000, 500), (768, 1_000, 1_000), (1_536, 2_000, 1_000))  # width, reference, window


def lexicon(letters: str, seed: int, size: int = 3000) -> np.ndarray:
    generator = np.random.default_rng(seed)
    lengths = generator.integers(2, 10, size)
    return np.array(["".join(generator.choice(list(letters), length)) for length in lengths])


ENGLISH, OTHER = lexicon("eeeettaaooiinnsshhrrdlucmfwygpb", 1), lexicon("eeennniisrraattdhulcgmobwfkzäöü", 2)
MIXING = np.random.default_rng(3).normal(size=(8, WIDTH))


def prose(generator: Generator, n: int, words: np.ndarray = ENGLISH, length: Any = 12.0) -> list[str]:
    """Sentences of words by Zipf's law; `length` (or (n,)) words each on average."""
    counts = np.maximum(3, generator.poisson(length, n))
    weights = 1 / np.arange(1, len(words) + 1)
    drawn = words[generator.choice(len(words), counts.sum(), p=weights / weights.sum())]
    ends = np.cumsum(counts)
    return [" ".join(drawn[end - count : end]).capitalize() + "." for end, count in zip(ends, counts, strict=True)]


def embeddings(generator: Generator, n: int) -> np.ndarray:
    """(n, 64), most of whose variance lies in 8 directions, as that of embeddings does."""
    return generator.normal(size=(n, 8)) @ MIXING / 2 + generator.normal(size=(n, WIDTH))


def clock(generator: Generator, n: int, first: int, days: int) -> np.ndarray:
    """Sorted times over whole days, two thirds of them at working hours, fewer at weekends; microseconds."""
    day = first + generator.choice(days, n, p=_by_day(first, days))
    hour = np.where(generator.random(n) < 0.67, generator.normal(14, 3, n) % 24, generator.random(n) * 24)
    return np.sort(day * DAY + (hour / 24 * DAY).astype(np.int64))


def _by_day(first: int, days: int) -> np.ndarray:
    weights = np.where((np.arange(first, first + days) + 3) % 7 >= 5, 0.5, 1.0)
    return np.asarray(weights / weights.sum())


def as_vectors(values: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.astype(np.float32).ravel()), values.shape[1])


def rows(
    generator: Generator,
    n: int,
    first: int = 20_000,
    days: int = 70,
    phi: float = 0.0,
    names: Collection[str] = tuple(KINDS),
) -> dict[str, Any]:
    """Columns without drift, those of `names`. phi: of an AR(1) that moves the length of texts and the vectors."""
    moods = np.zeros(n)
    if phi:
        noise = generator.normal(size=n)
        moods[0] = noise[0]
        for row in range(1, n):
            moods[row] = phi * moods[row - 1] + np.sqrt(1 - phi * phi) * noise[row]
    at = clock(generator, n, first, days)
    drawn: dict[str, Callable[[], Any]] = {
        "text": lambda: prose(generator, n, length=12 * np.exp(0.4 * moods)),
        "vector": lambda: embeddings(generator, n) + moods[:, None] * MIXING[0],
        "when": lambda: at + generator.integers(0, DAY // 24, n),
    }
    return {name: draw() for name, draw in drawn.items() if name in names} | {"at": at}


def table(columns: dict[str, Any]) -> pa.Table:
    arrays = dict(columns)
    if isinstance(columns.get("vector"), np.ndarray):
        arrays["vector"] = as_vectors(columns["vector"])
    arrays |= {name: pa.array(columns[name], pa.timestamp("us")) for name in ("when", "at") if name in columns}
    return pa.table(arrays)


def profile_of(columns: dict[str, Any]) -> Profile:
    inputs = [Column(name, kind) for name, kind in KINDS.items() if name in columns]  # type: ignore[arg-type]
    return make_profile(table(columns), inputs=inputs, time="at")


def _changed(name: str, change: Callable[[Any, Generator], Any]) -> Callable[[dict[str, Any], Generator], None]:
    def apply(columns: dict[str, Any], generator: Generator) -> None:
        columns[name] = change(columns[name], generator)

    return apply


def _some(values: list[str], generator: Generator, share: float, put: str) -> list[str]:
    return [put if hit else value for value, hit in zip(values, generator.random(len(values)) < share, strict=True)]


def _shifted(values: np.ndarray, sigmas: float, share: float = 0.1) -> np.ndarray:
    moved = values.copy()
    some = int(share * WIDTH)
    moved[:, :some] += sigmas * values[:, :some].std(axis=0)
    return moved


def _rotated(values: np.ndarray) -> np.ndarray:
    turned, _ = np.linalg.qr(np.random.default_rng(4).normal(size=(WIDTH, WIDTH)))
    return values @ turned


# name -> (column, what happens to the window)
DRIFTS: dict[str, tuple[str, Callable[[dict[str, Any], Generator], None]]] = {
    "another language": ("text", _changed("text", lambda v, g: prose(g, len(v), OTHER))),
    "another language, 20%": (
        "text",
        _changed(
            "text", lambda v, g: [a if g.random() > 0.2 else b for a, b in zip(v, prose(g, len(v), OTHER), strict=True)]
        ),
    ),
    "digits in 10%": ("text", _changed("text", lambda v, g: [t + " 4711" if g.random() < 0.1 else t for t in v])),
    "length x 1.5": ("text", _changed("text", lambda v, g: prose(g, len(v), length=18))),
    "N/A in 5%": ("text", _changed("text", lambda v, g: _some(v, g, 0.05, "N/A"))),
    "mean 0.3 sigma in 10% of dimensions": ("vector", _changed("vector", lambda v, g: _shifted(v, 0.3))),
    "mean 0.5 sigma in 10% of dimensions": ("vector", _changed("vector", lambda v, g: _shifted(v, 0.5))),
    "rotated": ("vector", _changed("vector", lambda v, g: _rotated(v))),
    "zero vectors, 5%": ("vector", _changed("vector", lambda v, g: v * (g.random(len(v)) >= 0.05)[:, None])),
    "six hours later": ("when", _changed("when", lambda v, g: v + DAY // 4)),
    "weekends as weekdays": (
        "when",
        _changed("when", lambda v, g: v // DAY // 7 * 7 * DAY + g.integers(0, 7, len(v)) * DAY + v % DAY),
    ),
}


def null_run(
    seed: list[int],
    reference: int,
    window: int,
    phi: float = 0.0,
    days: int = 7,
    names: Collection[str] = tuple(KINDS),
) -> dict[str, bool]:
    generator = np.random.default_rng(seed)
    profile = profile_of(rows(generator, reference, phi=phi, names=names))
    result = check(profile, table(rows(generator, window, 20_070, days, phi, names)))
    return {column.column: column.alarm for column in result.columns}


def wide_run(seed: list[int], width: int, reference: int, window: int, moved: float = 0.0) -> bool:
    """Whether embeddings of many dimensions alarm; moved: by how many sigma a tenth of the dimensions is."""
    generator = np.random.default_rng(seed)
    mixing = generator.normal(size=(8, width)) / 2
    before, now = (
        generator.normal(size=(n, 8)) @ mixing + generator.normal(size=(n, width)) for n in (reference, window)
    )
    now[:, : width // 10] += moved * np.sqrt(3)  # the standard deviation: 8 / 4 of the mixing, 1 of the noise
    profile = make_profile(pa.table({"vector": as_vectors(before)}), inputs=[Column("vector", "vector")])  # type: ignore[arg-type]
    return bool(check(profile, pa.table({"vector": as_vectors(now)})).alarms)


def drifting(name: str, seed: list[int], reference: int, window: int, names: Collection[str] = tuple(KINDS)) -> bool:
    generator = np.random.default_rng(seed)
    profile = profile_of(rows(generator, reference, names=names))
    column, change = DRIFTS[name]
    columns = rows(generator, window, 20_070, 7, names=names)
    change(columns, generator)
    return column in check(profile, table(columns)).alarms


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(runs: int, power: int, names: Collection[str]) -> None:
    for title, reference, window, phi, days in (
        ("reference 5,000", 5_000, 1_000, 0.0, 7),
        ("reference 5,000, one day", 5_000, 1_000, 0.0, 1),
        ("reference 10,000", 10_000, 10_000, 0.0, 7),
        ("AR(1) 0.9, reference 10,000", 10_000, 2_000, 0.9, 7),
    ):
        count = runs if window < 10_000 else max(1, runs // 5)
        found = [null_run([5, run], reference, window, phi, days, names) for run in range(count)]
        each = {name: f"{np.mean([one[name] for one in found]):.2%}" for name in found[0]} if found else {}
        say(f"{title}, window {window:,}: any {np.mean([any(one.values()) for one in found]):.2%} of {count}; {each}")
    for name in (name for name, (column, _) in DRIFTS.items() if column in names):
        shares = [
            np.mean([drifting(name, [6, run], 5_000, window, names) for run in range(power)])
            for window in (1_000, 5_000)
        ]
        say(f"{name}: found {shares[0]:.0%} at 1,000, {shares[1]:.0%} at 5,000, of {power}")
    for width, reference, window in WIDE if "vector" in names else ():
        count = max(1, runs // 5)
        quiet = np.mean([wide_run([8, run], width, reference, window) for run in range(count)])
        found = np.mean([wide_run([9, run], width, reference, window, 0.3) for run in range(power // 5)])
        say(f"{width} dimensions, {reference:,}, {window:,}: {quiet:.2%} of {count}; 0.3 sigma in 10%: {found:.0%}")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] or tuple(KINDS))
