"""The binary tensor data extension, byte by byte."""

import math
import struct
import tracemalloc
from typing import Any

import httpx
import numpy as np
import pytest
from serving_kit import ROW
from tensors_kit import HEADER, binary, blob_of, holding, outputs_of, tensor

from mlops_cli.core.base.records import Column
from mlops_cli.core.serving.decode import Rows
from mlops_cli.core.serving.loader import Answer
from mlops_cli.core.serving.problems import BadInput, TooLarge
from mlops_cli.core.serving.protocols.exchange import Body
from mlops_cli.core.serving.protocols.v2 import Inference

NUMBER, MAYBE, WHOLE = Column("x", "float"), Column("x", "float", nullable=True), Column("x", "integer")
FLAG, TEXT = Column("x", "boolean"), Column("x", "string")
LONG = 100  # more elements than become a list


def read(body: Body, *columns: Column) -> Rows:
    return Inference().read(body, holding(*columns)).rows


def values(rows: Rows, name: str = "x") -> list[Any]:
    column = rows.columns[name]
    return column.tolist() if isinstance(column, np.ndarray) else column


def refused(body: Body, *columns: Column) -> str:
    with pytest.raises(BadInput) as caught:
        read(body, *columns)
    return caught.value.message


@pytest.mark.parametrize("n", [0, 1, 3, LONG])
@pytest.mark.parametrize(
    "datatype",
    ["INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FP16", "FP32", "FP64"],
)
@pytest.mark.parametrize("column", [NUMBER, WHOLE])
def test_every_datatype_of_numbers_is_read_little_endian(datatype: str, n: int, column: Column) -> None:
    sent = [place % 120 for place in range(n)]
    got = values(read(binary(tensor("x", datatype, sent)), column))
    assert got == sent
    assert all(type(value) is (float if column is NUMBER else int) for value in got)


def test_a_long_tensor_becomes_an_array_of_the_input_s_type() -> None:
    for column, dtype in ((NUMBER, np.float64), (WHOLE, np.int64)):
        for datatype in ("FP32", "UINT64", "INT16"):
            got = read(binary(tensor("x", datatype, [7] * LONG)), column).columns["x"]
            assert isinstance(got, np.ndarray)
            assert got.dtype == dtype
    flags = read(binary(tensor("x", "BOOL", [True, False] * LONG)), FLAG).columns["x"]
    assert isinstance(flags, np.ndarray)
    assert flags.tolist() == [True, False] * LONG


@pytest.mark.parametrize("n", [2, LONG])
def test_bf16_is_the_upper_half_of_a_32_bit_float(n: int) -> None:
    halves = [struct.unpack("<I", struct.pack("<f", 1.5))[0] >> 16] * n
    head, blob = tensor("x", "UINT16", halves)
    assert values(read(binary(({**head, "datatype": "BF16"}, blob)), NUMBER)) == [1.5] * n


@pytest.mark.parametrize("sent", [[], [b"UA"], [b"", "naïve ✈".encode(), b"x" * 300], [b"UA"] * LONG])
def test_bytes_are_lengths_and_utf_8(sent: list[bytes]) -> None:
    assert values(read(binary(tensor("x", "BYTES", sent)), TEXT)) == [value.decode() for value in sent]


def test_booleans_are_single_bytes() -> None:
    assert values(read(binary(tensor("x", "BOOL", [True, False])), FLAG)) == [True, False]
    for n in (1, LONG):
        head, blob = tensor("x", "UINT8", [1] * n + [2])
        assert f"element {n} is no BOOL" in refused(binary(({**head, "datatype": "BOOL"}, blob)), FLAG)


def test_blobs_follow_in_the_order_of_the_tensors_and_json_tensors_may_stand_between() -> None:
    a, b, c = Column("a", "float"), Column("b", "string"), Column("c", "integer")
    plain = ({"name": "b", "datatype": "BYTES", "shape": [2], "data": ["p", "q"]}, b"")
    body = binary(tensor("c", "INT32", [1, 2]), plain, tensor("a", "FP32", [0.5, -0.5]))
    rows = read(body, a, b, c)
    assert rows.columns == {"a": [0.5, -0.5], "b": ["p", "q"], "c": [1, 2]}


