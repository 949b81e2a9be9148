from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import pytest
from abuse_kit import raw
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from serving_kit import ROW, running

from mlops_cli.core.base.records import Signature
from mlops_cli.core.serving.loader import Answer, Served
from mlops_cli.core.serving.metrics import Metrics, fold, media_type, render
from mlops_cli.core.serving.metrics.buckets import Histogram, add_histogram
from mlops_cli.core.serving.metrics.outputs import Outputs
from mlops_cli.core.serving.metrics.snapshot import Snapshot, Spread, decode, encode, merge

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def value(text: bytes, name: str, **labels: str) -> float:
    found = [
        sample.value
        for family in parse_text(text.decode())
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    assert len(found) <= 1
    return found[0] if found else 0.0


class Version(NamedTuple):
    name: str
    version_text: str
    signature: Signature
    expected: Sequence[float] = ()
    run: str = "r"


def busy() -> Metrics:
    metrics = Metrics()
    metrics.serves(Version("m", "1", Signature((), "classification", (0, 1))))
    for _ in range(3):
        metrics.answered("/predict", 200, 0.002, "m")
    metrics.predicted("m", 3, 0.001)
    metrics.refused("m", "queue")
    metrics.distribution("m", "1", Answer([0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]]))
    return metrics


def test_what_was_counted_is_what_is_read() -> None:
    text = busy().render()
    assert value(text, "mlo_requests_total", model="m", path="/predict", status="200") == 3
    assert value(text, "mlo_request_seconds_bucket", model="m", path="/predict", le="0.0025") == 3
    assert value(text, "mlo_batch_rows_sum", model="m") == 3
    assert value(text, "mlo_refused_total", model="m", reason="queue") == 1
    assert value(text, "mlo_predictions_total", model="m", version="1", label="1") == 2
    assert value(text, "mlo_prediction_score_count", model="m", version="1") == 3


@pytest.mark.parametrize(("accept", "parse"), [("text/plain", parse_text), (OPENMETRICS, parse_openmetrics)])
def test_both_formats_are_read_by_their_parsers(accept: str, parse: object) -> None:
    metrics = busy()
    metrics.serves(Version("r", "1", Signature((), "regression"), [-3.0, 1.0, 2.0, 9.0, 4.0]))
    metrics.distribution("r", "1", Answer([-7.0, float("nan"), 3.0]))
    families = {family.name for family in parse(metrics.render(accept).decode())}  # type: ignore[operator]
    assert {"mlo_prediction_value", "mlo_model_info", "mlo_predict_seconds"} <= families
    assert (b"openmetrics" in media_type(accept)) == (accept == OPENMETRICS)


def test_models_nobody_serves_and_paths_nobody_routes_make_no_series_without_end() -> None:
    metrics = Metrics()
    for n in range(500):
        metrics.answered(f"/{n}", 404, 0.1, f"model{n}")
    lines = [line for line in metrics.render().splitlines() if line.startswith(b"mlo_requests_total{")]
    assert len(lines) <= 64
    assert not any(b"model" in line for line in lines)


def test_counts_of_a_process_that_ended_are_kept_and_its_gauges_are_not() -> None:
    ended = busy()
    ended.in_flight.inc()
    text = render([busy().snapshot()], fold([fold([ended.snapshot()]), busy().snapshot()]), restarts=2)
    assert value(text, "mlo_requests_total", model="m", path="/predict", status="200") == 9
    assert value(text, "mlo_in_flight_requests") == 0
    assert value(text, "mlo_worker_restarts_total") == 2
    assert value(text, "mlo_workers") == 1


def test_only_the_last_five_versions_keep_series_of_predictions() -> None:
    metrics = Metrics()
    for version in range(8):
        metrics.serves(Version("m", str(version), Signature((), "classification", ("a", "b"))))
        metrics.distribution("m", str(version), Answer(["a"]))
    kept = {
        sample.labels["version"]
        for family in parse_text(metrics.render().decode())
        for sample in family.samples
        if sample.name == "mlo_predictions_total"
    }
    assert kept == {"3", "4", "5", "6", "7"}


def test_every_model_of_a_server_has_its_series_from_the_start_and_no_other() -> None:
    text = render([busy().snapshot(), Metrics().snapshot()])
    named = [line for line in text.decode().splitlines() if line.startswith("mlo_feedback_total")]
    assert named == ['mlo_feedback_total{model="m"} 0.0']


# -- what several processes counted ------------------------------------------------------------------------------

MODELS = st.sampled_from(["a", "b"])
COUNTS = st.integers(0, 1000)
EDGES = st.sampled_from([(0.1, 1.0, 10.0), (0.5, 1.0), (-2.0, 0.0, 3.0, 4.0)])


