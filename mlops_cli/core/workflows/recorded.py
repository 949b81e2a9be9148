"""The entries that people ask for: of mlo.lock as it stands or stood, whole, or a path below one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from mlops_cli.core.base.digest import Digest
from mlops_cli.core.base.records import Entry
from mlops_cli.core.base.revisions import Revisions
from mlops_cli.core.data import names
from mlops_cli.core.errors import NotFound, ProjectError
from mlops_cli.core.project.lock import Lock, parse_lock
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.tree import read_tree
from mlops_cli.core.workflows.data_status import lock_at
from mlops_cli.core.workflows.workspace import Workspace


class Asked(msgspec.Struct, frozen=True):
    """What is asked for: paths (everything if none), as mlo.lock is now, or at revisions, on branches, at tags."""

    paths: Sequence[Path] = ()
    revisions: Sequence[str] = ()
    branches: bool = False
    tags: bool = False

    @property
    def is_about_now(self) -> bool:
        return not self.revisions and not self.branches and not self.tags


def asked_entries(
    workspace: Workspace, asked: Asked, *, tracking: bool = False, bring: Callable[[str], None] | None = None
) -> dict[str, Entry]:
    """The entries asked for, by a name for people. `tracking` counts remote-tracking branches as branches.

    A path below an entry is an entry of its own here; `bring` is called with the digest of a tree on the way that the
    cache lacks. Raises NotFound for a path or a revision that nobody knows, ProjectError outside git.
    """
    found: dict[str, Entry] = {}
    seen: set[Entry] = set()
    unknown: NotFound | None = None
    answered = False
    wanted = [names.lock_name(workspace.root, path) for path in asked.paths]
    for where, lock in _locks(workspace, asked, tracking):
        try:
            chosen = names.chosen(wanted, lock)
        except NotFound as error:  # a path need not have been there at every revision
            unknown = error
            continue
        answered = True
        for name, below in chosen.items():
            for path, entry in _below(workspace.store, name, lock.entries[name], below, bring):
                if entry not in seen:
                    seen.add(entry)
                    found[f"{path} at {where}" if where else path] = entry
    if unknown is not None and not answered:
        raise unknown
    return found


def places_of(workspace: Workspace, chosen: dict[str, list[bytes]]) -> Iterator[tuple[str, Path]]:
    """Entry and path in the work tree of everything chosen."""
    for name, below in chosen.items():
        for path in below or [b""]:
            yield name, workspace.root / name / os.fsdecode(path)


def _locks(workspace: Workspace, asked: Asked, tracking: bool) -> Iterator[tuple[str, Lock]]:
    """Each mlo.lock that is meant, and where it stands: nothing for that of the work tree."""
    if asked.is_about_now:
        yield "", workspace.read_lock()
    for revision in asked.revisions:
        yield revision, lock_at(workspace, revision)
    if not asked.branches and not asked.tags:
        return
    revisions = Revisions(workspace.root, workspace.environ)
    if not revisions.is_repository:
        raise ProjectError(f"{workspace.root} is not in a git repository", hint="git init, and commit mlo.lock")
    for version in revisions.versions_of(workspace.paths.lock.name):
        for place in version.places:
            is_branch = place.kind == "branch" and (tracking or place.revision.startswith("refs/heads/"))
            if (asked.branches and is_branch) or (asked.tags and place.kind == "tag"):
                yield place.name, parse_lock(version.data.decode("utf-8", "replace"), workspace.paths.lock)
                break


def _below(
    store: LocalStore, name: str, entry: Entry, paths: Sequence[bytes], bring: Callable[[str], None] | None
) -> Iterator[tuple[str, Entry]]:
    if not paths:
        yield name, entry
    for path in paths:
        here, walked = entry, name
        for part in path.split(b"/"):
            if here.kind == "dir" and bring is not None and not store.has(Digest.parse(here.digest)):
                bring(here.digest)
            if here.kind == "dir" and not store.has(Digest.parse(here.digest)):
                break  # what cannot be looked into is asked for as a whole, and missed by its name
            inside = read_tree(store, here) if here.kind == "dir" else []
            found = next((item for item in inside if item.name == part), None)
            if found is None:
                raise NotFound(f"{walked}/{os.fsdecode(part)} is not in mlo.lock", hint=f"mlo data list {name}")
            here, walked = found.entry, f"{walked}/{os.fsdecode(part)}"
        yield walked, here