@pytest.mark.parametrize("n", [1, LONG])
def test_nan_is_a_missing_value_where_the_input_may_be_missing(n: int) -> None:
    sent = [1.0] * n + [math.nan]
    got = read(binary(tensor("x", "FP64", sent)), MAYBE).columns["x"]
    assert got[:n] == [1.0] * n if isinstance(got, list) else got[:n].tolist() == [1.0] * n
    assert got[n] is None or math.isnan(got[n])
    assert f"row {n}" in refused(binary(tensor("x", "FP64", sent)), NUMBER)
    whole = Column("x", "integer", nullable=True)
    assert values(read(binary(tensor("x", "FP32", sent)), whole)) == [1] * n + [None]


@pytest.mark.parametrize("n", [1, LONG])
@pytest.mark.parametrize("wrong", [math.inf, -math.inf])
def test_infinities_are_refused_even_where_values_may_be_missing(n: int, wrong: float) -> None:
    message = refused(binary(tensor("x", "FP32", [math.nan] * n + [wrong])), MAYBE)
    assert f"tensor x: element {n} is infinite" in message


def test_a_sum_that_overflows_is_no_infinity() -> None:
    assert values(read(binary(tensor("x", "FP64", [1.7e308] * 3)), NUMBER)) == [1.7e308] * 3


@pytest.mark.parametrize("n", [1, LONG])
@pytest.mark.parametrize(
    ("datatype", "wrong", "message"),
    [
        ("UINT64", 2**63, "does not fit 64 bits"),
        ("FP64", 0.5, "expected a whole number"),
        ("FP64", 2.0**63, "does not fit 64 bits"),
        ("FP64", -1e19, "does not fit 64 bits"),
    ],
)
def test_what_is_no_64_bit_integer_is_refused_with_its_row(datatype: str, wrong: Any, message: str, n: int) -> None:
    body = binary(tensor("x", datatype, [1] * n + [wrong]))
    refusal = refused(body, WHOLE)
    assert f"column x: row {n}" in refusal
    assert message in refusal


def test_the_ends_of_64_bits_are_taken() -> None:
    assert values(read(binary(tensor("x", "INT64", [-(2**63), 2**63 - 1] * LONG)), WHOLE))[:2] == [-(2**63), 2**63 - 1]
    assert values(read(binary(tensor("x", "FP64", [-(2.0**63)] * LONG)), WHOLE))[0] == -(2**63)


@pytest.mark.parametrize("n", [1, LONG])
@pytest.mark.parametrize(
    ("column", "datatype"), [(TEXT, "FP64"), (FLAG, "INT8"), (NUMBER, "BOOL"), (WHOLE, "BOOL"), (NUMBER, "BYTES")]
)
def test_a_tensor_of_another_kind_than_the_input_is_refused(column: Column, datatype: str, n: int) -> None:
    sent = [b"1"] * n if datatype == "BYTES" else [1] * n
    assert "column x: row 0: expected" in refused(binary(tensor("x", datatype, sent)), column)


HEAD, BLOB = tensor("x", "FP64", [1.0, 2.0])


def changed(blob: bytes = BLOB, **changes: Any) -> tuple[dict[str, Any], bytes]:
    return {**HEAD, **changes}, blob


