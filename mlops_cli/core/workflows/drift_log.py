"""The prediction log of a project, and which of its rows a check is about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlops_cli.core.drift.periods import Period
from mlops_cli.core.errors import ProjectError
from mlops_cli.core.workflows.drift_asked import Asked, shown
from mlops_cli.core.workflows.workspace import Workspace

if TYPE_CHECKING:
    from mlops_cli.core.predictions.logged import LoggedRows
    from mlops_cli.core.remotes.remote import Remote


class Log(msgspec.Struct, frozen=True):
    """The prediction log of a project, and how to name it. It is read once, whatever windows are asked for."""

    source: Any  # Path | Remote
    place: str
    reading: Any  # LogReading

    @classmethod
    def of(cls, workspace: Workspace) -> Log:
        """Raises ProjectError if predictions are not logged."""
        from mlops_cli.core.predictions.logged import LogReading
        from mlops_cli.core.predictions.open import open_log

        source: Path | Remote | None = open_log(workspace.project, workspace.paths)
        if source is None:
            raise ProjectError(
                "serve.log is false: predictions are not logged, so there is no window to check",
                hint="set serve: {log: true} in mlo.yaml, or give rows with --current FILE",
            )
        place = shown(workspace, source) if isinstance(source, Path) else f"remote {source.name} ({source.url})"
        return cls(source, place, LogReading(source))

    def read(self, asked: Asked, periods: Sequence[Period]) -> LoggedRows:
        """The windows' rows of this model, from versions that take the same columns. Torn segments are named once."""
        from mlops_cli.core.predictions.logged import Wanted

        known = set(self.reading.torn)
        wanted = Wanted(asked.version.name, _alike(asked), unnumbered=asked.version.version is None)
        rows: LoggedRows = self.reading.window([(period.start, period.end) for period in periods], wanted)
        for name in sorted(self.reading.torn.keys() - known):
            asked.workspace.progress.note(f"skipped {name} of the prediction log: {self.reading.torn[name]}")
        return rows


def _alike(asked: Asked) -> frozenset[int]:
    """The versions with the same inputs, the model's own among them."""
    wanted = {column.name: column.kind for column in asked.profile.columns}
    return frozenset(
        version.version
        for version in asked.workspace.registry.versions(asked.version.name)
        if wanted.items() <= {column.name: column.kind for column in version.signature.inputs}.items()
    )
