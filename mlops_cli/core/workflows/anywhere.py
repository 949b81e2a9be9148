"""A folder outside any project, for what needs files and settings alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mlops_cli.core.base.progress import Progress
from mlops_cli.core.errors import ProjectError
from mlops_cli.core.project.load import find_root
from mlops_cli.core.project.settings import load_without_project
from mlops_cli.core.workflows.workspace import Workspace


def open_anywhere(
    folder: Path,
    environ: Mapping[str, str],
    *,
    environment: str | None = None,
    command_line: str = "mlo",
    progress: Progress | None = None,
) -> Workspace:
    """The project at or above `folder`; where there is none, the folder itself, with the user's settings and defaults.

    Nothing may be kept in such a folder: no model, run or object is there, and none is to be. Raises ProjectError for
    a project that does not read, and for an overlay (`environment`) of none.
    """
    try:
        find_root(folder)
    except ProjectError:
        if environment:
            raise
        loaded = load_without_project(folder, environ)
        return Workspace(folder, loaded.project, loaded.settings, environ, command_line=command_line, progress=progress)
    return Workspace.find(folder, environ, environment=environment, command_line=command_line, progress=progress)


def is_project(workspace: Workspace) -> bool:
    """Whether there is an mlo.yaml, and with it a registry and a store."""
    return workspace.paths.config.is_file()
