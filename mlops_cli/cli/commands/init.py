"""`mlo init`."""

from __future__ import annotations

import typer

from mlops_cli.cli.context import open_context
from mlops_cli.cli.lazy import make_app
from mlops_cli.cli.views.project import show_init

app = make_app("Start a project in this folder.")


@app.command()
def init(
    ctx: typer.Context,
    name: str = typer.Option("", "--name", help="The project's name; the folder's name by default."),
) -> None:
    """Start a project in this folder.

    Writes mlo.yaml and mlo's lines of .gitignore. A mlo.yaml that is there already is never touched.

    \b
    Examples:
      mlo init
      mlo init --name churn
    """
    from mlops_cli.core.workflows.init import init_project

    here = open_context(ctx)
    here.output.show(init_project(here.folder, name or None), show_init)
