"""Telling a remote what this clone needs of it, so that whoever cleans there keeps that."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

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


def publish_roots(workspace: Workspace, remote: Remote, *, pushed: Iterable[str] = ()) -> bool:
    """Write `roots/<clone>.json` if it would say something new, or was not said for a day; whether it was written.

    Call it before a push looks what the remote has, and then `require_no_cleaning`: so what the push finds there
    stays there. `pushed` are digests of folders that are on the remote, or will be when the push is through. Raises
    RemoteError.
    """
    clone = clone_id(workspace.paths.private)
    path = facts_folder(workspace.paths.private, remote) / "roots.json"
    before = _last(path, clone)
    now = workspace.clock.now()
    sent = {*pushed, *(before.pushed if before is not None else ())}
    roots = _roots(workspace, before)
    found = publication(roots, clone=clone, project=workspace.project.name, now=now, pushed=sent)
    if before is not None and found.says_as(before):
        age = now - parse_time(before.time)
        if timedelta(0) <= age < timedelta(seconds=AGAIN_S):
            return False
    data = encode(found)
    remote.put(key_of(clone), data)
    remote.settle()
    with contextlib.suppress(MachineError):  # then it is said again next time
        write_atomic(path, data, durable=False)
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
