"""Following data that was brought from elsewhere to what its source holds now."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from mlops_cli.core.base.records import Entry
from mlops_cli.core.data import names
from mlops_cli.core.data.address import parse_address
from mlops_cli.core.data.origin import State
from mlops_cli.core.errors import NotFound, ProjectError, UsageError
from mlops_cli.core.project.lock import Lock, SourceLock
from mlops_cli.core.workflows.get import open_here, put_in_place, refuse_added, refuse_edited, scratch_in
from mlops_cli.core.workflows.workspace import Workspace


class Followed(msgspec.Struct, frozen=True):
    """What following one source did.

    updated: other bytes came, or would in a dry run. same: the same bytes, at another commit or under another tag.
    current: nothing changed there. unknown: only the bytes could tell, and a dry run does not fetch them.
    """

    path: str
    url: str
    change: Literal["updated", "same", "current", "unknown"]
    before: SourceLock
    after: SourceLock  # what mlo.lock says now; in a dry run, as before


class Updates(msgspec.Struct, frozen=True):
    followed: list[Followed]
    dry_run: bool = False


def update_data(
    workspace: Workspace,
    paths: Sequence[Path] = (),
    *,
    rev: str | None = None,
    force: bool = False,
    dry_run: bool = False,
) -> Updates:
    """Bring every entry that has a source, or those asked for, to what the source holds now. All of them or none.

    `rev` is what is followed from now on. Raises NotFound, ProjectError, UsageError, RemoteError, IntegrityError;
    WouldOverwrite where the source has news, the entry was changed here and not `force`.
    """
    lock = workspace.read_lock()
    followed: list[Followed] = []
    came: dict[str, Entry] = {}
    with contextlib.ExitStack() as stack:
        if not dry_run:  # what comes must be named in mlo.lock before a collection of garbage may look
            stack.enter_context(workspace.store.writing())
        for name in _chosen(workspace, lock, paths, rev):
            scratch = stack.enter_context(scratch_in(workspace.paths.private))
            done, entry = _follow(workspace, lock, name, rev, scratch, force=force, dry_run=dry_run)
            followed.append(done)
            if entry is not None:
                came[name] = entry
        if not dry_run and any(done.before != done.after for done in followed):
            with workspace.exclusive():
                _keep(workspace, lock, followed, came, force)
    return Updates(followed, dry_run)


def _follow(
    workspace: Workspace, lock: Lock, name: str, rev: str | None, scratch: Path, *, force: bool, dry_run: bool
) -> tuple[Followed, Entry | None]:
    """What became of one source, and the entry to put in place if there is one."""
    before, held = lock.sources[name], lock.data[name]
    address = parse_address(before.url, base=workspace.root, root=workspace.root, inside=before.path is not None)
    wanted = rev or before.rev
    origin = open_here(workspace, address, before.path, wanted, scratch, name, held)
    state = origin.look(before)
    same = state.is_as(before)
    take_back = force and held.digest != before.digest
    if same and not take_back:
        return _unmoved(name, before, _noted(before, state, wanted), dry_run), None
    if dry_run:
        return Followed(name, before.url, "unknown" if same is None else "updated", before, before), None
    if same is False and not force:
        refuse_added(lock, name)
    with workspace.store.batch():
        entry, state = origin.bring(workspace.store)
    after = state.record(entry, url=before.url, path=before.path, rev=wanted)
    if entry.digest == before.digest and not take_back:
        return _unmoved(name, before, after, dry_run), None
    return Followed(name, before.url, "updated", before, after), entry


def _unmoved(name: str, before: SourceLock, after: SourceLock, dry_run: bool) -> Followed:
    change: Literal["same", "current"] = "current" if before == after else "same"
    return Followed(name, before.url, change, before, before if dry_run else after)


def _noted(before: SourceLock, state: State, rev: str | None) -> SourceLock:
    """The record of a source whose bytes are as before."""
    etag, modified = state.etag or before.etag, state.modified or before.modified
    return msgspec.structs.replace(before, rev=rev, commit=state.commit, etag=etag, modified=modified)


def _keep(workspace: Workspace, lock: Lock, followed: Sequence[Followed], came: dict[str, Entry], force: bool) -> None:
    """Write what was found, unless another mlo wrote there meanwhile."""
    again = workspace.read_lock()
    for done in followed:
        name = done.path
        if (again.data.get(name), again.sources.get(name)) != (lock.data[name], lock.sources[name]):
            raise ProjectError(f"{name} was changed in mlo.lock meanwhile", hint="run the same command again")
        if name in came and not force:
            refuse_added(again, name)
            refuse_edited(workspace, name, [again.data[name], came[name]])
    put_in_place(workspace, again, came, {done.path: done.after for done in followed}, force=force)


def _chosen(workspace: Workspace, lock: Lock, paths: Sequence[Path], rev: str | None) -> list[str]:
    wanted = [names.lock_name(workspace.root, path) for path in paths]
    for name in wanted:
        if name not in lock.data:
            raise NotFound(f"{name} is no entry of mlo.lock", hint="mlo data status")
        if name not in lock.sources:
            raise ProjectError(
                f"{name} was not brought from elsewhere, so there is nothing to follow",
                hint=f"mlo data get SOURCE -o {shlex.quote(name)} brings data that can be followed",
            )
    chosen = list(dict.fromkeys(wanted)) or sorted(lock.sources)
    if rev is not None and len(chosen) != 1:
        raise UsageError("--rev is meant for one path", hint="say which: mlo data update PATH --rev REV")
    return chosen
