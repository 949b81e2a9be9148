"""A real Prometheus reads what a real server measures, and its own tool judges the rules."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from serving_kit import ROW, project, save, serving

from mlops_cli.core.serving.exports.grafana import grafana_dashboard
from mlops_cli.core.serving.exports.rules import prometheus_rules

pytestmark = pytest.mark.prometheus


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    if shutil.which("promtool") is None or shutil.which("prometheus") is None:
        if os.environ.get("MLO_REQUIRE_ALL"):
            pytest.fail("no prometheus or no promtool on this machine, and MLO_REQUIRE_ALL is set")
        pytest.skip("needs prometheus and promtool (Debian: prometheus)")


def promtool(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, cwd=cwd, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_rules_load(tmp_path: Path) -> None:
    (tmp_path / "mlo.rules.yml").write_text(prometheus_rules(0.05))
    count = len(yaml.safe_load(prometheus_rules())["groups"][0]["rules"])
    assert f"{count} rules found" in promtool("check", "rules", "mlo.rules.yml", cwd=tmp_path)


def test_the_queries_of_the_dashboard_are_promql(tmp_path: Path) -> None:
    exprs = [target["expr"] for panel in grafana_dashboard()["panels"] for target in panel.get("targets", ())]
    filled = [
        expr.replace("$__rate_interval", "5m").replace("$instance", ".*").replace("$model", ".*") for expr in exprs
    ]
    rules = [{"record": f"query:{place}", "expr": expr} for place, expr in enumerate(filled)]
    (tmp_path / "queries.yml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    assert f"{len(exprs)} rules found" in promtool("check", "rules", "queries.yml", cwd=tmp_path)


def series(name: str, values: str, **labels: str) -> dict[str, str]:
    named = ",".join(f'{label}="{value}"' for label, value in {"instance": "a:80", **labels}.items())
    return {"series": f"{name}{{{named}}}", "values": values}


REQUESTS = {"path": "/predict", "model": ""}
FIRE: dict[str, list[dict[str, str]]] = {
    "MloErrors": [
        series("mlo_requests_total", "0+98x40", status="200", **REQUESTS),
        series("mlo_requests_total", "0+2x40", status="500", **REQUESTS),
    ],
    "MloSlow": [
        series("mlo_request_seconds_bucket", "0+90x40", le="0.05", **REQUESTS),
        series("mlo_request_seconds_bucket", "0+100x40", le="0.1", **REQUESTS),
        series("mlo_request_seconds_bucket", "0+100x40", le="+Inf", **REQUESTS),
    ],
    "MloRefusing": [
        series("mlo_requests_total", "0+90x40", status="200", **REQUESTS),
        series("mlo_requests_total", "0+10x40", status="503", **REQUESTS),
        series("mlo_refused_total", "0+10x40", model="flights", reason="sla"),
    ],
    "MloReloadFailed": [series("mlo_reload_failed", "1x40", model="flights")],
    "MloRegistryUnreachable": [series("mlo_registry_reachable", "0x40")],
    "MloLogDropping": [series("mlo_log_dropped_rows_total", "0+5x40")],
    "MloLogBehind": [series("mlo_log_waiting_segments", "101x40")],
    "MloWorkersRestarting": [series("mlo_worker_restarts_total", "0+1x40")],
    "MloFilesRunningOut": [series("process_open_fds", "900x40"), series("process_max_fds", "1000x40")],
}
QUIET = [
    series("mlo_requests_total", "0+1000x40", status="200", **REQUESTS),
    series("mlo_requests_total", "0+1x40", status="500", **REQUESTS),
    series("mlo_requests_total", "0+1000x40", status="404", path="other", model=""),
    series("mlo_request_seconds_bucket", "0+1000x40", le="0.05", **REQUESTS),
    series("mlo_request_seconds_bucket", "0+1001x40", le="+Inf", **REQUESTS),
    series("mlo_refused_total", "0+1x40", model="flights", reason="sla"),
    series("mlo_reload_failed", "0x40", model="flights"),
    series("mlo_registry_reachable", "1x40"),
    series("mlo_log_dropped_rows_total", "7x40"),
    series("mlo_log_waiting_segments", "3x40"),
    series("mlo_worker_restarts_total", "2x40"),
    series("process_open_fds", "100x40"),
    series("process_max_fds", "1000x40"),
]


def test_each_rule_fires_on_its_trouble_and_none_on_a_quiet_day(tmp_path: Path) -> None:
    (tmp_path / "mlo.rules.yml").write_text(prometheus_rules(0.05))
    rules = {rule["alert"]: rule for rule in yaml.safe_load(prometheus_rules(0.05))["groups"][0]["rules"]}
    assert set(FIRE) == set(rules)
    tests = [{"interval": "1m", "input_series": QUIET, "alert_rule_test": [_expected(name) for name in rules]}]
    (tmp_path / "quiet.yml").write_text(yaml.safe_dump({"rule_files": ["mlo.rules.yml"], "tests": tests}))
    promtool("test", "rules", "quiet.yml", cwd=tmp_path)
    for name, given in FIRE.items():
        # That it fires is what promtool refuses when told that nothing does.
        document = {
            "rule_files": ["mlo.rules.yml"],
            "tests": [{"interval": "1m", "input_series": given, "alert_rule_test": [_expected(name)]}],
        }
        (tmp_path / "fires.yml").write_text(yaml.safe_dump(document))
        done = subprocess.run(
            ["promtool", "test", "rules", "fires.yml"], capture_output=True, text=True, cwd=tmp_path, check=False
        )
        told = done.stdout + done.stderr
        assert done.returncode != 0, name
        assert f'alertname="{name}"' in told, told
        assert "a:80" in told


def _expected(name: str) -> dict[str, Any]:
    return {"eval_time": "30m", "alertname": name, "exp_alerts": []}


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[httpx.Client]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "mlo.rules.yml").write_text(prometheus_rules(0.05))
    settings = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["mlo.rules.yml"],
        "scrape_configs": [{"job_name": "mlo", "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    promtool("check", "config", "prometheus.yml", cwd=folder)
    command = ["prometheus", "--config.file=prometheus.yml", f"--storage.tsdb.path={folder / 'tsdb'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}"]
    with (
        (folder / "prometheus.log").open("wb") as log,
        subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False) as client,
    ):
        try:
            yield client
        finally:
            process.kill()


def waited(client: httpx.Client, path: str, **params: str) -> Any:
    """The first answer of Prometheus that holds something."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            data = client.get(path, params=params).json().get("data")
        except (httpx.TransportError, ValueError):
            data = None
        if data and any(data.values()) and data.get("result", True):
            return data
        time.sleep(0.2)
    raise AssertionError(f"Prometheus has no answer to {path} {params}")


def test_a_prometheus_scrapes_a_server(tmp_path: Path) -> None:
    save(tmp_path / "m")
    workspace = project(tmp_path / "project", (tmp_path / "m", tmp_path / "m"))
    with serving(workspace.root, "flights@production", "--workers", "2") as process:
        for _ in range(7):
            assert process.client.post("/predict", json=ROW).status_code == 200
        target = process.ready["url"].removeprefix("http://")
        with prometheus(tmp_path, target) as client:
            found = waited(client, "/api/v1/query", query='mlo_requests_total{path="/predict",status="200"}')
            assert [one["value"][1] for one in found["result"]] == ["7"]
            rows = waited(client, "/api/v1/query", query="sum(mlo_prediction_score_bucket{le='+Inf'})")
            assert rows["result"][0]["value"][1] == "7"
            assert waited(client, "/api/v1/query", query="mlo_workers")["result"][0]["value"][1] == "2"
            (up,) = waited(client, "/api/v1/targets")["activeTargets"]
            assert (up["health"], up["lastError"]) == ("up", "")
            for group in waited(client, "/api/v1/rules")["groups"]:
                assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}
            types = waited(client, "/api/v1/metadata")
            assert types["mlo_request_seconds"][0]["type"] == "histogram"
