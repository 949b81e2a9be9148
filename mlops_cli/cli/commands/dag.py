"""`mlo dag`."""

from typing import Annotated

import typer

from mlops_cli.cli import complete
from mlops_cli.cli.context import open_context
from mlops_cli.cli.lazy import make_app

app = make_app("Draw the pipeline.")


@app.command()
def dag(
    ctx: typer.Context,
    stages: Annotated[
        list[str] | None,
        typer.Argument(autocompletion=complete.stages, metavar="STAGE", help="Only these, and what they depend on."),
    ] = None,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="As a Mermaid flowchart, which GitHub draws.")] = False,
    dot: Annotated[bool, typer.Option("--dot", help="As a Graphviz graph.")] = False,
    svg: Annotated[bool, typer.Option("--svg", help="As a picture, coloured by what would run.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Every stage of a large foreach or matrix.")] = False,
) -> None:
    """Draw the pipeline.

    A foreach or matrix of more than 12 stages is drawn as one, unless --full.

    \b
    Examples:
      mlo dag                        a tree in the terminal
      mlo dag train                  train, and what it depends on
      mlo dag --mermaid >> README.md
      mlo dag --svg > pipeline.svg   for a browser; light or dark as its reader likes it
      mlo dag --dot | dot -Tpdf > pipeline.pdf
    """
    from mlops_cli.cli.views.dag import show_dag, show_dot, show_mermaid, show_svg
    from mlops_cli.core.workflows.dag import describe_dag

    here = open_context(ctx)
    view = show_svg if svg else show_mermaid if mermaid else show_dot if dot else show_dag
    here.output.show(describe_dag(here.workspace, stages or (), full=full, states=svg), view)