def sized(size: Any) -> dict[str, Any]:
    return {"parameters": {"binary_data_size": size}}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (binary(changed(shape=[3])), "takes 24 bytes, and its binary data has 16"),
        (binary(changed(shape=[1])), "takes 8 bytes, and its binary data has 16"),
        (binary(changed(shape=[-2])), "has a negative size"),
        (binary(changed(shape=[])), "expected the shape [n] or [n, 1], got []"),
        (binary(changed(shape=[1] * 100_000)), "1, ...]"),
        (binary(changed(shape=[10**4000, 1])), "[a number of more than 60 digits, 1] has a size that does not fit"),
        (binary(changed(shape=[10**12])), "the request has 1,000,000,000,000 rows"),
        (binary(changed(**sized(17))), "does not fit the 16 bytes that are left"),
        (binary(changed(**sized(-1))), "does not fit the 16 bytes that are left"),
        (binary(changed(**sized(2**63))), "does not fit the 16 bytes that are left"),
        (binary(changed(**sized(8), shape=[1])), "8 bytes after the JSON belong to no tensor"),
        (binary(changed(**sized(True))), "Expected `int | null`, got `bool`"),
        (binary(changed(**sized("16"))), "Expected `int | null`, got `str`"),
        (binary(changed(), tail=b"?"), "1 bytes after the JSON belong to no tensor"),
        (binary(changed(data=[1.0, 2.0])), "both data and parameters.binary_data_size"),
        (binary(changed(parameters={})), "neither data nor parameters.binary_data_size"),
        (binary(changed(parameters={"shared_memory_region": "r"})), "shared memory is not offered"),
        (binary(changed(), length=0), "a request of binary data alone is not taken"),
        (binary(changed(), length=10**6), "must be the length of the JSON"),
        (binary(changed(), length="-1"), "must be the length of the JSON"),
        (binary(changed(), length="9" * 5000), "must be the length of the JSON"),
        (binary(changed(), length="0x20"), "must be the length of the JSON"),
        (binary(changed(), length=5), "the body is not JSON"),
        (Body(binary(changed()).data, ""), "the body is not"),
        (binary(changed(datatype="FP65")), "FP65 is no datatype"),
        (binary(changed(datatype="BYTES")), "ends after its binary data does"),
        (binary(tensor("x", "BYTES", [b"\xff"])), "element 0 is not UTF-8"),
        (binary(({**tensor("x", "BYTES", [b"a", b"b"])[0], "shape": [1]}, blob_of([b"a", b"b"], "BYTES"))), "5 bytes"),
        (binary(({**tensor("x", "BYTES", [b"a"])[0], "shape": [2]}, blob_of([b"a"], "BYTES"))), "take more than 5"),
        (binary(changed(), changed()), "given twice"),
    ],
)
def test_sizes_that_lie_are_refused(body: Body, message: str) -> None:
    with pytest.raises((BadInput, TooLarge)) as caught:
        read(body, NUMBER)
    assert message in caught.value.message


def test_a_claim_of_many_rows_is_refused_before_anything_is_allocated() -> None:
    tracemalloc.start()
    try:
        for claim in ([10**9], [10**9, 1], [10**18, 10**18]):
            with pytest.raises((BadInput, TooLarge)):
                read(binary(changed(shape=claim)), NUMBER)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_without_the_header_binary_sizes_are_refused() -> None:
    whole = binary((HEAD, b"")).data
    assert "there is no Inference-Header-Content-Length" in refused(Body(whole, ""), NUMBER)


@pytest.mark.parametrize("name", ["anything", "a"])
@pytest.mark.parametrize("n", [1, 3, LONG])
@pytest.mark.parametrize("datatype", ["FP32", "FP64", "INT16", "UINT64"])
def test_one_matrix_stands_for_all_inputs_whatever_its_name(name: str, n: int, datatype: str) -> None:
    a, b = Column("a", "float"), Column("b", "integer")
    flat = [place % 50 for place in range(2 * n)]
    plain = {"name": name, "datatype": datatype, "shape": [n, 2], "data": flat}
    nested = {**plain, "data": [flat[2 * row : 2 * row + 2] for row in range(n)]}
    for body in (binary(tensor(name, datatype, flat, [n, 2])), binary((plain, b"")), binary((nested, b""))):
        rows = read(body, a, b)
        assert (values(rows, "a"), values(rows, "b")) == (flat[::2], flat[1::2])
        assert type(values(rows, "a")[0]) is float
        assert type(values(rows, "b")[0]) is int


@pytest.mark.parametrize("n", [1, LONG])
def test_a_matrix_is_checked_column_by_column(n: int) -> None:
    a, b = Column("a", "float"), Column("b", "integer")
    assert "column b: row 0: expected a whole number" in refused(
        binary(tensor("m", "FP64", [0.5] * 2 * n, [n, 2])), a, b
    )
    assert "does not fit the model's 2 inputs" in refused(binary(tensor("m", "FP64", [0.5] * 3 * n, [n, 3])), a, b)
    plain = {"name": "m", "datatype": "INT8", "shape": [n, 2], "data": [1] * (2 * n - 1) + [200]}
    assert f"element {2 * n - 1} does not fit INT8" in refused(binary((plain, b"")), a, b)


