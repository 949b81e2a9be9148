"""Which paths may be data, and what mlo.lock calls them."""

from __future__ import annotations

import os
import shlex
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from mlops_cli.core.base.files import safe_join
from mlops_cli.core.errors import IntegrityError, NotFound, ProjectError, UsageError
from mlops_cli.core.project.lock import Lock
from mlops_cli.core.project.paths import is_reserved
from mlops_cli.core.project.schema import Project


def lock_name(root: Path, path: Path) -> str:
    """What mlo.lock calls a path; a relative one is meant from the root. Raises UsageError if it cannot be data."""
    plain = Path(os.path.normpath(root / path))
    try:
        relative = plain.relative_to(root)
    except ValueError:
        try:  # the same folder by another way, through links above the project
            relative = (plain.parent.resolve() / plain.name).relative_to(root.resolve())
        except ValueError:
            raise UsageError(f"{path} lies outside the project {root}", hint="copy it into the project first") from None
    name = relative.as_posix()
    if name == ".":
        raise UsageError(f"{path} is the project itself", hint="put the data into a folder of its own, such as data/")
    if is_reserved(name):
        raise UsageError(f"{name} belongs to git or mlo", hint="keep data in a folder of its own, such as data/")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{name!r} is not UTF-8, and mlo.lock is", hint="put it into a folder, and add the folder"
        ) from None
    if any(ord(character) < 32 for character in name) or "\\" in name:
        raise UsageError(f"{name!r} cannot be written in mlo.lock", hint="name the folder that holds it instead")
    try:
        safe_join(root, name)
    except IntegrityError as error:
        raise UsageError(error.message, hint="copy the data into the project, or make its folder the link") from None
    return name


def owner_of(name: str, entries: Mapping[str, object]) -> str | None:
    """The entry that a path is or lies in."""
    for path in (PurePosixPath(name), *PurePosixPath(name).parents):
        if path.as_posix() in entries:
            return path.as_posix()
    return None


def inside(name: str, owner: str) -> bytes:
    """`name` relative to the entry it lies in, as raw bytes; empty if it is the entry."""
    return os.fsencode("" if name == owner else name[len(owner) + 1 :])


def refuse_outputs(name: str, project: Project) -> None:
    """Raises ProjectError if a path is, holds or lies in what a stage writes: the pipeline versions that."""
    for stage_name, stage in project.stages.items():
        for written in stage.written:
            output = PurePosixPath(os.path.normpath(written)).as_posix()
            if name == output or _contains(name, output) or _contains(output, name):
                where = "" if name == output else f" ({output})"
                raise ProjectError(
                    f"{name} is an output of stage {stage_name}{where}; `mlo run` records it in mlo.lock",
                    hint=f"run `mlo run {stage_name}`, or take it out of the stage's outs in mlo.yaml",
                )


def refuse_overlap(name: str, lock: Lock) -> None:
    """Raises ProjectError if a folder that shall become an entry holds one already."""
    below = sorted(path for path in lock.data if _contains(name, path))
    if below:
        raise ProjectError(
            f"{name} holds {below[0]}, which is in mlo.lock already",
            hint=f"run `mlo data rm {shlex.join(below)}` first, then add {name}; the files stay",
        )


def chosen(names: Iterable[str], lock: Lock) -> dict[str, list[bytes]]:
    """Entry -> the paths below it that were asked for (none: all of it). Every entry if nothing was asked for.

    A name that lies above entries stands for all of them. Raises NotFound for a name that mlo.lock does not know.
    """
    names = list(names)
    if not names:
        return {entry: [] for entry in lock.entries}
    picked: dict[str, list[bytes]] = {}
    whole: set[str] = set()
    entries = lock.entries
    ordered = sorted(entries)
    for name in names:
        below = [*([name] if name in entries else ()), *_within(name, ordered)]
        owner = owner_of(name, entries)
        if not below and owner is None:
            raise NotFound(
                f"{name} is not in mlo.lock", hint=f"run `mlo data add {shlex.quote(name)}`, or see `mlo data status`"
            )
        for entry in below:
            whole.add(entry)
            picked.setdefault(entry, [])
        if not below and owner is not None:
            picked.setdefault(owner, []).append(inside(name, owner))
    return {entry: [] if entry in whole else paths for entry, paths in picked.items()}


def _within(folder: str, ordered: Sequence[str]) -> Sequence[str]:
    """Those of some sorted paths that lie in a folder."""
    # The character after a slash is a zero.
    return ordered[bisect_left(ordered, f"{folder}/") : bisect_left(ordered, f"{folder}0")]


def _contains(folder: str, path: str) -> bool:
    return path.startswith(folder + "/")
