"""What is found in one column before any correction, and the test that every column gets: of its missing rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.drift.profile import ColumnProfile
from mlops_cli.core.drift.records import Rules, Test
from mlops_cli.core.stats.detectable import detectable_distance, detectable_variation
from mlops_cli.core.stats.proportions import effective_fisher

Array = NDArray[np.float64]
Order = NDArray[np.int64] | None


@dataclass(slots=True)
class Measured:
    """A column's tests, and what its result says besides. `facts` are fields of ColumnResult."""

    profile: ColumnProfile
    tests: list[Test] = field(default_factory=list)
    n: int = 0
    sizes: Sizes | None = None
    cells: int = 0  # of a categorical column's table
    facts: dict[str, Any] = field(default_factory=dict)
    note: str = ""

    def detectable(self, level: float) -> float | None:
        """The smallest distance found with probability 0.8 by a test at `level`; None if none is tested."""
        if self.sizes is None:
            return None
        if self.cells:
            return detectable_variation(level, self.sizes.n, self.sizes.m, self.cells)
        return detectable_distance(level, self.sizes.n, self.sizes.m)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Effective rows of the reference (n) and the window (m), and how many rows of each are worth one."""

    n: float
    m: float
    time_n: float
    time_m: float

    @classmethod
    def of(cls, n: int, m: int, reference: float | None, current: float | None) -> Sizes:
        """reference, current: autocorrelation times in rows, None where nothing orders the rows.

        A window is shorter than the reference, so its own time comes out too small: the larger of both counts.
        A reference without order is taken to depend as the window does.
        """
        time_n = reference if reference is not None else (current or 1.0)
        time_m = max(time_n, current or 1.0)
        return cls(max(1.0, n / time_n), max(1.0, m / time_m), time_n, time_m)


def judge_missing(measured: Measured, missing: int, rows: int, current: float, rules: Rules) -> None:
    """Is the share of missing rows another? No row missing on either side, or all on both: nothing to test."""
    profile = measured.profile
    before, now = profile.missing / profile.rows, missing / rows
    measured.facts["missing_reference"], measured.facts["missing"] = before, now
    if missing + profile.missing in (0, rows + profile.rows):
        return
    time_m = max(profile.missing_time, current)
    p = effective_fisher(profile.missing, profile.rows, missing, rows, time_a=profile.missing_time, time_b=time_m)
    measured.tests.append(
        Test(
            part="missing",
            method="Fisher",
            statistic=now - before,
            effect=abs(now - before),
            floor=rules.missing,
            p_value=p,
            detail=f"missing in {percent(before)} of the reference, {percent(now)} of the window",
        )
    )


def percent(share: float) -> str:
    return f"{share:.2%}" if 0 < share < 0.001 else f"{share:.1%}" if share else "none"
