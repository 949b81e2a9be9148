"""`mlo blame`."""

from __future__ import annotations

import typer

from mlops_cli.cli.context import open_context
from mlops_cli.cli.lazy import make_app

app = make_app("Say which runs, versions and deployments some data touched.")


@app.command()
def blame(
    ctx: typer.Context,
    data: str = typer.Argument(
        ..., metavar="PATH[@DIGEST]", help="A path, as mlo.lock has it now or as it was at a digest (or its beginning)."
    ),
) -> None:
    """Say which runs, versions and deployments some data touched.

    The path may be added data, an output of a stage, a script, or a file inside an added folder.

    \b
    Examples:
      mlo blame data/raw
      mlo blame data/raw/2013-01.parquet
      mlo blame data/raw@xxh128:3f2a91c0
    """
    from mlops_cli.cli.views.custody import show_blame
    from mlops_cli.core.workflows.blame import blame as blame_data
    from mlops_cli.core.workflows.blame import split_target

    here = open_context(ctx)
    path, digest = split_target(here.workspace, data, here.folder)
    here.output.show(blame_data(here.workspace, path, digest), show_blame)
