"""The event log that `registry:` in mlo.yaml names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_cli.core.errors import ExtraMissing, ProjectError
from mlops_cli.core.events.protocol import EventStore

if TYPE_CHECKING:
    from mlops_cli.core.base.database import Database
    from mlops_cli.core.remotes.remote import Remote

LOCAL = "local"


def is_place(registry: str) -> bool:
    """Is `registry` a URL or a folder, and not a word?"""
    return "://" in registry or "/" in registry or registry.startswith((".", "~"))


def open_events(registry: str, *, database: Callable[[], Database], remote: Remote | None, cache: Path) -> EventStore:
    """`local`, or the log on `remote`: the one that `registry` names, or that stands at its URL or folder.

    Events read from a remote are kept below `cache`. Raises ProjectError for a registry that is none of these,
    Unsupported for a remote that cannot create conditionally.
    """
    if remote is not None:
        from mlops_cli.core.events.remote import RemoteEvents

        remote.require_create()  # two writers of a log that cannot tell them apart would lose one's events
        return RemoteEvents(remote, cache)
    if registry == LOCAL:
        from mlops_cli.core.events.sqlite import SqliteEvents

        return SqliteEvents(database())
    if registry.startswith(("postgresql://", "postgres://")):
        raise ExtraMissing(
            "a registry on PostgreSQL is not available in this version of mlo",
            hint="use `registry: local`, or the name or URL of a remote that several machines reach",
        )
    raise ProjectError(
        f"registry: {registry} is neither `local` nor the name of a remote, nor a URL or a folder",
        hint="mlo remote list; or write registry: local",
    )
