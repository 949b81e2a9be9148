import contextlib
import csv
import io
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.core.base.records import Column, Signature
from mlops_cli.core.serving.decode import Decoder
from mlops_cli.core.serving.problems import BadInput, TooLarge
from mlops_cli.core.serving.values import INT64_MAX, INT64_MIN

COLUMNS = (
    Column("temp", "float", nullable=True),
    Column("distance", "integer"),
    Column("night", "boolean"),
    Column("carrier", "string"),
    Column("when", "datetime", nullable=True),
)
DECODER = Decoder(Signature(COLUMNS, "regression"), time_column="time_hour", max_rows=100)
GOOD: dict[str, Any] = {"temp": 41.5, "distance": 3, "night": True, "carrier": "UA", "when": "2013-05-01T12:00:00Z"}
WHEN = datetime(2013, 5, 1, 12, tzinfo=UTC)


def one(**changes: Any) -> dict[str, list[Any]]:
    return DECODER.records([{**GOOD, **changes}]).columns


def test_a_record_becomes_columns_in_the_signature_s_order() -> None:
    rows = DECODER.records([dict(reversed(GOOD.items()))])
    assert list(rows.columns) == [column.name for column in COLUMNS]
    assert rows.columns == {"temp": [41.5], "distance": [3], "night": [True], "carrier": ["UA"], "when": [WHEN]}
    assert rows.times is None


def test_numbers_pass_for_each_other_where_nothing_is_lost() -> None:
    assert one(temp=41)["temp"] == [41.0]
    assert type(one(temp=41)["temp"][0]) is float
    assert one(distance=5.0)["distance"] == [5]
    assert type(one(distance=5.0)["distance"][0]) is int


