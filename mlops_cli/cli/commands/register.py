"""`mlo register`."""

from __future__ import annotations

import typer

from mlops_cli.cli import complete
from mlops_cli.cli.context import open_context
from mlops_cli.cli.lazy import make_app

app = make_app("Make a run's model a version that can be promoted.")


@app.command()
def register(
    ctx: typer.Context,
    run: str = typer.Argument(
        "",
        autocompletion=complete.runs,
        metavar="RUN",
        help="A run's id or the beginning of one; by default the one that made mlo.lock's model.",
    ),
    name: str = typer.Option("", "--name", help="The model's name; model.name of mlo.yaml by default."),
) -> None:
    """Make a run's model a version that can be promoted.

    Records the sha256 of every file of the model, its scores on model.evaluate, the drift profile of model.reference,
    and every digest, parameter and commit behind it. The same model of the same run is registered once. Without RUN it
    is the run that made the model which mlo.lock records, never a trial (-P) or another branch's; RUN may be any run.

    \b
    Examples:
      mlo register
      mlo register 3f2a91c0
      mlo register 3f2a91c0 --name flights-eu
    """
    from mlops_cli.cli.views.registry import show_registration
    from mlops_cli.core.workflows.register import register as register_run

    here = open_context(ctx)
    here.output.show(register_run(here.workspace, run or None, name=name or None), show_registration)
