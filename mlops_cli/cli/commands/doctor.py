"""`mlo doctor`."""

from __future__ import annotations

import typer

from mlops_cli.cli.context import open_context
from mlops_cli.cli.lazy import make_app
from mlops_cli.cli.views.project import show_diagnosis
from mlops_cli.core.errors import Exit

app = make_app("Say what is broken here, and show every setting with its origin.")


@app.command()
def doctor(ctx: typer.Context) -> None:
    """Say what is broken here, and show every setting with its origin.

    Exits 3 if something is broken.

    \b
    Examples:
      mlo doctor
      mlo doctor --json
    """
    from mlops_cli.core.workflows.doctor import diagnose

    here = open_context(ctx)
    found = diagnose(here.folder, here.environ, environment=here.environment)
    here.output.show(found, show_diagnosis)
    if found.broken:
        raise typer.Exit(Exit.WARNED)
