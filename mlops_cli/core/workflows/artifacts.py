"""Getting out what a run kept: an artifact, such as the page of an executed notebook, or an output."""

from __future__ import annotations

import difflib
import os
import tempfile
from pathlib import Path

import msgspec

from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.errors import NotFound, UsageError, WouldOverwrite
from mlops_cli.core.project.paths import is_reserved
from mlops_cli.core.store.checkout import restore
from mlops_cli.core.store.index import Index
from mlops_cli.core.workflows.workspace import Workspace


class GotArtifact(msgspec.Struct, frozen=True):
    """What was written to `path`, and the run that kept it. `kind` is file or dir."""

    run: str
    name: str
    path: str
    kind: str
    digest: str
    size: int
    files: int


def get_artifact(
    workspace: Workspace, text: str, name: str, out: Path | None, *, folder: Path, force: bool = False
) -> GotArtifact:
    """Write an artifact or output of a run to `out`, by default under its own name in `folder`; into `out` if that is a
    folder.

    Raises RunNotFound, NotFound for a name that the run does not have, WouldOverwrite, ObjectMissing.
    """
    run = workspace.runs.get(text)
    held = run.outputs | run.artifacts
    entry = held.get(name)
    if entry is None:
        near = difflib.get_close_matches(name, held, n=1)
        known = f"it has {', '.join(held)}" if held else "it kept nothing"
        raise NotFound(
            f"run {run.short} kept nothing called {name}", hint=f"did you mean {near[0]}?" if near else known
        )
    target = folder / (out or Path(name).name)
    if out is not None and target.is_dir():
        target /= Path(name).name
    _refuse(workspace, target, force=force)
    with tempfile.TemporaryDirectory(dir=_private(workspace)) as scratch:
        index = Index(Path(scratch) / "index", root=target.parent)
        restore(workspace.store, index, entry, target, force=force).raise_if_incomplete(name)
    return GotArtifact(run.id, name, os.path.relpath(target, folder), entry.kind, entry.digest, entry.size, entry.files)


def _refuse(workspace: Workspace, target: Path, *, force: bool) -> None:
    place = target.resolve()
    if place.is_relative_to(workspace.root.resolve()):
        inner = place.relative_to(workspace.root.resolve()).as_posix()
        if inner == "." or is_reserved(inner):
            raise UsageError(f"{target} belongs to mlo or git", hint="choose another place")
    if os.path.lexists(target) and not force:
        raise WouldOverwrite(f"{target} exists already", hint="name another place, or replace it with --force")


def _private(workspace: Workspace) -> Path:
    folder = workspace.paths.private
    with machine_errors(f"cannot write {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    return folder
