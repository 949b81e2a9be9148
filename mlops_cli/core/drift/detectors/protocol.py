"""What a detector of concept drift is: losses go in one at a time, and it says at which row they changed.

A loss is what the model paid for one row: 0 or 1 (right or wrong), a log loss, a squared error. The detectors know
nothing of the inputs: P(y | X) can change while P(X) does not, and this is where that shows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar, Protocol

import msgspec
import numpy as np

from mlops_cli.core.errors import UsageError


class Detector(Protocol):
    """Losses of one model, oldest first.

    After `update` returned True the detector has started anew: what it kept of the rows before the change is gone.
    The same losses give the same answers, in one pass or stored and restored between any two rows.
    """

    @property
    def name(self) -> str:
        """What `open_detector` opens it by."""

    @property
    def warm_up(self) -> int:
        """How many losses it takes at the start before it can see a change; with fewer, silence says nothing."""

    def update(self, loss: float) -> bool:
        """One loss; True if a change is seen at this row. Raises UsageError if it is not a finite number."""

    def update_many(self, losses: Iterable[float]) -> list[int]:
        """Many losses; the places, from 0, at which a change was seen. Nothing is taken in if one is not finite."""


class Sequential(msgspec.Struct, kw_only=True, tag_field="detector"):
    """A detector whose whole state is its fields, plain values, so that it can be stored between two windows.

    A subclass gives the state fields, `warm_up` (a field or a property), `_see` (one checked loss) and `start_anew`.
    """

    name: ClassVar[str] = ""

    @property
    def warm_up(self) -> int:
        raise NotImplementedError

    def update(self, loss: float) -> bool:
        return self._see(finite(loss))

    def update_many(self, losses: Iterable[float]) -> list[int]:
        checked = [finite(loss) for loss in losses]
        return [place for place, loss in enumerate(checked) if self._see(loss)]

    def start_anew(self) -> None:
        """Forget every row; the options stay."""
        raise NotImplementedError

    def _see(self, loss: float) -> bool:
        raise NotImplementedError


def finite(loss: Any) -> float:
    """A loss as a float. Raises UsageError on what is not a finite number."""
    if isinstance(loss, int | float | np.number | np.bool_) and math.isfinite(loss):
        return float(loss)
    raise UsageError(
        f"a detector of drift takes finite losses, not {loss!r}", hint="leave out the rows that have no label"
    )


def within(option: str, value: float, low: float, high: float) -> None:
    """Raises UsageError unless low < value < high."""
    if not low < value < high:
        raise UsageError(f"{option} is {value}", hint=f"it lies between {low} and {high}, both excluded")
