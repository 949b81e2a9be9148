"""The prediction log's format: version 2 as it is written, version 1 as it was, NumPy columns, samples."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from log_kit import INPUTS, SIGNATURE, START, answered

from mlops_cli.core.base.records import Signature
from mlops_cli.core.predictions.logged import LogReading, Wanted
from mlops_cli.core.predictions.reader import LogReport, read_table
from mlops_cli.core.predictions.segment import Answered, classes_of, decode, encode, sample_of
from mlops_cli.core.predictions.writer import PredictionWriter, is_sampled

GOLDEN = Path(__file__).parent / "golden"
WHOLE = {"since": START - timedelta(days=9), "until": START + timedelta(days=9)}
THREE = Signature(INPUTS, "classification", ("a", "b", "c"))


def rows(*batches: Answered) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = decode(pa.BufferReader(encode(batches)), "x").to_pylist()
    return found


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / "2013-04-01" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_a_segment_of_version_1_reads_beside_one_of_version_2(tmp_path: Path) -> None:
    put(tmp_path, "20130401T120000.000000Z-a.arrow", (GOLDEN / "segment-v1.arrow").read_bytes())
    put(tmp_path, "20130401T120001.000000Z-b.arrow", encode([answered(request="new", at=1, latency_ms=2.5)]))
    table = read_table(tmp_path, **WHOLE)
    assert table is not None
    assert table["_request"].to_pylist() == ["a", "a", "b", "new"]
    assert table["_score"].to_pylist() == [0.75] * 4
    assert table["_latency_ms"].to_pylist() == [None, None, None, 2.5]
    read = LogReading(tmp_path).window([(START, START + timedelta(days=1))], Wanted("flights", frozenset({1})))
    assert read.read("distance").to_pylist() == [0, 1, 0, 0]
    assert read.samples == {1.0}


def test_more_than_two_classes_keep_all_probabilities_and_say_whose_they_are() -> None:
    scores = [[0.2, 0.3, 0.5], [0.7, 0.2, 0.1]]
    first = answered(2, signature=THREE, predictions=["c", "a"], scores=None, all_scores=scores)
    table = decode(pa.BufferReader(encode([first, answered(1, signature=THREE, scores=None)])), "x")
    assert table["_scores"].to_pylist() == [*scores, None]
    assert table.schema.field("_scores").type == pa.list_(pa.float64(), 3)
    assert classes_of(table.schema) == ("a", "b", "c")
    arrays = answered(300, signature=THREE, scores=None, all_scores=np.full((300, 3), 1 / 3))
    assert rows(arrays)[299]["_scores"] == [1 / 3] * 3
    assert rows(*(answered(signature=THREE, all_scores=[scores[0]]) for _ in range(2)))[1]["_scores"] == scores[0]


def test_two_classes_keep_the_score_of_the_second_alone() -> None:
    assert "_scores" not in rows(answered(1, all_scores=[[0.25, 0.75]]))[0]


def test_versions_with_other_numbers_of_classes_read_together(tmp_path: Path) -> None:
    two = Signature(INPUTS, "classification", tuple("abcd"))
    put(tmp_path, "1-a.arrow", encode([answered(signature=THREE, all_scores=[[0.5, 0.25, 0.25]])]))
    put(tmp_path, "2-b.arrow", encode([answered(signature=two, version=2, all_scores=[[0.25] * 4])]))
    put(tmp_path, "3-c.arrow", encode([answered(version=3)]))
    table = read_table(tmp_path, **WHOLE)
    assert table is not None
    assert table["_scores"].to_pylist() == [[0.5, 0.25, 0.25], [0.25] * 4, None]


@pytest.mark.parametrize("n", [1, 2, 300])
def test_columns_may_be_arrays_whose_nan_is_missing(n: int) -> None:
    columns = {"carrier": ["UA"] * n, "distance": np.arange(n), "temp": np.asarray([np.nan] * n)}
    lists = {"carrier": ["AA"] * n, "distance": list(range(n)), "temp": [2.5] * n}
    found = rows(answered(n, columns=columns), answered(n, columns=lists), answered(n, columns=columns))
    assert [row["distance"] for row in found] == list(range(n)) * 3
    assert [row["temp"] for row in found] == [None] * n + [2.5] * n + [None] * n
    assert [row["carrier"] for row in found] == ["UA"] * n + ["AA"] * n + ["UA"] * n


def test_requests_of_any_sizes_stay_in_order() -> None:
    sizes = [1, 3, 300, 1, 1, 256, 255, 2, 4000, 1, 4096, 1]
    found = rows(*(answered(size, request=str(place), latency_ms=size) for place, size in enumerate(sizes)))
    assert [(row["_request"], row["_row"]) for row in found] == [
        (str(place), row) for place, size in enumerate(sizes) for row in range(size)
    ]
    assert all(row["distance"] == row["_row"] and row["_latency_ms"] == sizes[int(row["_request"])] for row in found)


def test_many_single_rows_are_laid_out_as_few() -> None:
    batches = [
        answered(request=str(place), columns={"carrier": ["x"], "distance": [place], "temp": [place / 2]})
        for place in range(5000)
    ]
    found = rows(*batches)
    assert [(row["_request"], row["distance"], row["temp"]) for row in found] == [
        (str(place), place, place / 2) for place in range(5000)
    ]


def test_a_request_whose_columns_differ_in_length_is_no_segment() -> None:
    short = answered(2, columns={"carrier": ["UA"], "distance": [1, 2], "temp": [1.0, 2.0]})
    with pytest.raises(ValueError, match="argument"):
        encode([short, answered()])


def test_a_sample_takes_whole_requests_alike_everywhere_and_counts_the_others(tmp_path: Path) -> None:
    ids = [f"request-{number}" for number in range(2000)]
    writer = PredictionWriter(tmp_path, sample=0.25, interval_s=3600)
    for request in ids:
        assert writer.append(answered(2, request=request))
    state = writer.close()
    report = LogReport()
    table = read_table(tmp_path, **WHOLE, report=report)
    assert table is not None
    taken = set(table["_request"].to_pylist())
    assert taken == {request for request in ids if is_sampled(request, 0.25)}
    assert (state.written, state.sampled_out, state.dropped) == (2 * len(taken), 4000 - 2 * len(taken), 0)
    assert 400 < len(taken) < 600
    assert report.samples == {0.25}
    assert all(is_sampled(request, 0.5) for request in taken)


@pytest.mark.parametrize(("sample", "taken"), [(0.0, 0), (1.0, 50)])
def test_none_and_all_are_samples(tmp_path: Path, sample: float, taken: int) -> None:
    writer = PredictionWriter(tmp_path, sample=sample)
    for number in range(50):
        writer.append(answered(request=str(number)))
    assert writer.close().written == taken


@pytest.mark.parametrize("sample", [-0.1, 1.1])
def test_a_share_that_is_none_is_refused(tmp_path: Path, sample: float) -> None:
    with pytest.raises(ValueError, match="share"):
        PredictionWriter(tmp_path, sample=sample)


def test_a_segment_that_does_not_say_its_sample_holds_all() -> None:
    assert sample_of(pa.schema([])) == sample_of(pa.schema([], metadata={"mlo.sample": "x"})) == 1.0


def test_the_ring_is_bounded_by_bytes_too(tmp_path: Path) -> None:
    writer = PredictionWriter(tmp_path, capacity_bytes=1000, interval_s=3600)
    assert [writer.append(answered(size=400)) for _ in range(3)] == [True, True, False]
    assert writer.close().written == 2


def test_a_regression_has_no_classes() -> None:
    table = decode(pa.BufferReader(encode([answered(signature=Signature(SIGNATURE.inputs, "regression"))])), "x")
    assert classes_of(table.schema) == ()
