"""How the answer of `mlo export` looks: the text itself, or where it went and what to do with it."""

from __future__ import annotations

from mlops_cli.cli.output import Output
from mlops_cli.core.workflows.export import Exported

_NEXT = {
    "grafana": "import it in Grafana: Dashboards, New, Import",
    "prometheus-rules": "name it under rule_files in prometheus.yml, and try it: promtool check rules",
}


def show_export(answer: Exported, output: Output) -> None:
    if answer.path is None:
        for line in answer.text.splitlines():
            output.line(line)
        return
    output.line(f"wrote {answer.path}")
    output.line(_NEXT[answer.what], style="dim")
