"""mlo drift profile: of rows, on another's frame, merged; and what it refuses."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from mlops_cli.core.base.records import Column, Entry, Signature
from mlops_cli.core.drift.merging import frame_digest, profile_like
from mlops_cli.core.drift.profile import MAGIC, Profile
from mlops_cli.core.drift.profiling import make_profile
from mlops_cli.core.registry.records import Version
from mlops_cli.core.workflows.workspace import Workspace

WORDS = ["rain", "delayed", "the", "crew", "gate", "late", "again", "storm"]
INPUTS = (Column("temp", "float", True), Column("carrier", "string", True))


def rows(seed: int, n: int, month: int = 3) -> pa.Table:
    generator = np.random.default_rng(seed)
    start = datetime(2013, month, 1)
    temp = [None if row % 50 == 0 else value for row, value in enumerate(generator.normal(40, 10, n).round(2).tolist())]
    return pa.table(
        {
            "temp": pa.array(temp, pa.float64()),
            "carrier": generator.choice(["AA", "UA", "DL"], n, p=[0.5, 0.3, 0.2]),
            "at": pa.array([start + timedelta(minutes=30 * row) for row in range(n)], pa.timestamp("us")),
        }
    )


@pytest.fixture
def files(here: Path) -> Path:
    """March and April, outside any project."""
    pq.write_table(rows(1, 800), here / "march.parquet")
    pq.write_table(rows(2, 500, month=4), here / "april.parquet")
    return here


def read(path: Path) -> Profile:
    return Profile.from_bytes(path.read_bytes())


def by_name(document: Any) -> dict[str, Any]:
    return {column["column"]: column for column in document["columns"]}


def test_a_table_says_what_is_in_the_columns_and_nothing_is_written(mlo: Any, files: Path) -> None:
    said = mlo("drift", "profile", "march.parquet", "--time", "at").stdout
    lines = said.splitlines()
    assert lines[0] == "march.parquet: 800 rows, 2 columns, 2013-03-01 to 2013-03-17"
    assert lines[2].split() == ["column", "kind", "rows", "missing", "distinct", "values", "time", "bytes"]
    assert lines[3].split()[:4] == ["temp", "float", "800", "2.0%"]
    assert "AA 49.5%" in lines[4]
    assert f"frame: {frame_digest(make_profile(rows(1, 800), inputs=INPUTS, time='at'))}" in lines
    assert "not written: -o FILE writes it" in lines[-1]
    assert sorted(path.name for path in files.iterdir()) == ["april.parquet", "march.parquet"]


def test_the_file_is_the_profile_of_its_rows(mlo: Any, files: Path) -> None:
    document = mlo("drift", "profile", "march.parquet", "-o", "march.profile", "--time", "at", "--json").json
    expected = make_profile(rows(1, 800), inputs=INPUTS, time="at")
    assert read(files / "march.profile") == expected
    assert (document["path"], document["bytes"]) == ("march.profile", len(expected.to_bytes()))
    assert (document["frame"], document["framed"], document["like"]) == (frame_digest(expected), False, None)
    temp, carrier = by_name(document)["temp"], by_name(document)["carrier"]
    assert (temp["missing"], temp["mean"]) == (16, pytest.approx(40, abs=1.5))
    assert (carrier["distinct"], carrier["top"][0]["value"]) == (3, "AA")


def test_every_kind_of_column_is_told_in_a_few_words(mlo: Any, here: Path) -> None:
    generator = np.random.default_rng(1)
    texts = [" ".join(words) for words in generator.choice(WORDS, (6000, 7)).tolist()]
    pq.write_table(
        pa.table(
            {
                "zeros": np.where(np.arange(6000) % 4 == 0, 0, generator.normal(size=6000)),
                "id": [f"flight-{row:x}" for row in range(6000)],
                "note": texts,
                "vector": pa.array(list(generator.normal(size=(6000, 3))), pa.list_(pa.float32())),
                "day": pa.array([datetime(2013, 1, 1) + timedelta(hours=row) for row in range(6000)]),
                "blob": pa.array([b"x"] * 6000),
                "nothing": pa.nulls(6000),
            }
        ),
        here / "all.parquet",
    )
    columns = by_name(mlo("drift", "profile", "all.parquet", "--json").json)
    assert (columns["zeros"]["distinct"], columns["zeros"]["atoms"]) == (None, 1)
    assert columns["zeros"]["top"] == [{"value": "0", "rows": 1500}]
    assert columns["id"]["estimated"]
    assert columns["id"]["distinct"] == pytest.approx(6000, rel=0.1)
    assert (columns["note"]["holds"], columns["note"]["mean"]) == ("prose", 7)
    assert (columns["vector"]["holds"], columns["vector"]["width"]) == ("vectors", 3)
    assert columns["day"]["span"][0].startswith("2013-01-01")
    assert (columns["blob"]["kind"], columns["blob"]["holds"]) == ("other", "nothing")
    assert columns["nothing"]["missing"] == 6000
    said = mlo("drift", "profile", "all.parquet").stdout
    assert "1 atom" in said
    assert "0 25.0%" in said
    assert "≈ " in said
    assert "7 ± 0 words" in said
    assert "3 numbers each" in said


def test_the_same_rows_have_one_profile_in_every_format(mlo: Any, here: Path) -> None:
    table = rows(1, 300)
    pq.write_table(table, here / "a.parquet")
    pa.feather.write_feather(table, here / "a.arrow", compression="uncompressed")
    pa.csv.write_csv(table, here / "a.csv")
    (here / "shards").mkdir()
    pq.write_table(table.slice(0, 100), here / "shards" / "1.parquet")
    pq.write_table(table.slice(100), here / "shards" / "2.parquet")
    names = ["a.parquet", "a.arrow", "a.csv", "shards"]
    assert len({mlo("drift", "profile", name, "--time", "at", "--json").json["frame"] for name in names}) == 1


def test_the_first_file_gives_the_frame_and_the_others_are_added(mlo: Any, files: Path) -> None:
    made = mlo("drift", "profile", "march.parquet", "april.parquet", "-o", "spring.profile", "--json").json
    assert [(part["name"], part["rows"], part["how"]) for part in made["parts"]] == [
        ("march.parquet", 800, "made"),
        ("april.parquet", 500, "counted"),
    ]
    assert "march.parquet gives the frame" in made["notes"][0]
    both = pa.concat_tables([rows(1, 800), rows(2, 500, month=4)])
    frame = make_profile(rows(1, 800), inputs=(*INPUTS, Column("at", "datetime", True)))
    assert read(files / "spring.profile") == profile_like(frame, both)


def test_days_counted_like_one_profile_merge_in_any_order_to_the_same_bytes(mlo: Any, files: Path) -> None:
    mlo("drift", "profile", "march.parquet", "--time", "at", "-o", "march.profile")
    mlo("drift", "profile", "april.parquet", "--like", "march.profile", "-o", "april.profile")
    one = mlo("drift", "profile", "march.profile", "april.profile", "--json").json
    other = mlo("drift", "profile", "april.profile", "march.profile", "--json").json
    direct = mlo("drift", "profile", "march.parquet", "april.parquet", "--time", "at", "--json").json
    assert one["digest"] == other["digest"] == direct["digest"]
    assert (one["rows"], one["framed"], one["time"]) == (1300, True, "at")


def test_rows_are_added_to_a_profile_that_is_replaced_with_force(mlo: Any, files: Path) -> None:
    mlo("drift", "profile", "march.parquet", "-o", "all.profile")
    mlo("drift", "profile", "all.profile", "april.parquet", "-o", "all.profile", "--force")
    assert read(files / "all.profile").rows == 1300


def test_model_time_orders_the_rows_where_they_have_it(mlo: Any, files: Path) -> None:
    (files / "mlo.yaml").write_text("name: flights\nmodel: {name: flights, time: at}\n")
    assert mlo("drift", "profile", "march.parquet", "--json").json["time"] == "at"
    pq.write_table(rows(3, 50).drop_columns(["at"]), files / "timeless.parquet")
    document = mlo("drift", "profile", "timeless.parquet", "--json").json
    assert (document["time"], len(document["notes"])) == (None, 1)
    assert sorted(path.name for path in files.iterdir() if path.name == ".mlo") == []


def test_rows_are_counted_on_the_frame_of_a_version(mlo: Any, files: Path) -> None:
    (files / "mlo.yaml").write_text("name: flights\nmodel: {name: flights, time: at}\n")
    workspace = Workspace.find(files, {"MLO_ACTOR": "Ada"})
    known = make_profile(rows(9, 400), inputs=INPUTS, time="at", importances={"temp": 0.3})
    workspace.registry.add_version(
        Version(
            name="flights",
            version=0,
            run="0" * 32,
            model=Entry("xxh128:" + "0" * 32, "dir", 0),
            files={},
            signature=Signature(INPUTS, "classification", (0, 1)),
            profile=str(workspace.store.put_bytes(known.to_bytes())),
        )
    )
    document = mlo("drift", "profile", "april.parquet", "--like", "flights@latest", "--json").json
    assert (document["like"], document["frame"], document["framed"]) == ("flights@1", frame_digest(known), True)
    assert by_name(document)["temp"]["importance"] == 0.3
    absent = mlo("drift", "profile", "april.parquet", "--like", "flights@2", exit_code=6)
    assert "flights has no version 2" in absent.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("absent.parquet",), 6, "there is no file absent.parquet"),
        (("march.parquet", "absent.parquet"), 6, "there is no file absent.parquet"),
        (("folder",), 6, "folder holds no file of rows"),
        (("notes.txt",), 5, "notes.txt does not read as rows"),
        (("damaged.profile",), 7, "damaged.profile: the drift profile is damaged"),
        (("torn.profile",), 7, "torn.profile: the drift profile is damaged: what it holds of temp does not fit"),
        (("later.profile",), 7, "has version 99"),
        (("march.parquet", "./march.parquet"), 2, "march.parquet is given twice"),
        (("empty.parquet",), 4, "empty.parquet holds no rows"),
        (("march.parquet", "other.parquet"), 5, "other.parquet: the rows have no column temp"),
        (("march.parquet", "--like", "april.parquet"), 2, "april.parquet is no profile"),
        (("march.parquet", "--like", "absent.profile"), 6, "there is no profile absent.profile"),
        (("march.parquet", "--like", "flights@3"), 6, "there is no profile flights@3"),
        (("march.parquet", "--time", "when"), 2, "march.parquet has no column when; it has temp, carrier, at"),
        (("march.profile", "--time", "carrier"), 2, "put in order by at, not by carrier"),
        (("april.parquet", "--like", "march.profile", "--time", "carrier"), 2, "by at, not by carrier"),
        (("april.profile", "--like", "march.profile"), 2, "was not counted on the frame of march.profile"),
        (("march.profile", "april.profile"), 2, "at, or other values were listed|other edges|other columns"),
        (("march.parquet", "-o", "april.parquet"), 5, "april.parquet exists"),
        (("march.parquet", "-o", "april.parquet", "--force"), 5, "april.parquet is no profile"),
        (("march.parquet", "-o", "folder", "--force"), 5, "folder is no profile"),
        (("march.parquet", "-o", "march.profile"), 5, "march.profile exists"),
    ],
)
def test_what_cannot_be_profiled_is_a_clear_error_and_changes_nothing(
    mlo: Any, files: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    lay_out_wrong_inputs(files)
    before = {path.name: path.read_bytes() for path in files.iterdir() if path.is_file()}
    answer = mlo("drift", "profile", *words, exit_code=code)
    assert any(one in answer.stderr for one in said.split("|")), answer.stderr
    assert "hint: " in answer.stderr
    assert {path.name: path.read_bytes() for path in files.iterdir() if path.is_file()} == before


def lay_out_wrong_inputs(folder: Path) -> None:
    (folder / "folder").mkdir()
    (folder / "notes.txt").write_text("march was cold")
    known = make_profile(rows(1, 800), inputs=INPUTS, time="at")
    data = known.to_bytes()
    (folder / "march.profile").write_bytes(data)
    (folder / "april.profile").write_bytes(make_profile(rows(2, 500, month=4), inputs=INPUTS, time="at").to_bytes())
    (folder / "damaged.profile").write_bytes(data[:-3])
    (folder / "torn.profile").write_bytes(torn(known))
    (folder / "later.profile").write_bytes(MAGIC + bytes([99]) + data[len(MAGIC) + 1 :])
    pq.write_table(rows(1, 0), folder / "empty.parquet")
    pq.write_table(pa.table({"other": [1, 2]}), folder / "other.parquet")


def torn(known: Profile) -> bytes:
    """A profile that reads, in which a column counts on fewer edges than it has."""
    temp = known.columns[0]
    assert temp.numeric is not None
    short = msgspec.structs.replace(temp.numeric, counts=temp.numeric.counts[:5])
    columns = (msgspec.structs.replace(temp, numeric=short), *known.columns[1:])
    return msgspec.structs.replace(known, columns=columns).to_bytes()
