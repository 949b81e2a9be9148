"""The folder of a cache: its format, its temp files, what is set aside, and the lock that keeps collectors out."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mlops_cli.core.base import durable
from mlops_cli.core.base.files import FileLock, machine_errors, write_atomic
from mlops_cli.core.errors import ProjectError
from mlops_cli.core.store.loose import listing

VERSION = 2
LEFTOVER_S = 3600.0  # a temp file older than this has lost its writer


class CacheFolder:
    """`path` and what mlo keeps there besides objects. Nothing is made before it is needed.

    Raises ProjectError if a newer mlo wrote it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._temporary = os.path.join(path, "tmp")
        self._token, self._numbers = secrets.token_hex(6), itertools.count()
        self._writers = 0
        # Both are for whoever opens the cache to set.
        self.joining: Callable[[], None] | None = None  # called before the first write
        self.waiting: Callable[[str], None] | None = None  # called with the holder of the lock that is waited for
        self.command = "mlo"
        self.version()

    def version(self) -> int:
        """The format on disk; 0 if there is none yet."""
        try:
            with open(os.path.join(self.path, "VERSION"), "rb") as file:
                text = file.read(16).strip()
        except (FileNotFoundError, NotADirectoryError):
            return 0
        if not text.isdigit():
            raise ProjectError(
                f"{self.path}/VERSION is damaged: it should say which format the cache has",
                hint=f"if no newer mlo was ever used here, write {VERSION} into it, then run `mlo data fsck`",
            )
        if int(text) > VERSION:
            raise ProjectError(
                f"the cache {self.path} has format {text.decode(errors='replace')!r}; this mlo reads up to {VERSION}",
                hint="upgrade mlo: pip install --upgrade mlops-cli",
            )
        return int(text)

    def temporary(self) -> str:
        """The path of a new file on the objects' file system. Not created."""
        return f"{self._made}/{os.getpid():x}-{self._token}-{next(self._numbers)}"

    @functools.cached_property
    def _made(self) -> str:
        """The folder for temp files, and the format's number, made if they are not there."""
        with machine_errors(f"cannot write to the cache {self.path}"):
            durable.make_folders(self._temporary)
            if self.version() != VERSION:
                write_atomic(self.path / "VERSION", b"%d\n" % VERSION)
        if self.joining is not None:
            self.joining()
        return self._temporary

    @functools.cached_property
    def device(self) -> int:
        """The file system that temp files are made on."""
        return os.stat(self._made).st_dev

    def lock(self, command: str) -> FileLock:
        """Held shared by writers, and by whoever removes objects alone. Readers need none."""
        return FileLock(self.path / "lock", command=command)

    @property
    def is_writing(self) -> bool:
        """Whether the lock is held here."""
        return self._writers > 0

    @contextlib.contextmanager
    def writing(self, *, wait: bool = True) -> Iterator[None]:
        """Keep the collector of garbage out until what is put inside has been named by a lock or a record. Nests.

        Raises Locked while one is at work, if not `wait`.
        """
        lock = None
        if not self._writers:
            self.temporary()
            lock = self.lock(self.command)
            lock.acquire(shared=True, wait=wait, waiting=self.waiting)
        self._writers += 1
        try:
            yield
        finally:
            self._writers -= 1
            if lock is not None:
                lock.release()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the cache as the only writer, to remove objects from it."""
        self.temporary()
        lock = self.lock(self.command)
        lock.acquire(waiting=self.waiting)
        self._writers += 1
        try:
            yield
        finally:
            self._writers -= 1
            lock.release()

    def set_aside(self, path: str, name: str) -> Path | None:
        """Move a file of the cache into its quarantine; where it went, None if it was gone."""
        aside = self.path / "quarantine" / f"{name}-{secrets.token_hex(3)}"
        with machine_errors(f"cannot write to the cache {self.path}"):
            durable.make_folders(str(aside.parent))
            try:
                os.replace(path, aside)
            except FileNotFoundError:
                return None
        return aside

    def clean_leftovers(self, *, older_than_s: float = LEFTOVER_S) -> int:
        """Remove temp files whose writers are gone; how many."""
        removed = 0
        for name in listing(self._temporary):
            path = os.path.join(self._temporary, name)
            with contextlib.suppress(FileNotFoundError):
                if time.time() - os.lstat(path).st_mtime >= older_than_s:
                    _remove(path)
                    removed += 1
        return removed


def _remove(path: str) -> None:
    """Remove a file, or a folder that a checkout was building."""
    if not os.path.isdir(path) or os.path.islink(path):
        os.unlink(path)
        return
    for inner in os.scandir(path):
        _remove(inner.path)
    os.rmdir(path)
