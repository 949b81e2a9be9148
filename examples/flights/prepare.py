"""Label the flights and split them: data/raw/*.parquet -> data/train.parquet, data/test.parquet.

python prepare.py                                                  # the stage `prepare` of mlo.yaml
python prepare.py --holdout months/2013-07.parquet OUT.parquet     # one month as labelled rows, unsplit
"""

import sys
from pathlib import Path

import pandas as pd

import mlops_cli as mlo


def label(flights: pd.DataFrame, late_minutes: float) -> pd.DataFrame:
    """Add the target `late`, and drop the delay itself: a model that saw it would only be reading the answer."""
    late = (flights["arr_delay"] > late_minutes).astype("int64")
    return flights.drop(columns="arr_delay").assign(late=late)


def split(flights: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Three quarters to train on, one to test on.

    Every month is split by itself, so a row never moves from test to train when later months are added.
    Otherwise an older model would be tested on rows it was trained on, and look better than it is.
    """
    test = flights.sample(frac=0.25, random_state=seed)
    return flights.drop(test.index), test.sort_index()


def prepare() -> None:
    params = mlo.params()
    months = [
        label(pd.read_parquet(path), params["late_minutes"]) for path in sorted(Path("data/raw").glob("*.parquet"))
    ]
    parts = [split(month, params["seed"]) for month in months]
    for name, tables in zip(("train", "test"), zip(*parts, strict=True), strict=True):
        rows = pd.concat(tables, ignore_index=True)
        rows.to_parquet(f"data/{name}.parquet")
        print(f"{name}: {len(rows):,} flights, {rows['late'].mean():.1%} late")


def holdout(month: str, out: str) -> None:
    rows = label(pd.read_parquet(month), mlo.params()["late_minutes"])
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    rows.to_parquet(out)
    print(f"{out}: {len(rows):,} flights, {rows['late'].mean():.1%} late")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--holdout"]:
        holdout(*sys.argv[2:])
    else:
        prepare()
