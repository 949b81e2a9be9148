"""Rows of every format, by column, in the types that all of their values fit; what is said of rows that do not read."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlops_cli.core.drift.columns import categories
from mlops_cli.core.drift.sources.csv_files import CsvSource
from mlops_cli.core.drift.sources.gather import gather
from mlops_cli.core.drift.sources.json_lines import JsonLinesSource
from mlops_cli.core.drift.sources.open import open_rows
from mlops_cli.core.drift.sources.spool import Spool
from mlops_cli.core.drift.window import Window
from mlops_cli.core.errors import MloError, NotFound, ProjectError

Write = Callable[[str, "str | bytes"], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def put(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return put


def everything(window: Window) -> tuple[dict[str, str], dict[str, list[Any]]]:
    """Types and values of all columns."""
    columns = {name: window.read(name) for name in window.schema.names}
    assert all(len(column) == window.rows for column in columns.values())
    for name, column in columns.items():
        kind = window.schema.field(name).type
        assert column.type == kind or (column.type.value_type == kind and pa.types.is_string(kind))
    return {field.name: str(field.type) for field in window.schema}, {
        name: column.to_pylist() for name, column in columns.items()
    }


def of(path: Path, **options: Any) -> tuple[dict[str, str], dict[str, list[Any]]]:
    return everything(open_rows(path, **options))


def refusal(path: Path, kind: type[MloError] = ProjectError) -> str:
    with pytest.raises(kind) as caught:
        open_rows(path, name=path.name)
    assert caught.value.hint
    return caught.value.message


# -- types ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "kind", "read"),
    [
        (["1", "-2", ""], "int64", [1, -2, None]),
        (["1", "2.5", "nan"], "double", [1.0, 2.5, None]),
        (["1", "inf", "-inf"], "double", [1.0, float("inf"), float("-inf")]),
        (["1", " 2 "], "int64", [1, 2]),
        (["1", "99999999999999999999"], "double", [1.0, 1e20]),
        (["0x1F", "1"], "string", ["0x1F", "1"]),
        (["true", "False"], "bool", [True, False]),
        (["true", "0"], "string", ["true", "0"]),
        (["0", "1"], "int64", [0, 1]),
        (["2013-04-01", "2013-04-01 10:30:00"], "timestamp[us]", None),
        (["2013-04-01T10:00:00Z", "2013-04-01T10:00:00+02:00"], "timestamp[us, tz=UTC]", None),
        (["2013-04-01 10:00:00.123456789", "2013-04-01"], "timestamp[ns]", None),
        (["2013-04-01 10:00:00.123456789", "3000-01-01"], "string", None),
        (["2013-04-01", "2013-04-01T10:00:00Z"], "string", None),
        (["2013-04-01", "soon"], "string", None),
        (["", "NA"], "null", [None, None]),
        (["007", "x"], "string", ["007", "x"]),
    ],
)
@pytest.mark.parametrize("block_bytes", [4 << 20, 64])
def test_a_csv_column_has_the_type_that_all_of_its_values_fit(
    write: Write, values: list[str], kind: str, read: list[Any] | None, block_bytes: int
) -> None:
    # In small blocks, each of the values is in a block of its own.
    path = write("rows.csv", "x,pad\n" + "".join(f"{value},{'p' * 60}\n" for value in values))
    window = gather(CsvSource([path], ["rows.csv"], block_bytes))
    types, columns = everything(window)
    assert types["x"] == kind
    if read is not None:
        assert columns["x"] == read
    assert window.rows == len(values)


def test_texts_that_the_profile_knows_stay_texts(write: Write) -> None:
    path = write("rows.csv", "carrier,temp\n007,1\n7,2\nNA,3\n")
    assert of(path, texts=["carrier"]) == (
        {"carrier": "string", "temp": "int64"},
        {"carrier": ["007", "7", None], "temp": [1, 2, 3]},
    )
    lines = write("rows.jsonl", '{"carrier": "007"}\n{"carrier": 7}\n{"carrier": "2013-04-01"}\n')
    assert of(lines, texts=["carrier"])[1] == {"carrier": ["007", "7", "2013-04-01"]}


@pytest.mark.parametrize(
    ("values", "kind", "read"),
    [
        ([1, None], "int64", [1, None]),
        ([1, 2.5], "double", [1.0, 2.5]),
        ([1, 2**63], "double", [1.0, 2.0**63]),
        ([1, 10**400, -(10**400)], "double", [1.0, float("inf"), float("-inf")]),
        ([1.5, float("nan"), float("inf")], "double", None),
        ([True, None], "bool", [True, None]),
        ([True, 1], "large_string", ["true", "1"]),
        (["a", 1, 1.5, None], "large_string", ["a", "1", "1.5", None]),
        (["007", "8"], "large_string", ["007", "8"]),
        (["2013-04-01T10:00:00Z", None], "timestamp[us, tz=UTC]", [datetime(2013, 4, 1, 10, tzinfo=UTC), None]),
        ([{"a": 1}, {"b": [2]}], "struct<>", [{}, {}]),
        ([{"a": 1}, "x"], "struct<>", [{}, {}]),
        ([[1, 2.5], [None], None], "list<item: double>", None),
        ([[1], ["x"]], "struct<>", [{}, {}]),
        ([None, None], "null", [None, None]),
        (["\ud800"], "large_string", ["?"]),
    ],
)
@pytest.mark.parametrize("block_bytes", [4 << 20, 4])
def test_a_key_of_json_lines_has_the_type_that_all_of_its_values_fit(
    write: Write, values: list[Any], kind: str, read: list[Any] | None, block_bytes: int
) -> None:
    path = write("rows.jsonl", "".join(json.dumps({"x": value}) + "\n" for value in values))
    types, columns = everything(gather(JsonLinesSource([path], ["rows.jsonl"], block_bytes)))
    assert types == {"x": kind}
    if read is not None:
        assert columns["x"] == read


def test_keys_that_lines_lack_are_null_wherever_they_first_come(write: Write) -> None:
    path = write("rows.jsonl", '{"a": 1}\n\n{"a": 2, "b": "x"}\n{"c": 1.5}\n')
    for block_bytes in (4, 4 << 20):
        _, columns = everything(gather(JsonLinesSource([path], ["rows.jsonl"], block_bytes)))
        assert columns == {"a": [1, 2, None], "b": [None, "x", None], "c": [None, None, 1.5]}


# -- both roads give the same --------------------------------------------------------------------------------

CELLS = st.one_of(
    st.sampled_from(
        ["", "NA", "0", "1", "007", "true", "FALSE", "2013-04-01", "2013-04-01 10:00:00.1234567", "x,y", 'a"b']
    ),
    st.integers(-(10**20), 10**20).map(str),
    st.floats(allow_nan=False).map(repr),
    st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x00"), max_size=5),
    st.just("two\nlines"),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=30), texts=st.sets(st.sampled_from("ab")))
def test_rows_in_small_blocks_on_disk_are_those_of_one_block_in_memory(
    rows: list[tuple[str, str]], texts: set[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC).writerows([("a", "b"), *rows])
    path = tmp_path_factory.getbasetemp() / "both.csv"
    path.write_text(out.getvalue(), newline="")
    whole = gather(CsvSource([path], ["x"]), texts=frozenset(texts))
    parts = gather(CsvSource([path], ["x"], 256), texts=frozenset(texts), in_memory=100)
    assert everything(whole) == everything(parts)
    assert whole.rows == len(rows)


JSON = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=4),
    st.just("2013-04-01T10:00:00Z"), st.lists(st.floats(allow_nan=False), max_size=2), st.just({"a": 1}),
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=st.lists(st.dictionaries(st.sampled_from("ab"), JSON), max_size=20), texts=st.sets(st.sampled_from("ab")))
def test_json_lines_in_small_blocks_on_disk_are_those_of_one_block_in_memory(
    rows: list[dict[str, Any]], texts: set[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "both.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    whole = gather(JsonLinesSource([path], ["x"]), texts=frozenset(texts))
    parts = gather(JsonLinesSource([path], ["x"], 8), texts=frozenset(texts), in_memory=50)
    assert repr(everything(whole)) == repr(everything(parts))  # NaN is not equal to itself
    assert whole.rows == len(rows)


def test_a_spool_leaves_no_file_behind_and_no_open_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = len(os.listdir("/dev/fd"))
    spool = Spool(in_memory=10)
    for part in range(3):
        spool.append("x", pa.array([part] * 10))
        spool.settle()
    assert [value for piece in spool.read("x") for value in piece.to_pylist()] == [0] * 10 + [1] * 10 + [2] * 10
    assert list(tmp_path.iterdir()) == []
    del spool
    assert len(os.listdir("/dev/fd")) == before


# -- formats and folders -------------------------------------------------------------------------------------

TABLE = pa.table({"x": pa.array([1.5, None, 3.0]), "name": ["a", "b", None], "n": [1, 2, 3]})
VALUES = {"x": [1.5, None, 3.0], "name": ["a", "b", None], "n": [1, 2, 3]}


def written(folder: Path) -> dict[str, Path]:
    text = "x,name,n\n1.5,a,1\n,b,2\n3.0,,3\n"
    lines = "".join(json.dumps(row) + "\n" for row in TABLE.to_pylist())
    pq.write_table(TABLE, folder / "a.parquet")
    pq.write_table(TABLE, folder / "of_no_suffix")
    pyarrow.feather.write_feather(TABLE, folder / "a.feather")
    with pa.ipc.new_file(str(folder / "a.arrow"), TABLE.schema) as sink:
        sink.write_table(TABLE, max_chunksize=2)
    for name, content in {"a.csv": text, "a.jsonl": lines, "a.NDJSON": lines}.items():
        (folder / name).write_text(content)
        if name != "a.NDJSON":
            (folder / f"{name}.gz").write_bytes(gzip.compress(content.encode()))
    return {path.name: path for path in folder.iterdir()}


def test_every_format_gives_the_same_rows(tmp_path: Path) -> None:
    paths = written(tmp_path)
    assert len(paths) == 9
    for name, path in paths.items():
        types, columns = of(path)
        assert columns == VALUES, name
        assert [types["x"], types["n"]] == ["double", "int64"], name


def test_a_folder_gives_its_files_in_order_of_their_names(tmp_path: Path, write: Write) -> None:
    for name, values in {"part-1.parquet": [3.5], "part-0.parquet": [1, 2]}.items():
        pq.write_table(pa.table({"x": values}), tmp_path / name)
    write("_SUCCESS", "")
    write(".part-2.parquet.crc", "x")
    write("notes.txt", "x")
    assert of(tmp_path) == ({"x": "double"}, {"x": [1.0, 2.0, 3.5]})
    for name in ("more/b.csv", "more/c.csv"):
        write(name, f"x,y\n{name[5]},1\n")
    assert of(tmp_path / "more")[1] == {"x": ["b", "c"], "y": [1, 1]}
    for name in ("lines/b.jsonl", "lines/c.jsonl"):
        write(name, json.dumps({name[6]: 1}))
    assert of(tmp_path / "lines")[1] == {"b": [1, None], "c": [None, 1]}


def test_folders_that_are_no_one_table_say_why(tmp_path: Path, write: Write) -> None:
    write("mixed/a.csv", "x\n1\n")
    write("mixed/b.jsonl", "{}")
    assert "several formats: mixed/a.csv and mixed/b.jsonl" in refusal(tmp_path / "mixed")
    write("columns/a.csv", "x,y\n1,2\n")
    write("columns/b.csv", "x,z\n1,2\n")
    assert "columns/b.csv and columns/a.csv differ in y, z" in refusal(tmp_path / "columns")
    (tmp_path / "kinds").mkdir()
    pq.write_table(pa.table({"x": [1]}), tmp_path / "kinds" / "a.parquet")
    pq.write_table(pa.table({"x": ["1"]}), tmp_path / "kinds" / "b.parquet")
    assert "x is int64 in kinds/a.parquet and string in kinds/b.parquet" in refusal(tmp_path / "kinds")
    pq.write_table(pa.table({"z": ["1"]}), tmp_path / "kinds" / "b.parquet")
    assert "differ in x, z" in refusal(tmp_path / "kinds")
    (tmp_path / "none").mkdir()
    assert "none holds no file of rows" in refusal(tmp_path / "none", NotFound)
    (tmp_path / "hive" / "day=1").mkdir(parents=True)
    pq.write_table(pa.table({"x": [1]}), tmp_path / "hive" / "day=1" / "a.parquet")
    assert "partitioned by folders (day=1)" in refusal(tmp_path / "hive")


# -- what does not read --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("ragged.csv", "a,b\n1,2\n3\n4,5\n", "ragged.csv does not read as CSV: row 3 has 1 values, and the header 2"),
        ("long.csv", "a,b\n1,2,3\n", "row 2 has 3 values, and the header 2"),
        ("empty.csv", "", "empty.csv is empty"),
        ("blank.csv", "\ufeff\n\n", "blank.csv is empty"),
        ("twice.csv", "a,b,a\n1,2,3\n", "two columns named a"),
        ("latin.csv", "a\ncaf\u00e9\n".encode("latin1"), "it is not UTF-8"),
        ("utf16.csv", "a,b\n1,2\n".encode("utf-16"), "utf16.csv does not read as CSV"),
        ("plain.csv.gz", "a\n1\n", "plain.csv.gz does not read as CSV"),
        (
            "cut.csv.gz",
            gzip.compress(Random(0).randbytes(999).hex().encode() * 9, mtime=0)[:700],
            "cut.csv.gz does not read as CSV",
        ),
        ("broken.jsonl", '{"a": 1}\n\n{"a": 2\n{"a": 3}\n', "broken.jsonl:3 is no JSON: "),
        ("list.jsonl", '{"a": 1}\n[1, 2]\n', "list.jsonl:2 is no JSON object"),
        ("latin.jsonl", b'{"a": 1}\n{"a": "\xff"}\n', "latin.jsonl:2 is not UTF-8"),
        ("deep.jsonl", '{"a": ' + "[" * 99_999, "deep.jsonl:1 is no JSON"),
        ("cut.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 99, mtime=0)[:-12], "cut.jsonl.gz does not read as gzip"),
        ("text.parquet", "hello", "text.parquet does not read as rows"),
        ("cut.parquet", b"PAR1" + bytes(40), "cut.parquet does not read as rows"),
        ("cut.arrow", b"ARROW1\0\0" + bytes(40), "cut.arrow does not read as rows"),
        ("empty.parquet", "", "empty.parquet does not read as rows"),
        ("rows.xlsx", "PK", "its name says no format"),
    ],
)
def test_a_file_that_does_not_read_is_named_with_the_place(
    write: Write, name: str, content: str | bytes, says: str
) -> None:
    assert says in refusal(write(name, content))


def test_a_pipe_a_socket_and_nothing_are_no_files_of_rows(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    assert "pipe.csv is no file" in refusal(tmp_path / "pipe.csv")
    assert "there is no file absent.csv" in refusal(tmp_path / "absent.csv", NotFound)
    assert "there is no file" in refusal(tmp_path / "pipe.csv" / "x.csv", NotFound)
    with socket.socket(socket.AF_UNIX) as one:
        os.chdir(tmp_path)
        one.bind("s.csv")
        assert "s.csv is no file" in refusal(Path("s.csv"))


def test_two_columns_of_one_name_are_refused_in_columnar_files(tmp_path: Path) -> None:
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    pq.write_table(twice, tmp_path / "twice.parquet")
    with pa.ipc.new_file(str(tmp_path / "twice.arrow"), twice.schema) as sink:
        sink.write_table(twice)
    for name in ("twice.parquet", "twice.arrow"):
        assert f"{name} has two columns named x" in refusal(tmp_path / name)


def test_a_header_alone_a_mark_of_utf_8_and_an_empty_file_of_lines_have_no_rows(write: Write) -> None:
    assert (
        of(write("header.csv", "a,b\n"))
        == of(write("h.csv", "a,b"))
        == ({"a": "null", "b": "null"}, {"a": [], "b": []})
    )
    assert of(write("bom.csv", "\ufeffa,b\n1,2\n")) == ({"a": "int64", "b": "int64"}, {"a": [1], "b": [2]})
    assert of(write("bom.jsonl", '\ufeff{"a": 1}')) == ({"a": "int64"}, {"a": [1]})
    assert open_rows(write("empty.jsonl", "")).rows == 0


def test_quoted_line_ends_belong_to_the_value_and_blank_lines_to_nothing(write: Write) -> None:
    path = write("rows.csv", 'a,"b\nb"\r\n1,"x\ny"\r\n\r\n2,z\r\n')
    assert of(path)[1] == {"a": [1, 2], "b\nb": ["x\ny", "z"]}


def test_nested_columns_of_parquet_do_not_disturb_their_neighbours(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [{"b": 1}], "a.b": [2], "c": [[1.5]]}), tmp_path / "nested.parquet")
    window = open_rows(tmp_path / "nested.parquet")
    assert window.read("c").to_pylist() == [[1.5]]
    assert window.read("a").to_pylist() == [{"b": 1}]
    assert window.read("a.b").to_pylist() == [2]


@given(
    chunks=st.lists(
        st.lists(st.one_of(st.none(), st.sampled_from("abcdé"), st.just("x" * 300)), max_size=8), max_size=3
    ),
    known=st.lists(st.sampled_from(["a", "b", "é", "z"]), unique=True),
)
def test_texts_are_looked_up_in_dictionaries_as_in_themselves(chunks: list[list[str | None]], known: list[str]) -> None:
    plain = pa.chunked_array(chunks, pa.string())
    encoded = pa.chunked_array(
        [pa.array(chunk, pa.string()).dictionary_encode() for chunk in chunks] or [[]],
        pa.dictionary(pa.int32(), pa.string()),
    )
    one, other = categories(plain, known), categories(encoded, known)
    assert one.codes.tolist() == other.codes.tolist()
    assert (one.rows, one.missing) == (other.rows, other.missing)
    places = {value: place for place, value in enumerate(known)}
    assert one.codes.tolist() == [places.get(value, -1) for chunk in chunks for value in chunk if value is not None]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("end", ['"x', '"x\n3,y\n', '"', '"x ""y""\n', '"NA', '"""'])
def test_a_quote_that_never_ends_is_named_with_its_line(tmp_path: Path, end: str, packed: bool) -> None:
    data = f"a,b\n1,fine\n2,{end}".encode()
    path = tmp_path / ("rows.csv.gz" if packed else "rows.csv")
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(ProjectError, match="a quote opens in line 3 and never ends"):
        open_rows(path)


@pytest.mark.parametrize(
    "end", ['"x"', '""', '""""', '"x\n"\n', '"x ""y"""\n', 'x"y', '5"\n', "", '"""x"', '"x"\n\n', '"NA"']
)
def test_quotes_that_end_or_are_none_are_read(tmp_path: Path, end: str) -> None:
    (tmp_path / "rows.csv").write_text(f"a,b\n1,fine\n2,{end}")
    assert open_rows(tmp_path / "rows.csv").rows == 2
