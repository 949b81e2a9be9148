"""`mlo data`: version what git should not hold."""

from pathlib import Path
from typing import Annotated

import typer

from mlops_cli.cli.commands.data_elsewhere import app as elsewhere
from mlops_cli.cli.commands.data_upkeep import app as upkeep
from mlops_cli.cli.context import open_context
from mlops_cli.cli.lazy import make_app
from mlops_cli.core.errors import Exit

app = make_app("Version data: add, status, diff, checkout, push, pull, fsck, gc.")

Paths = Annotated[list[Path], typer.Argument(metavar="PATH", help="Files and folders.")]
SomePaths = Annotated[
    list[Path] | None, typer.Argument(metavar="PATH", help="Only these; everything in mlo.lock if left out.")
]
NoWait = Annotated[bool, typer.Option("--no-wait", help="If another mlo holds the project, exit 10.")]
Link = Annotated[
    str | None,
    typer.Option(
        "--link", metavar="KIND", help="Files become links to the cache: reflink, hardlink, symlink; or copy."
    ),
]


@app.command()
def add(
    ctx: typer.Context,
    paths: Paths,
    force: Annotated[bool, typer.Option("--force", help="Read every file again, even if it looks unchanged.")] = False,
    link: Link = None,
    no_wait: NoWait = False,
) -> None:
    """Keep files and folders in the cache and in mlo.lock.

    The files stay where they are; mlo.lock goes into git, the data does not. A path inside a folder that was added
    before updates that folder's entry by this path alone. What .mloignore names, by .gitignore's rules, is left out.

    With --link the files become links to the cache, which saves their space. Hard and soft links are read-only, as
    writing through them would harm the cache: mlo data unprotect makes files of them again.

    \b
    Examples:
      mlo data add data/raw
      mlo data add data/raw/2013-04.parquet
      mlo data add data/images --link hardlink
    """
    from mlops_cli.cli.views.data import show_added
    from mlops_cli.core.data.linking import parse_way
    from mlops_cli.core.workflows.data import add_paths

    here = open_context(ctx)
    places = [here.folder / path for path in paths]
    found = add_paths(here.workspace, places, force=force, link=parse_way(link), wait=not no_wait)
    here.output.show(found, show_added)


@app.command()
def unprotect(ctx: typer.Context, paths: Paths, no_wait: NoWait = False) -> None:
    """Make linked and read-only files writable files of their own.

    \b
    Examples:
      mlo data unprotect data/raw/2013-04.parquet
      mlo data unprotect data/images
    """
    from mlops_cli.cli.views.data import show_unprotected
    from mlops_cli.core.workflows.data_links import unprotect_paths

    here = open_context(ctx)
    places = [here.folder / path for path in paths]
    here.output.show(unprotect_paths(here.workspace, places, wait=not no_wait), show_unprotected)


@app.command()
def rm(
    ctx: typer.Context,
    paths: Paths,
    delete: Annotated[bool, typer.Option("--delete", help="Delete the files as well.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Delete bytes that are in no cache, too.")] = False,
    no_wait: NoWait = False,
) -> None:
    """Take paths out of mlo.lock; the files stay.

    \b
    Examples:
      mlo data rm data/old
      mlo data rm data/raw/bad.csv --delete
    """
    from mlops_cli.cli.views.data import show_removed
    from mlops_cli.core.workflows.data import remove_paths

    here = open_context(ctx)
    places = [here.folder / path for path in paths]
    found = remove_paths(here.workspace, places, delete=delete, force=force, wait=not no_wait)
    here.output.show(found, show_removed)


@app.command()
def mv(
    ctx: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="An entry of mlo.lock.")],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="Its new path, or a folder to move it into.")],
    no_wait: NoWait = False,
) -> None:
    """Rename data, in the work tree and in mlo.lock.

    \b
    Examples:
      mlo data mv data/raw data/flights
    """
    from mlops_cli.cli.views.data import show_moved
    from mlops_cli.core.workflows.data import move_path

    here = open_context(ctx)
    moved = move_path(here.workspace, here.folder / source, here.folder / target, wait=not no_wait)
    here.output.show(moved, show_moved)


