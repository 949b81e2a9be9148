"""Answered requests to log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from mlops_cli.core.base.records import Column, Signature
from mlops_cli.core.predictions.segment import Answered

START = datetime(2013, 4, 1, 12, tzinfo=UTC)
INPUTS = (Column("carrier", "string"), Column("distance", "integer"), Column("temp", "float", nullable=True))
SIGNATURE = Signature(INPUTS, "classification", (0, 1))


def answered(n: int = 1, *, at: float = 0.0, request: str = "r", **changes: Any) -> Answered:
    """n rows that arrived `at` seconds after START."""
    facts: dict[str, Any] = {
        "request": request,
        "arrived": START + timedelta(seconds=at),
        "model": "flights",
        "version": 1,
        "signature": SIGNATURE,
        "columns": {"carrier": ["UA"] * n, "distance": list(range(n)), "temp": [None] + [1.5] * (n - 1) if n else []},
        "predictions": [1] * n,
        "scores": [0.75] * n,
    }
    return Answered(**{**facts, **changes})
