"""`mlo drift performance`: how well does a model do, now that labels are known?"""

from __future__ import annotations

from pathlib import Path

import typer

from mlops_cli.cli import complete
from mlops_cli.cli.context import open_context

_REF = typer.Argument(
    "",
    autocompletion=complete.references,
    metavar="REF",
    help="flights@3, flights@production; by default the one in production.",
)
_LABELS = typer.Option(
    None, "--labels", metavar="FILE", help="Labels by request; or rows with _prediction or _score, and the target."
)


def performance(
    ctx: typer.Context,
    ref: str = _REF,
    window: str = typer.Option("", "--window", metavar="24h", help="How long a window is; drift.window by default."),
    windows: int = typer.Option(7, "--windows", min=1, max=1000, metavar="N", help="How many closed windows to show."),
    labels: Path | None = _LABELS,
    metric: str = typer.Option("", "--metric", metavar="NAME", help="What decides; retrain.metric by default."),
    estimate: bool = typer.Option(False, "--estimate", help="Estimate a regression's losses without labels as well."),
    detector: str = typer.Option("", "--detector", metavar="NAME", help="What watches the losses, as page_hinkley."),
) -> None:
    """Say how well a model did, window by window, beside what it was registered with.

    Labels come from `mlo feedback`. A breach: the 95% interval of the metric's change lies beyond drift.margin for the
    worse. Where labels are missing, the metrics of two classes are estimated from the scores.
    Exit code: 0 quiet, 3 breach, 4 too few labels to tell.

    \b
    Examples:
      mlo drift performance
      mlo drift performance flights@3 --window 7d --windows 4
      mlo drift performance --metric log_loss --json
      mlo drift performance --labels outcomes.csv
      mlo drift performance --estimate --detector page_hinkley
    """
    from mlops_cli.cli.views.performance import show_performance
    from mlops_cli.core.workflows.performance import check_performance, performance_request

    here = open_context(ctx)
    answer = check_performance(here.workspace, performance_request(ctx.params, here.folder))
    here.output.show(answer, show_performance)
    raise typer.Exit(answer.exit_code)
