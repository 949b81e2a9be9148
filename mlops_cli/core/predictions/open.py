"""Where the prediction log lies: what `serve.log` says, made definite."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlops_cli.core.project.paths import ProjectPaths
from mlops_cli.core.project.schema import Project

if TYPE_CHECKING:
    from mlops_cli.core.remotes.remote import Remote


def open_log(project: Project, paths: ProjectPaths) -> Path | Remote | None:
    """The folder or remote that holds the log; None if `serve.log` is false.

    `true` is .mlo/predictions; else a remote's name, a URL, or a folder relative to the project, so that a check on
    another host can read what was served here.
    """
    from mlops_cli.core.remotes.open import open_remote, open_url  # brings fsspec

    setting = project.serve.log
    if isinstance(setting, bool):
        return paths.predictions if setting else None
    if setting in project.remotes:
        return open_remote(setting, project.remote(setting), root=paths.root)
    if "://" in setting:
        return open_url(setting, root=paths.root)
    return paths.root / Path(setting).expanduser()


def outbox_folder(paths: ProjectPaths) -> Path:
    """Where segments wait for their remote. Apart from .mlo/predictions, whose segments stay."""
    return paths.private / "outbox"
