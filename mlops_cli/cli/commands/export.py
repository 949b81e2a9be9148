"""`mlo export`: what other tools need to watch a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mlops_cli.cli.context import open_context
from mlops_cli.cli.lazy import make_app

if TYPE_CHECKING:
    from mlops_cli.core.workflows.export import What

app = make_app("Write a dashboard and alert rules for what servers measure.")

_OUT = typer.Option(None, "-o", "--out", metavar="FILE", help="Write it there instead of printing it.")
_FORCE = typer.Option(False, "--force", help="Replace the file at -o if it exists.")


@app.command()
def grafana(ctx: typer.Context, *, out: Path | None = _OUT, force: bool = _FORCE) -> None:
    """A Grafana dashboard over the metrics of mlo serve: traffic, models, predictions, the log, the processes.

    The datasource, the servers and the models are chosen on the page. Grafana 10.4 or newer.

    \b
    Examples:
      mlo export grafana -o dashboard.json
      mlo export grafana > dashboard.json
    """
    _export(ctx, "grafana", out, force=force)


@app.command("prometheus-rules")
def prometheus_rules(ctx: typer.Context, *, out: Path | None = _OUT, force: bool = _FORCE) -> None:
    """Alert rules for Prometheus: errors, slow answers, refusals, failed reloads, a log that loses rows.

    Answers are slow beyond serve.sla_ms of mlo.yaml, or half a second without it.

    \b
    Examples:
      mlo export prometheus-rules -o mlo.rules.yml
      mlo export prometheus-rules --env production -o mlo.rules.yml --force
    """
    _export(ctx, "prometheus-rules", out, force=force)


def _export(ctx: typer.Context, what: What, out: Path | None, *, force: bool) -> None:
    from mlops_cli.cli.views.export import show_export
    from mlops_cli.core.workflows.export import export

    here = open_context(ctx)
    path = None if out is None else here.folder / out
    here.output.show(export(here.workspace_or_folder, what, path, force=force), show_export)
