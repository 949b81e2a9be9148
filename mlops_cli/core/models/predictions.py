"""What a model answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class Predictions:
    """`labels` (n,): classes or numbers. `scores` (n, classes): probabilities in the order of the signature's
    classes, each row summing to 1; None for a regression, or a classifier that gives none."""

    labels: np.ndarray[Any, Any]
    scores: np.ndarray[Any, Any] | None = None

    def __len__(self) -> int:
        return len(self.labels)
