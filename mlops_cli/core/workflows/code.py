"""The code of a run that no commit and no patch holds: files that its stages read, and git does not track."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from mlops_cli.core.base.git import begin_others, begin_tracked
from mlops_cli.core.base.records import Entry
from mlops_cli.core.pipeline.graph import Paths, inside
from mlops_cli.core.pipeline.worktree import LITTER, WorkTree

MAX_BYTES, MAX_FILES = 1_000_000, 500  # of one file or folder; what is larger is data that should be added


def begin_untracked(
    tree: WorkTree,
    root: Path,
    read: Iterable[str],
    made: Iterable[str],
    brought: Mapping[str, Sequence[str]] | None = None,
) -> Callable[[], dict[str, Entry]]:
    """Ask git at once, and answer later: the files at or below the paths `read` that are neither `made` by mlo nor
    known to git, kept in the store. `brought` is the answer where git is not to be asked: the files of each path.
    """
    made_here = Paths(made)
    if brought is not None:
        return lambda: _all_kept(tree, root, brought, made_here)
    own = [path for path in sorted(read) if not made_here.hold(path)]
    known = begin_tracked(root, own)
    others = begin_others(root, [path for path in own if (root / path).is_dir()])

    def answer() -> dict[str, Entry]:
        tracked, loose = Paths(known()), others()
        found: dict[str, list[str]] = {}
        for path in own:
            begin = [name for name in loose if inside(name, path)] if tracked.meet(path) else [path]
            found[path] = [file for name in begin for file in files_below(root, name)]
        return _all_kept(tree, root, found, made_here)

    return answer


def files_below(root: Path, path: str) -> list[str]:
    """The files at or below a path, litter left out."""
    found = sorted((root / path).rglob("*")) if (root / path).is_dir() else [root / path]
    names = [file.relative_to(root) for file in found if file.is_file()]
    return [name.as_posix() for name in names if LITTER.isdisjoint(os.fsencode(part) for part in name.parts)]


def _all_kept(tree: WorkTree, root: Path, found: Mapping[str, Sequence[str]], made_here: Paths) -> dict[str, Entry]:
    """Of each path its files; none of them where they are too many or too large to be code."""
    kept: dict[str, Entry] = {}
    for files in found.values():
        own = [file for file in files if not made_here.hold(file) and (root / file).is_file()]
        if len(own) <= MAX_FILES and sum((root / file).stat().st_size for file in own) <= MAX_BYTES:
            kept |= {file: _kept(tree, root / file) for file in own}
    return kept


def _kept(tree: WorkTree, file: Path) -> Entry:
    status = file.stat()
    return Entry(str(tree.store.put_file(file)), "file", status.st_size, executable=bool(status.st_mode & 0o100))
