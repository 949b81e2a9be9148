"""Where everything lies below a project's root."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_PRIVATE = frozenset({".git", ".mlo"})
_OWN_FILES = frozenset({"mlo.yaml", "mlo.lock", ".gitignore"})


def is_reserved(name: str) -> bool:
    """Whether a path, relative to the root, is git's or mlo's own, in any case: a lock or a stage that wrote there
    could install a hook of git's, which runs."""
    folded = name.lower()
    return folded in _OWN_FILES or not _PRIVATE.isdisjoint(folded.split("/"))


@dataclass(frozen=True, slots=True)
class ProjectPaths:
    """The layout under `root`; `cache` may lie elsewhere (`cache: {dir: ...}`).

    A working copy of a project has an index and locks of its own, and shares the runs and the failures of the project
    that it is a copy of: `home` is that project's `.mlo`.
    """

    root: Path
    cache_dir: Path | None = None
    home: Path | None = None

    @property
    def private(self) -> Path:
        return self.root / ".mlo"

    @property
    def config(self) -> Path:
        return self.root / "mlo.yaml"

    @property
    def lock(self) -> Path:
        return self.root / "mlo.lock"

    @property
    def cache(self) -> Path:
        return self.cache_dir or self.private / "cache"

    @property
    def index(self) -> Path:
        return self.private / "index"

    @property
    def database(self) -> Path:
        return (self.home or self.private) / "mlo.db"

    @property
    def spool(self) -> Path:
        return (self.home or self.private) / "spool"

    @property
    def predictions(self) -> Path:
        return self.private / "predictions"

    @property
    def running(self) -> Path:
        return self.private / "running"

    @property
    def failed(self) -> Path:
        return (self.home or self.private) / "failed"

    @property
    def copies(self) -> Path:
        """Where the working copies lie."""
        return (self.home or self.private) / "copies"

    @property
    def locks(self) -> Path:
        return self.private / "locks"

    def relative(self, path: Path) -> str:
        """`path` as mlo.lock writes it: relative to the root, with forward slashes. Raises ValueError outside.

        In a working copy, what lies in the project's own `.mlo` is relative to the project.
        """
        path = path.absolute()
        if self.home is not None and path.is_relative_to(self.home) and not path.is_relative_to(self.root):
            return path.relative_to(self.home.parent).as_posix()
        return path.relative_to(self.root).as_posix()
