"""Whatever bytes arrive at a path that predicts, they are rows or a Problem that is the client's."""

import json
import random
from datetime import datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensors_kit import HEADER, binary, holding, tensor

from mlops_cli.core.base.records import Column
from mlops_cli.core.serving.loader import Answer, Served
from mlops_cli.core.serving.problems import Problem
from mlops_cli.core.serving.protocols.exchange import Body, Exchange
from mlops_cli.core.serving.protocols.mlflow import Scoring
from mlops_cli.core.serving.protocols.named import Named
from mlops_cli.core.serving.protocols.v2 import Inference

MIXED = holding(
    Column("temp", "float", nullable=True),
    Column("distance", "integer"),
    Column("night", "boolean"),
    Column("carrier", "string"),
    Column("when", "datetime", nullable=True),
    max_rows=50,
)
NUMBERS = holding(Column("a", "float"), Column("b", "integer", nullable=True), max_rows=50)
ROW = {"temp": 41.5, "distance": 3, "night": True, "carrier": "UA", "when": "2013-05-01T12:00:00Z"}
KINDS: dict[str, type] = {"float": float, "integer": int, "boolean": bool, "string": str, "datetime": datetime}
JSON = "application/json"


def body(document: Any) -> Body:
    return Body(json.dumps(document).encode(), JSON)


PLAIN = [
    {"name": name, "datatype": datatype, "shape": [1], "data": [ROW[name]]}
    for name, datatype in zip(ROW, ["FP64", "INT64", "BOOL", "BYTES", "BYTES"], strict=True)
]
VALID: list[tuple[Exchange, Served, Body]] = [
    (Named(), MIXED, body(ROW)),
    (Named(), MIXED, body({"rows": [ROW, ROW]})),
    (Scoring(), MIXED, body({"dataframe_split": {"columns": list(ROW), "data": [list(ROW.values())]}})),
    (Scoring(), MIXED, body({"dataframe_records": [ROW]})),
    (Scoring(), MIXED, body({"instances": [list(ROW.values())]})),
    (Scoring(), NUMBERS, body({"inputs": {"a": [1.5], "b": [None]}})),
    (Scoring(), NUMBERS, Body(b"a,b\n1.5,2\n3,\n", "text/csv")),
    (Inference(), MIXED, body({"inputs": PLAIN, "id": "x", "outputs": [{"name": "predict"}]})),
    (Inference(), NUMBERS, body({"inputs": [{"name": "m", "shape": [1, 2], "datatype": "FP64", "data": [1.5, 2]}]})),
    (
        Inference(),
        MIXED,
        binary(
            tensor("temp", "FP32", [1.5, 2.5]),
            tensor("distance", "UINT64", [1, 2]),
            tensor("night", "BOOL", [True, False]),
            tensor("carrier", "BYTES", [b"UA", b"DL"]),
            tensor("when", "BYTES", [b"2013-05-01", b"2013-05-02T00:00:00+01:00"]),
            parameters={"binary_data_output": True},
        ),
    ),
    (Inference(), NUMBERS, binary(tensor("m", "FP64", [1.5, 2.0] * 40, [40, 2]))),
]


def check(exchange: Exchange, served: Served, sent: Body) -> None:
    """Rows of the signature's own types, which can be answered; or a Problem of the client's."""
    asked, refusal = None, None
    try:
        asked = exchange.read(sent, served)
    except Problem as problem:
        refusal = problem
    if asked is None:
        assert refusal is not None
        assert 400 <= refusal.status < 500
        assert len(refusal.message) < 5000
        return
    rows = asked.rows
    assert rows.n <= served.decoder.max_rows
    for column in served.signature.inputs:
        values = rows.columns[column.name]
        assert len(values) == rows.n
        listed = values.tolist() if isinstance(values, np.ndarray) else values
        for value in listed:
            missing = value is None or value != value
            assert column.nullable if missing else type(value) is KINDS[column.kind]
            if type(value) is int:
                assert -(2**63) <= value < 2**63
    if rows.n:
        assert asked.encode(Answer([0.5] * rows.n), "id").body


@pytest.mark.parametrize("place", range(len(VALID)))
def test_a_valid_body_is_taken(place: int) -> None:
    exchange, served, sent = VALID[place]
    assert exchange.read(sent, served).rows.n >= 1


@pytest.mark.parametrize("exchange", [Named(), Scoring(), Inference()])
@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=300), length=st.none() | st.integers(-2, 400) | st.text(max_size=5))
def test_random_bytes_are_refused(exchange: Exchange, data: bytes, length: Any) -> None:
    headers = {} if length is None else {HEADER: str(length).encode()}
    for served in (MIXED, NUMBERS):
        check(exchange, served, Body(data, JSON, headers))
        check(exchange, served, Body(data, "text/csv", headers))


