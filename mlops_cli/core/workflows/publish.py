"""Telling a remote what this clone needs of it, so that whoever cleans there keeps that."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import msgspec

from mlops_cli.core.base.clock import parse_time
from mlops_cli.core.base.files import write_atomic
from mlops_cli.core.errors import MachineError, MloError, RemoteError
from mlops_cli.core.project.clone import clone_id
from mlops_cli.core.remotes.remote import Remote
from mlops_cli.core.store.clones import Published, decode, encode, key_of, publication, raise_if_cleaned
from mlops_cli.core.store.holdings import facts_folder
from mlops_cli.core.store.mark import Root
from mlops_cli.core.workflows.roots import own_roots
from mlops_cli.core.workflows.workspace import Workspace

AGAIN_S = 86_400.0  # what did not change is said again after a day, so that it does not expire


def publish_roots(workspace: Workspace, remote: Remote) -> bool:
    """Write `roots/<clone>.json` if it would say something new, or was not said for a day; whether it was written.

    For a push, before it looks what the remote has: then what it finds there stays there, unless somebody cleans at
    that moment, which `require_no_cleaning` tells afterwards. Raises RemoteError.
    """
    clone = clone_id(workspace.paths.private)
    path = _path(workspace, remote)
    before = _last(path, clone)
    now = workspace.clock.now()
    pushed = before.pushed if before is not None else ()
    roots = _roots(workspace, before)
    found = publication(roots, clone=clone, project=workspace.project.name, now=now, pushed=pushed)
    if before is not None and found.says_as(before):
        age = now - parse_time(before.time)
        # Asked, not believed: somebody may have emptied the remote.
        if timedelta(0) <= age < timedelta(seconds=AGAIN_S) and remote.exists(key_of(clone)):
            return False
    _write(remote, path, found)
    return True


def mark_pushed(workspace: Workspace, remote: Remote, digests: Iterable[str]) -> bool:
    """Say that these folders, of those that were published, are on the remote; whether that was news.

    For a push that got through: a folder that was there and is nowhere any more stops a cleaning.
    """
    path = _path(workspace, remote)
    before = _last(path, clone_id(workspace.paths.private))
    if before is None:
        return False
    pushed = sorted({*before.pushed, *set(digests).intersection(before.trees)})
    if pushed == before.pushed:
        return False
    _write(remote, path, msgspec.structs.replace(before, pushed=pushed))
    return True


def require_no_cleaning(workspace: Workspace, remote: Remote) -> None:
    """Raises Locked while somebody cleans the remote."""
    raise_if_cleaned(remote, now=workspace.clock.now())


def _roots(workspace: Workspace, before: Published | None) -> list[Root]:
    """What this clone needs. A branch that does not read must not keep a push from its work: what was said stays."""
    try:
        return own_roots(workspace)
    except RemoteError:
        raise
    except MloError as error:
        workspace.progress.note(f"what other branches need is told to the remote as before: {error.message}")
    lock = workspace.read_lock()
    root = Root("lock", "mlo.lock", tuple(lock.entries.values()))
    return [root] if before is None else [root, before.root]


def _path(workspace: Workspace, remote: Remote) -> Path:
    """Where a clone remembers what it said last."""
    return facts_folder(workspace.paths.private, remote) / "roots.json"


def _write(remote: Remote, path: Path, published: Published) -> None:
    data = encode(published)
    remote.put(key_of(published.clone), data)
    remote.settle()
    with contextlib.suppress(MachineError):  # then it is said again next time
        write_atomic(path, data, durable=False)


def _last(path: Path, clone: str) -> Published | None:
    """What was published last, as far as is known here."""
    try:
        found = decode(path.read_bytes(), path.name)
    except (FileNotFoundError, MloError):
        return None
    return found if found.clone == clone else None


def is_expired(published: Published, workspace: Workspace, expire_s: float) -> bool:
    """Whether a clone has been silent for so long that it counts as gone."""
    return workspace.clock.now() - parse_time(published.time) > timedelta(seconds=expire_s)
