"""A dashboard for Grafana over the metrics of a server: the JSON model that its import takes."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from mlops_cli.core.serving.exports.rules import PREDICTING

SCHEMA = 39  # Grafana 10.4 and later read it
WIDTH, HEIGHT = 24, 8
_RATE = "$__rate_interval"
_PREDICTING = f'instance=~"$instance",path=~"{PREDICTING}"'
_OF_MODEL = 'instance=~"$instance",model=~"$model"'
_OF_SERVER = 'instance=~"$instance"'


class Panel(NamedTuple):
    """One picture. `queries` are pairs of PromQL and what to call its series; `width` of 24 columns."""

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    width: int = 8
    kind: str = "timeseries"
    text: str = ""
    is_stacked: bool = False


def _quantiles(histogram: str, labels: str, *quantiles: float, by: str = "") -> tuple[tuple[str, str], ...]:
    kept = f"{by}, le" if by else "le"
    named = f" {{{{{by}}}}}" if by else ""
    return tuple(
        (
            f"histogram_quantile({quantile}, sum by ({kept}) (rate({histogram}_bucket{{{labels}}}[{_RATE}])))",
            f"p{quantile * 100:g}{named}",
        )
        for quantile in quantiles
    )


def _shares(counter: str, label: str) -> str:
    """Of each model, which part of the counter each value of a label is."""
    rate = f"(rate({counter}{{{_OF_MODEL}}}[{_RATE}]))"
    return f"sum by (model, {label}) {rate} / ignoring ({label}) group_left () sum by (model) {rate}"


ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Traffic",
        (
            Panel(
                "Requests", ((f"sum by (status) (rate(mlo_requests_total{{{_PREDICTING}}}[{_RATE}]))", "{{status}}"),),
                "reqps", is_stacked=True,
            ),
            Panel("Time to answer", _quantiles("mlo_request_seconds", _PREDICTING, 0.5, 0.95, 0.99), "s"),
            Panel(
                "Refused",
                (
                    (
                        f"sum by (model, reason) (rate(mlo_refused_total{{{_OF_MODEL}}}[{_RATE}]))",
                        "{{model}} {{reason}}",
                    ),
                    (
                        f"sum by (status) (rate(mlo_unread_requests_total{{{_OF_SERVER}}}[{_RATE}]))",
                        "unread {{status}}",
                    ),
                ),
                "reqps",
                text="queue: full. sla: the answer would have come too late. expired: it waited too long. "
                "unread: it never became a request.",
            ),
        ),
    ),
    (
        "Models",
        (
            Panel(
                "Versions that answer", ((f"max by (model, version) (mlo_model_info{{{_OF_MODEL}}})",
                                          "{{model}}@{{version}}"),),
            ),
            Panel("Time in the model", _quantiles("mlo_predict_seconds", _OF_MODEL, 0.5, 0.99, by="model"), "s"),
            Panel("Rows a batch", _quantiles("mlo_batch_rows", _OF_MODEL, 0.5, 0.99, by="model")),
            Panel("Waiting for the model", ((f"sum by (model) (mlo_queued_requests{{{_OF_MODEL}}})", "{{model}}"),)),
            Panel(
                "Versions swapped in",
                (
                    (f"sum by (model) (increase(mlo_reloads_total{{{_OF_MODEL}}}[{_RATE}]))", "{{model}}"),
                    (f"sum by (model) (increase(mlo_reload_failures_total{{{_OF_MODEL}}}[{_RATE}]))",
                     "{{model}} failed"),
                ),
            ),
            Panel("Rows answered", ((f"sum by (model) (rate(mlo_rows_total{{{_OF_MODEL}}}[{_RATE}]))", "{{model}}"),)),
        ),
    ),
    (
        "Predictions",
        (
            Panel(
                "Classes answered",
                ((_shares("mlo_predictions_total", "label"), "{{model}} {{label}}"),),
                "percentunit", is_stacked=True,
            ),
            Panel("Scores", _quantiles("mlo_prediction_score", _OF_MODEL, 0.1, 0.5, 0.9, by="version"), "percentunit"),
            Panel("Numbers predicted", _quantiles("mlo_prediction_value", _OF_MODEL, 0.1, 0.5, 0.9, by="version")),
            Panel(
                "Labels taken in",
                ((f"sum by (model) (rate(mlo_feedback_total{{{_OF_SERVER}}}[{_RATE}]))", "{{model}}"),),
            ),
        ),
    ),
    (
        "Server",
        (
            Panel(
                "Prediction log, rows",
                tuple((f"sum (rate(mlo_log_{what}_rows_total{{{_OF_SERVER}}}[{_RATE}]))", name) for what, name in
                      (("written", "written"), ("dropped", "dropped"), ("sampled_out", "outside the sample"))),
            ),
            Panel("Segments that wait for the remote",
                  ((f"max by (instance) (mlo_log_waiting_segments{{{_OF_SERVER}}})", "{{instance}}"),)),
            Panel(
                "Processes",
                (
                    (f"sum by (instance) (mlo_workers{{{_OF_SERVER}}})", "{{instance}}"),
                    (f"sum by (instance) (increase(mlo_worker_restarts_total{{{_OF_SERVER}}}[{_RATE}]))",
                     "{{instance}} replaced"),
                ),
            ),
            Panel("Processor", ((f"sum by (instance) (rate(process_cpu_seconds_total{{{_OF_SERVER}}}[{_RATE}]))",
                                 "{{instance}}"),), "percentunit"),
            Panel("Memory", ((f"sum by (instance) (process_resident_memory_bytes{{{_OF_SERVER}}})", "{{instance}}"),),
                  "bytes"),
            Panel(
                "Registry and reloads",
                (
                    (f"min by (instance) (mlo_registry_reachable{{{_OF_SERVER}}})", "{{instance}} reaches it"),
                    (f"max by (instance) (mlo_reload_failed{{{_OF_SERVER}}})", "{{instance}} cannot load a version"),
                ),
            ),
        ),
    ),
)  # fmt: skip


def grafana_dashboard() -> dict[str, Any]:
    """The dashboard as Grafana's JSON model. Its datasource, instances and models are chosen on the page."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS:
        panels.append(_placed({"type": "row", "title": title, "collapsed": False, "panels": []}, 0, y, WIDTH, 1))
        y += 1
        x = 0
        for panel in row:
            if x + panel.width > WIDTH:
                x, y = 0, y + HEIGHT
            panels.append(_placed(_panel(panel), x, y, panel.width, HEIGHT))
            x += panel.width
        y += HEIGHT
    for number, document in enumerate(panels, 1):
        document["id"] = number
    return {
        "uid": "mlo-serving",
        "title": "mlo serving",
        "tags": ["mlo"],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": _variables()},
        "annotations": {"list": [_deployments()]},
        "panels": panels,
    }


