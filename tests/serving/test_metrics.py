from __future__ import annotations

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from mlops_cli.core.base.records import Signature
from mlops_cli.core.serving.loader import Answer
from mlops_cli.core.serving.metrics import Metrics, fold, media_type, render

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


def busy() -> Metrics:
    metrics = Metrics()
    metrics.serves("m", "1", "r", signature=Signature((), "classification", (0, 1)))
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
    metrics.serves("r", "1", "r", signature=Signature((), "regression"), expected=[-3.0, 1.0, 2.0, 9.0, 4.0])
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
        metrics.serves("m", str(version), "r", signature=Signature((), "classification", ("a", "b")))
        metrics.distribution("m", str(version), Answer(["a"]))
    kept = {
        sample.labels["version"]
        for family in parse_text(metrics.render().decode())
        for sample in family.samples
        if sample.name == "mlo_predictions_total"
    }
    assert kept == {"3", "4", "5", "6", "7"}
