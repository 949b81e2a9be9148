"""`mlo promote`."""

from __future__ import annotations

import typer

from mlops_cli.cli import complete
from mlops_cli.cli.context import open_context
from mlops_cli.cli.lazy import make_app
from mlops_cli.core.errors import Exit

app = make_app("Point an alias at a version, if its gates hold.")


@app.command()
def promote(
    ctx: typer.Context,
    model: str = typer.Argument(
        ..., autocompletion=complete.references, metavar="REF", help="name@3, name@latest or name@staging."
    ),
    alias: str = typer.Argument(
        "production", autocompletion=complete.aliases, metavar="ALIAS", help="The alias to point at it."
    ),
    dry: bool = typer.Option(False, "--dry-run", help="Judge the gates; change and record nothing."),
) -> None:
    """Point an alias at a version, if its gates hold.

    Gates stand in mlo.yaml under model.gates. A champion is scored again, on the candidate's evaluation rows. Exits 3
    if a gate refuses; the alias then stays where it is, and the refusal is recorded.

    \b
    Examples:
      mlo promote flights@2
      mlo promote flights@latest staging
      mlo promote flights@3 production --dry-run
    """
    from mlops_cli.cli.views.registry import show_promotion
    from mlops_cli.core.workflows.promote import promote_model

    here = open_context(ctx)
    done = promote_model(here.workspace, model, alias, dry=dry)
    here.output.show(done, show_promotion)
    if done.refused:
        raise typer.Exit(int(Exit.WARNED))
