"""False alarms and power, reduced and seeded; the full run's figures stand in RULE.md."""

from __future__ import annotations

import drift_worlds
import numpy as np
import pytest

from mlops_cli.core.drift.check import check


@pytest.mark.parametrize("reference", [1_000, 10_000])
def test_fifty_columns_and_their_predictions_without_drift_are_quiet(reference: int) -> None:
    alarms = [bool(result.alarms) for _, result in drift_worlds.null_runs(12, reference, (200, 1_000), 11)]
    assert sum(alarms) <= 1


@pytest.mark.slow
def test_fifty_columns_without_drift_are_quiet_in_hundreds_of_runs() -> None:
    alarms = [bool(result.alarms) for _, result in drift_worlds.null_runs(150, 1_000, (200, 1_000), 12)]
    assert np.mean(alarms) <= 0.025


def test_dependent_columns_and_predictions_without_drift_are_quiet() -> None:
    alarms = [bool(result.alarms) for _, result in drift_worlds.dependent_runs(8, 10_000, (1_000,), 0.9, 13)]
    assert sum(alarms) <= 1


@pytest.mark.parametrize("name", [name for name in drift_worlds.DRIFTS if name != "mean 0.02 sigma"])
def test_drift_is_found_among_fifty_columns_at_5000_rows(name: str) -> None:
    profile, window = drift_worlds.drifting(name, np.random.default_rng(14), 10_000, 5_000)
    result = check(profile, window)
    assert result.alarms == ("drifting",)


@pytest.mark.parametrize("name", list(drift_worlds.ANSWER_DRIFTS))
def test_drift_of_the_predictions_is_found_beside_fifty_columns(name: str) -> None:
    profile, window = drift_worlds.drifting_answers(name, np.random.default_rng(15), 10_000, 5_000)
    result = check(profile, window)
    assert result.alarms == (drift_worlds.ANSWER_DRIFTS[name][1],)
    assert result.verdict == "drift"
