"""False alarms and power of prose, times and vectors, reduced and seeded; the full run's figures stand in RULE.md."""

from __future__ import annotations

import drift_kinds
import pytest


@pytest.mark.parametrize("phi", [0.0, 0.9])
def test_prose_times_and_vectors_without_drift_are_quiet(phi: float) -> None:
    alarms = [any(drift_kinds.null_run([7, run], 2_000, 600, phi).values()) for run in range(3)]
    assert sum(alarms) == 0


@pytest.mark.parametrize("name", list(drift_kinds.DRIFTS))
def test_drift_of_prose_times_and_vectors_is_found(name: str) -> None:
    # Ten weeks of reference tell little of how much weeks differ, so weekdays need more rows.
    reference, window = (5_000, 5_000) if name == "weekends as weekdays" else (3_000, 1_500)
    assert drift_kinds.drifting(name, [6, 0], reference, window)
