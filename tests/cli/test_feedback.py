"""mlo feedback: labels of logged predictions, one at a time or by the file."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlops_cli.core.base.records import Column, Entry, Signature
from mlops_cli.core.predictions.labels import read_labels
from mlops_cli.core.predictions.segment import Answered, encode, segment_name
from mlops_cli.core.registry.records import Evaluation, Version
from mlops_cli.core.workflows.workspace import Workspace

YAML = "name: flights\nmodel: {name: flights, evaluate: {data: test.parquet, target: late}}\n"
NOW = "2013-05-01T06:00:00Z"
INPUTS = (Column("temp", "float"),)


@pytest.fixture
def project(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (here / "mlo.yaml").write_text(YAML)
    monkeypatch.setenv("MLO_NOW", NOW)
    return here


def register(folder: Path, signature: Signature) -> None:
    workspace = Workspace.find(folder, {"MLO_NOW": NOW, "MLO_ACTOR": "Ada"})
    nothing = Entry("xxh128:" + "0" * 32, "dir", 0)
    version = Version(
        name="flights",
        version=0,
        run="ab" * 16,
        model=nothing,
        files={},
        signature=signature,
        evaluate=Evaluation(nothing, "late", "test.parquet"),
    )
    workspace.registry.add_version(version)


@pytest.fixture
def classifier(project: Path) -> Path:
    register(project, Signature(INPUTS, "classification", (0, 1)))
    batch = Answered(
        request="r1",
        arrived=datetime(2013, 4, 2, tzinfo=UTC),
        model="flights",
        version=1,
        signature=Signature(INPUTS, "classification", (0, 1)),
        columns={"temp": [1.0, 2.0]},
        predictions=[0, 1],
        scores=[0.2, 0.9],
    )
    path = project / ".mlo" / "predictions" / segment_name([batch])
    path.parent.mkdir(parents=True)
    path.write_bytes(encode([batch]))
    return project


def known(folder: Path) -> dict[tuple[str, int], str]:
    return {place: label for place, (_, label) in read_labels(folder / ".mlo" / "predictions").labels.items()}


def test_a_label_is_recorded_once(mlo: Any, classifier: Path) -> None:
    assert mlo("feedback", "r1", "1", "--row", "1").stdout == "1 label added, in .mlo/predictions\n"
    assert "0 labels added, 1 known already" in mlo("feedback", "r1", "1", "--row", "1").stdout
    assert "0 labels added, 1 changed" in mlo("feedback", "r1", "0", "--row", "1").stdout
    assert known(classifier) == {("r1", 1): "0"}


def test_a_request_that_is_not_in_the_log_is_kept_and_counted(mlo: Any, classifier: Path) -> None:
    answer = mlo("feedback", "nobody", "1")
    assert "1 row not found among the predictions of the last 92 days; kept all the same" in answer.stdout
    assert known(classifier) == {("nobody", 0): "1"}


@pytest.mark.parametrize(("typed", "kept"), [("1", "1"), ("1.0", "1"), ("true", "1"), ("False", "0")])
def test_a_label_is_read_as_the_class_it_means(mlo: Any, classifier: Path, typed: str, kept: str) -> None:
    mlo("feedback", "r1", typed)
    assert known(classifier) == {("r1", 0): kept}


def test_a_label_that_is_no_class_is_refused(mlo: Any, classifier: Path) -> None:
    answer = mlo("feedback", "r1", "late", exit_code=2)
    assert "'late' is no class of flights; its classes are 0, 1" in answer.stderr
    assert known(classifier) == {}


def test_a_regression_takes_numbers(mlo: Any, project: Path) -> None:
    register(project, Signature(INPUTS, "regression"))
    mlo("feedback", "r1", "3.50")
    assert known(project) == {("r1", 0): "3.5"}
    for label in ("many", "inf"):
        assert "answers with numbers" in mlo("feedback", "r1", label, exit_code=2).stderr


def test_a_model_that_was_never_registered_takes_any_label(mlo: Any, project: Path) -> None:
    mlo("feedback", "r1", "anything")
    assert known(project) == {("r1", 0): "anything"}


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_a_file_of_labels_by_its_usual_names(mlo: Any, classifier: Path, suffix: str) -> None:
    path = classifier / f"labels.{suffix}"
    if suffix == "csv":
        path.write_text("_request,_row,late\nr1,0,0\nr1,1,1\n007,0,1\nr2,0,\n")
    elif suffix == "jsonl":
        rows = [("r1", 0, 0), ("r1", 1, 1), ("007", 0, 1), ("r2", 0, None)]
        path.write_text("\n".join(json.dumps({"_request": a, "_row": b, "late": c}) for a, b, c in rows))
    else:
        rows = {"_request": ["r1", "r1", "007", "r2"], "_row": [0, 1, 0, 0], "late": [0.0, 1.0, 1.0, float("nan")]}
        pq.write_table(pa.table(rows), path)
    document = mlo("feedback", "--file", path.name, "--json").json
    assert (document["added"], document["unlabelled"], document["unknown"]) == (3, 1, 1)
    assert known(classifier) == {("r1", 0): "0", ("r1", 1): "1", ("007", 0): "1"}
    assert mlo("feedback", "--file", path.name, "--json").json["unchanged"] == 3


def test_columns_may_be_named(mlo: Any, classifier: Path) -> None:
    (classifier / "x.csv").write_text("order,outcome\nr1,1\n")
    mlo("feedback", "--file", "x.csv", "--request-column", "order", "--label-column", "outcome")
    assert known(classifier) == {("r1", 0): "1"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,late\nr1,1\n", "has no column _request or request_id or request; it has id, late"),
        ("request_id,late\nr1,1\nr1,2\n", "row 2 of x.csv: 2 is no class of flights"),
        ("request_id,late\nr1,1\nr1,0\n", "row 0 of request r1 has two labels"),
        ("request_id,late\n,1\n", "row 1 of x.csv has no request id"),
        ("request_id,row,late\nr1,1.5,1\n", "has 1.5 for the row of its request"),
    ],
)
def test_a_file_that_is_wrong_anywhere_records_nothing(mlo: Any, classifier: Path, text: str, said: str) -> None:
    (classifier / "x.csv").write_text(text)
    assert said in mlo("feedback", "--file", "x.csv", exit_code=2).stderr
    assert known(classifier) == {}


def test_nothing_or_both_is_wrong_usage(mlo: Any, classifier: Path) -> None:
    assert "there is nothing to record" in mlo("feedback", exit_code=2).stderr
    assert "give one of them" in mlo("feedback", "r1", "1", "--file", "x.csv", exit_code=2).stderr
    assert "there is no file x.csv" in mlo("feedback", "--file", "x.csv", exit_code=6).stderr


def test_labels_go_to_the_remote_that_holds_the_log(mlo: Any, project: Path, tmp_path: Path) -> None:
    far = tmp_path / "far"
    far.mkdir()
    (project / "mlo.yaml").write_text(f"{YAML}serve: {{log: store}}\nremotes: {{store: '{far.as_uri()}'}}\n")
    register(project, Signature(INPUTS, "classification", (0, 1)))
    mlo("feedback", "r1", "1")
    assert [path.parent.name for path in far.rglob("*.arrow")] == ["2013-05-01"]
    assert "1 known already" in mlo("feedback", "r1", "1").stdout
