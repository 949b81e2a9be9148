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
    *,
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
    jobs: Annotated[
        int, typer.Option("-j", "--jobs", min=1, help="How many stages may run at once; with --sweep, points.")
    ] = 1,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", "-k", help="After a failure go on with what does not depend on it.")
    ] = False,
    dry: Annotated[bool, typer.Option("--dry", "-n", help="Say what would run and why; change nothing.")] = False,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Run the named stages (or all) anyway, overwriting uncached outputs.")
    ] = False,
    accept: Annotated[
        list[str] | None,
        typer.Option(autocompletion=complete.stages, metavar="STAGE", help="Take its present outputs as its result."),
    ] = None,
    since: Annotated[
        list[str] | None,
        typer.Option("--from", autocompletion=complete.stages, metavar="STAGE", help="Only it and what stands below."),
    ] = None,
    until: Annotated[
        list[str] | None,
        typer.Option(autocompletion=complete.stages, metavar="STAGE", help="Only it and what it depends on."),
    ] = None,
    single: Annotated[bool, typer.Option("--single", "-s", help="Only the named stages themselves.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Run the named stages twice; exit 3 if they differ.")] = False,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Restore nothing from the run cache; run instead.")
    ] = False,
    pull: Annotated[bool, typer.Option("--pull", help="Fetch missing inputs and results from the remote.")] = False,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="If another mlo holds what a stage needs, exit 10.")
    ] = False,
    isolated: Annotated[
        bool, typer.Option("--isolated", help="Run in a clean working copy: files git tracks, and data by link.")
    ] = False,
    revision: Annotated[
        str | None, typer.Option("--rev", metavar="REV", help="Run a commit's code and data, in a working copy.")
    ] = None,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Run every combination of -P NAME=1,2,3, each isolated, -j at once.")
    ] = False,
    parent: Annotated[str | None, typer.Option("--parent", hidden=True)] = None,
) -> None:
    """Run the pipeline; stages that are up to date are restored, not run.

    A stage runs again when its command, a dep's content, a declared parameter or a variable in pass_env changed.
    What it wrote and logged is kept, so going back to earlier inputs restores instead of running.

    In a stage, `python` is the one mlo runs with if mlo lives in a virtual environment and no other is active.

    \b
    Examples:
      mlo run                      everything that is not up to date
      mlo run --dry                what would run, and why
      mlo run -j 4                 four stages at once
      mlo run train                train, and what it depends on
      mlo run --from train         train, and everything that depends on it
      mlo run --accept prepare     prepare.py changed, but not what it does
      mlo run --check train        does it give the same twice?
      mlo run -P learning_rate=0.1 -P model.depth=4
      mlo run -P learning_rate=0.05,0.1 -P model.depth=3,4 --sweep -j 2
      mlo run --rev v1.2           that commit's code and data; the work tree stays as it is
    """
    from mlops_cli.cli.views.sweep import exit_code_of, show_performed
    from mlops_cli.cli.views.unfinished import telling
    from mlops_cli.cli.watch import watch
    from mlops_cli.core.workflows.asking import request_from
    from mlops_cli.core.workflows.perform import perform

    here = open_context(ctx)
    with telling(here.output):
        result = perform(here.workspace, request_from(ctx.params), dry=dry, watcher=watch(here.output))
    here.output.show(result, show_performed)
    if code := exit_code_of(result):
        raise typer.Exit(code)
