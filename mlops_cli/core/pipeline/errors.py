"""What can go wrong with a stage beyond the errors that all of mlo shares."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from mlops_cli.core.errors import NotFound, ProjectError, StageFailed, WouldOverwrite


class DependencyMissing(NotFound):
    """A dep does not exist, and no stage makes it."""

    code = "dependency_missing"


class StageBroke(StageFailed):
    """A stage failed after it was started. `log` is where everything that it printed stands."""

    def __init__(self, message: str, *, hint: str | None = None, stage: str, run: str, log: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.stage = stage
        self.run = run
        self.log = log

    def document(self) -> dict[str, object]:
        return {**super().document(), "stage": self.stage, "run": self.run, "log": self.log}


def missing_dependencies(
    missing: Sequence[tuple[str, str]], added: Mapping[str, bool], refill: str
) -> DependencyMissing:
    """All (stage, path) pairs at once, so that one does not mend them one by one.

    `added` are those of the paths that mlo.lock knows as data, and whether the cache can give them back; else
    `refill` says how they come here.
    """
    lines = [f"stage {stage} reads {path}, which does not exist and no stage makes" for stage, path in missing]
    if added:
        hint = f"mlo data checkout {shlex.join(added)}" if all(added.values()) else refill
    else:
        hint = "create it, or correct deps in mlo.yaml"
    return DependencyMissing("\n".join(lines), hint=hint)


def would_overwrite(stage: str, paths: Sequence[str]) -> ProjectError:
    listed = ", ".join(paths)
    return WouldOverwrite(
        f"stage {stage} would overwrite {listed}, and the bytes there are in no cache",
        hint=f"move it away, or let it go with mlo run --force {shlex.quote(stage)}",
    )
