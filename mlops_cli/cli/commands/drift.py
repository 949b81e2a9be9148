"""`mlo drift`: does a model still see what it was trained on?"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import typer

from mlops_cli.cli import complete
from mlops_cli.cli.commands.drift_performance import performance
from mlops_cli.cli.commands.drift_profile import profile
from mlops_cli.cli.context import open_context
from mlops_cli.cli.lazy import make_app

app = make_app("Compare what the model sees with what it was trained on.")
app.command()(performance)
app.command()(profile)

_REF = typer.Argument(
    "",
    autocompletion=complete.references,
    metavar="REF",
    help="flights@3, flights@production; by default the one in production.",
)
_CURRENT = typer.Option(
    None, "--current", metavar="FILE", help="Check a file or folder instead: Parquet, CSV, JSON lines, Arrow; also .gz."
)
_SQL = typer.Option(None, "--sql", metavar="QUERY", help="Check the rows of a SQL query instead, by DuckDB.")
_DB = typer.Option(None, "--db", metavar="FILE", help="The DuckDB database of the query; without it, it names files.")
_WINDOW = typer.Option("", "--window", metavar="24h", help="How long the window is; drift.window by default.")
_SINCE = typer.Option(
    "", "--since", metavar="TIME", help="Where the window begins: 2013-04-01, or 2h for two hours ago."
)
_UNTIL = typer.Option("", "--until", metavar="TIME", help="Where the window ends; that time is outside.")
_REFERENCE = typer.Option(
    "",
    "--reference",
    metavar="WHAT",
    help="Compare with a file of rows or a profile, weekday:4 (the weeks before), season:1, or 2013-04-01..2013-05-01.",
)
_TIME = typer.Option(
    "", "--time", metavar="COLUMN", help="The clock of two files that are compared; model.time by default."
)
_SEGMENTS = typer.Option("", "--segments", metavar="COLUMN", help="Check within each value of a column as well.")
_TOGETHER = typer.Option(
    False, "--multivariate", help="Compare all columns together as well: a classifier looks for changes between them."
)
_HTML = typer.Option(None, "--html", metavar="FILE", help="Write a report of one HTML file as well.")
_OUT = typer.Option(Path("drift.html"), "-o", "--out", metavar="FILE", help="The HTML file to write.")
_WINDOWS = typer.Option(
    None,
    "--windows",
    metavar="N",
    min=0,
    max=1000,
    help="How many more windows the report shows (8), each a check of its own.",
)
_ALL = typer.Option(False, "--all", help="Show every column, quiet ones as well.")
_FORCE = typer.Option(False, "--force", help="Replace the HTML file if it exists.")


@app.command()
def check(
    ctx: typer.Context,
    ref: str = _REF,
    *,
    current: Path | None = _CURRENT,
    sql: str | None = _SQL,
    db: Path | None = _DB,
    window: str = _WINDOW,
    since: str = _SINCE,
    until: str = _UNTIL,
    reference: str = _REFERENCE,
    time: str = _TIME,
    segments: str = _SEGMENTS,
    multivariate: bool = _TOGETHER,
    html: Path | None = _HTML,
    windows: int | None = _WINDOWS,
    force: bool = _FORCE,
    everything: bool = _ALL,
) -> None:
    """Say whether the rows of a window differ from those the model was trained on.

    Two files are compared without any model or project, too: --current and --reference.

    The window is the last closed one of the prediction log (drift.window, aligned in UTC), or the rows of files or of a
    query. A column alarms if a test is significant after correction for all tests, and the effect is large enough to
    matter.
    Exit code: 0 quiet, 3 drift, 4 too little data to tell.

    \b
    Examples:
      mlo drift check
      mlo drift check flights@3 --window 7d
      mlo drift check --since 1h
      mlo drift check --since 2013-04-01 --until 2013-05-01 --html drift.html
      mlo drift check --current april.parquet --json
      mlo drift check --sql "select * from 'april/*.parquet' where origin = 'JFK'"
      mlo drift check --reference weekday:4
      mlo drift check --segments carrier --multivariate
      mlo drift check --current april.parquet --reference march.parquet
    """
    from mlops_cli.cli.views.drift import show_drift
    from mlops_cli.core.workflows.drift import check_drift
    from mlops_cli.core.workflows.drift_asked import request_from

    here = open_context(ctx)
    request = request_from(ctx.params, here.folder)
    answer = check_drift(here.workspace_or_folder if request.holds_rows else here.workspace, request)
    here.output.show(answer, partial(show_drift, everything=everything))
    raise typer.Exit(answer.exit_code)


@app.command()
def report(
    ctx: typer.Context,
    ref: str = _REF,
    *,
    html: Path = _OUT,
    current: Path | None = _CURRENT,
    sql: str | None = _SQL,
    db: Path | None = _DB,
    window: str = _WINDOW,
    since: str = _SINCE,
    until: str = _UNTIL,
    reference: str = _REFERENCE,
    time: str = _TIME,
    segments: str = _SEGMENTS,
    multivariate: bool = _TOGETHER,
    windows: int | None = _WINDOWS,
    force: bool = _FORCE,
) -> None:
    """Write what a check finds as one HTML file, with pictures, that needs no network.

    \b
    Examples:
      mlo drift report -o drift.html
      mlo drift report flights@production --window 7d -o week.html --force
      mlo drift report --current april.parquet -o april.html
    """
    from mlops_cli.cli.views.drift import show_report
    from mlops_cli.core.workflows.drift import report_drift
    from mlops_cli.core.workflows.drift_asked import request_from

    here = open_context(ctx)
    request = request_from(ctx.params, here.folder)
    made = report_drift(here.workspace_or_folder if request.holds_rows else here.workspace, request)
    here.output.show(made, show_report)
