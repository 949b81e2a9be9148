"""mlo drift check --segments and --multivariate: what is asked of the training rows themselves."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlops_cli.core.base.records import Column, Entry, Signature
from mlops_cli.core.drift.profiling import make_profile
from mlops_cli.core.registry.records import Version
from mlops_cli.core.workflows.workspace import Workspace

INPUTS = (Column("temp", "float", nullable=True), Column("wind", "float"), Column("carrier", "string"))


def rows(seed: int, n: int, shifts: dict[str, float] | None = None, correlation: float = 0.0) -> pa.Table:
    generator = np.random.default_rng(seed)
    carrier = generator.choice(["AA", "DL"], n)
    temp = generator.normal(size=n)
    wind = correlation * temp + np.sqrt(1 - correlation**2) * generator.normal(size=n)
    shift = np.array([(shifts or {}).get(name, 0.0) for name in carrier.tolist()])
    return pa.table({"temp": temp + shift, "wind": wind, "carrier": carrier})


@pytest.fixture
def project(here: Path) -> Path:
    """A project whose flights@1 is in production, with its profile and its training rows."""
    (here / "mlo.yaml").write_text("name: flights\nmodel: {name: flights}\n")
    register(here, with_rows=True)
    return here


def register(folder: Path, *, with_rows: bool) -> None:
    workspace = Workspace.find(folder, {"MLO_ACTOR": "Ada"})
    training = rows(0, 4000)
    file = io.BytesIO()
    pq.write_table(training, file)
    digest = str(workspace.store.put_bytes(file.getvalue()))
    profile = str(workspace.store.put_bytes(make_profile(training, inputs=INPUTS).to_bytes()))
    version = Version(
        name="flights",
        version=0,
        run=f"{int(with_rows):032x}",
        model=Entry("xxh128:" + "0" * 32, "dir", 0),
        files={},
        signature=Signature(INPUTS, "classification", (0, 1)),
        profile=profile,
        reference=Entry(digest, "file", len(file.getvalue())) if with_rows else None,
    )
    made, _ = workspace.registry.add_version(version)
    workspace.registry.record("promote", made.title, {"alias": "production", "before": None, "gates": []})


def current(folder: Path, table: pa.Table) -> str:
    pq.write_table(table, folder / "now.parquet")
    return "now.parquet"


def test_segments_that_drift_apart_answer_3(mlo: Any, project: Path) -> None:
    path = current(project, rows(1, 3000, {"AA": 0.45, "DL": -0.45}))
    mlo("drift", "check", "--current", path)
    document = mlo("drift", "check", "--current", path, "--segments", "carrier", "--json", exit_code=3).json
    assert document["alarms"] == []
    assert {one["value"]: one["verdict"] for one in document["segments"]["segments"]} == {"AA": "drift", "DL": "drift"}
    shown = mlo("drift", "check", "--current", path, "--segments", "carrier", exit_code=3).stdout
    assert shown.startswith("drift: temp where carrier is ")
    assert "temp" in next(line for line in shown.splitlines() if line.lstrip().startswith("AA"))


def test_a_change_of_correlation_answers_3(mlo: Any, project: Path) -> None:
    path = current(project, rows(2, 2000, correlation=0.9))
    mlo("drift", "check", "--current", path)
    document = mlo("drift", "check", "--current", path, "--multivariate", "--json", exit_code=3).json
    assert document["multivariate"]["alarm"] is True
    assert {name for name, _ in document["multivariate"]["columns"][:2]} == {"temp", "wind"}
    assert document["segments"] is None


def test_a_quiet_window_answers_0_to_both(mlo: Any, project: Path) -> None:
    path = current(project, rows(3, 1000))
    shown = mlo("drift", "check", "--current", path, "--segments", "carrier", "--multivariate").stdout
    assert shown.startswith("quiet")
    assert "all columns together are quiet" in shown
    assert "only the inputs are compared within segments" in shown


def test_a_column_that_is_not_there_names_those_that_are(mlo: Any, project: Path) -> None:
    path = current(project, rows(4, 200))
    answer = mlo("drift", "check", "--current", path, "--segments", "origin", exit_code=2)
    assert "the window has no column origin to cut segments by" in answer.stderr
    assert "temp, wind, carrier" in answer.stderr


def test_a_version_without_its_rows_says_how_to_give_them(mlo: Any, project: Path) -> None:
    register(project, with_rows=False)
    path = current(project, rows(5, 400))
    for asked in (("--multivariate",), ("--segments", "carrier")):
        answer = mlo("drift", "check", "flights@2", "--current", path, *asked, exit_code=6)
        assert "--reference FILE" in answer.stderr
    pq.write_table(rows(6, 600), project / "before.parquet")
    mlo("drift", "check", "flights@2", "--current", path, "--reference", "before.parquet", "--segments", "carrier")