@pytest.mark.parametrize("place", range(len(VALID)))
def test_damaged_bodies_are_rows_or_refused(place: int) -> None:
    exchange, served, sent = VALID[place]
    draw = random.Random(place)
    for _ in range(300):
        data = bytearray(sent.data)
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(data))
            match draw.randrange(4):
                case 0:
                    data[at] = draw.randrange(256)
                case 1:
                    del data[at : at + draw.randint(1, 9)]
                case 2:
                    data[at:at] = draw.choice(
                        [b"9" * 30, b"-", b"null", b"[", b'"', b"NaN", b"1e999", b"\xff", b"\x00"]
                    )
                case _:
                    data[at:at] = data[at : at + 20]
            if not data:
                break
        check(exchange, served, sent._replace(data=bytes(data)))


SIZES = st.integers(-3, 60) | st.sampled_from([2**31, 2**32, 2**63 - 1, 2**63, 2**64, 10**30])
NAMES = ["temp", "distance", "night", "carrier", "when", "a", "b", "m"]
TYPES = ["BOOL", "INT8", "INT64", "UINT8", "UINT64", "FP16", "FP32", "FP64", "BF16", "BYTES", "FP128", ""]
TENSORS = st.fixed_dictionaries(
    {
        "name": st.sampled_from(NAMES),
        "datatype": st.sampled_from(TYPES),
        "shape": st.lists(SIZES, max_size=3),
    },
    optional={
        "parameters": st.fixed_dictionaries({"binary_data_size": SIZES | st.none() | st.floats(0, 9)}),
        "data": st.lists(st.none() | st.booleans() | SIZES | st.floats() | st.text(max_size=3), max_size=4),
    },
)


@settings(max_examples=150, deadline=None)
@given(inputs=st.lists(TENSORS, max_size=6), blob=st.binary(max_size=200), shift=st.sampled_from([0, 0, 0, -1, 1]))
def test_tensors_that_lie_are_refused(inputs: list[Any], blob: bytes, shift: int) -> None:
    head = json.dumps({"inputs": inputs}).encode()
    sent = Body(head + blob, "", {HEADER: str(len(head) + shift).encode()})
    for served in (MIXED, NUMBERS):
        check(Inference(), served, sent)


@pytest.mark.parametrize("exchange", [Named(), Scoring(), Inference()])
@pytest.mark.parametrize("opened", ["[", '{"a":', '{"inputs":[', '{"rows":['])
def test_json_nested_900_deep_is_refused_at_once(exchange: Exchange, opened: str) -> None:
    for depth in (900, 100_000):
        closed = "".join({"[": "]", "{": "}"}.get(sign, "") for sign in reversed(opened))
        for text in (opened * depth, opened * depth + "1" + closed * depth):
            with pytest.raises(Problem) as caught:
                exchange.read(Body(text.encode(), JSON), MIXED)
            assert caught.value.status == 400


@pytest.mark.parametrize("exchange", [Named(), Scoring(), Inference()])
@pytest.mark.parametrize(
    "text",
    [
        b"\xff\xfe",
        b'{"temp": "\xff"}',
        b'{"temp": NaN}',
        b"[Infinity]",
        b'{"temp": -Infinity}',
        b'{"temp": 1e999}',
        b'{"distance": ' + b"9" * 5000 + b"}",
        b'{"temp": 1.5} {}',
        b'{"\\ud800": 1}',
        b"",
        b"\xef\xbb\xbf{}",
        b"null",
    ],
)
def test_what_is_no_json_is_refused_with_400(exchange: Exchange, text: bytes) -> None:
    with pytest.raises(Problem) as caught:
        exchange.read(Body(text, JSON), MIXED)
    assert caught.value.status == 400


def test_of_two_equal_names_the_last_one_counts_whichever_way_it_is_read() -> None:
    quick = json.dumps(ROW)[:-1] + ', "temp": 1.5}'
    slow = json.dumps(ROW)[:-1] + ', "distance": 7.0, "temp": 1.5}'
    for text in (quick, slow):
        assert Named().read(Body(text.encode(), JSON), MIXED).rows.columns["temp"] == [1.5]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries({"a": st.floats(-1e300, 1e300) | st.integers(), "b": st.none() | st.integers(-5, 5)}),
        min_size=1,
        max_size=4,
    )
)
def test_every_way_reads_the_same_rows(rows: list[dict[str, Any]]) -> None:
    """The forms that msgspec checks while it parses, and those that are looked at value by value."""
    bodies: list[tuple[Exchange, Any]] = [
        (Scoring(), {"dataframe_records": rows}),
        (Scoring(), {"dataframe_split": {"columns": ["b", "a"], "data": [[row["b"], row["a"]] for row in rows]}}),
        (Scoring(), {"instances": rows}),
        (Named(), {"rows": rows}),
        *([(Named(), rows[0])] if len(rows) == 1 else []),
    ]
    read = []
    for exchange, document in bodies:
        try:
            read.append(exchange.read(body(document), NUMBERS).rows.columns)
        except Problem as problem:
            read.append(problem.status)
    assert all(found == read[0] for found in read)
