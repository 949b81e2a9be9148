"""`mlo remote`: the places that data, runs and models are pushed to."""

from typing import Annotated

import typer

from mlops_cli.cli import complete
from mlops_cli.cli.context import open_context
from mlops_cli.cli.lazy import make_app
from mlops_cli.core.errors import Exit

app = make_app("Name the places that data is pushed to.")


@app.command()
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="origin is the one used by default.")],
    url: Annotated[str, typer.Argument(metavar="URL", help="A folder, or s3:// gs:// abfs:// sftp:// https://")],
    force: Annotated[bool, typer.Option("--force", help="Replace a remote of that name.")] = False,
) -> None:
    """Write a remote into mlo.yaml, keeping its comments.

    If it is a folder, it is made; nothing else is contacted before it is used. A remote behind http:// or https:// is
    only read. Options of its client library, such as a profile or an endpoint, go below `options:` in mlo.yaml.

    \b
    Examples:
      mlo remote add origin ../flights-data
      mlo remote add origin s3://bucket/flights
      mlo remote add lab sftp://ada@lab.example.org/srv/flights
    """
    from mlops_cli.cli.views.remote import show_remote
    from mlops_cli.core.workflows.remote import add_remote

    here = open_context(ctx)
    here.output.show(add_remote(here.workspace, name, url, force=force, base=here.folder), show_remote)


@app.command()
def rm(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", autocompletion=complete.remotes, help="Which remote.")],
) -> None:
    """Take a remote out of mlo.yaml; what lies on it stays.

    \b
    Examples:
      mlo remote rm backup
    """
    from mlops_cli.cli.views.remote import show_gone
    from mlops_cli.core.workflows.remote import remove_remote

    here = open_context(ctx)
    here.output.show(remove_remote(here.workspace, name), show_gone)


@app.command("list")
def list_(ctx: typer.Context) -> None:
    """List the remotes of mlo.yaml.

    \b
    Examples:
      mlo remote list
    """
    from mlops_cli.cli.views.remote import show_remotes
    from mlops_cli.core.workflows.remote import list_remotes

    here = open_context(ctx)
    here.output.show(list_remotes(here.workspace), show_remotes)


@app.command()
def check(
    ctx: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", autocompletion=complete.remotes, help="origin, or the only one."),
    ] = None,
) -> None:
    """Try whether a remote can do what mlo needs.

    Says where it is and as whom mlo comes there, and tries one after the other: list, write, read back, read a part,
    delete, create if absent (which a registry needs). It leaves nothing there. Exit 8 if a step fails.

    \b
    Examples:
      mlo remote check
      mlo remote check backup
    """
    from mlops_cli.cli.views.remote import show_check
    from mlops_cli.core.workflows.remote import check_remote_named

    here = open_context(ctx)
    found = check_remote_named(here.workspace, name)
    here.output.show(found, show_check)
    if not found.ok:
        raise typer.Exit(int(Exit.REMOTE))