def test_null_is_missing_where_it_may_be() -> None:
    assert one(temp=None)["temp"] == [None]
    with pytest.raises(BadInput, match="column distance: row 0 is null, and this input may not be missing"):
        one(distance=None)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("temp", "warm", 'column temp: row 0: expected a number, got the string "warm"'),
        ("temp", True, "column temp: row 0: expected a number, got true"),
        ("temp", [1.0], "column temp: row 0: expected a number, got a list"),
        ("temp", {"a": 1}, "column temp: row 0: expected a number, got an object"),
        ("temp", 10**400, "column temp: row 0: the number is out of range"),
        ("distance", 1.5, "column distance: row 0: expected a whole number, got 1.5"),
        ("distance", True, "column distance: row 0: expected a whole number, got true"),
        ("distance", "3", "column distance: row 0: expected a whole number"),
        ("distance", INT64_MAX + 1, "column distance: row 0: the number does not fit 64 bits, got 9223372036854775808"),
        ("distance", INT64_MIN - 1, "does not fit 64 bits"),
        ("distance", 1e300, "does not fit 64 bits"),
        ("distance", 10**4000, "does not fit 64 bits, got a number of more than 60 digits"),
        ("night", 1, "column night: row 0: expected true or false, got 1"),
        ("carrier", 7, "column carrier: row 0: expected a string, got 7"),
        ("when", 7, "column when: row 0: expected a time"),
        ("when", "yesterday", "column when: row 0: expected a time"),
        ("when", "0001-01-01T00:00:00+23:00", "column when: row 0: the time is out of range"),
    ],
)
def test_a_value_of_another_kind_is_named_with_its_column_and_row(column: str, value: Any, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        one(**{column: value})
    assert message in caught.value.message


def test_every_mistyped_column_is_named_at_once() -> None:
    with pytest.raises(BadInput) as caught:
        one(temp="x", distance="y")
    assert "column temp" in caught.value.message
    assert "column distance" in caught.value.message


def test_integers_at_the_ends_of_64_bits_are_taken() -> None:
    assert one(distance=INT64_MAX)["distance"] == [INT64_MAX]
    assert one(distance=INT64_MIN)["distance"] == [INT64_MIN]


def test_missing_and_unknown_columns_are_named_with_the_row() -> None:
    bad = {**GOOD, "tempp": 1.0}
    del bad["temp"], bad["night"]
    with pytest.raises(BadInput) as caught:
        DECODER.records([GOOD, bad])
    assert caught.value.message == ("row 1: missing columns: temp, night; unknown columns: tempp (did you mean temp?)")


def test_a_long_list_of_unknown_columns_is_cut() -> None:
    with pytest.raises(BadInput, match="and 490 more"):
        DECODER.records([{**GOOD, **{f"x{number:03}": 1 for number in range(500)}}])


def test_the_time_column_is_taken_and_kept_apart() -> None:
    rows = DECODER.records([{**GOOD, "time_hour": "2013-05-01T12:00:00Z"}, GOOD, {**GOOD, "time_hour": None}])
    assert rows.times == [WHEN, None, None]
    assert "time_hour" not in rows.columns
    assert DECODER.columns({**{name: [value] for name, value in GOOD.items()}, "time_hour": ["2013-05-01"]}).times == [
        datetime(2013, 5, 1, tzinfo=UTC)
    ]
    with pytest.raises(BadInput, match="column time_hour: row 0: expected a time"):
        DECODER.records([{**GOOD, "time_hour": 5}])


def test_without_a_time_column_an_extra_one_is_unknown() -> None:
    decoder = Decoder(Signature(COLUMNS, "regression"))
    with pytest.raises(BadInput, match="unknown columns: time_hour"):
        decoder.records([{**GOOD, "time_hour": None}])


@pytest.mark.parametrize("row", [None, 5, "temp", ["temp"], [1, 2, 3, 4, 5]])
def test_a_record_must_be_an_object(row: Any) -> None:
    with pytest.raises(BadInput, match="row 0: expected an object"):
        DECODER.records([row])


def test_columns_must_be_lists_of_one_length() -> None:
    columns: dict[str, Any] = {name: [value] for name, value in GOOD.items()}
    with pytest.raises(BadInput, match="columns differ in length: temp has 2, distance has 1"):
        DECODER.columns({**columns, "temp": [1.0, 2.0]})
    with pytest.raises(BadInput, match="column temp: expected a list of values, got 5"):
        DECODER.columns({**columns, "temp": 5})


def test_positional_rows_must_be_as_wide_as_the_names() -> None:
    with pytest.raises(BadInput, match="row 1: expected a list of 5 values, got 4 values"):
        DECODER.positional([list(GOOD.values()), list(GOOD.values())[:4]])
    with pytest.raises(BadInput, match="columns named twice: temp"):
        DECODER.positional([], ["temp", "temp"])
    with pytest.raises(BadInput, match="missing columns: distance"):
        DECODER.positional([], ["temp"])
    assert DECODER.positional([], list(GOOD)).n == 0


def test_a_million_names_cost_no_more_than_reading_them() -> None:
    class Names(list[str]):
        def count(self, value: str) -> int:
            raise AssertionError("each name is looked for among all of them: a minute for 100,000")

    with pytest.raises(BadInput, match="unknown columns: 0, 1, 10, 100, 1000"):
        DECODER.positional([], Names(map(str, range(1_000_000))))


def test_too_many_rows_are_refused_before_they_are_looked_at() -> None:
    with pytest.raises(TooLarge, match="101 rows"):
        DECODER.records([None] * 101)


CSV_HEADER = "temp,distance,night,carrier,when\n"


def test_csv_reads_by_header_and_an_empty_cell_is_missing() -> None:
    rows = DECODER.csv(
        'carrier,distance,temp,night,when\r\n"U,A",+3,,TRUE,\r\n\r\nDL,4.0,1e2,false,2013-05-01T12:00:00Z\r\n'
    )
    assert rows.columns == {
        "temp": [None, 100.0], "distance": [3, 4], "night": [True, False],
        "carrier": ["U,A", "DL"], "when": [None, WHEN],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the CSV is empty"),
        (CSV_HEADER + "1,2,true,UA\n", "a row of the CSV has 4 cells, its header 5"),
        (CSV_HEADER + "nan,2,true,UA,\n", 'column temp: row 0: expected a number, got the string "nan"'),
        (CSV_HEADER + "inf,2,true,UA,\n", "expected a number"),
        (CSV_HEADER + "1_0,2,true,UA,\n", "expected a number"),
        (CSV_HEADER + "1e999,2,true,UA,\n", "expected a number"),
        (CSV_HEADER + "1,99999999999999999999,true,UA,\n", "does not fit 64 bits"),
        (CSV_HEADER + "1,2,yes,UA,\n", "expected true or false"),
        (CSV_HEADER + "1,2,true,,\n", "column carrier: row 0 is null"),
        (CSV_HEADER + '1,2,true,"UA\n', "is not CSV"),
        ("temp,distance\n1,2\n", "missing columns: night, carrier, when"),
        ("temp,temp,distance,night,carrier,when\n", "columns named twice: temp"),
    ],
)
def test_bad_csv_is_explained(text: str, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        DECODER.csv(text)
    assert message in caught.value.message


def test_a_byte_order_mark_before_the_header_is_ignored() -> None:
    assert DECODER.csv("\ufeff" + CSV_HEADER).n == 0


FLOATS = st.none() | st.floats(allow_nan=False, allow_infinity=False)
INTEGERS = st.integers(INT64_MIN, INT64_MAX)
TIMES = st.none() | st.datetimes(
    min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1), timezones=st.just(UTC)
)  # fmt: skip
CARRIERS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1)
ROWS = st.lists(
    st.fixed_dictionaries(
        {"temp": FLOATS, "distance": INTEGERS, "night": st.booleans(), "carrier": CARRIERS, "when": TIMES}
    ),
    max_size=20,
)


