"""`mlo pull`."""

from typing import Annotated

import typer

from mlops_cli.cli import complete
from mlops_cli.cli.context import open_context
from mlops_cli.cli.lazy import make_app

app = make_app("Bring data, runs and models from a remote.")


@app.command()
def pull(
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
    force: Annotated[bool, typer.Option("--force", help="Replace your changes; remove files of yours.")] = False,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, metavar="N", help="How many requests at once; else 16."),
    ] = None,
) -> None:
    """Bring data, runs and models from a remote.

    \b
    Examples:
      git clone URL && mlo pull
      mlo pull --remote backup
    """
    from mlops_cli.cli.views.data import show_brought
    from mlops_cli.core.workflows.transfer import pull_project

    here = open_context(ctx)
    found = pull_project(here.workspace, remote=remote, force=force, jobs=jobs)
    here.output.show(found, show_brought)
    found.raise_if_incomplete()
