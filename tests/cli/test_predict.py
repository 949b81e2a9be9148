import runpy
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlops_cli.core.models.load import load_model
from mlops_cli.core.workflows import predict as workflow

KIT: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "serving" / "serving_kit.py"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    base = tmp_path_factory.mktemp("models")
    KIT["save"](base / "one")
    KIT["save"](base / "two", flipped=True)
    return base / "one", base / "two"


@pytest.fixture
def rows(here: Path, saved: tuple[Path, Path]) -> pd.DataFrame:
    """A project, and in it rows.parquet and rows.csv with a column that the model does not take."""
    KIT["project"](here, saved)
    frame = KIT["rows"](50, seed=3).assign(flight=[f"{number:03}" for number in range(50)])
    frame.to_parquet(here / "rows.parquet")
    frame.to_csv(here / "rows.csv", index=False)
    return frame


@pytest.mark.parametrize("source", ["rows.parquet", "rows.csv"])
@pytest.mark.parametrize("target", ["out.parquet", "out.csv"])
def test_each_format_gives_the_rows_with_the_model_s_own_answers(
    here: Path, mlo: Any, rows: pd.DataFrame, saved: tuple[Path, Path], source: str, target: str
) -> None:
    document = mlo("predict", "flights@production", source, target, "--json").json
    assert (document["rows"], document["columns"]) == (50, ["prediction", "probability"])
    assert (document["model"], document["version"]) == ("flights", 1)
    expected = load_model(saved[0]).predict(rows)
    path = here / target
    found = pd.read_parquet(path) if target.endswith("parquet") else pd.read_csv(path, dtype={"flight": str})
    assert list(found.columns) == [*rows.columns, "prediction", "probability"]
    assert found["prediction"].tolist() == expected.labels.tolist()
    assert expected.scores is not None
    assert found["probability"].tolist() == pytest.approx(expected.scores[:, 1].tolist(), rel=1e-12)
    assert found["flight"].tolist() == rows["flight"].tolist()
    assert found["pressure"].isna().tolist() == rows["pressure"].isna().tolist()


def test_chunks_give_what_the_whole_gives(here: Path, mlo: Any, rows: pd.DataFrame, monkeypatch: Any) -> None:
    mlo("predict", "flights@2", "rows.parquet", "whole.parquet")
    monkeypatch.setattr(workflow, "CHUNK_ROWS", 7)
    monkeypatch.setattr(workflow, "CHUNK_BYTES", 700)
    mlo("predict", "flights@2", "rows.parquet", "pieces.parquet")
    answer = mlo("predict", "flights@2", "rows.csv", "pieces.csv")
    assert "flights@2 predicted 50 rows: wrote" in answer.stdout
    whole = pd.read_parquet(here / "whole.parquet")
    assert whole.equals(pd.read_parquet(here / "pieces.parquet"))
    assert whole["prediction"].tolist() == pd.read_csv(here / "pieces.csv")["prediction"].tolist()


def test_no_rows_give_a_file_without_rows(here: Path, mlo: Any, rows: pd.DataFrame) -> None:
    pq.write_table(pq.read_table(here / "rows.parquet").slice(0, 0), here / "none.parquet")
    (here / "none.csv").write_text(",".join(rows.columns) + "\n")
    for source, target in (("none.parquet", "a.parquet"), ("none.csv", "b.csv")):
        assert mlo("predict", "flights@1", source, target, "--json").json["rows"] == 0
    assert pq.read_schema(here / "a.parquet").field("prediction").type == pa.int64()
    assert (here / "b.csv").read_text().strip().replace('"', "").endswith("prediction,probability")


def test_an_output_that_exists_is_kept_unless_forced(here: Path, mlo: Any, rows: pd.DataFrame) -> None:
    (here / "out.csv").write_text("mine")
    answer = mlo("predict", "flights@1", "rows.csv", "out.csv", exit_code=5)
    assert "out.csv exists" in answer.stderr
    assert (here / "out.csv").read_text() == "mine"
    mlo("predict", "flights@1", "rows.csv", "out.csv", "--force")
    assert "prediction" in (here / "out.csv").read_text()


def bad_files(here: Path, rows: pd.DataFrame) -> None:
    rows.drop(columns=["temp", "night"]).to_parquet(here / "narrow.parquet")
    rows.drop(columns=["temp"]).to_csv(here / "narrow.csv", index=False)
    rows.assign(temp="warm").to_parquet(here / "typed.parquet")
    rows.assign(temp="warm").to_csv(here / "typed.csv", index=False)
    rows.assign(prediction=1).to_parquet(here / "taken.parquet")
    (here / "torn.parquet").write_bytes((here / "rows.parquet").read_bytes()[:-20])
    (here / "torn.csv").write_text("carrier,temp\nUA\n")
    (here / "empty.csv").write_text("")
    (here / "twice.csv").write_text("carrier,distance,temp,temp,pressure,night\nUA,500,41.5,40,1013.2,true\n")
    (here / "rows.txt").write_text("x")


@pytest.mark.parametrize(
    ("source", "target", "code", "words"),
    [
        ("narrow.parquet", "o.parquet", 2, "narrow.parquet has no column temp, night; it has carrier"),
        ("narrow.csv", "o.csv", 2, "narrow.csv has no column temp"),
        ("typed.parquet", "o.csv", 2, "column temp holds 'warm'"),
        ("typed.csv", "o.csv", 2, "typed.csv does not read: column temp holds 'warm' in line 2, which"),
        ("taken.parquet", "o.csv", 2, "has a column prediction already"),
        ("torn.parquet", "o.csv", 2, "torn.parquet does not read"),
        ("torn.csv", "o.csv", 2, "torn.csv does not read"),
        ("empty.csv", "o.csv", 2, "empty.csv is empty"),
        ("twice.csv", "o.csv", 2, "twice.csv has two columns named temp"),
        ("rows.txt", "o.csv", 2, "rows.txt is neither Parquet nor CSV"),
        ("rows.csv", "o.xlsx", 2, "o.xlsx is neither Parquet nor CSV"),
        ("gone.csv", "o.csv", 6, "there is no file"),
        ("rows.csv", "rows.txt/o.csv", 2, "rows.txt is not a folder"),
    ],
)
def test_what_cannot_be_predicted_is_explained_and_nothing_is_written(
    here: Path, mlo: Any, rows: pd.DataFrame, source: str, target: str, code: int, words: str
) -> None:
    bad_files(here, rows)
    before = sorted(path.name for path in here.iterdir())
    answer = mlo("predict", "flights@1", source, target, exit_code=code)
    assert words in answer.stderr
    assert "hint: " in answer.stderr
    assert sorted(path.name for path in here.iterdir()) == before


def test_a_failure_in_a_later_chunk_leaves_nothing(here: Path, mlo: Any, rows: pd.DataFrame, monkeypatch: Any) -> None:
    monkeypatch.setattr(workflow, "CHUNK_BYTES", 700)
    with (here / "rows.csv").open("a") as file:
        file.write("UA,far,1.0,2.0,False,x\n")
    stderr = mlo("predict", "flights@1", "rows.csv", "out.csv", exit_code=2).stderr
    assert f"column distance holds 'far' in line {len(rows) + 2}" in stderr
    assert list(here.glob("*out.csv*")) == []


def test_an_unknown_model_is_said(here: Path, mlo: Any, rows: pd.DataFrame) -> None:
    assert "no version 9" in mlo("predict", "flights@9", "rows.csv", "out.csv", exit_code=6).stderr
