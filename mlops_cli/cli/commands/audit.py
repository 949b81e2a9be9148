"""`mlo audit`."""

from __future__ import annotations

import typer

from mlops_cli.cli.context import open_context
from mlops_cli.cli.lazy import make_app
from mlops_cli.core.errors import Exit

app = make_app("Verify the chain of every registry event.")


@app.command()
def audit(ctx: typer.Context) -> None:
    """Verify the chain of every registry event.

    Reads the whole log where it lies and checks that every event is as it was written and follows the one before it.
    Exits 7 and names the first broken event if one was altered, removed, reordered or copied.

    \b
    Examples:
      mlo audit
      mlo audit --json
    """
    from mlops_cli.cli.views.registry import show_audit
    from mlops_cli.core.workflows.audit import audit as audit_log

    here = open_context(ctx)
    verdict = audit_log(here.workspace)
    here.output.show(verdict, show_audit)
    if not verdict.holds:
        raise typer.Exit(int(Exit.INTEGRITY))
