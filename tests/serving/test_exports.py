"""The dashboard and the rules speak of metrics that there are, and load where they are meant to."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlops_cli.core.serving.exports.grafana import WIDTH, grafana_dashboard, grafana_json
from mlops_cli.core.serving.exports.rules import alerts, prometheus_rules
from mlops_cli.core.serving.metrics.families import FAMILIES

SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
EXPOSED = {family.name + suffix: family for family in FAMILIES for suffix in SUFFIXES[family.kind]}
NAMES = re.compile(r"\b(?:mlo|process)_[a-z_]+")
MATCHED = re.compile(r"((?:mlo|process)_[a-z_]+)\{([^}]*)\}")
EVERYWHERE = {"instance", "le"}


def dashboard_exprs() -> list[str]:
    return [target["expr"] for panel in pictures() for target in panel["targets"]]


def pictures() -> list[dict[str, Any]]:
    return [panel for panel in grafana_dashboard()["panels"] if panel["type"] != "row"]


@pytest.mark.parametrize("expr", [*dashboard_exprs(), *(alert.expr for alert in alerts(0.5))])
def test_every_query_asks_for_metrics_and_labels_that_there_are(expr: str) -> None:
    assert NAMES.findall(expr)
    for name in NAMES.findall(expr):
        assert name in EXPOSED
    for name, matchers in MATCHED.findall(expr):
        asked = {matcher.partition("=")[0].rstrip("!~") for matcher in matchers.split(",") if "=" in matcher}
        assert asked <= {*EXPOSED[name].labels, *EVERYWHERE}


def test_every_family_is_on_the_dashboard_or_needs_no_picture() -> None:
    shown = " ".join(dashboard_exprs())
    unseen = {family.name for family in FAMILIES if family.name not in shown}
    assert unseen == {
        "mlo_in_flight_requests",
        "mlo_model_loaded",  # chooses models and servers
        "process_virtual_memory_bytes",
        "process_open_fds",  # an alert
        "process_max_fds",
        "process_start_time_seconds",
    }


def test_the_json_model_is_whole() -> None:
    document = json.loads(grafana_json())
    assert document == grafana_dashboard()
    assert document["schemaVersion"] >= 36
    panels = document["panels"]
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    assert len({panel["title"] for panel in pictures()}) == len(pictures())
    places = [panel["gridPos"] for panel in panels]
    for place in places:
        assert place["x"] + place["w"] <= WIDTH
    for one, other in combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart
    variables = {variable["name"] for variable in document["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", grafana_json())) <= {*variables, "__rate_interval"}


def test_rules_are_told_apart_and_say_what_to_do() -> None:
    (group,) = yaml.safe_load(prometheus_rules())["groups"]
    names = [rule["alert"] for rule in group["rules"]]
    assert len(set(names)) == len(names) >= 8
    for rule in group["rules"]:
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert all(rule["annotations"][part] for part in ("summary", "description"))


def test_the_command_prints_writes_and_overwrites_nothing_unasked(mlo: Any, here: Path) -> None:
    assert json.loads(mlo("export", "grafana").stdout) == grafana_dashboard()
    assert mlo("export", "prometheus-rules").stdout == prometheus_rules()
    told = mlo("export", "prometheus-rules", "-o", "mlo.rules.yml").stdout
    assert told.startswith("wrote mlo.rules.yml\n")
    assert (here / "mlo.rules.yml").read_text() == prometheus_rules()
    assert "mlo.rules.yml exists" in mlo("export", "grafana", "-o", "mlo.rules.yml", exit_code=5).stderr
    assert (here / "mlo.rules.yml").read_text() == prometheus_rules()
    document = mlo("export", "grafana", "-o", "mlo.rules.yml", "--force", "--json").json
    assert (document["path"], document["what"]) == ("mlo.rules.yml", "grafana")
    assert json.loads((here / "mlo.rules.yml").read_text()) == grafana_dashboard()
    assert "is a folder" in mlo("export", "grafana", "-o", ".", exit_code=2).stderr


def test_slow_is_what_the_project_calls_slow(mlo: Any, here: Path) -> None:
    assert "[5m]))) > 0.5" in re.sub(r"\s+", " ", mlo("export", "prometheus-rules").stdout)
    (here / "mlo.yaml").write_text("name: flights\nserve: {sla_ms: 50}\n")
    assert "[5m]))) > 0.05" in re.sub(r"\s+", " ", mlo("export", "prometheus-rules").stdout)
