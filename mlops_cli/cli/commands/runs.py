"""`mlo runs`: list, show, compare."""

from __future__ import annotations

from typing import Annotated

import typer

from mlops_cli.cli import complete
from mlops_cli.cli.context import open_context
from mlops_cli.cli.lazy import make_app
from mlops_cli.cli.views.runs import show_comparison, show_detail, show_list, show_logs

app = make_app("List, show and compare runs.")


@app.command("list")
def list_(
    ctx: typer.Context,
    limit: int = typer.Option(20, "--limit", "-n", min=1, help="How many, the newest first."),
    status: str | None = typer.Option(None, "--status", help="Only running, finished, failed or killed ones."),
) -> None:
    """List the newest runs, with the parameters in which they differ.

    \b
    Examples:
      mlo runs list
      mlo runs list --limit 5 --status failed
      mlo runs list --json
    """
    from mlops_cli.core.workflows.runs import list_runs

    here = open_context(ctx)
    here.output.show(list_runs(here.workspace, limit=limit, status=status), show_list)


@app.command()
def show(
    ctx: typer.Context,
    run: str = typer.Argument(
        "latest", autocompletion=complete.runs, metavar="RUN", help="Four or more digits of its id, or latest."
    ),
) -> None:
    """Show everything about a run: what it read, what it made, what it measured, where it ran.

    \b
    Examples:
      mlo runs show
      mlo runs show 3f2a
      mlo runs show 3f2a --json
    """
    from mlops_cli.core.workflows.runs import show_run

    here = open_context(ctx)
    here.output.show(show_run(here.workspace, run), show_detail)


@app.command()
def compare(
    ctx: typer.Context,
    runs: Annotated[
        list[str], typer.Argument(autocompletion=complete.runs, metavar="RUN", help="Two runs or more; latest is one.")
    ],
    everything: bool = typer.Option(False, "--all", help="Show also what is the same."),
) -> None:
    """Put runs side by side: parameters, metrics, data, code and packages that differ.

    \b
    Examples:
      mlo runs compare 3f2a 9c01
      mlo runs compare 3f2a latest --all
    """
    from mlops_cli.core.workflows.runs import compare_runs

    here = open_context(ctx)
    comparison = compare_runs(here.workspace, runs)
    here.output.show(comparison, lambda result, output: show_comparison(result, output, everything=everything))


@app.command()
def logs(
    ctx: typer.Context,
    run: str = typer.Argument(
        "latest", autocompletion=complete.runs, metavar="RUN", help="Four or more digits of its id, or latest."
    ),
    stage: str = typer.Argument("", autocompletion=complete.stages, metavar="STAGE", help="Only this stage."),
) -> None:
    """Print what the stages of a run printed.

    \b
    Examples:
      mlo runs logs
      mlo runs logs 3f2a train
    """
    from mlops_cli.core.workflows.runs import read_logs

    here = open_context(ctx)
    here.output.show(read_logs(here.workspace, run, stage or None), show_logs)
