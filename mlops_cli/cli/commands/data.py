"""`mlo data`: version what git should not hold."""

from pathlib import Path
from typing import Annotated

import typer

from mlops_cli.cli import complete
from mlops_cli.cli.context import open_context
from mlops_cli.cli.lazy import make_app
from mlops_cli.core.errors import Exit

app = make_app("Version data: add, status, diff, checkout, push, pull, fsck.")

Paths = Annotated[list[Path], typer.Argument(metavar="PATH", help="Files and folders.")]
SomePaths = Annotated[
    list[Path] | None, typer.Argument(metavar="PATH", help="Only these; everything in mlo.lock if left out.")
]
RemoteName = Annotated[
    str | None,
    typer.Option(
        "--remote", "-r", autocompletion=complete.remotes, metavar="NAME", help="Which remote; origin, or the only one."
    ),
]


@app.command()
def add(
    ctx: typer.Context,
    paths: Paths,
    force: Annotated[bool, typer.Option("--force", help="Read every file again, even if it looks unchanged.")] = False,
) -> None:
    """Keep files and folders in the cache and in mlo.lock.

    The files stay where they are; mlo.lock goes into git, the data does not. A path inside a folder that was added
    before updates that folder's entry by this path alone.

    \b
    Examples:
      mlo data add data/raw
      mlo data add data/raw/2013-04.parquet
    """
    from mlops_cli.cli.views.data import show_added
    from mlops_cli.core.workflows.data import add_paths

    here = open_context(ctx)
    here.output.show(add_paths(here.workspace, [here.folder / path for path in paths], force=force), show_added)


@app.command()
def rm(
    ctx: typer.Context,
    paths: Paths,
    delete: Annotated[bool, typer.Option("--delete", help="Delete the files as well.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Delete bytes that are in no cache, too.")] = False,
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
    here.output.show(remove_paths(here.workspace, places, delete=delete, force=force), show_removed)


@app.command()
def mv(
    ctx: typer.Context,
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="An entry of mlo.lock.")],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="Its new path, or a folder to move it into.")],
) -> None:
    """Rename data, in the work tree and in mlo.lock.

    \b
    Examples:
      mlo data mv data/raw data/flights
    """
    from mlops_cli.cli.views.data import show_moved
    from mlops_cli.core.workflows.data import move_path

    here = open_context(ctx)
    here.output.show(move_path(here.workspace, here.folder / source, here.folder / target), show_moved)


@app.command()
def status(
    ctx: typer.Context,
    paths: SomePaths = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit 3 if anything changed.")] = False,
) -> None:
    """Say which files are not as mlo.lock has them.

    \b
    Examples:
      mlo data status
      mlo data status data/raw --exit-code
    """
    from mlops_cli.cli.views.data import show_status
    from mlops_cli.core.workflows.data_status import data_status

    here = open_context(ctx)
    found = data_status(here.workspace, [here.folder / path for path in paths or ()])
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
) -> None:
    """Bring data in the work tree to what mlo.lock says.

    Only what differs is touched. Files that you changed or made are never overwritten without --force.

    \b
    Examples:
      git checkout v1.0 && mlo data checkout
      mlo data checkout data/raw --rev HEAD~1
    """
    from mlops_cli.cli.views.data import show_checkout
    from mlops_cli.core.workflows.data_checkout import checkout_paths

    here = open_context(ctx)
    places = [here.folder / path for path in paths or ()]
    found = checkout_paths(here.workspace, places, force=force, revision=rev)
    here.output.show(found, show_checkout)
    found.raise_if_incomplete(refill=here.workspace.store.refill)


@app.command()
def push(ctx: typer.Context, paths: SomePaths = None, remote: RemoteName = None) -> None:
    """Send data to a remote; only what it does not have.

    \b
    Examples:
      mlo data push
      mlo data push data/raw --remote backup
    """
    from mlops_cli.cli.views.data import show_sent
    from mlops_cli.core.workflows.transfer import push_data

    here = open_context(ctx)
    found = push_data(here.workspace, [here.folder / path for path in paths or ()], remote=remote)
    here.output.show(found, show_sent)
    found.raise_if_incomplete()


