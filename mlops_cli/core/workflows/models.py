"""What is registered: the list of versions, and one of them in full."""

from __future__ import annotations

import msgspec

from mlops_cli.core.base.records import ModelRef
from mlops_cli.core.errors import UsageError
from mlops_cli.core.events.protocol import Event
from mlops_cli.core.registry.records import Version
from mlops_cli.core.workflows.workspace import Workspace


class VersionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A version in one line; `size` in bytes, `scores` on its evaluation rows or else the run's metrics."""

    title: str
    name: str
    version: int
    aliases: list[str]
    scores: dict[str, float | None]
    run: str
    size: int
    time: str
    actor: str


class ModelList(msgspec.Struct, frozen=True):
    """Newest version first within each name. `hint` says what to do where there is none."""

    place: str
    versions: list[VersionRow]
    hint: str | None = None


class ModelCard(msgspec.Struct, frozen=True):
    """A version with the aliases that point at it now and every event about it, oldest first."""

    version: Version
    aliases: list[str]
    history: list[Event]


def list_models(workspace: Workspace, name: str | None = None) -> ModelList:
    """Every version of every model, or of one. Raises NotFound for a name that was never registered."""
    registry = workspace.registry
    if name is not None:
        registry.resolve(ModelRef(name, alias="latest"))
    rows = []
    for each in [name] if name else registry.names():
        aliases = registry.aliases(each)
        for version in reversed(registry.versions(each)):
            pointing = [alias for alias, number in aliases.items() if number == version.version]
            rows.append(
                VersionRow(
                    title=version.title,
                    name=each,
                    version=version.version,
                    aliases=pointing,
                    scores=version.scores or version.metrics,
                    run=version.run,
                    size=version.model.size,
                    time=version.time,
                    actor=version.actor,
                )
            )
    return ModelList(registry.place, rows, None if rows else registry.first_step)


def show_model_card(workspace: Workspace, ref: str) -> ModelCard:
    """Everything the registry knows of one version. Raises UsageError for a run, NotFound."""
    parsed = ModelRef.parse(ref if "@" in ref or ":" in ref else f"{ref}@latest")
    if parsed.run is not None:
        raise UsageError(f"{ref} is a run, not a registered model", hint=f"mlo runs show {parsed.run}")
    registry = workspace.registry
    version = registry.resolve(parsed)
    aliases = [alias for alias, number in registry.aliases(version.name).items() if number == version.version]
    history = [event for event in registry.history(version.name) if event.subject == version.title]
    return ModelCard(version, aliases, history)