def sent(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "when": row["when"].isoformat() if row["when"] else None}


def same(left: Any, right: Any) -> bool:
    return type(left) is type(right) and (left == right or (left != left and right != right))


@given(ROWS)
def test_every_form_decodes_to_the_values_that_were_sent(rows: list[dict[str, Any]]) -> None:
    names = [column.name for column in COLUMNS]
    records = [sent(row) for row in rows]
    expected = {name: [row[name] for row in rows] for name in names}
    columns = {name: [row[name] for row in records] for name in names}
    positional = [[row[name] for name in reversed(names)] for row in records]
    forms = [
        DECODER.records(records),
        DECODER.columns(columns),
        DECODER.positional(positional, list(reversed(names))),
    ]
    for decoded in forms:
        assert decoded.n == len(rows)
        assert all(
            same(got, want) for name in names for got, want in zip(decoded.columns[name], expected[name], strict=True)
        )


@given(ROWS)
def test_csv_decodes_to_the_values_that_were_written(rows: list[dict[str, Any]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([column.name for column in COLUMNS])
    for row in map(sent, rows):
        writer.writerow([row["temp"], row["distance"], row["night"], row["carrier"], row["when"]])
    decoded = DECODER.csv(text.getvalue())
    for column in COLUMNS:
        assert decoded.columns[column.name] == [row[column.name] for row in rows]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)
)


@given(st.lists(st.dictionaries(st.sampled_from([*GOOD, "time_hour", "x"]), JSON) | JSON, max_size=4))
def test_whatever_is_sent_is_decoded_or_refused_with_a_reason(rows: list[Any]) -> None:
    with contextlib.suppress(BadInput):
        decoded = DECODER.records(rows)
        for column in COLUMNS:
            kinds = {type(value) for value in decoded.columns[column.name]} - {type(None)}
            expected = {"float": float, "integer": int, "boolean": bool, "string": str, "datetime": datetime}
            assert kinds <= {expected[column.kind]}


def test_a_time_in_another_zone_is_brought_to_utc() -> None:
    moved = one(when="2013-05-01T14:00:00+02:00")["when"][0]
    assert moved == WHEN
    assert moved.utcoffset() == timedelta(0)
    assert math.isclose(moved.timestamp(), WHEN.timestamp())
