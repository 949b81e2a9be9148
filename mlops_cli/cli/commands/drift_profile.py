"""`mlo drift profile`: what a drift check keeps of rows, made of files."""

from __future__ import annotations

from pathlib import Path

import typer

from mlops_cli.cli import complete
from mlops_cli.cli.context import open_context

_FILES = typer.Argument(
    ..., metavar="FILE", help="Rows, as of mlo drift check --current; or profiles, which are merged."
)
_OUT = typer.Option(None, "-o", "--out", metavar="FILE", help="Write the profile there; without it nothing is written.")
_LIKE = typer.Option(
    "",
    "--like",
    metavar="PROFILE",
    autocompletion=complete.references,
    help="Count the rows on the frame of this profile, or of a version: flights@3.",
)


def profile(
    ctx: typer.Context,
    files: list[Path] = _FILES,
    *,
    out: Path | None = _OUT,
    like: str = _LIKE,
    time: str = typer.Option("", "--time", metavar="COLUMN", help="The rows' clock; model.time by default."),
    force: bool = typer.Option(False, "--force", help="Replace the profile at -o if it exists."),
) -> None:
    """Keep of rows what a drift check needs: counts, edges and frequent values.

    No model is needed. A profile is a reference (mlo drift check --reference) that holds no rows. Profiles that were
    counted on one frame add up to the bytes of one pass over all rows: the first file gives the frame of the others, or
    --like.

    \b
    Examples:
      mlo drift profile march.parquet -o march.profile
      mlo drift profile months/ --time time_hour -o quarter.profile
      mlo drift profile april.parquet --like march.profile -o april.profile
      mlo drift profile march.profile april.profile -o spring.profile
      mlo drift profile day.csv --like flights@production --json
    """
    from mlops_cli.cli.views.drift_profile import show_profile
    from mlops_cli.core.workflows.drift_profiles import profile_files, profile_request

    here = open_context(ctx)
    made = profile_files(here.workspace_or_folder, profile_request(ctx.params, here.folder))
    here.output.show(made, show_profile)
