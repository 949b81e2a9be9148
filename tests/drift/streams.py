"""Streams of losses with a known place of change: SEA, STAGGER, a rotating hyperplane, and losses without any change.

`python tests/drift/streams.py 100` prints the figures of mlops_cli/core/drift/detectors/DETECTORS.md.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.drift.detectors.open import DETECTORS, open_detector

Generator = np.random.Generator
Losses = NDArray[np.float64]
Rows = tuple[NDArray[np.float64], NDArray[np.bool_]]

CONCEPT = 12_500  # rows of one concept
THETAS = {"SEA 8 to 9": (8.0, 9.0), "SEA 9 to 7": (9.0, 7.0), "SEA 7 to 9.5": (7.0, 9.5)}


def sea(generator: Generator, theta: float, n: int) -> Rows:
    """Three inputs, uniform on [0, 10]; x1 + x2 <= theta, and 10% of the labels flipped (Street, Kim 2001)."""
    inputs = generator.uniform(0, 10, (n, 3))
    return inputs, (inputs[:, 0] + inputs[:, 1] <= theta) ^ (generator.random(n) < 0.1)


def sea_errors(generator: Generator, before: float, after: float, n: int = CONCEPT) -> Losses:
    """0/1 errors of the best model of the concept `before`: n rows of it, then n rows of `after`."""
    parts = [sea(generator, theta, n) for theta in (before, after)]
    inputs, labels = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    return ((inputs[:, 0] + inputs[:, 1] <= before) != labels).astype(float)


def learning_errors(generator: Generator, before: float, after: float, n: int = CONCEPT) -> Losses:
    """0/1 errors on SEA of a Gaussian naive Bayes that learns each row once it has answered it, and forgets none: they
    fall while it learns, rise with the new concept, and stay high as long as the old rows outweigh the new."""
    parts = [sea(generator, theta, n) for theta in (before, after)]
    rows = np.concatenate([part[0] for part in parts]).tolist()
    labels = np.concatenate([part[1] for part in parts]).tolist()
    counts, means, squares = [0, 0], [[0.0] * 3, [0.0] * 3], [[0.0] * 3, [0.0] * 3]
    errors = []
    for row, label in zip(rows, labels, strict=True):
        scores = []
        for kind in (0, 1):
            seen = counts[kind]
            score = math.log(seen + 1)
            for value, mean, square in zip(row, means[kind], squares[kind], strict=True):
                variance = (square + 1) / (seen + 1)
                score -= (math.log(variance) + (value - mean) ** 2 / variance) / 2
            scores.append(score)
        errors.append((scores[1] > scores[0]) != label)
        counts[label] += 1
        for place, value in enumerate(row):
            off = value - means[label][place]
            means[label][place] += off / counts[label]
            squares[label][place] += off * (value - means[label][place])
    return np.asarray(errors, dtype=float)


def stagger_errors(generator: Generator, n: int = CONCEPT) -> Losses:
    """Errors of the rule "small and red" while it holds, and then under "green or round" (Schlimmer, Granger 1986)."""
    size, colour, shape = generator.integers(0, 3, (3, 2 * n))
    first, second = (size == 0) & (colour == 0), (colour == 1) | (shape == 1)
    return (first != np.where(np.arange(2 * n) < n, first, second)).astype(float)


def hyperplane_errors(generator: Generator, n: int = CONCEPT, turn: float = np.pi / 4) -> Losses:
    """Errors of a half-space in 10 dimensions that holds for n rows and then turns by `turn` over n rows; 5% noise."""
    inputs = generator.normal(size=(2 * n, 10))
    angle = turn * np.clip(np.arange(2 * n) / n - 1, 0, 1)
    labels = (inputs[:, 0] * np.cos(angle) + inputs[:, 1] * np.sin(angle) > 0) ^ (generator.random(2 * n) < 0.05)
    return ((inputs[:, 0] > 0) != labels).astype(float)


def quiet(generator: Generator, n: int = 20_000, rate: float = 0.1) -> Losses:
    return (generator.random(n) < rate).astype(float)


def moods(generator: Generator, n: int = 20_000, length: float = 30, share: float = 0.1) -> Losses:
    """Markov-modulated: an error rate of 5%, and of 50% in spells of `length` rows that fill `share` of the time."""
    bad = np.zeros(n, dtype=bool)
    place, state = 0, bool(generator.random() < share)
    while place < n:
        rows = int(generator.geometric(1 / length if state else share / (length * (1 - share))))
        bad[place : place + rows] = state
        place, state = place + rows, not state
    return (generator.random(n) < np.where(bad, 0.5, 0.05)).astype(float)


def waves(generator: Generator, n: int = 20_000, phi: float = 0.9) -> Losses:
    """Errors with the log odds -2.2 + z, z an AR(1) of variance 1."""
    noise = generator.normal(size=n) * np.sqrt(1 - phi * phi)
    level = float(generator.normal())
    odds = np.empty(n)
    for row in range(n):
        level = phi * level + noise[row]
        odds[row] = level - 2.2
    return (generator.random(n) < 1 / (1 + np.exp(-odds))).astype(float)


def squared(generator: Generator, n: int = 20_000) -> Losses:
    return np.asarray(generator.normal(size=n) ** 2)


UNCHANGED: dict[str, Callable[[Generator], Losses]] = {
    "quiet, rate 0.02": lambda generator: quiet(generator, rate=0.02),
    "quiet, rate 0.1": quiet,
    "quiet, rate 0.3": lambda generator: quiet(generator, rate=0.3),
    "squared errors": squared,
    "learning": lambda generator: learning_errors(generator, 8.0, 8.0, n=10_000),
    "waves, phi 0.5": lambda generator: waves(generator, phi=0.5),
    "waves, phi 0.7": lambda generator: waves(generator, phi=0.7),
    "waves, phi 0.83": lambda generator: waves(generator, phi=0.83),  # River's ADWIN alarms on about a third
    "waves, phi 0.9": waves,
    "waves, phi 0.99": lambda generator: waves(generator, phi=0.99),
    "moods of 30 rows": moods,
    "moods of 100 rows": lambda generator: moods(generator, length=100),
    "moods of 300 rows": lambda generator: moods(generator, length=300),
}
CHANGED: dict[str, Callable[[Generator], Losses]] = {
    **{name: lambda generator, ends=ends: sea_errors(generator, *ends) for name, ends in THETAS.items()},  # type: ignore[misc]
    **{
        f"{name}, learning": lambda generator, ends=ends: learning_errors(generator, *ends)  # type: ignore[misc]
        for name, ends in THETAS.items()
    },
    "STAGGER": stagger_errors,
    "hyperplane": hyperplane_errors,
}


def main(runs: int, names: list[str]) -> None:
    for name in names:
        for stream, draw in UNCHANGED.items():
            if name.lower().endswith("ddm") and stream == "squared errors":
                continue
            alarms = [
                bool(open_detector(name).update_many(draw(np.random.default_rng([1, run])))) for run in range(runs)
            ]
            sys.stdout.write(f"{name} | {stream} | {np.mean(alarms):.1%}\n")
        for stream, draw in CHANGED.items():
            found = [open_detector(name).update_many(draw(np.random.default_rng([2, run]))) for run in range(runs)]
            delays = [next((at - CONCEPT + 1 for at in places if at >= CONCEPT), np.inf) for places in found]
            early = np.mean([bool(places) and places[0] < CONCEPT for places in found])
            sys.stdout.write(
                f"{name} | {stream} | median delay {np.median(delays):.0f} | before the change {early:.1%}\n"
            )
        sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:] or [*DETECTORS])
