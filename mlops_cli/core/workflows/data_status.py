"""How data differs: the work tree from mlo.lock, and mlo.lock from what it was. Nothing is locked, nobody waits."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import msgspec

from mlops_cli.core.base import git
from mlops_cli.core.base.digest import Digest
from mlops_cli.core.base.records import Entry
from mlops_cli.core.data import compare, differ, names
from mlops_cli.core.errors import MachineError, NotFound, UsageError
from mlops_cli.core.project.lock import Lock, parse_lock
from mlops_cli.core.workflows.workspace import Workspace

if TYPE_CHECKING:
    from mlops_cli.core.remotes.remote import Remote
    from mlops_cli.core.store.transfer import Absent

WORK_TREE = "work tree"


class OnRemote(msgspec.Struct, frozen=True):
    """The entries that a remote has not all of, as mlo.lock has them, with the files and bytes that it lacks."""

    name: str
    url: str
    absent: list[Absent]


class DataStatus(msgspec.Struct, frozen=True):
    """`entries` and `files` were looked at; `changes` are those not as mlo.lock says. Sizes in bytes.

    `remote` says what a remote lacks, if that was asked.
    """

    entries: int
    files: int
    size: int
    changes: list[compare.FileState]
    totals: dict[compare.State, compare.Amount]
    remote: OnRemote | None = None

    @property
    def clean(self) -> bool:
        return not self.changes and not (self.remote is not None and self.remote.absent)


class DataDiff(msgspec.Struct, frozen=True):
    """`before` and `after` name the two states; `unread` are folders whose tree objects are not in the cache."""

    before: str
    after: str
    changes: list[differ.Difference]
    totals: dict[differ.Change, differ.Total]
    unread: list[str]

    @property
    def same(self) -> bool:
        return not self.changes and not self.unread


def data_status(workspace: Workspace, paths: Sequence[Path] = (), *, remote: Remote | None = None) -> DataStatus:
    """Compare every entry, or those asked for, with the work tree and the cache, file by file.

    With `remote`, ask it too. Raises NotFound for a path that mlo.lock does not know, RemoteError.
    """
    lock = workspace.read_lock()
    chosen = names.chosen([names.lock_name(workspace.root, path) for path in paths], lock)
    changes: list[compare.FileState] = []
    for name, below in chosen.items():
        found = compare.compare_entry(
            workspace.store,
            workspace.index,
            workspace.root,
            name,
            lock.entries[name],
            workspace.progress,
            ignored=workspace.ignored,
        )
        changes += compare.under(found, name, below)
    _save_index(workspace)
    entries = {name: lock.entries[name] for name in chosen}
    files, size = sum(entry.files for entry in entries.values()), sum(entry.size for entry in entries.values())
    there = None if remote is None else _on_remote(workspace, remote, entries)
    return DataStatus(len(chosen), files, size, changes, compare.amounts(changes), there)


def remote_and_paths(
    workspace: Workspace, words: Sequence[str], folder: Path, *, asked: bool
) -> tuple[Remote | None, list[Path]]:
    """The remote to ask, if one is `asked`, and the paths among `words`, meant from `folder`.

    The first word is the remote's name if it is no path. Raises ProjectError if there are no remotes.
    """
    paths = [folder / word for word in words]
    if not asked:
        return None, paths
    named = bool(words) and words[0] in workspace.project.remotes and not os.path.lexists(paths[0])
    if words and not named:
        try:
            names.chosen([names.lock_name(workspace.root, paths[0])], workspace.read_lock())
        except NotFound as error:
            known = ", ".join(workspace.project.remotes)
            raise NotFound(
                f"{error.message}, and is no remote" + (f"; there is {known}" if known else ""), hint="mlo remote list"
            ) from None
    return workspace.remote(words[0] if named else None), paths[named:]


def data_diff(
    workspace: Workspace, before: str = "HEAD", after: str | None = None, *, paths: Sequence[Path] = ()
) -> DataDiff:
    """How data differs between a git revision's mlo.lock and the work tree, or another revision's.

    Raises ProjectError outside git, NotFound for an unknown revision or a path that neither state knows.
    """
    old = lock_at(workspace, before)
    new = workspace.read_lock() if after is None else lock_at(workspace, after)
    known = Lock(data={**old.entries, **new.entries})
    try:
        chosen = names.chosen([names.lock_name(workspace.root, path) for path in paths], known)
    except NotFound as error:
        also = "" if after is None else f" and {after}"
        raise NotFound(
            f"{error.message}, nor was it at {before}{also}; it is no revision either",
            hint="mlo data list names paths, git log --oneline --all revisions",
        ) from None
    left = differ.recorded(workspace.store, _only(old.entries, chosen))
    if after is None:
        right = _standing(workspace, {name: known.data[name] for name in chosen})
    else:
        right = differ.recorded(workspace.store, _only(new.entries, chosen))
    found = differ.compare(left, right)
    changes, unread = found.changes, found.unread
    if paths:
        wanted = [compare.join(name, path) for name, below in chosen.items() for path in below or (b"",)]
        changes = [row for row in changes if _lies_in(row.path, wanted) or _lies_in(row.old_path, wanted)]
        unread = [path for path in unread if any(_lies_in(path, [name]) or _lies_in(name, [path]) for name in wanted)]
    return DataDiff(before, after or WORK_TREE, changes, differ.totals(changes), unread)


def revisions_and_paths(workspace: Workspace, words: Sequence[str], folder: Path) -> tuple[list[str], list[Path]]:
    """Tell the revisions at the front of `words` (two at most, or one `A..B`) from the paths after them.

    Paths are meant from `folder`. Raises UsageError for a word that is both, NotFound for one that is neither.
    """
    revisions: list[str] = []
    rest = list(words)
    while rest and len(revisions) < 2:
        found = _range(rest[0]) if not revisions else None
        if found is None and git.is_revision(workspace.root, rest[0]):
            found = [rest[0]]
        is_path = os.path.lexists(folder / rest[0])
        if not is_path:
            _refuse_three_dots(workspace.root, rest[0])
        if found and is_path:
            raise UsageError(
                f"{rest[0]} is a revision and a path",
                hint=f"say ./{rest[0]} for the path, refs/heads/{rest[0]} for a branch",
            )
        if not found:
            break
        revisions += found
        rest.pop(0)
    return revisions, [folder / word for word in rest]


def lock_at(workspace: Workspace, revision: str) -> Lock:
    """mlo.lock at a git revision; empty if the revision has none. Raises ProjectError, NotFound."""
    try:
        return parse_lock(git.show(workspace.root, revision, "mlo.lock"), workspace.paths.lock)
    except NotFound:
        git.show(workspace.root, revision, "mlo.yaml")  # tells an unknown revision from one without a lock
        return Lock()


# -- inside ------------------------------------------------------------------------------------------------------


def _on_remote(workspace: Workspace, remote: Remote, entries: dict[str, Entry]) -> OnRemote:
    # A plain status shall not pay for what talks to remotes.
    from mlops_cli.core.store.holdings import facts_folder
    from mlops_cli.core.store.transfer import absent_on

    facts = facts_folder(workspace.paths.private, remote)
    return OnRemote(remote.name, remote.url, absent_on(workspace.store, remote, entries, facts=facts))


def _range(word: str) -> list[str] | None:
    """`A..B` as two revisions; a side left out is HEAD."""
    if "..." in word or ".." not in word or "/.." in word or word.startswith("../"):
        return None
    before, _, after = word.partition("..")
    return [before or "HEAD", after or "HEAD"] if before or after else None


def _refuse_three_dots(root: Path, word: str) -> None:
    before, dots, after = word.partition("...")
    if dots and all(git.is_revision(root, side) for side in (before, after) if side):
        raise UsageError(
            f"{word}: three dots are not understood here",
            hint=f"say {before}..{after}, or first name where they part: git merge-base {before} {after}",
        )


def _standing(workspace: Workspace, entries: dict[str, Entry]) -> differ.Side:
    found: dict[str, compare.Items] = {}
    for name, entry in entries.items():
        if names.owner_of(str(PurePosixPath(name).parent), entries) is None:  # else it is met there
            algorithm = Digest.parse(entry.digest).algorithm
            found[name] = compare.items_here(workspace.index, workspace.root / name, algorithm, workspace.progress)
    _save_index(workspace)
    return differ.standing(found)


def _save_index(workspace: Workspace) -> None:
    with suppress(MachineError):  # the index is a cache: a project that cannot be written can still be looked at
        workspace.index.save()


def _only(entries: dict[str, Entry], chosen: dict[str, list[bytes]]) -> dict[str, Entry]:
    return {name: entry for name, entry in entries.items() if name in chosen}


def _lies_in(path: str | None, places: Sequence[str]) -> bool:
    return path is not None and any(path == place or path.startswith(place + "/") for place in places)
