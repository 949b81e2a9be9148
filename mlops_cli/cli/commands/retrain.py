"""`mlo retrain`."""

from __future__ import annotations

from pathlib import Path

import typer

from mlops_cli.cli.context import open_context
from mlops_cli.cli.lazy import make_app

app = make_app("Retrain when there is cause, and promote what is better.")


@app.command()
def retrain(
    ctx: typer.Context,
    holdout: str = typer.Option(
        "", "--holdout", metavar="FILE", help="Prepared rows with the target, newer than all training rows."
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="Say what would be done and change nothing."),
    force: bool = typer.Option(False, "--force", help="Retrain without a cause, and in the cooldown."),
    no_wait: bool = typer.Option(False, "--no-wait", help="Exit 10 if another retrain runs, instead of waiting."),
) -> None:
    """Retrain when there is cause, and promote what is better.

    Looks for drift itself, decides by the triggers in mlo.yaml, runs the pipeline, registers the challenger, and
    compares it with the champion on the newest labelled rows. Made for cron: the same situation is answered once.
    Exits 0 if nothing is due or the challenger was promoted, 3 if it was rejected, 4 if there are too few labels.

    \b
    Examples:
      mlo retrain --dry-run
      mlo retrain --holdout data/holdout/2013-07.parquet
      mlo retrain --force
    """
    from mlops_cli.cli.views.retrain import show_retrain
    from mlops_cli.core.workflows.retrain import retrain as retrain_model

    here = open_context(ctx)
    rows = here.folder / Path(holdout) if holdout else None
    answer = retrain_model(here.workspace, holdout=rows, dry=dry_run, force=force, wait=not no_wait)
    here.output.show(answer, show_retrain)
    raise typer.Exit(answer.exit_code)
