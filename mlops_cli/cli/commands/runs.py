"""`mlo runs`: list, search, show, compare, apply, logs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mlops_cli.cli import complete
from mlops_cli.cli.context import open_context
from mlops_cli.cli.lazy import make_app
from mlops_cli.cli.views.get import show_artifact
from mlops_cli.cli.views.runs import show_comparison, show_detail, show_list, show_logs, show_requirements

app = make_app("List, show and compare runs.")


@app.command("list")
def list_(
    ctx: typer.Context,
    limit: int = typer.Option(20, "--limit", "-n", min=1, help="How many, the newest first."),
    status: str | None = typer.Option(None, "--status", help="Only running, finished, failed or killed ones."),
    parent: str | None = typer.Option(
        None, "--parent", autocompletion=complete.runs, metavar="RUN", help="Only the points of this sweep."
    ),
    sort: str | None = typer.Option(None, "--sort", metavar="METRIC", help="The largest first."),
    ascending: bool = typer.Option(False, "--ascending", help="With --sort, the smallest first."),
) -> None:
    """List the newest runs, with the parameters in which they differ; the points of a sweep stand below it.

    \b
    Examples:
      mlo runs list
      mlo runs list --parent 3f2a --sort auc
      mlo runs list --limit 5 --status failed
      mlo runs list --json
    """
    from mlops_cli.core.workflows.runs import list_runs

    here = open_context(ctx)
    found = list_runs(here.workspace, limit=limit, status=status, parent=parent, sort=sort, ascending=ascending)
    here.output.show(found, show_list)


@app.command()
def search(
    ctx: typer.Context,
    filter_: str = typer.Argument("", metavar="FILTER", help="What runs must have; nothing: all runs."),
    order_by: Annotated[
        list[str] | None,
        typer.Option("--order-by", metavar="FIELD", help="`metrics.auc desc`; several, the first one first."),
    ] = None,
    columns: Annotated[
        str, typer.Option("--columns", metavar="FIELD,...", help="What to show; what is asked about by default.")
    ] = "",
    limit: int = typer.Option(20, "--limit", "-n", min=1, help="How many."),
    after: str | None = typer.Option(None, "--after", metavar="PLACE", help="Go on where a page before ended."),
) -> None:
    """Find runs by their metrics, parameters, tags and attributes.

    The filter is MLflow's, with or, not and parentheses: metrics.NAME, params.NAME, tags.NAME, id, name, status,
    start, end, actor, commit, branch, parent; = != < <= > >= in like ilike is null. Unusual names stand in `quotes`.

    \b
    Examples:
      mlo runs search "metrics.auc > 0.7 and params.depth in (4, 6)" --order-by "metrics.auc desc"
      mlo runs search "status = 'failed' or tags.team = 'x'" --columns actor,tags.team
      mlo runs search "start >= '2026-01-01' and not name like 'try%'" --json
    """
    from mlops_cli.cli.views.runs import show_found
    from mlops_cli.core.workflows.search import search_runs

    here = open_context(ctx)
    wanted = [column.strip() for column in columns.split(",") if column.strip()]
    found = search_runs(here.workspace, filter_, order_by=order_by or (), columns=wanted, limit=limit, after=after)
    here.output.show(found, show_found)


@app.command()
def show(
    ctx: typer.Context,
    run: str = typer.Argument(
        "latest", autocompletion=complete.runs, metavar="RUN", help="Four or more digits of its id, or latest."
    ),
    requirements: bool = typer.Option(
        False, "--requirements", help="Only the packages that were installed, as lines for pip or uv."
    ),
) -> None:
    """Show everything about a run: what it read, what it made, what it measured, where it ran.

    \b
    Examples:
      mlo runs show
      mlo runs show 3f2a
      mlo runs show 3f2a --json
      mlo runs show 3f2a --requirements > requirements.lock
    """
    from mlops_cli.core.workflows.packages import requirements_of
    from mlops_cli.core.workflows.runs import show_run

    here = open_context(ctx)
    if requirements:
        here.output.show(requirements_of(here.workspace, run), show_requirements)
    else:
        here.output.show(show_run(here.workspace, run), show_detail)


@app.command()
def compare(
    ctx: typer.Context,
    runs: Annotated[
        list[str],
        typer.Argument(
            autocompletion=complete.runs, metavar="RUN", help="Two runs or more, or a sweep; latest is one."
        ),
    ],
    everything: bool = typer.Option(False, "--all", help="Show also what is the same."),
) -> None:
    """Put runs side by side: parameters, metrics, data, code and packages that differ.

    \b
    Examples:
      mlo runs compare 3f2a 9c01
      mlo runs compare 3f2a latest --all
      mlo runs compare 77c0        the points of a sweep
    """
    from mlops_cli.core.workflows.runs import compare_runs

    here = open_context(ctx)
    comparison = compare_runs(here.workspace, runs)
    here.output.show(comparison, lambda result, output: show_comparison(result, output, everything=everything))


@app.command()
def apply(
    ctx: typer.Context,
    run: str = typer.Argument(
        autocompletion=complete.runs, metavar="RUN", help="Four or more digits of its id, or latest."
    ),
    force: bool = typer.Option(False, "--force", "-f", help="Overwrite outputs whose bytes are in no cache."),
) -> None:
    """Bring the outputs of a run into the work tree, and say what to put into mlo.yaml to keep them.

    mlo.yaml and mlo.lock stay as they are: once mlo.yaml says the run's parameters, mlo run finds its results and
    records them. mlo run without that brings back what mlo.lock says.

    \b
    Examples:
      mlo runs apply 3f2a
      mlo runs apply latest --force
    """
    from mlops_cli.cli.views.sweep import show_applied
    from mlops_cli.core.workflows.apply import apply_run

    here = open_context(ctx)
    here.output.show(apply_run(here.workspace, run, force=force), show_applied)


@app.command()
def logs(
    ctx: typer.Context,
    run: str = typer.Argument(
        "latest", autocompletion=complete.runs, metavar="RUN", help="Four or more digits of its id, or latest."
    ),
    stage: str = typer.Argument("", autocompletion=complete.stages, metavar="STAGE", help="Only this stage."),
) -> None:
    """Print what the stages of a run printed.

    \b
    Examples:
      mlo runs logs
      mlo runs logs 3f2a train
    """
    from mlops_cli.core.workflows.runs import read_logs

    here = open_context(ctx)
    here.output.show(read_logs(here.workspace, run, stage or None), show_logs)


@app.command()
def get(
    ctx: typer.Context,
    run: Annotated[
        str, typer.Argument(autocompletion=complete.runs, metavar="RUN", help="Digits of its id, or latest.")
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="An artifact or an output, as mlo runs show calls it.")],
    out: Annotated[
        Path | None, typer.Argument(metavar="[PATH]", help="Where to; this folder and its own name if left out.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what stands there.")] = False,
) -> None:
    """Write what a run kept to a file: a log, a figure, an executed notebook, a model.

    \b
    Examples:
      mlo runs get latest reports/train.html
      mlo runs get 3f2a model /tmp/model-of-3f2a
    """
    from mlops_cli.core.workflows.artifacts import get_artifact

    here = open_context(ctx)
    here.output.show(get_artifact(here.workspace, run, name, out, folder=here.folder, force=force), show_artifact)
