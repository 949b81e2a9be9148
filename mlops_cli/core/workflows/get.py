"""Bringing data from elsewhere, a path of another project or a URL, and following it afterwards."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from mlops_cli.core.base.digest import sha256_bytes
from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.base.progress import Progress, Silent
from mlops_cli.core.base.records import Entry
from mlops_cli.core.data import names
from mlops_cli.core.data.address import Address, parse_address
from mlops_cli.core.data.http import HttpOrigin
from mlops_cli.core.data.origin import Origin
from mlops_cli.core.data.places import BucketOrigin, PlaceOrigin
from mlops_cli.core.data.projects import ProjectOrigin, inner_path
from mlops_cli.core.errors import IntegrityError, NotFound, ProjectError, UsageError, WouldOverwrite
from mlops_cli.core.project.load import find_root
from mlops_cli.core.project.lock import Lock, SourceLock
from mlops_cli.core.project.paths import ProjectPaths
from mlops_cli.core.store.checkout import Wanted, restore, restore_all
from mlops_cli.core.store.index import Index
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.store.snapshot import survey
from mlops_cli.core.store.tree import DIR, TreeEntry, item_of, walk_bytes
from mlops_cli.core.workflows.data import refuse_tracked, settle
from mlops_cli.core.workflows.workspace import Workspace

_SCRATCH, _MEMORIES = "get", "sources"  # below .mlo/
_ABANDONED_S = 86_400.0


class Got(msgspec.Struct, frozen=True):
    """What came, and from where. `recorded` says that mlo.lock names it now."""

    path: str
    url: str
    digest: str
    size: int
    files: int
    recorded: bool
    inner: str | None = None
    commit: str | None = None


def get_data(
    workspace: Workspace,
    source: str,
    path: str | None = None,
    *,
    folder: Path,
    out: Path | None = None,
    rev: str | None = None,
    force: bool = False,
) -> Got:
    """Bring data into the cache and the work tree, and record it in mlo.lock with where it came from.

    Relative folders are meant from `folder`. Raises UsageError, ProjectError, NotFound, RemoteError, IntegrityError,
    WouldOverwrite where bytes of the user's stand in the way and not `force`.
    """
    address = parse_address(source, base=folder, root=workspace.root, inside=path is not None)
    name = _target(workspace, address, path, folder, out)
    _refuse_taken(workspace, workspace.read_lock(), name, address, path, force)
    # What comes must be named in mlo.lock before a collection of garbage may look.
    with scratch_in(workspace.paths.private) as scratch, workspace.store.writing():
        origin = open_here(workspace, address, path, rev, scratch, name)
        with workspace.store.batch():
            entry, state = origin.bring(workspace.store)
        found = state.record(entry, url=address.recorded, path=path and inner_path(path), rev=rev)
        with workspace.exclusive():
            lock = workspace.read_lock()
            _refuse_taken(workspace, lock, name, address, path, force)
            if not force:
                refuse_edited(workspace, name, [*([lock.data[name]] if name in lock.data else []), entry])
            put_in_place(workspace, lock, {name: entry}, {name: found}, force=force)
    return Got(name, address.recorded, entry.digest, entry.size, entry.files, True, found.path, found.commit)


def download(
    source: str,
    path: str | None,
    folder: Path,
    environ: Mapping[str, str],
    progress: Progress | None = None,
    *,
    out: Path | None = None,
    rev: str | None = None,
    force: bool = False,
) -> Got:
    """Bring data to a path and nothing more: no project is needed, and none is changed. Raises as get_data."""
    address = parse_address(source, base=folder, root=folder, inside=path is not None)
    target = _into(folder / out, address, path) if out else folder / _name(address, path)
    if os.path.lexists(target) and not force:
        raise WouldOverwrite(f"{target} exists already", hint="choose another name with -o, or replace it with --force")
    with _apart(target) as place:
        store = LocalStore(place / "cache", "xxh128")
        origin = open_origin(
            address, path, rev, scratch=place, environ=environ, store=store, progress=progress or Silent()
        )
        with store.batch():
            entry, state = origin.bring(store)
        index = Index(place / "index", root=place)
        restore(store, index, entry, target, force=force).raise_if_incomplete(str(target))
    shown = os.path.relpath(target, folder)
    return Got(shown, address.recorded, entry.digest, entry.size, entry.files, False, path, state.commit)


def open_origin(
    address: Address,
    path: str | None,
    rev: str | None,
    *,
    scratch: Path,
    environ: Mapping[str, str],
    store: LocalStore,
    progress: Progress,
    memory: Path | None = None,
    held: Entry | None = None,
) -> Origin:
    """What reads a source; nothing is asked of it yet."""
    if path is not None:
        return ProjectOrigin(address, path, rev, scratch=scratch, environ=environ, progress=progress, held=held)
    if rev is not None:
        raise UsageError(f"{address.recorded} is no git repository, so it has no --rev", hint="leave --rev out")
    if address.kind == "http":
        return HttpOrigin(address, progress=progress)
    if address.kind == "bucket":
        return BucketOrigin(address, memory=memory, progress=progress)
    return PlaceOrigin(address, store.algorithm, scratch=scratch, progress=progress)


def open_here(
    workspace: Workspace,
    address: Address,
    path: str | None,
    rev: str | None,
    scratch: Path,
    name: str,
    held: Entry | None = None,
) -> Origin:
    """`open_origin` for an entry of the project."""
    return open_origin(
        address,
        path,
        rev,
        scratch=scratch,
        environ=workspace.environ,
        store=workspace.store,
        progress=workspace.progress,
        memory=workspace.paths.private / _MEMORIES / f"{sha256_bytes(name.encode())[:16]}.json",
        held=held,
    )


def refuse_added(lock: Lock, name: str) -> None:
    """Raises WouldOverwrite if what was brought was changed here since and recorded so."""
    source = lock.sources[name]
    if lock.data[name].digest != source.digest:
        raise WouldOverwrite(
            f"{name} was changed here after it came from {source.url}, and added so",
            hint=f"keep a copy elsewhere, then take the source's with --force; git log -p mlo.lock tells of {name}",
        )


def refuse_edited(workspace: Workspace, name: str, entries: Sequence[Entry]) -> None:
    """Raises WouldOverwrite if a file stands there that none of `entries` has so: it is the user's.

    The last entry is the one to come; that parts of it stand there is what a killed command leaves.
    """
    try:
        here = survey(workspace.index, workspace.root / name, entries[-1].name.algorithm, progress=workspace.progress)
    except FileNotFoundError:
        return
    known = [_items(workspace, entry) for entry in entries]
    for path, item in {b"": item_of(here.entry), **here.items}.items():
        if not any(path in items and _is_as(items[path], item) for items in known):
            place = f"{name}/{os.fsdecode(path)}" if path else name
            raise WouldOverwrite(
                f"{place} stands here as it never came from there",
                hint="it is yours: move it away, or replace it with --force; mlo data status says more",
            )


def put_in_place(
    workspace: Workspace, lock: Lock, came: Mapping[str, Entry], sources: Mapping[str, SourceLock], *, force: bool
) -> None:
    """What came into the work tree, then into mlo.lock with its sources. Raises WouldOverwrite, having done nothing."""
    wanted = [Wanted(entry, workspace.root / name, expected=lock.data.get(name)) for name, entry in came.items()]
    changes = restore_all(
        workspace.store,
        workspace.index,
        wanted,
        link=workspace.project.cache.link,
        force=force,
        progress=workspace.progress,
    )
    for name, change in zip(came, changes, strict=True):
        change.raise_if_incomplete(name)
    after = msgspec.structs.replace(lock, data={**lock.data, **came}, sources={**lock.sources, **sources})
    settle(workspace, after, add=list(came))


@contextlib.contextmanager
def scratch_in(private: Path) -> Iterator[Path]:
    """A folder for what is fetched on the way; removed afterwards, with what others that were killed left there."""
    folder = private / _SCRATCH
    place = folder / f"{os.getpid():x}-{secrets.token_hex(4)}"
    with machine_errors(f"cannot write {folder}"):
        place.mkdir(parents=True)
        for other in folder.iterdir():
            with contextlib.suppress(OSError):
                if time.time() - other.stat().st_mtime > _ABANDONED_S:
                    shutil.rmtree(other)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        with contextlib.suppress(OSError):  # another get may be at work in it
            folder.rmdir()


# -- inside ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _apart(target: Path) -> Iterator[Path]:
    """A folder for what is fetched on the way: the project's where there is one around, else one beside the target."""
    with machine_errors(f"cannot write {target}"):
        target.parent.mkdir(parents=True, exist_ok=True)
    try:
        root = find_root(target.parent)
    except ProjectError:
        with tempfile.TemporaryDirectory(prefix=".mlo-get-", dir=target.parent, ignore_cleanup_errors=True) as place:
            yield Path(place)
        return
    with scratch_in(ProjectPaths(root).private) as scratch:
        yield scratch


