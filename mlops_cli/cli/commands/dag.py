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
) -> None:
    """Draw the pipeline.

    \b
    Examples:
      mlo dag
      mlo dag --mermaid >> README.md
      mlo dag --dot | dot -Tsvg > pipeline.svg
    """
    from mlops_cli.cli.views.pipeline import show_dag, show_dot, show_mermaid
    from mlops_cli.core.workflows.plan import describe_dag

    here = open_context(ctx)
    view = show_mermaid if mermaid else show_dot if dot else show_dag
    here.output.show(describe_dag(here.workspace, stages or ()), view)
