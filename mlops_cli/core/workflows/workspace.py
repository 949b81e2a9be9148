"""The project opened: every room built from its settings, each when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from mlops_cli.core.base.clock import Clock, clock_from
from mlops_cli.core.base.files import FileLock, user_path
from mlops_cli.core.base.progress import Progress, Silent
from mlops_cli.core.errors import Locked, NotFound, ProjectError
from mlops_cli.core.project.load import find_root
from mlops_cli.core.project.lock import Lock, read_lock, write_lock
from mlops_cli.core.project.paths import ProjectPaths
from mlops_cli.core.project.schema import Project
from mlops_cli.core.project.settings import Setting, load

if TYPE_CHECKING:
    from mlops_cli.core.base.database import Database
    from mlops_cli.core.data.mloignore import Ignored
    from mlops_cli.core.events.protocol import EventStore
    from mlops_cli.core.registry.registry import Registry
    from mlops_cli.core.remotes.remote import Remote
    from mlops_cli.core.store.index import Index
    from mlops_cli.core.store.local import LocalStore
    from mlops_cli.core.tracking.store import RunStore

_HELD = 32  # paths that are held one by one; each costs an open file


class Workspace:
    """One project folder, ready to work in. Workflows take it as their first argument."""

    def __init__(
        self,
        root: Path,
        project: Project,
        settings: list[Setting],
        environ: Mapping[str, str],
        *,
        command_line: str = "mlo",
        progress: Progress | None = None,
    ) -> None:
        self.root = root
        self.project = project
        self.settings = settings
        self.environ = environ
        self.command_line = command_line
        self.progress: Progress = progress or Silent()
        self.clock: Clock = clock_from(environ)
        cache = project.cache.dir
        self.paths = ProjectPaths(root, (root / user_path(cache, "cache.dir")) if cache else None)

    @classmethod
    def find(
        cls,
        start: Path,
        environ: Mapping[str, str],
        *,
        environment: str | None = None,
        command_line: str = "mlo",
        progress: Progress | None = None,
    ) -> Workspace:
        """The project at or above `start`. Raises ProjectError if there is none or it does not read."""
        root = find_root(start)
        loaded = load(root, environ, environment=environment)
        return cls(root, loaded.project, loaded.settings, environ, command_line=command_line, progress=progress)

    # -- mlo.lock ------------------------------------------------------------------------------------------

    def read_lock(self) -> Lock:
        return read_lock(self.paths.lock)

    def write_lock(self, lock: Lock) -> None:
        write_lock(self.paths.lock, lock)

    @contextmanager
    def exclusive(self, *, wait: bool = True) -> Iterator[None]:
        """Hold the project: one writer of the work tree and mlo.lock at a time.

        Raises Locked if not `wait`, and within a stage of this project: its run would wait for it for ever.
        """
        with self._held("project", wait=wait):
            yield

    @contextmanager
    def holding(self, names: Sequence[str], *, wait: bool = True) -> Iterator[None]:
        """Hold some paths of the work tree, by their names in mlo.lock, which stays as it is.

        Others may hold other paths meanwhile, and nobody the project. Raises as `exclusive`.
        """
        if len(names) > _HELD:
            with self.exclusive(wait=wait):
                yield
            return
        above = {parent.as_posix() for name in names for parent in PurePosixPath(name).parents}
        with ExitStack() as held:
            held.enter_context(self._held("project", wait=wait, shared=True))
            for name in sorted({*names, *above} - {"."}):  # all in one order, so that no two wait for each other
                held.enter_context(self._held(name, wait=wait, shared=name not in names))
            yield

    @contextmanager
    def _held(self, what: str, *, wait: bool, shared: bool = False) -> Iterator[None]:
        name = what if what == "project" else f"path-{sha256(what.encode()).hexdigest()[:16]}"
        lock = FileLock(self.paths.locks / name, command=self.command_line)
        stage = self._stage_around
        try:
            lock.acquire(
                wait=wait and stage is None,
                waiting=lambda holder: self.progress.note(f"waiting for {holder}"),
                shared=shared,
            )
        except Locked as error:
            message = f"{what}{error.message.removeprefix(name)}"
            if stage is None:
                raise Locked(message, hint=error.hint) from None
            raise Locked(
                f"{message}, and this is its stage {stage}",
                hint="a stage cannot change the project that runs it; do that before or after mlo run",
            ) from None
        try:
            yield
        finally:
            lock.release()

    @property
    def _stage_around(self) -> str | None:
        """The stage of this project that this process was started by, if any."""
        root = self.environ.get("MLO_ROOT")
        if "MLO_RUN_ID" not in self.environ or not root or Path(root).resolve() != self.root.resolve():
            return None
        return self.environ.get("MLO_STAGE", "")

    # -- rooms ---------------------------------------------------------------------------------------------

    @cached_property
    def store(self) -> LocalStore:
        from mlops_cli.core.store.local import LocalStore

        store = LocalStore(self.paths.cache, self.project.hash, refill=self.refill)
        store.folder.command = self.command_line
        store.folder.waiting = lambda holder: self.progress.note(f"the cache is held by {holder}; waiting")
        if self.paths.cache_dir is not None:
            store.folder.joining = self._join_cache
        return store

    def _join_cache(self) -> None:
        """Let those who clean a cache outside this project know of it."""
        from mlops_cli.core.project.clone import clone_id
        from mlops_cli.core.store.projects import join

        join(self.paths.cache, clone_id(self.paths.private), self.root, self.project.name)

    @property
    def refill(self) -> str:
        """How bytes that the cache lacks come here, as a hint."""
        if self.project.remotes:
            return "run `mlo pull`; if the remote lacks them too, `mlo push` where they are"
        return (
            "add the data again with `mlo data add`, or make outputs again with `mlo run`; "
            "there is no remote to pull from (mlo remote add origin URL)"
        )

    @cached_property
    def index(self) -> Index:
        from mlops_cli.core.store.index import Index

        return Index(self.paths.index, ignored=self.ignored.within)

    @cached_property
    def ignored(self) -> Ignored:
        """What .mloignore files keep out of data."""
        from mlops_cli.core.data.mloignore import Ignored

        return Ignored(self.root)

    @cached_property
    def database(self) -> Database:
        from mlops_cli.core.base.database import Database

        return Database(self.paths.database)

    @cached_property
    def runs(self) -> RunStore:
        """The runs, with everything that scripts spooled and no mlo has read yet."""
        from mlops_cli.core.tracking.store import RunStore

        runs = RunStore(self.database)
        runs.ingest(self.paths.spool, self.store, note=self.progress.note)
        return runs

    @cached_property
    def events(self) -> EventStore:
        """The event log that `registry:` names. Raises RemoteError if it is out of reach, never an empty log."""
        from mlops_cli.core.events.open import open_events

        return open_events(
            self.project.registry,
            database=lambda: self.database,
            remote=self.registry_remote,
            cache=self.paths.private / "events",
        )

    @cached_property
    def registry_remote(self) -> Remote | None:
        """The remote that the registry lies on, by its name, URL or folder; None where it is local."""
        from mlops_cli.core.events.open import is_place

        registry = self.project.registry
        if registry in self.project.remotes:
            return self.remote(registry)
        if is_place(registry) and not registry.startswith(("postgresql://", "postgres://")):
            from mlops_cli.core.remotes.open import open_url

            return open_url(registry, root=self.root)
        return None

    @cached_property
    def registry(self) -> Registry:
        from mlops_cli.core.registry.registry import Registry

        remotes = sorted(self.project.remotes, key=lambda name: (name != "origin", name))
        shareable = remotes[0] if remotes and self.registry_remote is None else None
        return Registry(self.events, clock=self.clock, actor=self.actor, shareable=shareable)

    def remote(self, name: str | None = None) -> Remote:
        """A remote by name; without a name `origin`, or the only one. Raises ProjectError, NotFound."""
        from mlops_cli.core.remotes.open import open_remote

        names = list(self.project.remotes)
        if not names:
            raise ProjectError("no remote is named in mlo.yaml", hint="mlo remote add origin s3://bucket/path")
        chosen = name or ("origin" if "origin" in names else names[0] if len(names) == 1 else None)
        if chosen is None:
            raise ProjectError(
                f"there are several remotes and none is origin: {', '.join(names)}", hint="say --remote NAME"
            )
        if chosen not in names:
            raise NotFound(f"there is no remote {chosen}; there is {', '.join(names)}", hint="mlo remote list")
        return open_remote(chosen, self.project.remote(chosen), root=self.root)

    @cached_property
    def actor(self) -> str:
        """Who acts: MLO_ACTOR, else git's identity, else the user's name."""
        from mlops_cli.core.base.git import identity

        return self.environ.get("MLO_ACTOR") or identity(self.root) or self.environ.get("USER") or "unknown"