@st.composite
def spreads(draw: st.DrawFn, edges: tuple[float, ...] = (0.1, 1.0)) -> Spread:
    counts = draw(st.lists(COUNTS, min_size=len(edges) + 1, max_size=len(edges) + 1))
    return Spread(edges, counts, float(draw(COUNTS)))


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    key = st.tuples(MODELS)
    return Snapshot(
        counters={"mlo_rows": draw(st.dictionaries(key, COUNTS)), "mlo_feedback": draw(st.dictionaries(key, COUNTS))},
        gauges={
            "mlo_in_flight_requests": {(): draw(COUNTS)},
            "mlo_registry_reachable": {(): draw(st.integers(0, 1))},
            "mlo_model_loaded": draw(st.dictionaries(key, st.integers(0, 1))),
        },
        histograms={"mlo_batch_rows": draw(st.dictionaries(key, spreads()))},
        served=draw(st.dictionaries(st.tuples(MODELS, st.sampled_from("1234567")), st.floats(0, 1e9))),
    )


@given(snapshots(), snapshots(), snapshots())
def test_merging_is_the_same_in_any_order_and_in_any_groups(one: Snapshot, two: Snapshot, three: Snapshot) -> None:
    whole = encode(merge([one, two, three]))
    assert decode(whole) == merge([three, one, two]) == merge([merge([one, two]), three])
    assert merge([one, Snapshot()]) == merge([one])
    assert encode(merge([one, two, three])) == whole  # none of the three was changed


@given(snapshots(), snapshots())
def test_what_stays_of_ended_processes_is_what_they_counted(one: Snapshot, two: Snapshot) -> None:
    stays = decode(fold([fold([encode(one)]), encode(two)]))
    both = merge([one, two])
    assert (stays.counters, stays.histograms, stays.served) == (both.counters, both.histograms, both.served)
    assert stays.gauges == {}


@given(st.lists(st.floats(-5, 20), max_size=30), st.lists(st.floats(-5, 20), max_size=30), EDGES, EDGES)
def test_histograms_of_other_edges_lose_no_value_and_make_none_smaller(
    mine: list[float], others: list[float], edges: tuple[float, ...], other_edges: tuple[float, ...]
) -> None:
    one, two = Histogram(edges), Histogram(other_edges)
    for value in mine:
        one.observe(value)
    for value in others:
        two.observe(value)
    summed = add_histogram(edges, one.counts, other_edges, two.counts)
    assert sum(summed) == len(mine) + len(others)
    ranked = sorted(mine + others)
    for edge, up_to in zip(edges, accumulate(summed), strict=False):
        assert up_to <= bisect_right(ranked, edge)
        if edges == other_edges:
            assert up_to == bisect_right(ranked, edge)


@given(st.lists(st.sampled_from([0, 1, 2, 9]), min_size=1, max_size=200))
def test_many_rows_are_counted_as_each_of_them_is(labels: list[int]) -> None:
    scores = [[0.2, 0.5, 0.3] if label else [0.9, 0.05, 0.05] for label in labels]
    signature = Signature((), "classification", (0, 1, 2))
    at_once, apart = Outputs(signature), Outputs(signature)
    at_once.observe(Answer(labels, scores))
    for label, score in zip(labels, scores, strict=True):
        apart.observe(Answer([label], [score]))
    counted = {str(label): labels.count(label) for label in (0, 1, 2)} | {"other": labels.count(9)}
    assert at_once.by_label() == apart.by_label() == counted
    assert at_once.scores is not None
    assert apart.scores is not None
    assert at_once.scores.counts == apart.scores.counts
    assert at_once.scores.sum == pytest.approx(apart.scores.sum)


def test_counts_are_read_while_they_grow() -> None:
    metrics = busy()
    ended = threading.Event()

    def count() -> None:
        for number in range(20_000):
            metrics.answered(f"/{number % 50}", 200 + number % 7, 0.001, "m")
        ended.set()

    thread = threading.Thread(target=count)
    thread.start()
    seen = [0.0]
    while not ended.is_set():
        counters = decode(metrics.snapshot()).counters["mlo_requests"]
        seen.append(sum(counters.values()))
    thread.join()
    assert seen == sorted(seen)
    assert sum(decode(metrics.snapshot()).counters["mlo_requests"].values()) == 20_003


def test_what_never_became_a_request_is_counted_by_its_status(model: Served) -> None:
    with running(model) as client:
        raw(client, b"no http at all\r\n\r\n")
        raw(client, b"GET / HTTP/1.1\r\nhost: localhost\r\n" + b"x: y\r\n" * 200 + b"\r\n")
        assert client.post("/predict", json=ROW).status_code == 200
        text = client.get("/metrics").content
    assert value(text, "mlo_unread_requests_total", status="400") == 1
    assert value(text, "mlo_unread_requests_total", status="431") == 1