def _target(workspace: Workspace, address: Address, path: str | None, folder: Path, out: Path | None) -> str:
    """What mlo.lock will call it. An entry that stands at `out` is replaced; any other folder takes it in."""
    place = Path(os.path.normpath(folder / (out or _name(address, path))))
    is_entry = place != workspace.root and names.lock_name(workspace.root, place) in workspace.read_lock().data
    return names.lock_name(workspace.root, place if out is None or is_entry else _into(place, address, path))


def _into(place: Path, address: Address, path: str | None) -> Path:
    """As cp does it: a folder that exists takes it in."""
    return place / _name(address, path) if place.is_dir() and not place.is_symlink() else place


def _name(address: Address, path: str | None) -> str:
    name = Path(inner_path(path)).name if path is not None else address.name
    if name in ("", ".", ".."):
        raise UsageError(f"{address.recorded} has no name of its own", hint="say where it goes: -o PATH")
    return name


def _items(workspace: Workspace, entry: Entry) -> dict[bytes, TreeEntry]:
    """What an entry says of each path below it, itself included, as far as its trees are in the cache."""
    items = {b"": item_of(entry)}
    with contextlib.suppress(NotFound, IntegrityError):
        items.update(walk_bytes(workspace.store, entry, {}))
    return items


def _is_as(item: TreeEntry, here: TreeEntry) -> bool:
    return item.same_content(here) or (item.mode, here.mode) == (DIR, DIR)


def _refuse_taken(workspace: Workspace, lock: Lock, name: str, address: Address, path: str | None, force: bool) -> None:
    names.refuse_outputs(name, workspace.project)
    names.refuse_overlap(name, lock)
    refuse_tracked(workspace, [name])
    owner = names.owner_of(name, lock.data)
    if owner is not None and owner != name:
        raise ProjectError(f"{name} lies in {owner}, which is in mlo.lock", hint="choose a place outside it with -o")
    if owner is None or force:
        return
    source = lock.sources.get(name)
    if source is None or (source.url, source.path) != (address.recorded, path and inner_path(path)):
        came = f", from {source.url}" if source else ""
        raise WouldOverwrite(
            f"{name} is in mlo.lock already{came}", hint="choose another place with -o, or replace it with --force"
        )
    refuse_added(lock, name)
