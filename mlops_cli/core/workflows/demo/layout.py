"""The folder that the demo plays in: where its files come from, and that nothing of anybody's is in the way."""

from __future__ import annotations

import shutil
from pathlib import Path

from mlops_cli.core.base.files import machine_errors, write_atomic
from mlops_cli.core.errors import NotFound, ProjectError, WouldOverwrite

EXAMPLE = Path("examples") / "flights"
CLOCK = ".mlo/now"
_LITTER = shutil.ignore_patterns(
    ".mlo", "__pycache__", "data", "model", "mlo.lock", "metrics.json", "roc.csv", ".DS_Store"
)


def example_folder() -> Path:
    """The example as package data, or in a checkout. Raises NotFound if this installation has neither."""
    package = Path(__file__).parents[3]
    for root in (package, package.parent):
        if (root / EXAMPLE / "mlo.yaml").is_file():
            return root / EXAMPLE
    raise NotFound(
        f"this installation has no {EXAMPLE}", hint="install it again: pip install --force-reinstall mlops-cli"
    )


def lay_out(folder: Path) -> None:
    """Copy the example into a folder that is empty or does not exist. Raises WouldOverwrite, ProjectError."""
    if folder.exists() and not folder.is_dir():
        raise ProjectError(f"{folder} is a file", hint="name a new folder: mlo demo DIR")
    if folder.is_dir() and any(folder.iterdir()):
        raise WouldOverwrite(f"{folder} is not empty", hint="name a new folder: mlo demo DIR")
    source = example_folder()
    with machine_errors(f"cannot lay out the demo in {folder}"):
        # copyfile, not copy: an installed package may be read-only, and these files are the user's to change.
        shutil.copytree(source, folder, ignore=_LITTER, copy_function=shutil.copyfile, dirs_exist_ok=True)


def add_months(folder: Path, months: range) -> None:
    """Copy months, as 1 to 12, from months/ to data/raw/."""
    raw = folder / "data" / "raw"
    with machine_errors(f"cannot write {raw}"):
        raw.mkdir(parents=True, exist_ok=True)
        for month in months:
            name = f"2013-{month:02d}.parquet"
            shutil.copyfile(folder / "months" / name, raw / name)


def set_clock(folder: Path, time: str) -> None:
    """Move the clock of everything that runs with MLO_NOW=@.mlo/now. Atomic: the server may be reading it."""
    write_atomic(folder / CLOCK, f"{time}\n".encode(), durable=False)