def test_integers_in_a_matrix_are_not_rounded_on_their_way() -> None:
    odd = 2**53 + 1
    plain = {"name": "m", "datatype": "INT64", "shape": [LONG, 2], "data": [odd] * 2 * LONG}
    for datatype in ("INT64", "FP64"):
        rows = read(binary(({**plain, "datatype": datatype}, b"")), Column("a", "float"), Column("b", "integer"))
        assert values(rows, "b") == [odd] * LONG


def test_a_matrix_of_texts_or_for_inputs_that_are_none_is_refused() -> None:
    a, b = Column("a", "float"), Column("b", "string")
    assert "expected the shape [n] or [n, 1]" in refused(binary(tensor("m", "FP64", [1.0, 2.0], [1, 2])), a, b)


# -- replies ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("classes", "labels", "datatype"),
    [
        ((0, 1), [1, 0, 1], "INT64"),
        (("no", "käse"), ["käse", "no", "no"], "BYTES"),
        ((False, True), [True, False, True], "BOOL"),
        ((0.5, 1.5), [1.5, 0.5, 0.5], "FP64"),
    ],
)
def test_outputs_are_blobs_where_they_are_wanted_so(classes: Any, labels: list[Any], datatype: str) -> None:
    served = holding(NUMBER, classes=classes)
    answer = Answer(labels, [[0.25, 0.75]] * 3)
    wanted = [{"name": "predict_proba", "parameters": {"binary_data": True}}, {"name": "predict"}]
    body = binary(tensor("x", "FP64", [1.0, 2.0, 3.0]), outputs=wanted, parameters={"binary_data_output": True})
    reply = Inference().read(body, served).encode(answer, "id")
    assert reply.media == b"application/octet-stream"
    raw = [label.encode() for label in labels] if datatype == "BYTES" else labels
    assert outputs_of(reply) == {
        "predict": blob_of(raw, datatype), "predict_proba": blob_of([0.25, 0.75] * 3, "FP64")
    }  # fmt: skip


def test_an_output_s_own_wish_goes_before_the_request_s() -> None:
    served = holding(NUMBER, classes=(0, 1))
    wanted = [{"name": "predict_proba"}, {"name": "predict", "parameters": {"binary_data": False}}]
    body = binary(tensor("x", "FP64", [1.0]), outputs=wanted, parameters={"binary_data_output": True})
    found = outputs_of(Inference().read(body, served).encode(Answer([1], [[0.5, 0.5]]), "id"))
    assert found["predict"] == [1]
    assert isinstance(found["predict_proba"], bytes)


def test_without_a_wish_the_reply_is_json() -> None:
    reply = Inference().read(binary(tensor("x", "FP64", [1.0])), holding(NUMBER)).encode(Answer([2.5]), "id")
    assert (reply.media, reply.headers) == (b"application/json", ())
    assert outputs_of(reply) == {"predict": [2.5]}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"classification": 2}, "the classification extension is not offered"),
        ({"shared_memory_region": "r"}, "shared memory is not offered"),
    ],
)
def test_other_ways_out_are_refused(parameters: dict[str, Any], message: str) -> None:
    body = binary(tensor("x", "FP64", [1.0]), outputs=[{"name": "predict", "parameters": parameters}])
    assert message in refused(body, NUMBER)


def test_a_server_answers_binary_requests_without_a_content_type(client: httpx.Client) -> None:
    body = binary(
        tensor("carrier", "BYTES", [b"UA", b"DL"]),
        tensor("distance", "INT64", [500, 500], [2, 1]),
        tensor("temp", "FP32", [41.5, -20.0]),
        tensor("pressure", "FP64", [1013.2, math.nan]),
        tensor("night", "BOOL", [False, True]),
        parameters={"binary_data_output": True, "sequence_id": 0, "priority": 3},
        id="abc",
    )
    headers = {"inference-header-content-length": body.headers[HEADER].decode()}
    for media in ({}, {"content-type": "application/octet-stream"}, {"content-type": "application/json"}):
        answer = client.post("/v2/models/flights/infer", content=body.data, headers={**headers, **media})
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/octet-stream"
        size = int(answer.headers["inference-header-content-length"])
        assert b'"id":"abc"' in answer.content[:size]
        assert struct.unpack("<2q", answer.content[size:]) == (1, 0)
    assert set(ROW) == {"carrier", "distance", "temp", "pressure", "night"}
