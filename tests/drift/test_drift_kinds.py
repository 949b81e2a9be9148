"""False alarms and power of prose, times and vectors, reduced and seeded; the full run's figures stand in RULE.md."""

from __future__ import annotations

import drift_kinds
import pytest


@pytest.mark.parametrize("phi", [0.0, 0.9])
def test_prose_times_and_vectors_without_drift_are_quiet(phi: float) -> None:
    alarms = [any(drift_kinds.null_run([7, run], 2_000, 600, phi).values()) for run in range(3)]
    assert sum(alarms) == 0


@pytest.mark.parametrize("name", [name for name in drift_kinds.DRIFTS if name != "zero vectors, 5%"])
def test_drift_of_prose_times_and_vectors_is_found(name: str) -> None:
    rows = 5_000 if name == "weekends as weekdays" else 1_500
    assert drift_kinds.drifting(name, [8], 3_000, rows)
