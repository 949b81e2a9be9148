"""The commands of `mlo data` that look beyond the work tree: remotes, other projects, the cache, checks files."""

from pathlib import Path
from typing import Annotated

import typer

from mlops_cli.cli import complete
from mlops_cli.cli.context import open_context
from mlops_cli.cli.lazy import make_app
from mlops_cli.core.errors import Exit

app = make_app("")

SomePaths = Annotated[
    list[Path] | None, typer.Argument(metavar="PATH", help="Only these; everything in mlo.lock if left out.")
]
RemoteName = Annotated[
    str | None,
    typer.Option(
        "--remote", "-r", autocompletion=complete.remotes, metavar="NAME", help="Which remote; origin, or the only one."
    ),
]


Jobs = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, metavar="N", help="How many requests at once; else 16.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Only say what would move.")]
Revisions = Annotated[
    list[str] | None, typer.Option("--rev", metavar="REV", help="As mlo.lock was at a git revision; may be repeated.")
]
AllBranches = Annotated[bool, typer.Option("--all-branches", help="As mlo.lock is on every branch.")]
AllTags = Annotated[bool, typer.Option("--all-tags", help="As mlo.lock was at every tag.")]


@app.command()
def push(
    ctx: typer.Context,
    paths: SomePaths = None,
    remote: RemoteName = None,
    rev: Revisions = None,
    all_branches: AllBranches = False,
    all_tags: AllTags = False,
    jobs: Jobs = None,
    dry_run: DryRun = False,
) -> None:
    """Send data to a remote; only what it does not have.

    A path may lie inside an entry. What an earlier push was interrupted in is not sent twice.

    \b
    Examples:
      mlo data push
      mlo data push data/raw/2024 --remote backup
      mlo data push --all-tags --dry-run
    """
    from mlops_cli.cli.views.data import show_sent
    from mlops_cli.core.workflows.recorded import Asked
    from mlops_cli.core.workflows.transfer import push_data

    here = open_context(ctx)
    asked = Asked([here.folder / path for path in paths or ()], rev or (), all_branches, all_tags)
    found = push_data(here.workspace, remote=remote, asked=asked, jobs=jobs, dry_run=dry_run)
    here.output.show(found, show_sent)
    found.raise_if_incomplete()


@app.command()
def pull(
    ctx: typer.Context,
    paths: SomePaths = None,
    remote: RemoteName = None,
    force: Annotated[bool, typer.Option("--force", help="Replace your changes; remove files of yours.")] = False,
    rev: Annotated[str | None, typer.Option("--rev", metavar="REV", help="As mlo.lock was at a git revision.")] = None,
    jobs: Jobs = None,
    dry_run: DryRun = False,
) -> None:
    """Bring data from a remote, verified, and check it out.

    A path may lie inside an entry; then only that comes. What an interrupted pull brought does not come twice.

    \b
    Examples:
      mlo data pull
      mlo data pull data/raw/2024 --remote backup
      mlo data pull data/raw --rev v1.0
    """
    from mlops_cli.cli.views.data import show_brought
    from mlops_cli.core.workflows.transfer import pull_data

    here = open_context(ctx)
    places = [here.folder / path for path in paths or ()]
    found = pull_data(here.workspace, places, remote=remote, force=force, revision=rev, jobs=jobs, dry_run=dry_run)
    here.output.show(found, show_brought)
    found.raise_if_incomplete()


@app.command()
def fetch(
    ctx: typer.Context,
    paths: SomePaths = None,
    remote: RemoteName = None,
    rev: Revisions = None,
    all_branches: AllBranches = False,
    all_tags: AllTags = False,
    jobs: Jobs = None,
    dry_run: DryRun = False,
) -> None:
    """Bring data from a remote into the cache only.

    The work tree stays as it is; mlo data checkout puts there what was fetched, without the remote.

    \b
    Examples:
      mlo data fetch
      mlo data fetch --all-branches
      mlo data fetch data/raw/2024 --rev v1.0
    """
    from mlops_cli.cli.views.data import show_fetched
    from mlops_cli.core.workflows.recorded import Asked
    from mlops_cli.core.workflows.transfer import fetch_data

    here = open_context(ctx)
    asked = Asked([here.folder / path for path in paths or ()], rev or (), all_branches, all_tags)
    found = fetch_data(here.workspace, remote=remote, asked=asked, jobs=jobs, dry_run=dry_run)
    here.output.show(found, show_fetched)
    found.raise_if_incomplete()


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
    path: Annotated[str | None, typer.Argument(metavar="PATH", help="A path in that project.")] = None,
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
        list[Path] | None,
        typer.Argument(
            metavar="PATH", autocompletion=complete.sources, help="Only these; all that was brought if left out."
        ),
    ] = None,
    rev: Annotated[str | None, typer.Option("--rev", metavar="REV", help="Follow this from now on.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace your changes.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only say what has news.")] = False,
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
