"""mlo drift check --reference: training rows, a file, a profile, other windows of the log."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlops_cli.core.base.records import Column, Entry, Signature
from mlops_cli.core.drift.profiling import make_profile
from mlops_cli.core.errors import MloError, NotFound, UsageError
from mlops_cli.core.models.predictions import Predictions
from mlops_cli.core.predictions.segment import Answered, encode, segment_name
from mlops_cli.core.registry.records import Version
from mlops_cli.core.retraining.policy import Rules as Policy
from mlops_cli.core.store.snapshot import record
from mlops_cli.core.workflows.drift import check_windows
from mlops_cli.core.workflows.drift_asked import Asked, DriftRequest
from mlops_cli.core.workflows.drift_reference import choose_reference
from mlops_cli.core.workflows.drift_rows import rows_of
from mlops_cli.core.workflows.findings import windows_of
from mlops_cli.core.workflows.workspace import Workspace

YAML = """\
name: flights
model: {name: flights, time: at}
drift: {window: 24h, min_rows: 100}
"""
INPUTS = (Column("temp", "float", nullable=True), Column("carrier", "string"))
NOW = "2013-05-01T06:00:00Z"
DAY = datetime(2013, 4, 30, 12, tzinfo=UTC)
Log = Callable[..., None]


def rows(seed: int, n: int, warmer: float = 0.0, start: datetime = DAY) -> pa.Table:
    generator = np.random.default_rng(seed)
    return pa.table(
        {
            "temp": generator.normal(40 + warmer, 10, n),
            "carrier": generator.choice(["AA", "UA", "DL"], n),
            "at": [start + timedelta(seconds=row) for row in range(n)],
        }
    )


def opened(folder: Path) -> Workspace:
    return Workspace.find(folder, {"MLO_NOW": NOW, "MLO_ACTOR": "Ada"})


@pytest.fixture
def project(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """flights@1 in production; its training rows, which were colder, are recorded in the cache."""
    (here / "mlo.yaml").write_text(YAML)
    monkeypatch.setenv("MLO_NOW", NOW)
    workspace = opened(here)
    train = rows(0, 3000, warmer=-15, start=datetime(2013, 1, 1, tzinfo=UTC))
    pq.write_table(train, here / "train.parquet")
    entry = record(workspace.store, workspace.index, here / "train.parquet", progress=workspace.progress)
    (here / "train.parquet").unlink()
    scores = np.clip(train["temp"].to_numpy() / 100, 0, 1)
    answers = Predictions((scores > 0.5).astype(int), np.column_stack((1 - scores, scores)))
    profile = make_profile(
        train, inputs=INPUTS, time="at", prediction=answers, importances={"temp": 0.2, "carrier": 0.1}
    )
    add_version(workspace, str(workspace.store.put_bytes(profile.to_bytes())), entry)
    workspace.registry.record("promote", "flights@1", {"alias": "production", "before": None, "gates": []})
    return here


def add_version(workspace: Workspace, profile: str, reference: Entry | None) -> None:
    workspace.registry.add_version(
        Version(
            name="flights",
            version=0,
            run=f"{len(workspace.registry.versions('flights')):032x}",
            model=Entry("xxh128:" + "0" * 32, "dir", 0),
            files={},
            signature=Signature(INPUTS, "classification", (0, 1)),
            profile=profile,
            reference=reference,
        )
    )


@pytest.fixture
def log(project: Path) -> Log:
    def append(table: pa.Table, arrived: datetime = DAY, version: int = 1) -> None:
        scores = np.clip(table["temp"].to_numpy() / 100, 0, 1)
        batch = Answered(
            request="r",
            arrived=arrived,
            model="flights",
            version=version,
            signature=Signature(INPUTS, "classification", (0, 1)),
            columns={name: table[name].to_pylist() for name in ("temp", "carrier")},
            predictions=(scores > 0.5).astype(int).tolist(),
            scores=scores.tolist(),
            time_column="at",
            times=[arrived + timedelta(seconds=row) for row in range(table.num_rows)],
        )
        path = project / ".mlo" / "predictions" / segment_name([batch])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode([batch]))

    return append


def test_the_training_rows_are_the_reference_unless_another_is_named(mlo: Any, log: Log) -> None:
    log(rows(1, 500))
    document = mlo("drift", "check", "--json", exit_code=3).json
    assert (document["reference"], "temp" in document["alarms"]) == ("training", True)
    assert mlo("drift", "check", "--reference", "training", "--json", exit_code=3).json["event"] == document["event"]


def test_the_same_weekday_compares_inputs_and_predictions_with_the_weeks_before(
    mlo: Any, project: Path, log: Log
) -> None:
    log(rows(1, 500))
    for week in (1, 2):
        log(rows(10 + week, 400), arrived=DAY - timedelta(weeks=week))
        log(rows(20 + week, 400, warmer=50), arrived=DAY - timedelta(weeks=week, days=1))
    document = mlo("drift", "check", "--reference", "weekday:2", "--json").json
    assert (document["verdict"], document["reference"], document["rows_reference"]) == ("quiet", "weekday:2", 800)
    assert [column["column"] for column in document["answers"]] == ["_prediction", "_score"]
    assert {column["column"]: column["importance"] for column in document["columns"]} == {"temp": 0.2, "carrier": 0.1}


def test_predictions_of_another_version_are_not_those_of_the_reference(mlo: Any, project: Path, log: Log) -> None:
    workspace = opened(project)
    add_version(workspace, str(workspace.registry.versions("flights")[0].profile), None)
    log(rows(1, 500))
    log(rows(2, 500), arrived=DAY - timedelta(weeks=1), version=2)
    document = mlo("drift", "check", "--reference", "weekday:1", "--json").json
    assert (document["rows_reference"], document["answers"]) == (500, [])


def test_a_chosen_window_and_a_season_are_read_from_the_log(mlo: Any, log: Log) -> None:
    log(rows(1, 500))
    log(rows(2, 400), arrived=DAY - timedelta(days=10))
    log(rows(3, 300, warmer=9), arrived=DAY - timedelta(days=365))
    window = mlo("drift", "check", "--reference", "2013-04-01..2013-04-30", "--json").json
    assert (window["rows_reference"], window["reference"]) == (400, "2013-04-01..2013-04-30")
    season = mlo("drift", "check", "--reference", "season", "--json", exit_code=3).json
    assert (season["rows_reference"], season["alarms"][-1]) == (300, "temp")


def test_each_reference_is_a_finding_of_its_own_and_recorded_once(mlo: Any, project: Path, log: Log) -> None:
    log(rows(1, 500))
    log(rows(2, 400), arrived=DAY - timedelta(weeks=1))
    first, second, again, back = (
        mlo("drift", "check", "--reference", name, "--json", exit_code=None).json["event"]
        for name in ("training", "weekday:1", "weekday:1", "training")
    )
    assert (first, second) == (back, again)
    assert first != second
    events = [event.data for event in opened(project).registry.history("flights") if event.kind == "drift"]
    assert [data["reference"] for data in events] == ["training", "weekday:1"]


def test_an_event_from_before_references_were_named_is_not_recorded_again(mlo: Any, project: Path, log: Log) -> None:
    log(rows(1, 500))
    mlo("drift", "check", exit_code=3)
    workspace = opened(project)
    (event,) = [event for event in workspace.registry.history("flights") if event.kind == "drift"]
    older = {key: value for key, value in event.data.items() if key != "reference"} | {"rows": 501}
    workspace.registry.record("drift", "flights@1", older)
    mlo("drift", "check", exit_code=3)
    assert len([event for event in opened(project).registry.history("flights") if event.kind == "drift"]) == 2


def test_too_few_rows_say_where_they_were_looked_for(mlo: Any, log: Log) -> None:
    log(rows(1, 500))
    log(rows(2, 40), arrived=DAY - timedelta(weeks=1))
    answer = mlo("drift", "check", "--reference", "weekday:2", exit_code=4)
    assert "the reference weekday:2 holds 40 rows of flights in .mlo/predictions" in answer.stderr
    assert "2013-04-23" in answer.stderr
    assert "2013-04-16" in answer.stderr


def test_the_configured_reference_is_that_of_all_windows_and_the_first_ones_lack_it(project: Path, log: Log) -> None:
    (project / "mlo.yaml").write_text(YAML.replace("24h,", "24h, reference: weekday:1,"))
    for days in (0, 1, 7):
        log(rows(days, 300), arrived=DAY - timedelta(days=days))
    before, newest = check_windows(opened(project), None, 2, record=True)
    assert (newest.verdict, newest.rows_reference, newest.reference) == ("quiet", 300, "weekday:1")
    assert (before.verdict, before.rows, before.reference, before.event) == ("too_little", 300, "weekday:1", None)
    assert "weekday:1 holds 0 rows" in before.notes[0]


@pytest.mark.parametrize(("reference", "verdict"), [("training", "drift"), ("weekday:1", "quiet")])
def test_the_windows_that_retraining_rests_on_have_the_configured_reference(
    project: Path, log: Log, reference: str, verdict: str
) -> None:
    (project / "mlo.yaml").write_text(YAML.replace("24h,", f"24h, reference: {reference},"))
    for days in (0, 7):
        log(rows(days, 300), arrived=DAY - timedelta(days=days))
    workspace = opened(project)
    champion = workspace.registry.versions("flights")[0]
    rules = Policy(triggers=("drift",), alarms=1, windows=1, cooldown_s=0)
    (window,) = windows_of(workspace, champion, rules, record=False)
    assert (window.verdict, window.rows) == (verdict, 300)


def test_of_a_profile_made_without_a_model_the_columns_count_that_the_version_takes(
    mlo: Any, project: Path, log: Log
) -> None:
    log(rows(1, 500))
    pq.write_table(rows(2, 800).append_column("spare", pa.array(range(800))), project / "march.parquet")
    mlo("drift", "profile", "march.parquet", "-o", "march.profile")
    document = mlo("drift", "check", "--reference", "march.profile", "--json").json
    assert ({column["column"] for column in document["columns"]}, document["schema"]) == ({"temp", "carrier"}, [])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"temp": None}, "march.profile has no column temp, of which flights@1 takes floats"),
        ({"temp": pa.array(["warm"] * 800)}, "march.profile holds strings in temp, of which flights@1 takes floats"),
    ],
)
def test_a_profile_of_other_columns_is_refused(
    mlo: Any, project: Path, log: Log, change: dict[str, Any], said: str
) -> None:
    log(rows(1, 500))
    table = rows(2, 800).drop_columns(["temp"])
    for name, values in change.items():
        table = table if values is None else table.append_column(name, values)
    pq.write_table(table, project / "march.parquet")
    mlo("drift", "profile", "march.parquet", "-o", "march.profile")
    answer = mlo("drift", "check", "--reference", "march.profile", exit_code=2)
    assert said in answer.stderr
    assert "mlo drift profile ROWS --like flights@1" in answer.stderr


def test_a_file_of_rows_is_profiled_as_the_version_takes_them(mlo: Any, project: Path, log: Log) -> None:
    log(rows(1, 500))
    pq.write_table(rows(2, 800).append_column("spare", pa.array(range(800))), project / "march.parquet")
    document = mlo("drift", "check", "--reference", "march.parquet", "--json").json
    assert (document["reference"], document["rows_reference"], document["answers"]) == ("march.parquet", 800, [])
    assert document["columns"][0]["importance"] is not None


def test_a_profile_is_a_reference_too_and_has_no_rows(mlo: Any, project: Path, log: Log) -> None:
    log(rows(1, 500))
    (project / "march.profile").write_bytes(make_profile(rows(2, 800), inputs=INPUTS, time="at").to_bytes())
    document = mlo("drift", "check", "--reference", "march.profile", "--json").json
    assert (document["reference"], document["rows_reference"]) == ("march.profile", 800)
    assert document["columns"][0]["importance"] is not None
    with pytest.raises(UsageError, match="is a profile, which holds counts and no rows"):
        chosen(project, reference="march.profile").raw()


def chosen(project: Path, **request: Any) -> Any:
    asked = DriftRequest(**request)
    version = Asked.of(opened(project), None, None)
    return choose_reference(version, asked, rows_of(version, asked))


def test_the_training_rows_are_opened_by_the_digest_recorded_with_the_version(project: Path, log: Log) -> None:
    log(rows(1, 500))
    window = chosen(project).raw()
    assert (window.rows, window.schema.names) == (3000, ["temp", "carrier", "at"])


def test_training_rows_that_were_never_recorded_say_what_to_do(project: Path, log: Log) -> None:
    log(rows(1, 500))
    workspace = opened(project)
    add_version(workspace, str(workspace.registry.versions("flights")[0].profile), None)
    version = Asked.of(workspace, "flights@2", None)
    reference = choose_reference(version, DriftRequest(), rows_of(version, DriftRequest()))
    with pytest.raises(NotFound, match="were not recorded") as failed:
        reference.raw()
    assert "--reference FILE" in str(failed.value.hint)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--reference", "absent.parquet"), 6, "a reference is training, weekday:4, season:1"),
        (("--reference", "2013-04-01..2013-05-01"), 2, "overlaps with the window to be checked"),
        (("--reference", "weekday", "--current", "april.parquet"), 2, "is checked whole"),
    ],
)
def test_a_reference_that_cannot_be_meant_is_an_error(
    mlo: Any, project: Path, log: Log, words: tuple[str, ...], code: int, said: str
) -> None:
    log(rows(1, 500))
    pq.write_table(rows(1, 500), project / "april.parquet")
    assert said in mlo("drift", "check", *words, exit_code=code).stderr


def test_every_error_of_raw_is_one_a_person_can_mend(project: Path, log: Log) -> None:
    log(rows(1, 500))
    reference = chosen(project)
    for path in (project / ".mlo" / "cache").rglob("*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(MloError) as failed:
        reference.raw()
    assert failed.value.hint
