"""`mlo why`."""

from __future__ import annotations

import typer

from mlops_cli.cli import complete
from mlops_cli.cli.context import open_context
from mlops_cli.cli.lazy import make_app

app = make_app("Say where a model came from, or why a stage would run.")


@app.command()
def why(
    ctx: typer.Context,
    subject: str = typer.Argument(
        ...,
        autocompletion=complete.references_and_stages,
        metavar="REF|STAGE",
        help="A model (it holds @ or runs:), or a stage.",
    ),
) -> None:
    """Say where a model came from, or why a stage would run.

    Of a model: the alias and who moved it through which gates, the version, the run, the commit, every stage and every
    byte that it read; then what came of it. Of a stage: what changed since its last result, from what to what: params,
    lines of the command, digests of deps and the files that changed in them.

    \b
    Examples:
      mlo why flights@production
      mlo why runs:3f2a91c0
      mlo why train
      mlo why train@fr
    """
    from mlops_cli.core.workflows.plan import means_stage, why_stage

    here = open_context(ctx)
    is_model = "@" in subject or subject.startswith(("runs:", "models:/"))
    if is_model and not means_stage(here.workspace, subject):
        from mlops_cli.cli.views.custody import show_chain
        from mlops_cli.core.workflows.custody import explain_model

        here.output.show(explain_model(here.workspace, subject), show_chain)
    else:
        from mlops_cli.cli.views.pipeline import show_stage_reasons

        here.output.show(why_stage(here.workspace, subject), show_stage_reasons)
