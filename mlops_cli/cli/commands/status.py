"""`mlo status`."""

from __future__ import annotations

import typer

from mlops_cli.cli.context import open_context
from mlops_cli.cli.lazy import make_app
from mlops_cli.core.errors import Exit

app = make_app("Say where things stand: data, pipeline, runs, models.")


@app.command()
def status(
    ctx: typer.Context,
    exit_code: bool = typer.Option(False, "--exit-code", help="Exit 3 if anything has changed or would run."),
) -> None:
    """Say where things stand: data, pipeline, runs, models.

    \b
    Examples:
      mlo status
      mlo status --exit-code --quiet || echo "something has changed"
    """
    from mlops_cli.cli.views.status import show_status
    from mlops_cli.core.workflows.status import project_status

    here = open_context(ctx)
    found = project_status(here.workspace)
    here.output.show(found, show_status)
    if exit_code and not found.clean:
        raise typer.Exit(Exit.WARNED)
