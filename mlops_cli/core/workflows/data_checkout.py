"""Bringing data in the work tree to what mlo.lock says, now or at a git revision, as copies or as links."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import msgspec

from mlops_cli.core.base.names import name_some
from mlops_cli.core.data import names
from mlops_cli.core.data.linking import Linked, Way
from mlops_cli.core.project.lock import Lock
from mlops_cli.core.store.checkout import Changes, Wanted, restore_all
from mlops_cli.core.store.local import REFILL
from mlops_cli.core.workflows.data_links import link_entries
from mlops_cli.core.workflows.data_status import lock_at
from mlops_cli.core.workflows.workspace import Workspace


class CheckedOut(msgspec.Struct, frozen=True):
    path: str
    changes: Changes


class CheckoutResult(msgspec.Struct, frozen=True):
    """`revision` is the git revision whose mlo.lock was asked, None for the one in the work tree.

    `links` says of each entry what became of its files, if they were to be links of one kind. `dry`: nothing was done.
    """

    restored: list[CheckedOut]
    revision: str | None = None
    links: list[Linked] = []
    dry: bool = False

    def raise_if_incomplete(self, *, refill: str = REFILL) -> None:
        """Raises ObjectCorrupt or ObjectMissing that names every path for which there was no good object."""
        total = Changes(
            missing=[_below(item.path, path) for item in self.restored for path in item.changes.missing],
            corrupt=[_below(item.path, path) for item in self.restored for path in item.changes.corrupt],
        )
        total.raise_if_incomplete("checkout", refill=refill)


def checkout_paths(
    workspace: Workspace,
    paths: Sequence[Path] = (),
    *,
    force: bool = False,
    revision: str | None = None,
    link: Way | None = None,
    dry: bool = False,
    wait: bool = True,
) -> CheckoutResult:
    """Bring entries, or paths below them, back to what mlo.lock says, now or at a git revision.

    `link` makes every file that is as it should be that kind of link, for once; without it, files that are written
    are what `cache: {link: ...}` says. `dry` only says what would be done. mlo.lock stays as it is.

    What had no good object is in the result; ask `raise_if_incomplete`. Raises WouldOverwrite, having touched nothing,
    if the user's own bytes stand in the way and not `force`; Locked if another mlo holds the project and not `wait`.
    """
    asked = [names.lock_name(workspace.root, path) for path in paths]
    then = None if revision is None else lock_at(workspace, revision)
    held = list(names.chosen(asked, then or workspace.read_lock()))
    with nullcontext() if dry else workspace.holding(held, wait=wait):
        lock = then or workspace.read_lock()  # once more: it may have been written while this one waited
        chosen = {name: below for name, below in names.chosen(asked, lock).items() if name in held}
        wanted = [
            Wanted(lock.entries[name], workspace.root / name, only=tuple(below)) for name, below in chosen.items()
        ]
        changes = restore_all(
            workspace.store,
            workspace.index,
            wanted,
            link=(link,) if link is not None else workspace.project.cache.link,
            force=force,
            progress=workspace.progress,
            dry=dry,
        )
        workspace.index.save()
        links = link_entries(workspace, lock, chosen, link) if link is not None and not dry else []
    if revision is None:
        _name_strays(workspace, lock)
    done = [CheckedOut(name, change) for name, change in zip(chosen, changes, strict=True)]
    return CheckoutResult(done, revision, links, dry)


def _name_strays(workspace: Workspace, lock: Lock) -> None:
    """Say what another mlo.lock brought here: this one's .gitignore does not name it, so git would take it in."""
    outs = (os.path.normpath(out) for stage in workspace.project.stages.values() for out in stage.written)
    known = {**lock.entries, **dict.fromkeys(outs)}
    strays = [
        name
        for name in workspace.index.held_names()
        if names.owner_of(name, known) is None and os.path.lexists(workspace.root / name)
    ]
    if strays:
        workspace.progress.note(
            f"{name_some(strays)}: data of another mlo.lock, which git does not ignore here; "
            "move it away, or keep it with mlo data add"
        )


def _below(name: str, path: str) -> str:
    return name if path in (".", "./") else f"{name}/{path}"
