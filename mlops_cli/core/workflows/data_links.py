"""Files as links to the cache, and as files of their own again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from mlops_cli.core.base.digest import Digest
from mlops_cli.core.data import names
from mlops_cli.core.data.compare import SELF, items_here, items_of
from mlops_cli.core.data.linking import Linked, Way, link_files
from mlops_cli.core.errors import NotFound
from mlops_cli.core.project.lock import Lock
from mlops_cli.core.store.owning import unprotect
from mlops_cli.core.workflows.workspace import Workspace


class Unprotected(msgspec.Struct, frozen=True):
    path: str
    files: int  # that were links or read-only, and are neither now


class UnprotectResult(msgspec.Struct, frozen=True):
    unprotected: list[Unprotected]


def link_entries(workspace: Workspace, lock: Lock, chosen: Mapping[str, Sequence[bytes]], way: Way) -> list[Linked]:
    """Make files of entries links of one kind, where they stand with the lock's bytes; the caller holds the project."""
    done = []
    for name, below in chosen.items():
        target, algorithm = workspace.root / name, Digest.parse(lock.entries[name].digest).algorithm
        items = items_here(workspace.index, target, algorithm, workspace.progress)
        if items and items[SELF].digest != lock.entries[name].digest:
            wanted = items_of(workspace.store, lock.entries[name], {})
            items = {path: item for path, item in items.items() if path in wanted and item.same_content(wanted[path])}
        done.append(link_files(workspace.store, workspace.index, target, name, items, way, only=below))
    workspace.index.save()
    return done


def unprotect_paths(workspace: Workspace, paths: Sequence[Path], *, wait: bool = True) -> UnprotectResult:
    """Make linked and read-only files at and below the paths writable files of their own.

    Raises NotFound, UsageError, ChangedWhileRead, MachineError.
    """
    chosen = list(dict.fromkeys(names.lock_name(workspace.root, path) for path in paths))
    with workspace.exclusive(chosen, wait=wait):
        done = []
        for name in chosen:
            try:
                done.append(Unprotected(name, unprotect(workspace.store, workspace.root / name)))
            except FileNotFoundError:
                raise NotFound(f"{name} does not exist in {workspace.root}", hint="check the spelling; ls") from None
    return UnprotectResult(done)
