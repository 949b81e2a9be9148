from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from log_kit import SIGNATURE, START, answered

from mlops_cli.core.base.records import Column, Signature
from mlops_cli.core.predictions.reader import LogReport, read_log, read_table, unify
from mlops_cli.core.predictions.segment import Answered, encode, group, schema_of, segment_name
from mlops_cli.core.remotes.open import open_url

WHOLE = {"since": START - timedelta(days=9), "until": START + timedelta(days=9)}


def write(folder: Path, *batches: Answered) -> list[Path]:
    paths = []
    for members in group(batches, 4096):
        path = folder / segment_name(members)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(members))
        paths.append(path)
    return paths


def test_nothing_logged_is_no_table(tmp_path: Path) -> None:
    assert list(read_log(tmp_path / "absent", **WHOLE)) == []
    assert read_table(tmp_path, **WHOLE) is None


def test_a_window_holds_its_start_and_not_its_end(tmp_path: Path) -> None:
    write(tmp_path, *(answered(request=str(at), at=at) for at in range(5)))
    table = read_table(tmp_path, since=START + timedelta(seconds=1), until=START + timedelta(seconds=3))
    assert table is not None
    assert table["_request"].to_pylist() == ["1", "2"]


def test_days_outside_the_window_are_not_opened(tmp_path: Path) -> None:
    write(tmp_path, answered(), answered(at=86_400), answered(at=2 * 86_400))
    for path in (tmp_path / "2013-04-01").iterdir():
        path.write_bytes(b"would be torn if it were opened")
    report = LogReport()
    day = datetime(2013, 4, 2, tzinfo=UTC)
    table = read_table(tmp_path, since=day, until=day + timedelta(days=1), report=report)
    assert table is not None
    assert table.num_rows == 1
    assert (report.segments, report.torn) == (1, {})


@pytest.mark.parametrize("cut", [0, 5, 100, -1, -30])
def test_a_torn_segment_is_named_and_its_neighbours_are_read(tmp_path: Path, cut: int) -> None:
    [torn] = write(tmp_path, answered(3))
    write(tmp_path, answered(2, at=1))
    torn.write_bytes(torn.read_bytes()[:cut])
    report = LogReport()
    table = read_table(tmp_path, **WHOLE, report=report)
    assert table is not None
    assert table.num_rows == report.rows == 2
    assert list(report.torn) == [torn.name]
    assert torn.name in report.torn[torn.name]


def test_other_files_in_the_folder_are_no_segments(tmp_path: Path) -> None:
    [path] = write(tmp_path, answered())
    (path.parent / f".{path.name}.abc.tmp").write_bytes(b"half")
    (path.parent / "notes.txt").write_text("x")
    (tmp_path / "elsewhere").mkdir()
    report = LogReport()
    assert read_table(tmp_path, **WHOLE, report=report) is not None
    assert report == LogReport(segments=1, rows=1, samples={1.0})


def test_an_arrow_file_that_is_no_segment_and_one_of_a_newer_mlo_are_named(tmp_path: Path) -> None:
    [path] = write(tmp_path, answered())
    newer = encode([answered()]).replace(b"mlo.version", b"mlo.versiom")
    (path.parent / "a.arrow").write_bytes(newer.replace(b"predictions", b"prediktions"))
    table = pa.table(
        {"x": [1]}, schema=pa.schema([("x", pa.int64())], metadata={"mlo.format": "predictions", "mlo.version": "3"})
    )
    with pa.ipc.new_file(str(path.parent / "b.arrow"), table.schema) as sink:
        sink.write_table(table)
    report = LogReport()
    read_table(tmp_path, **WHOLE, report=report)
    assert "not a segment" in report.torn["a.arrow"]
    assert "version 3" in report.torn["b.arrow"]


def test_versions_with_other_columns_have_one_schema(tmp_path: Path) -> None:
    second = Signature(
        (Column("distance", "float"), Column("wind", "float"), Column("carrier", "integer")), "regression"
    )
    columns = {"distance": [2.5], "wind": [9.0], "carrier": [7]}
    write(tmp_path, answered())
    write(tmp_path, answered(at=1, version=2, signature=second, columns=columns, predictions=[0.5], scores=None))
    tables = list(read_log(tmp_path, **WHOLE))
    assert len({str(table.schema) for table in tables}) == 1
    table = pa.concat_tables(tables)
    assert table["distance"].to_pylist() == [0.0, 2.5]
    assert table["wind"].to_pylist() == [None, 9.0]
    assert table["carrier"].to_pylist() == ["UA", "7"]
    assert table["_prediction"].to_pylist() == ["1", "0.5"]


def test_a_log_on_a_remote_reads_as_one_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "remote").mkdir()
    write(tmp_path / "remote" / "predictions", answered(request="a"), answered(request="b", at=86_400))
    remote = open_url(str(tmp_path / "remote"), root=tmp_path)
    for until in (START + timedelta(days=2), START + timedelta(days=100)):
        table = read_table(remote, since=START, until=until)
        assert table is not None
        assert table["_request"].to_pylist() == ["a", "b"]
    assert read_table(remote, since=START + timedelta(days=3), until=START + timedelta(days=4)) is None


@settings(max_examples=40, deadline=None)
@given(
    arrivals=st.lists(st.integers(0, 4 * 86_400), max_size=12),
    window=st.tuples(st.integers(-86_400, 5 * 86_400), st.integers(-86_400, 5 * 86_400)),
)
def test_a_window_gives_exactly_the_rows_that_arrived_in_it(
    arrivals: list[int], window: tuple[int, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("log")
    write(folder, *(answered(request=str(number), at=at) for number, at in enumerate(arrivals)))
    since, until = (START + timedelta(seconds=at) for at in window)
    table = read_table(folder, since=since, until=until)
    found = set(table["_request"].to_pylist()) if table is not None else set()
    assert found == {str(number) for number, at in enumerate(arrivals) if window[0] <= at < window[1]}


def test_unify_keeps_the_order_and_takes_the_wider_type() -> None:
    schemas = [schema_of(SIGNATURE, None), pa.schema([("extra", pa.int32()), ("distance", pa.float64())])]
    unified = unify(schemas)
    assert unified.names == [*schemas[0].names, "extra"]
    assert unified.field("distance").type == pa.float64()
