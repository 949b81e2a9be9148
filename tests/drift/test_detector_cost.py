"""What a loss costs a detector, in cuts looked at: counted, not timed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from streams import quiet, sea_errors, waves

from mlops_cli.core.drift.detectors import effective
from mlops_cli.core.drift.detectors.adwin import Adwin
from mlops_cli.core.drift.detectors.effective import BLOCK, KEPT, LENGTHS, Effective


def cuts_of_the_default(monkeypatch: pytest.MonkeyPatch, losses: np.ndarray) -> list[int]:
    """The number of cuts at each look; every look weighs the older and the newer part of each cut."""
    parts: list[int] = []
    weigh = effective._divergence
    with monkeypatch.context() as patched:
        patched.setattr(effective, "_divergence", lambda rate, pooled: parts.append(len(rate)) or weigh(rate, pooled))
        Effective().update_many(losses)
    return parts[::2]


def test_the_default_looks_at_no_more_than_11_cuts_a_loss_however_long_the_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    losses = quiet(np.random.default_rng(1), 80_000)
    cuts = cuts_of_the_default(monkeypatch, losses)
    assert len(cuts) == (80_000 - 3000) // BLOCK
    assert max(cuts) == len(LENGTHS) < 11 * BLOCK
    # Once the longest part is as long as it gets, a look costs the same for ever.
    assert set(cuts[2 * KEPT :]) == {len(LENGTHS)}


def test_the_default_estimates_dependence_a_few_dozen_times_and_reads_two_sums_a_loss_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sums: list[int] = []
    estimate = Effective._estimated

    def counted(detector: Effective, newest: int, variance: float) -> float:
        sums.append(len(detector.totals))
        return estimate(detector, newest, variance)

    monkeypatch.setattr(Effective, "_estimated", counted)
    rows = 40_000
    assert Effective().update_many(waves(np.random.default_rng(1), rows, phi=0.95)) == []
    # Each estimate serves until there are 17 rows for every 16.
    assert 10 < len(sums) <= 1 + math.log(rows / 3000) / math.log(17 / 16)
    assert max(sums) <= 2 * KEPT
    assert sum(sums) / rows < 17 / BLOCK


def test_adwin_looks_at_no_more_than_three_cuts_a_loss_with_its_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    cuts: list[int] = []
    differs = Adwin._differs

    def counted(detector: Adwin) -> bool:
        cuts.append(sum(len(level) for level in detector.totals) - 1)
        return differs(detector)

    monkeypatch.setattr(Adwin, "_differs", counted)
    losses = sea_errors(np.random.default_rng(1), 7.0, 9.5)
    assert Adwin().update_many(losses)
    assert max(cuts) < Adwin.BUCKETS * (math.log2(len(losses)) + 1)
    assert sum(cuts) / len(losses) < 3
