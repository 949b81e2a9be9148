"""Rows and models that the tests of the model room share."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OrdinalEncoder


def flights(rows: int = 300, seed: int = 0) -> pd.DataFrame:
    """Rows with the columns of the flights example: text, integers, floats, and a pressure that is often missing."""
    random = np.random.default_rng(seed)
    pressure = random.normal(1017, 8, rows)
    pressure[random.random(rows) < 0.17] = np.nan
    frame = pd.DataFrame(
        {
            "carrier": random.choice(["UA", "B6", "EV"], rows),
            "origin": random.choice(["EWR", "JFK", "LGA"], rows),
            "sched_dep_time": random.integers(500, 2300, rows),
            "distance": random.integers(100, 2500, rows),
            "temp": random.normal(40, 10, rows),
            "wind_speed": random.gamma(2, 4, rows),
            "pressure": pressure,
        }
    )
    odds = frame["wind_speed"] / 8 + frame["sched_dep_time"] / 1500 - 2
    frame["late"] = (random.random(rows) < 1 / (1 + np.exp(-odds))).astype(int)
    return frame


def fit_flights(rows: pd.DataFrame) -> Pipeline:
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    return make_pipeline(
        ColumnTransformer([("codes", codes, ["carrier", "origin"])], remainder="passthrough"),
        HistGradientBoostingClassifier(max_iter=15, random_state=7),
    ).fit(rows.drop(columns="late"), rows["late"])
