"""What a profile keeps of a column's missing rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlops_cli.core.stats.dependence import autocorrelation_time


def missing_time(present: NDArray[np.bool_] | None, order: NDArray[np.int64] | None) -> float:
    """The autocorrelation time, in rows, of whether a value is there: sensors fail for days, not for rows."""
    if present is None or order is None:
        return 1.0
    return autocorrelation_time(present[order])
