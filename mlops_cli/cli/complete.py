"""What a shell offers for an argument: the stages, models, runs and remotes of the project around it.

Only ever asked by a shell that waits for a key press, so a project that cannot be read offers nothing and says nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_cli.core.errors import MloError

if TYPE_CHECKING:
    from mlops_cli.core.workflows.workspace import Workspace

RECENT_RUNS = 50


def _offered(incomplete: str, words: Callable[[Workspace], Iterable[str]]) -> list[str]:
    from mlops_cli.core.workflows.workspace import Workspace

    try:
        workspace = Workspace.find(Path.cwd(), os.environ, environment=os.environ.get("MLO_ENV"))
        return [word for word in words(workspace) if word.startswith(incomplete)]
    except (MloError, OSError):
        return []


def stages(incomplete: str) -> list[str]:
    """Every stage, written out, and the names that stand for several."""
    return _offered(incomplete, lambda workspace: dict.fromkeys((*workspace.templates, *workspace.project.stages)))


def params(incomplete: str) -> list[str]:
    return _offered(incomplete, lambda workspace: [f"{name}=" for name in workspace.project.params])


def remotes(incomplete: str) -> list[str]:
    return _offered(incomplete, lambda workspace: workspace.project.remotes)


def sources(incomplete: str) -> list[str]:
    """The entries that were brought from elsewhere."""
    return _offered(incomplete, lambda workspace: workspace.read_lock().sources)


def model_names(incomplete: str) -> list[str]:
    return _offered(incomplete, lambda workspace: workspace.registry.names())


def references(incomplete: str) -> list[str]:
    """Every `name@version` and `name@alias`, aliases first."""
    return _offered(incomplete, _references)


def references_and_stages(incomplete: str) -> list[str]:
    return _offered(incomplete, lambda workspace: [*workspace.project.stages, *_references(workspace)])


def aliases(incomplete: str) -> list[str]:
    def words(workspace: Workspace) -> Iterable[str]:
        gates = workspace.project.model.gates if workspace.project.model else {}
        named = {alias for name in workspace.registry.names() for alias in workspace.registry.aliases(name)}
        return sorted({"production", *gates, *named})

    return _offered(incomplete, words)


def runs(incomplete: str) -> list[str]:
    """`latest` and the short ids of the newest runs."""
    return _offered(
        incomplete, lambda workspace: ["latest", *(run.short for run in workspace.runs.list(limit=RECENT_RUNS))]
    )


def _references(workspace: Workspace) -> list[str]:
    registry = workspace.registry
    found = []
    for name in registry.names():
        found += [f"{name}@{alias}" for alias in (*registry.aliases(name), "latest")]
        found += [version.title for version in reversed(registry.versions(name))]
    return found