def grafana_json() -> str:
    return json.dumps(grafana_dashboard(), indent=2, ensure_ascii=False) + "\n"


def _panel(panel: Panel) -> dict[str, Any]:
    custom = {"fillOpacity": 60, "stacking": {"mode": "normal"}} if panel.is_stacked else {"fillOpacity": 8}
    targets = [
        {"refId": chr(ord("A") + place), "expr": expr, "legendFormat": legend, "datasource": _DATASOURCE}
        for place, (expr, legend) in enumerate(panel.queries)
    ]
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": _DATASOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": custom}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
    }


def _placed(panel: dict[str, Any], x: int, y: int, width: int, height: int) -> dict[str, Any]:
    return {**panel, "gridPos": {"x": x, "y": y, "w": width, "h": height}}


def _variables() -> list[dict[str, Any]]:
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "current": {}}
    return [source, _labels("instance", "Server"), _labels("model", "Model")]


def _labels(name: str, label: str) -> dict[str, Any]:
    query = f"label_values(mlo_model_loaded, {name})"
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": _DATASOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {},
    }


def _deployments() -> dict[str, Any]:
    return {
        "name": "Versions swapped in",
        "datasource": _DATASOURCE,
        "enable": True,
        "iconColor": "blue",
        "expr": f"sum by (model) (increase(mlo_reloads_total{{{_OF_MODEL}}}[1m])) > 0",
        "titleFormat": "{{model}}",
        "step": "60s",
    }


_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
