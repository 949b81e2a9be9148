"""The commands of `mlo data` that look after caches and remotes: what is damaged, what nothing needs."""

from typing import Annotated

import typer

from mlops_cli.cli import complete
from mlops_cli.cli.context import open_context
from mlops_cli.cli.lazy import make_app
from mlops_cli.core.errors import Exit

app = make_app("")


@app.command()
def fsck(
    ctx: typer.Context,
    repair: Annotated[
        bool, typer.Option("--repair", help="Set aside what is damaged, and bring back what is needed.")
    ] = False,
) -> None:
    """Verify the cache, and that mlo.lock is all there.

    Every byte is read through. With --repair, what is damaged goes to the cache's quarantine folder, never away, and
    what mlo.lock needs comes back: from the files that stand here, else from each remote. Exit 7 if anything is wrong
    and stays so.

    \b
    Examples:
      mlo data fsck
      mlo data fsck --repair
    """
    from mlops_cli.cli.views.upkeep import show_fsck
    from mlops_cli.core.workflows.fsck import verify_cache

    here = open_context(ctx)
    report = verify_cache(here.workspace, repair=repair)
    here.output.show(report, show_fsck)
    if not report.ok:
        raise typer.Exit(int(Exit.INTEGRITY))


@app.command()
def gc(
    ctx: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", autocompletion=complete.remotes, help="With --remote: which; origin, or the only one."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete; without it nothing is, only counted.")] = False,
    remote: Annotated[bool, typer.Option("--remote", "-r", help="Clean a remote, not the cache.")] = False,
    keep_runs: Annotated[
        str, typer.Option("--keep-runs", metavar="N|all", help="Keep what the newest N runs made, or all.")
    ] = "all",
    all_commits: Annotated[
        bool, typer.Option("--all-commits", help="Keep what mlo.lock of any commit names, not only of branches' ends.")
    ] = False,
    grace: Annotated[str, typer.Option("--grace", metavar="TIME", help="Keep what was put within that time.")] = "24h",
    expire: Annotated[
        str, typer.Option("--expire", metavar="TIME", help="With --remote: forget clones that were silent that long.")
    ] = "90d",
    force: Annotated[
        bool, typer.Option("--force", help="With --remote: delete though a folder cannot be followed.")
    ] = False,
    unlock: Annotated[
        bool, typer.Option("--unlock", help="With --remote: remove the lock of a cleaning that died.")
    ] = False,
    forget_project: Annotated[
        str | None,
        typer.Option("--forget-project", metavar="DIR", help="Take a project that is gone out of a shared cache."),
    ] = None,
) -> None:
    """Delete what nothing needs any more.

    Kept is what mlo.lock names: here, on every branch and tag, in every stash and linked work tree; what registered
    models name; what runs made. In a shared cache that of every project. Environments of stages go after 30 days
    without use. Nothing is deleted without --yes.

    \b
    Examples:
      mlo data gc
      mlo data gc --yes --keep-runs 100
      mlo data gc --remote origin --yes
    """
    from mlops_cli.cli.views.upkeep import show_cleaned
    from mlops_cli.core.workflows.clean import Rules, clean

    here = open_context(ctx)
    rules = Rules.parse(yes=yes, keep_runs=keep_runs, all_commits=all_commits, grace=grace, expire=expire, force=force)
    place = clean(here.workspace, rules, remote=remote, name=name, unlock=unlock, forget_project=forget_project)
    here.output.show(place, show_cleaned)
