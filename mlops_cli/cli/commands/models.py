"""`mlo models`."""

from __future__ import annotations

import typer

from mlops_cli.cli import complete
from mlops_cli.cli.context import open_context
from mlops_cli.cli.lazy import make_app

app = make_app("List and show registered models.")


@app.command("list")
def list_(
    ctx: typer.Context,
    name: str = typer.Argument(
        "", autocompletion=complete.model_names, metavar="NAME", help="Only the versions of this model."
    ),
) -> None:
    """List every version, its aliases and its scores.

    \b
    Examples:
      mlo models list
      mlo models list flights --json
    """
    from mlops_cli.cli.views.registry import show_models
    from mlops_cli.core.workflows.models import list_models

    here = open_context(ctx)
    here.output.show(list_models(here.workspace, name or None), show_models)


@app.command()
def show(
    ctx: typer.Context,
    model: str = typer.Argument(
        ...,
        autocompletion=complete.references,
        metavar="REF",
        help="name@3, name@production, or a name for its latest version.",
    ),
) -> None:
    """Show one version: scores, signature, files, aliases, history.

    \b
    Examples:
      mlo models show flights@production
      mlo models show flights
    """
    from mlops_cli.cli.views.registry import show_model
    from mlops_cli.core.workflows.models import show_model_card

    here = open_context(ctx)
    here.output.show(show_model_card(here.workspace, model), show_model)
