"""`mlo push`."""

from typing import Annotated

import typer

from mlops_cli.cli import complete
from mlops_cli.cli.context import open_context
from mlops_cli.cli.lazy import make_app

app = make_app("Send data, runs and models to a remote.")


@app.command()
def push(
    ctx: typer.Context,
    remote: Annotated[
        str | None,
        typer.Option(
            "--remote",
            "-r",
            autocompletion=complete.remotes,
            metavar="NAME",
            help="Which remote; origin, or the only one.",
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, metavar="N", help="How many requests at once; else 16."),
    ] = None,
) -> None:
    """Send data, runs and models to a remote.

    \b
    Examples:
      mlo push
      mlo push --remote backup
    """
    from mlops_cli.cli.views.data import show_sent
    from mlops_cli.core.workflows.transfer import push_project

    here = open_context(ctx)
    found = push_project(here.workspace, remote=remote, jobs=jobs)
    here.output.show(found, show_sent)
    found.raise_if_incomplete()
