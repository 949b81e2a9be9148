"""`mlo feedback`."""

from __future__ import annotations

from pathlib import Path

import typer

from mlops_cli.cli.context import open_context
from mlops_cli.cli.lazy import make_app

app = make_app("Record what turned out to be true of logged predictions.")

_FILE = typer.Option(None, "--file", metavar="FILE", help="A .csv, .parquet or .jsonl of labels.")


@app.command()
def feedback(
    ctx: typer.Context,
    request: str = typer.Argument("", metavar="REQUEST_ID", help="The X-Request-Id that the server answered with."),
    label: str = typer.Argument("", metavar="LABEL", help="What was true: a class, or a number for a regression."),
    row: int = typer.Option(0, "--row", min=0, metavar="N", help="Which row of the request, from 0."),
    file: Path | None = _FILE,
    request_column: str = typer.Option("", metavar="NAME", help="Its column of request ids: _request or request_id."),
    row_column: str = typer.Option("", metavar="NAME", help="Its column of rows, if any: _row or row."),
    label_column: str = typer.Option("", metavar="NAME", help="Its column of labels: label, or the target's name."),
) -> None:
    """Record what turned out to be true of logged predictions.

    Labels may come weeks later. The same label again adds nothing; another label of a row replaces the one before,
    which is kept. Request ids that are not in the log are kept and counted. `mlo drift performance` uses them.

    \b
    Examples:
      mlo feedback 7f3c9a1e 1
      mlo feedback 7f3c9a1e 0 --row 3
      mlo feedback --file labels.csv
      mlo feedback --file outcomes.parquet --request-column order --label-column late
    """
    from mlops_cli.cli.views.feedback import show_feedback
    from mlops_cli.core.workflows.feedback import feedback_from, record_feedback

    here = open_context(ctx)
    here.output.show(record_feedback(here.workspace, feedback_from(ctx.params, here.folder)), show_feedback)
