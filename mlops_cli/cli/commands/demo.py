"""`mlo demo`."""

from __future__ import annotations

import typer

from mlops_cli.cli.context import open_context
from mlops_cli.cli.lazy import make_app

app = make_app("Play the whole loop on real flights, in a new folder.")


@app.command()
def demo(
    ctx: typer.Context,
    target: str = typer.Argument("flights", metavar="[DIR]", help="A folder that is empty or does not exist."),
) -> None:
    """Play the whole loop on real flights, in a new folder.

    Version data, run a pipeline, register, promote and serve a model, see it drift, retrain and replace it, ask why,
    roll back: ten steps of real commands, each shown with its answer, in about a minute and without a network. The
    folder stays, for you to play on.

    \b
    Examples:
      mlo demo
      mlo demo /tmp/flights
      mlo demo --json
    """
    from mlops_cli.cli.views.demo import Narration, show_demo
    from mlops_cli.core.workflows.demo.play import play_demo

    here = open_context(ctx)
    here.output.show(play_demo(here.folder / target, here.environ, narrator=Narration(here.output)), show_demo)