@app.command()
def status(
    ctx: typer.Context,
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="[REMOTE] [PATH]...", help="Only these; everything in mlo.lock if left out."),
    ] = None,
    remote: Annotated[
        bool, typer.Option("--remote", "-r", help="Also say what is not on the remote; its name may follow.")
    ] = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit 3 if anything changed or is not there.")] = False,
) -> None:
    """Say which files are not as mlo.lock has them.

    \b
    Examples:
      mlo data status
      mlo data status data/raw --exit-code
      mlo data status --remote backup
    """
    from mlops_cli.cli.views.data import show_status
    from mlops_cli.core.workflows.data_status import data_status, remote_and_paths

    here = open_context(ctx)
    there, places = remote_and_paths(here.workspace, paths or (), here.folder, asked=remote)
    found = data_status(here.workspace, places, remote=there)
    here.output.show(found, show_status)
    if exit_code and not found.clean:
        raise typer.Exit(int(Exit.WARNED))


@app.command()
def diff(
    ctx: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[REV [REV]] [PATH]...", help="Git revisions, also A..B; then only these paths."),
    ] = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit 3 if anything differs.")] = False,
) -> None:
    """Say how data differs between two states.

    A revision and the work tree (HEAD if none is named), or two revisions.

    \b
    Examples:
      mlo data diff
      mlo data diff v1.0 data/raw
      mlo data diff main..HEAD
    """
    from mlops_cli.cli.views.data import show_diff
    from mlops_cli.core.workflows.data_status import data_diff, revisions_and_paths

    here = open_context(ctx)
    revisions, paths = revisions_and_paths(here.workspace, words or (), here.folder)
    found = data_diff(here.workspace, *revisions, paths=paths)
    here.output.show(found, show_diff)
    if exit_code and not found.same:
        raise typer.Exit(int(Exit.WARNED))


@app.command("list")
def list_(
    ctx: typer.Context,
    paths: SomePaths = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-R", help="Every file, however deep.")] = False,
    rev: Annotated[str | None, typer.Option("--rev", metavar="REV", help="As mlo.lock was at a git revision.")] = None,
) -> None:
    """List what is versioned: entries, or what folders hold.

    As mlo.lock says; whether the work tree is so, `mlo data status` tells.

    \b
    Examples:
      mlo data list
      mlo data list data/raw --rev v1.0
    """
    from mlops_cli.cli.views.listing import show_list
    from mlops_cli.core.workflows.data_list import list_data

    here = open_context(ctx)
    places = [here.folder / path for path in paths or ()]
    here.output.show(list_data(here.workspace, places, revision=rev, recursive=recursive), show_list)


@app.command()
def du(
    ctx: typer.Context,
    paths: SomePaths = None,
    all_revisions: Annotated[
        bool, typer.Option("--all-revisions", help="Also tell of every mlo.lock in git's history.")
    ] = False,
) -> None:
    """Say what data costs: its size, and its share of the cache.

    \b
    Examples:
      mlo data du
      mlo data du data/raw --all-revisions
    """
    from mlops_cli.cli.views.listing import show_use
    from mlops_cli.core.workflows.data_list import data_use

    here = open_context(ctx)
    places = [here.folder / path for path in paths or ()]
    here.output.show(data_use(here.workspace, places, all_revisions=all_revisions), show_use)


@app.command()
def checkout(
    ctx: typer.Context,
    paths: SomePaths = None,
    force: Annotated[bool, typer.Option("--force", help="Replace your changes; remove files of yours.")] = False,
    rev: Annotated[str | None, typer.Option("--rev", metavar="REV", help="As mlo.lock was at a git revision.")] = None,
    link: Link = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only say what would be done.")] = False,
    no_wait: NoWait = False,
) -> None:
    """Bring data in the work tree to what mlo.lock says.

    Only what differs is touched. Files that you changed or made are never overwritten without --force.

    \b
    Examples:
      git checkout v1.0 && mlo data checkout
      mlo data checkout data/raw --rev HEAD~1
      mlo data checkout data/images --link symlink
    """
    from mlops_cli.cli.views.data import show_checkout
    from mlops_cli.core.data.linking import parse_way
    from mlops_cli.core.workflows.data_checkout import checkout_paths

    here = open_context(ctx)
    places, way = [here.folder / path for path in paths or ()], parse_way(link)
    found = checkout_paths(here.workspace, places, force=force, revision=rev, link=way, dry=dry_run, wait=not no_wait)
    here.output.show(found, show_checkout)
    found.raise_if_incomplete(refill=here.workspace.store.refill)


app.add_typer(elsewhere)  # without a name: its commands are commands of this group
app.add_typer(upkeep)
