"""`mlo predict`."""

from __future__ import annotations

import typer

from mlops_cli.cli import complete
from mlops_cli.cli.context import open_context
from mlops_cli.cli.lazy import make_app

app = make_app("Predict the rows of a file.")


@app.command()
def predict(
    ctx: typer.Context,
    model: str = typer.Argument(
        ...,
        autocompletion=complete.references,
        metavar="REF",
        help="name@production, name@3, name@latest or runs:<id>.",
    ),
    source: str = typer.Argument(..., metavar="IN", help="The rows: a .parquet or .csv file."),
    target: str = typer.Argument(..., metavar="OUT", help="Where to write them with predictions: .parquet or .csv."),
    force: bool = typer.Option(False, "--force", help="Replace OUT if it exists."),
) -> None:
    """Predict the rows of a file.

    Writes the rows with a column prediction and, of a classifier, probability: that of the second of two classes,
    or probability_<class> for each of more. OUT appears whole or not at all.

    \b
    Examples:
      mlo predict flights@production april.parquet scored.parquet
      mlo predict flights@2 rows.csv scored.csv --force
    """
    from mlops_cli.cli.views.serve import show_predicted
    from mlops_cli.core.workflows.predict import predict_file

    here = open_context(ctx)
    paths = here.folder / source, here.folder / target
    here.output.show(predict_file(here.workspace, model, *paths, force=force), show_predicted)
