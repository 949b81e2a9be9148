"""What a working copy needs beside the code in git: files that stages name and git does not track, and data."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import msgspec

from mlops_cli.core.base.checkouts import copy_file
from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.base.names import name_some
from mlops_cli.core.base.records import Entry
from mlops_cli.core.pipeline.graph import Graph, Node, inside, overlap
from mlops_cli.core.pipeline.param_files import split
from mlops_cli.core.pipeline.params import lay_over
from mlops_cli.core.pipeline.worktree import LITTER
from mlops_cli.core.project.lock import Lock
from mlops_cli.core.project.stages import Environment
from mlops_cli.core.store.checkout import Wanted, restore_all
from mlops_cli.core.store.protocol import ObjectMissing
from mlops_cli.core.workflows.code import files_below
from mlops_cli.core.workflows.plan import RunRequest, graph_of, refill_of, selected
from mlops_cli.core.workflows.workspace import Workspace

_LITTER = frozenset(map(os.fsdecode, LITTER))


class Supplied(msgspec.Struct, frozen=True):
    """The stages asked for, and of each path that they read the files that git does not track."""

    nodes: tuple[Node, ...]
    untracked: dict[str, list[str]]


class Source(msgspec.Struct, frozen=True):
    """Where files come from that git does not track: the project at `root`, in a repository at `top` (at `prefix`
    there), whose copy is at `copy_top`."""

    root: Path
    top: Path
    copy_top: Path
    prefix: str


def lay_out_own(main: Workspace, root: Path) -> None:
    """mlo's own files, which say what the project is, whether git tracks them or not."""
    overlay = f"mlo.{main.environment}.yaml"
    with machine_errors(f"cannot write {root}"):
        for name in ("mlo.yaml", overlay, "mlo.lock", ".mloignore"):
            if not os.path.lexists(root / name):
                copy_file(main.root / name, root / name, main.root, root)


def supply(copy: Workspace, request: RunRequest, source: Source | None) -> Supplied:
    """Bring into a working copy what the stages asked for read: files from `source` that git does not track (None: they
    are not to be had), added data, and outputs of stages that are not asked for.

    Raises ProjectError, NotFound, UsageError; ObjectMissing for data that the cache has not.
    """
    lock, graph, nodes, read = _looked_up(copy, request)
    _clear_outputs(copy.root, nodes)
    untracked = _bring_loose(copy, source, graph, nodes, lock, read) if source is not None else {}
    _bring_data(copy, request, _wanted(copy, graph, nodes, lock, read), read)
    return Supplied(tuple(nodes), untracked)


def bring_loose(copy: Workspace, request: RunRequest, source: Source) -> list[str]:
    """Bring the files alone that git does not track, and say which."""
    lock, graph, nodes, read = _looked_up(copy, request)
    brought = _bring_loose(copy, source, graph, nodes, lock, read)
    return [file for files in brought.values() for file in files]


def _looked_up(copy: Workspace, request: RunRequest) -> tuple[Lock, Graph, Sequence[Node], list[str]]:
    """mlo.lock, the stages, those asked for, and what these read."""
    lock = copy.read_lock()
    params, _ = lay_over(copy.project.params, request.overrides)
    graph = graph_of(copy, params, lock)
    nodes = selected(graph, request)
    read = list(dict.fromkeys(path for node in nodes for path in _read(node, copy.project.env)))
    return lock, graph, nodes, read


def _bring_loose(
    copy: Workspace, source: Source, graph: Graph, nodes: Sequence[Node], lock: Lock, read: Sequence[str]
) -> dict[str, list[str]]:
    made = [*lock.data, *(out for node in graph.nodes.values() for out in node.outs)]
    loose = [out for node in nodes if node.stage.frozen for out in node.outs if lock.entry(out) is None]
    coming = [out for node in nodes for out in node.outs]
    brought = _bring_files(source, copy.root, read, [path for path in made if path not in loose], coming)
    brought |= _bring_files(source, copy.root, loose, (), coming)
    _make_folders(source.root, copy.root, nodes)
    return brought


def _read(node: Node, env: Environment | None) -> Iterable[str]:
    """Every path of the project that a stage reads, in one spelling."""
    env = node.stage.env or env
    files = [split(name) for name in node.stage.params]
    more = [found[0] for found in files if found is not None]
    more += [env.file] if env is not None and env.file is not None else []
    for path in (*node.files, *node.stage.checks_files, *more):
        yield PurePosixPath(path).as_posix()


def _clear_outputs(root: Path, nodes: Sequence[Node]) -> None:
    """Outputs that git tracks would stand in the way of those that the run brings back or makes."""
    for node in nodes:
        for out in node.outs:
            path = root / out
            if path.is_file() and not node.stage.frozen and out not in node.persist:
                path.unlink()


