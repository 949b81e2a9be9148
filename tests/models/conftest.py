"""Fixtures of the model room; made once, as fitting takes its time."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from model_kit import fit_flights, flights


@pytest.fixture(scope="session")
def rows() -> pd.DataFrame:
    return flights()


@pytest.fixture(scope="session")
def inputs(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.drop(columns="late")


@pytest.fixture(scope="session")
def model(rows: pd.DataFrame) -> Any:
    return fit_flights(rows)
