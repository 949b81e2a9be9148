"""`mlo run`."""

from typing import Annotated

import typer

from mlops_cli.cli import complete
from mlops_cli.cli.context import open_context
from mlops_cli.cli.lazy import make_app

app = make_app("Run the pipeline; stages that are up to date are restored, not run.")


@app.command()
def run(
    ctx: typer.Context,
    stages: Annotated[
        list[str] | None,
        typer.Argument(autocompletion=complete.stages, metavar="STAGE", help="Only these, and what they depend on."),
    ] = None,
    params: Annotated[
        list[str] | None,
        typer.Option(
            "-P",
            "--param",
            autocompletion=complete.params,
            metavar="NAME=VALUE",
            help="Another value for a parameter; mlo.lock stays as it is.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Run the named stages (or all) anyway, overwriting uncached outputs.")
    ] = False,
    dry: Annotated[bool, typer.Option("--dry", "-n", help="Say what would run and why; change nothing.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="If another mlo holds the project, exit 10.")] = False,
) -> None:
    """Run the pipeline; stages that are up to date are restored, not run.

    A stage runs again when its command, a dep's content, a declared parameter or a variable in pass_env changed.
    What it wrote and logged is kept, so going back to earlier inputs restores instead of running.

    In a stage, `python` is the one mlo runs with if mlo lives in a virtual environment and no other is active.

    \b
    Examples:
      mlo run                      everything that is not up to date
      mlo run --dry                what would run, and why
      mlo run train                train, and what it depends on
      mlo run -P learning_rate=0.1 -P model.depth=4
    """
    from mlops_cli.cli.views.pipeline import show_run
    from mlops_cli.core.pipeline.params import assignments
    from mlops_cli.core.workflows.run import run_pipeline

    here = open_context(ctx)
    result = run_pipeline(
        here.workspace,
        stages or (),
        overrides=assignments(params or ()),
        force=force,
        dry=dry,
        wait=not no_wait,
        echo=here.output.echo if here.output.is_heard else None,
    )
    here.output.show(result, show_run)
