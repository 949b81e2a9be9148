"""`mlo merge`."""

from pathlib import Path
from typing import Annotated

import typer

from mlops_cli.cli.context import open_context
from mlops_cli.cli.lazy import make_app

app = make_app("Mend an mlo.lock that a git merge left in conflict.")


@app.command()
def merge(
    ctx: typer.Context,
    files: Annotated[list[Path] | None, typer.Argument(metavar="%O %A %B %P", help="Of --driver alone.")] = None,
    *,
    ours: Annotated[bool, typer.Option("--ours", help="Of data that both sides changed, take ours.")] = False,
    theirs: Annotated[bool, typer.Option("--theirs", help="Of data that both sides changed, take theirs.")] = False,
    pull: Annotated[
        bool, typer.Option("--pull", help="Fetch folders that both changed, to put them together.")
    ] = False,
    driver: Annotated[bool, typer.Option("--driver", help="Work as git's merge driver; see below.")] = False,
) -> None:
    """Mend an mlo.lock that a git merge left in conflict.

    What one side changed is taken. A folder of data that both changed gets the changes of both, file by file; where
    both changed the same file, --ours or --theirs says whose. Of a stage that both changed either result is kept: the
    next `mlo run` restores the one that fits the merged code and data, or runs the stage. In a rebase `ours` is the
    branch that you rebase onto, as everywhere in git.

    \b
    Examples:
      mlo merge                    after a git merge, rebase, cherry-pick or stash pop
      mlo merge --theirs           and their side where both changed the same data

    \b
    So that git calls it by itself, once a clone and once a repository:
      git config merge.mlo.driver "mlo merge --driver %O %A %B %P"
      echo "mlo.lock merge=mlo" >> .gitattributes
    """
    from mlops_cli.cli.views.merge import show_merge
    from mlops_cli.core.workflows.merge import drive_merge, merge_lock, preferred

    here = open_context(ctx)
    if driver:
        here.session.folder = here.session.folder or str(Path(*map(str, (files or ())[3:4])).parent)
        here.output.show(drive_merge(lambda: here.workspace, files or ()), show_merge)
        return
    found = merge_lock(here.workspace, prefer=preferred(ours=ours, theirs=theirs), pull=pull)
    here.output.show(found, show_merge)
