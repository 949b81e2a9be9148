"""`mlo rollback`."""

from __future__ import annotations

import typer

from mlops_cli.cli import complete
from mlops_cli.cli.context import open_context
from mlops_cli.cli.lazy import make_app

app = make_app("Point an alias back at the version before.")


@app.command()
def rollback(
    ctx: typer.Context,
    model: str = typer.Argument(..., autocompletion=complete.model_names, metavar="NAME", help="The model's name."),
    alias: str = typer.Argument(
        "production", autocompletion=complete.aliases, metavar="ALIAS", help="The alias to point back."
    ),
) -> None:
    """Point an alias back at the version before.

    Takes the last promotion back; again, and it takes back the one before that. Refuses if a file of that version is
    not what was registered. Servers that follow the alias change over within seconds.

    \b
    Examples:
      mlo rollback flights
      mlo rollback flights staging
    """
    from mlops_cli.cli.views.registry import show_promotion
    from mlops_cli.core.workflows.promote import rollback_model

    here = open_context(ctx)
    here.output.show(rollback_model(here.workspace, model, alias), show_promotion)
