"""The code of a run that no commit and no patch holds: files that its stages read, and git does not track."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from mlops_cli.core.base.git import begin_tracked
from mlops_cli.core.base.records import Entry
from mlops_cli.core.pipeline.graph import overlap
from mlops_cli.core.pipeline.worktree import LITTER, WorkTree

MAX_BYTES, MAX_FILES = 1_000_000, 500  # of one file or folder; what is larger is data that should be added


def begin_untracked(
    tree: WorkTree, root: Path, read: Iterable[str], made: Collection[str]
) -> Callable[[], dict[str, Entry]]:
    """Ask git at once, and answer later: those of the paths `read` that are neither `made` by mlo nor known to git,
    file by file, and kept in the store.
    """
    own = [path for path in sorted(read) if not any(overlap(path, other) for other in made)]
    known = begin_tracked(root, own)

    def answer() -> dict[str, Entry]:
        tracked = known()
        kept: dict[str, Entry] = {}
        for path in own:
            if not any(overlap(path, name) for name in tracked):
                kept |= {file: _kept(tree, root / file) for file in _files(root, path)}
        return kept

    return answer


def _kept(tree: WorkTree, file: Path) -> Entry:
    status = file.stat()
    return Entry(str(tree.store.put_file(file)), "file", status.st_size, executable=bool(status.st_mode & 0o100))


def _files(root: Path, path: str) -> list[str]:
    """The files at or below a path; none where they are too many or too large to be code."""
    found, size = [], 0
    inside = sorted((root / path).rglob("*")) if (root / path).is_dir() else [root / path]
    for file in inside:
        if not file.is_file() or not LITTER.isdisjoint(os.fsencode(part) for part in file.parts):
            continue
        found.append(file.relative_to(root).as_posix())
        size += file.stat().st_size
        if size > MAX_BYTES or len(found) > MAX_FILES:
            return []
    return found
