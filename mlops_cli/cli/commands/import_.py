"""`mlo import`: move over from a neighbour."""

from pathlib import Path
from typing import Annotated

import typer

from mlops_cli.cli.context import open_context
from mlops_cli.cli.lazy import make_app

app = make_app("Move a project over from DVC or MLflow.")


@app.callback()
def import_() -> None:
    """Move a project over from DVC or MLflow."""


@app.command()
def dvc(
    ctx: typer.Context,
    project: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="The DVC project; this folder if left out.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would come; change nothing.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Write over mlo.yaml and entries of mlo.lock, keeping copies.")
    ] = False,
    local: Annotated[bool, typer.Option("--local", help="Use what is here; ask no remote of DVC's.")] = False,
) -> None:
    """Make a DVC project an mlo project, in place.

    Writes mlo.yaml, mlo.lock, .gitignore and .mloignore; every byte is verified by its md5 and hashed anew. DVC's files
    stay as they are. What could not be carried over is listed with the reason and what to do.

    Exit 6 if data is nowhere to be found, 7 if all there is of it is damaged; everything else is imported then, and
    the same command later takes in the rest. An existing mlo.yaml is refused, unless with --force.

    \b
    Examples:
      mlo import dvc --dry-run
      mlo import dvc && mlo data status && mlo run --dry
      mlo import dvc ../old-project --local
    """
    from mlops_cli.cli.views.imports import show_import
    from mlops_cli.core.workflows.import_dvc import import_dvc

    here = open_context(ctx)
    found = import_dvc(
        here.folder / (project or "."),
        here.environ,
        dry_run=dry_run,
        force=force,
        local=local,
        environment=here.environment,
        command_line=here.session.command_line,
        progress=here.output,
    )
    here.output.show(found, show_import)
    found.raise_if_incomplete()


@app.command()
def mlproject(
    ctx: typer.Context,
    project: Annotated[
        Path | None, typer.Argument(metavar="[PATH]", help="The MLproject or its folder; this folder if left out.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would come; change nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over mlo.yaml, keeping a copy.")] = False,
) -> None:
    """Make an MLflow project an mlo project, in place.

    Entry points become stages, their parameters those of mlo.yaml, with types checked; the environment comes along
    where mlo has the like. What could not be carried over is listed with the reason and what to do.

    An existing mlo.yaml is refused, unless with --force.

    \b
    Examples:
      mlo import mlproject --dry-run
      mlo import mlproject && mlo run --dry
      mlo import mlproject ../old-project
    """
    from mlops_cli.cli.views.imports import show_mlproject
    from mlops_cli.core.workflows.import_mlproject import import_mlproject

    here = open_context(ctx)
    found = import_mlproject(here.folder / (project or "."), here.environ, dry_run=dry_run, force=force)
    here.output.show(found, show_mlproject)
