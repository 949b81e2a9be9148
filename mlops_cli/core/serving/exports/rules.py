"""Alert rules for Prometheus over the metrics of a server, as its `rule_files` take them."""

from __future__ import annotations

from typing import NamedTuple

import yaml

USUAL_SECONDS = 0.5  # what is slow where no SLA says so
ERRORS, REFUSED = 0.01, 0.01  # shares beyond which somebody should look
PREDICTING = ".*/(predict|invocations|infer|ModelInfer)"  # the paths that ask a model


class Alert(NamedTuple):
    """One rule: it fires once `expr` has held `for_`. `summary` may hold Prometheus' templates."""

    name: str
    expr: str
    for_: str
    severity: str
    summary: str
    todo: str


def alerts(slow_s: float) -> tuple[Alert, ...]:
    """The rules; an answer is slow beyond `slow_s` seconds."""
    predicting = f'path=~"{PREDICTING}"'
    return (
        Alert(
            "MloErrors",
            f'sum by (instance) (rate(mlo_requests_total{{{predicting},status="500"}}[5m])) '
            f"/ sum by (instance) (rate(mlo_requests_total{{{predicting}}}[5m])) > {ERRORS}",
            "5m",
            "critical",
            "{{ $value | humanizePercentage }} of the predictions of {{ $labels.instance }} fail",
            "the server's log has the reason under the request's id; mlo rollback points the alias back",
        ),
        Alert(
            "MloSlow",
            "histogram_quantile(0.99, sum by (instance, le) "
            f"(rate(mlo_request_seconds_bucket{{{predicting}}}[5m]))) > {slow_s:g}",
            "10m",
            "warning",
            "one answer in a hundred of {{ $labels.instance }} takes {{ $value | humanizeDuration }}",
            "look at mlo_predict_seconds and mlo_queued_requests; more --workers, or another instance",
        ),
        Alert(
            "MloRefusing",
            "sum by (instance, model) (rate(mlo_refused_total[5m])) "
            "/ ignoring (model) group_left () sum by (instance) "
            f"(rate(mlo_requests_total{{{predicting}}}[5m])) > {REFUSED}",
            "5m",
            "warning",
            "{{ $labels.model }} on {{ $labels.instance }} turns away {{ $value | humanizePercentage }} of all",
            "there is more load than serve.sla_ms and serve.queue let in; more --workers, or another instance",
        ),
        Alert(
            "MloReloadFailed",
            "mlo_reload_failed == 1",
            "5m",
            "critical",
            "a version of {{ $labels.model }} cannot be loaded on {{ $labels.instance }}; the one before answers",
            "mlo audit shows the deploy-failed event with its reason; mlo rollback, or register a version that loads",
        ),
        Alert(
            "MloRegistryUnreachable",
            "mlo_registry_reachable == 0",
            "15m",
            "warning",
            "{{ $labels.instance }} cannot reach the registry: it serves on, and follows no alias",
            "mlo doctor on that machine",
        ),
        Alert(
            "MloLogDropping",
            "increase(mlo_log_dropped_rows_total[10m]) > 0",
            "0m",
            "critical",
            "{{ $labels.instance }} dropped {{ $value | humanize }} rows of the prediction log",
            "the disk is full or too slow; drift checks miss these rows",
        ),
        Alert(
            "MloLogBehind",
            "mlo_log_waiting_segments > 100",
            "15m",
            "warning",
            "{{ $value }} segments of {{ $labels.instance }} wait for the log's remote",
            "the remote is away; nothing is lost while the disk has room",
        ),
        Alert(
            "MloWorkersRestarting",
            "increase(mlo_worker_restarts_total[15m]) > 3",
            "0m",
            "critical",
            "processes of {{ $labels.instance }} end and are replaced: {{ $value | humanize }} in 15 minutes",
            "memory, or a model that ends its process; the server's log names the signal",
        ),
        Alert(
            "MloFilesRunningOut",
            "process_open_fds / process_max_fds > 0.8",
            "10m",
            "warning",
            "{{ $labels.instance }} has {{ $value | humanizePercentage }} of its files open",
            "raise the limit of open files, or close idle clients",
        ),
    )


def prometheus_rules(slow_s: float | None = None) -> str:
    """The YAML of a rule file; answers are slow beyond `slow_s` seconds, or else beyond half a second."""
    rules = [
        {
            "alert": alert.name,
            "expr": alert.expr,
            "for": alert.for_,
            "labels": {"severity": alert.severity},
            "annotations": {"summary": alert.summary, "description": alert.todo},
        }
        for alert in alerts(USUAL_SECONDS if slow_s is None else slow_s)
    ]
    return yaml.safe_dump({"groups": [{"name": "mlo", "rules": rules}]}, sort_keys=False, width=120)