def _bring_files(
    source: Source, root: Path, paths: Iterable[str], made: Collection[str], coming: Collection[str]
) -> dict[str, list[str]]:
    """What stands in `source` at or below the paths, is not `made` by mlo, and is not in the copy; what it was."""
    brought: dict[str, list[str]] = {}
    with machine_errors(f"cannot write {root}"):
        for path in paths:
            if not any(inside(path, it) for it in made):
                found = _bring(source, root, path, [it for it in made if inside(it, path)], coming)
                brought[path] = list(dict.fromkeys(found))
    return brought


def _bring(source: Source, root: Path, path: str, made: Collection[str], coming: Collection[str]) -> Iterator[str]:
    here, there = source.root / path, root / path
    if not here.exists():
        return
    for folder in reversed(there.relative_to(root).parents[:-1]):
        if (root / folder).is_symlink() and not (root / folder).exists():
            (root / folder).unlink()  # it leads to what git does not track; of that comes what is read
    if here.is_dir() and not here.is_symlink():
        there.mkdir(parents=True, exist_ok=True)
        for name in sorted(os.listdir(here)):
            below = f"{path}/{name}"
            if name not in _LITTER and below not in made:
                yield from _bring(source, root, below, made, coming)
        return
    is_new = not os.path.lexists(there)
    if is_new:
        there.parent.mkdir(parents=True, exist_ok=True)
        copy_file(here, there, source.top, source.copy_top)
    if there.is_symlink() and not there.exists() and not _is_coming(root, there, coming):
        is_new = True
        there.unlink()
        _copy_content(here, there)
    if is_new:
        yield from files_below(root, path)


def _is_coming(root: Path, link: Path, coming: Collection[str]) -> bool:
    """Whether a link leads to what a stage of the run will make."""
    goal = os.path.relpath(os.path.normpath(link.parent / os.readlink(link)), root)
    return any(inside(goal, it) for it in coming)


def _copy_content(link: Path, target: Path) -> None:
    """What a link leads to, in its place: in the copy it would lead nowhere."""
    if link.is_dir():
        litter = shutil.ignore_patterns(*_LITTER)
        shutil.copytree(link, target, ignore=litter, ignore_dangling_symlinks=True)
    else:
        shutil.copyfile(link, target)
        target.chmod(stat.S_IMODE(link.stat().st_mode) | stat.S_IWUSR)


def _make_folders(source: Path, root: Path, nodes: Iterable[Node]) -> None:
    """A folder that stages run in may be empty, and git keeps no empty ones."""
    for node in nodes:
        if node.stage.cwd is not None and (source / node.stage.cwd).is_dir():
            (root / node.stage.cwd).mkdir(parents=True, exist_ok=True)


def _wanted(copy: Workspace, graph: Graph, nodes: Sequence[Node], lock: Lock, read: Sequence[str]) -> dict[str, Entry]:
    """What mlo.lock says of data that is read, of outputs of other stages that are read, of what persists."""
    asked = {node.name for node in nodes}
    made = {
        path: entry
        for name, stage in lock.stages.items()
        if name not in asked and name in graph.nodes
        for path, entry in stage.outs.items()
    }
    wanted = {
        path: entry
        for path, entry in {**lock.data, **made}.items()
        if any(overlap(path, it) for it in read) and not (path in made and os.path.lexists(copy.root / path))
    }
    for node in nodes:
        for path in node.persist:
            entry = lock.entry(path)
            if entry is not None and copy.store.has(entry.name):
                wanted[path] = entry
    return wanted


def _bring_data(copy: Workspace, request: RunRequest, wanted: dict[str, Entry], read: Sequence[str]) -> None:
    """Check out, by the links that the project asks for. Raises ObjectMissing, ObjectCorrupt, RemoteError."""
    if not wanted:
        return
    if request.pull:
        from mlops_cli.core.workflows.remote import opened  # it knows every remote
        from mlops_cli.core.workflows.transfer import bring_entries

        bring_entries(copy, opened(copy), wanted)
    _refuse_lost(copy, request, wanted)
    items = [Wanted(entry, copy.root / path, only=_parts(path, read)) for path, entry in wanted.items()]
    done = restore_all(copy.store, copy.index, items, link=copy.project.cache.link, progress=copy.progress)
    for path, changes in zip(wanted, done, strict=True):
        changes.raise_if_incomplete(path, refill=copy.store.refill)
    copy.index.save()


def _refuse_lost(copy: Workspace, request: RunRequest, wanted: dict[str, Entry]) -> None:
    """Name what the cache has nothing of, all at once."""
    lost = {
        path: entry
        for path, entry in wanted.items()
        if not copy.store.has(entry.name) and not os.path.lexists(copy.root / path)
    }
    if lost:
        named = name_some([f"{path} ({entry.digest})" for path, entry in lost.items()])
        raise ObjectMissing(f"the cache does not have {named}", hint=refill_of(copy, request))


def _parts(path: str, read: Sequence[str]) -> tuple[bytes, ...]:
    """What is read of a folder, relative to it; empty for all of it."""
    around = [it for it in read if overlap(path, it)]
    if not around or not all(it.startswith(f"{path}/") for it in around):
        return ()
    return tuple(os.fsencode(it.removeprefix(f"{path}/")) for it in around)