@app.command()
def pull(
    ctx: typer.Context,
    paths: SomePaths = None,
    remote: RemoteName = None,
    force: Annotated[bool, typer.Option("--force", help="Replace your changes; remove files of yours.")] = False,
) -> None:
    """Bring data from a remote, verified, and check it out.

    \b
    Examples:
      mlo data pull
      mlo data pull data/raw --remote backup
    """
    from mlops_cli.cli.views.data import show_brought
    from mlops_cli.core.workflows.transfer import pull_data

    here = open_context(ctx)
    found = pull_data(here.workspace, [here.folder / path for path in paths or ()], remote=remote, force=force)
    here.output.show(found, show_brought)
    found.raise_if_incomplete()


@app.command()
def fsck(ctx: typer.Context) -> None:
    """Verify the cache, and that mlo.lock is all there.

    Every object is read through. Damaged objects are set aside in the cache's quarantine folder, so that a pull can
    bring good ones. Exit 7 if anything is wrong.

    \b
    Examples:
      mlo data fsck
      mlo data fsck --json
    """
    from mlops_cli.cli.views.data import show_fsck
    from mlops_cli.core.workflows.data import verify_cache

    here = open_context(ctx)
    report = verify_cache(here.workspace)
    here.output.show(report, show_fsck)
    if not report.ok:
        raise typer.Exit(int(Exit.INTEGRITY))


@app.command()
def check(
    ctx: typer.Context,
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE", help="Checks files; those of mlo.yaml and checks/ if left out."),
    ] = None,
) -> None:
    """Check data against its checks files.

    Types, ranges, sets, nulls, uniqueness and more, as the files in checks/ say.

    Exit 3 if a check of severity error fails. What a checks file may say stands in mlops_cli/core/validation/CHECKS.md.

    \b
    Examples:
      mlo data check
      mlo data check checks/train.yaml --json
    """
    from mlops_cli.cli.views.check import show_checks
    from mlops_cli.core.workflows.check import check_data

    here = open_context(ctx)
    answer = check_data(here.workspace, [here.folder / file for file in files or ()])
    here.output.show(answer, show_checks)
    if not answer.passed:
        raise typer.Exit(int(Exit.WARNED))


@app.command()
def get(
    ctx: typer.Context,
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="Another project (git URL or folder), or the URL of the data.")
    ],
    path: Annotated[str | None, typer.Argument(metavar="[PATH]", help="A path in that project.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="PATH", help="Where to; here, by its name.")
    ] = None,
    rev: Annotated[str | None, typer.Option("--rev", metavar="REV", help="A branch, tag or commit of it.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what stands there.")] = False,
    no_add: Annotated[bool, typer.Option("--no-add", help="Only download; change no project.")] = False,
) -> None:
    """Bring data from another project or a URL.

    mlo.lock records where it came from, and mlo data update follows it. SOURCE#folder is a project inside a
    repository. Bytes of another project come from its cache where it lies on this machine, else from its remotes.

    \b
    Examples:
      mlo data get git@github.com:acme/flights.git data/raw
      mlo data get ../flights data/raw/2013.csv --rev v1.0
      mlo data get s3://bucket/flights/2013 -o data/2013
      mlo data get https://example.org/airports.csv --no-add
    """
    from mlops_cli.cli.views.get import show_got
    from mlops_cli.core.workflows.get import download, get_data

    here = open_context(ctx)
    if no_add:
        got = download(source, path, here.folder, here.environ, here.output, out=out, rev=rev, force=force)
    else:
        got = get_data(here.workspace, source, path, folder=here.folder, out=out, rev=rev, force=force)
    here.output.show(got, show_got)


@app.command()
def update(
    ctx: typer.Context,
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH", help="Only these; all that was brought if left out.")
    ] = None,
    rev: Annotated[str | None, typer.Option("--rev", metavar="REV", help="Follow this from now on.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace your changes.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what has news.")] = False,
) -> None:
    """Follow data that get brought to its newest state.

    Only what changed is fetched. What you changed here is never overwritten without --force.

    \b
    Examples:
      mlo data update
      mlo data update data/raw --rev v2.0
    """
    from mlops_cli.cli.views.get import show_updates
    from mlops_cli.core.workflows.follow import update_data

    here = open_context(ctx)
    places = [here.folder / path for path in paths or ()]
    found = update_data(here.workspace, places, rev=rev, force=force, dry_run=dry_run)
    here.output.show(found, show_updates)
