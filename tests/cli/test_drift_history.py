"""mlo drift report: the windows beside the checked one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlops_cli.core.base.records import Column, Entry, Signature
from mlops_cli.core.drift.profiling import make_profile
from mlops_cli.core.predictions.segment import Answered, encode, segment_name
from mlops_cli.core.registry.records import Version
from mlops_cli.core.workflows.workspace import Workspace

INPUTS = (Column("temp", "float"),)
SIGNATURE = Signature(INPUTS, "regression")
NOW = "2013-05-01T06:00:00Z"
YAML = "name: flights\nmodel: {name: flights, time: at}\ndrift: {window: 24h, min_rows: 100, max_window: 1d}\n"


def hours(start: datetime, n: int) -> list[datetime]:
    return [start + timedelta(minutes=row) for row in range(n)]


def temperatures(seed: int, n: int, warmer: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(40 + warmer, 10, n)


@pytest.fixture
def project(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose flights@1 is in production, and was trained on 3,000 rows of January."""
    (here / "mlo.yaml").write_text(YAML)
    monkeypatch.setenv("MLO_NOW", NOW)
    workspace = Workspace.find(here, {"MLO_NOW": NOW, "MLO_ACTOR": "Ada"})
    table = pa.table({"temp": temperatures(0, 3000), "at": hours(datetime(2013, 1, 1, tzinfo=UTC), 3000)})
    profile = make_profile(table, inputs=INPUTS, time="at").to_bytes()
    version = Version(
        name="flights",
        version=0,
        run="0" * 32,
        model=Entry("xxh128:" + "0" * 32, "dir", 0),
        files={},
        signature=SIGNATURE,
        profile=str(workspace.store.put_bytes(profile)),
    )
    workspace.registry.add_version(version)
    workspace.registry.record("promote", "flights@1", {"alias": "production", "before": None, "gates": []})
    return here


def log_day(folder: Path, day: int, warmer: float) -> None:
    """300 answers of one day in April."""
    arrived = datetime(2013, 4, day, 12, tzinfo=UTC)
    batch = Answered(
        request=f"r{day}",
        arrived=arrived,
        model="flights",
        version=1,
        signature=SIGNATURE,
        columns={"temp": temperatures(day, 300, warmer).tolist()},
        predictions=[1.0] * 300,
        time_column="at",
        times=hours(arrived, 300),
    )
    path = folder / ".mlo" / "predictions" / segment_name([batch])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode([batch]))


def test_a_report_of_the_log_shows_the_days_before(project: Path, mlo: Any) -> None:
    for day, warmer in ((27, 0.0), (28, 20.0), (29, 0.0), (30, 20.0)):
        log_day(project, day, warmer)
    mlo("drift", "report", "-o", "drift.html")
    page = (project / "drift.html").read_text()
    assert [f">04-{day}<" in page for day in (26, 27, 28, 29, 30)] == [False, True, True, True, False]
    assert "1 of the 3 windows beside the checked rows show drift" in page
    mlo("drift", "check", "--html", "two.html", "--windows", "2", exit_code=3)
    assert ">04-27<" not in (project / "two.html").read_text()


def test_no_windows_is_an_answer_too(project: Path, mlo: Any) -> None:
    log_day(project, 29, 0.0)
    log_day(project, 30, 0.0)
    mlo("drift", "report", "-o", "drift.html", "--windows", "0")
    assert "Window by window" not in (project / "drift.html").read_text()


def test_a_report_of_several_windows_of_the_log_shows_those(project: Path, mlo: Any) -> None:
    for day in (28, 29, 30):
        log_day(project, day, 20.0)
    mlo("drift", "report", "-o", "drift.html", "--since", "2013-04-28", "--until", "2013-05-01")
    assert "3 of the 3 windows beside the checked rows show drift" in (project / "drift.html").read_text()


def test_a_report_of_a_file_shows_its_windows_by_the_rows_own_time(project: Path, mlo: Any) -> None:
    start = datetime(2013, 4, 1, tzinfo=UTC)
    values = np.concatenate((temperatures(1, 1440), temperatures(2, 1440, 20.0)))
    pq.write_table(pa.table({"temp": values, "at": hours(start, 2880)}), project / "april.parquet")
    mlo("drift", "report", "--current", "april.parquet", "-o", "drift.html")
    page = (project / "drift.html").read_text()
    assert "1 of the 2 windows beside the checked rows show drift" in page
    assert "04-01" in page
    assert "04-02" in page
