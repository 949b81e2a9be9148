"""The project opened: every room built from its settings, each when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cached_property
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import msgspec

from mlops_cli.core.base.clock import Clock, clock_from
from mlops_cli.core.base.files import FileLock, user_path
from mlops_cli.core.base.name_locks import hold_names
from mlops_cli.core.base.progress import Progress, Silent
from mlops_cli.core.errors import Locked, NotFound, ProjectError
from mlops_cli.core.project.expand import expand
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

_COPIES = ("copies", ".mlo")  # the folders around each working copy
_HELD = 32  # paths that are held one by one, so that their holder can be named; each costs an open file


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
        home: ProjectPaths | None = None,
    ) -> None:
        self.root = root
        self.templates = project.stages  # as they stand in mlo.yaml; the project's are written out
        self.project = msgspec.structs.replace(project, stages=expand(project.stages, project.params))
        self.settings = settings
        self.environ = environ
        self.command_line = command_line
        self.progress: Progress = progress or Silent()
        self.clock: Clock = clock_from(environ)
        self.environment: str | None = None  # the overlay's name
        cache = project.cache.dir
        self.home = home
        if home is not None:
            self.paths = ProjectPaths(root, home.cache, home.private)
        else:
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
        home: ProjectPaths | None = None,
    ) -> Workspace:
        """The project at or above `start`; with `home`, as a working copy of the project whose paths those are.

        Raises ProjectError if there is none or it does not read.
        """
        root = find_root(start)
        home = home or _home_of(root)
        loaded = load(root, environ, environment=environment)
        opened = cls(
            root, loaded.project, loaded.settings, environ, command_line=command_line, progress=progress, home=home
        )
        opened.environment = environment
        return opened

    def at(self, root: Path) -> Workspace:
        """The working copy of this project in another folder, which shares the cache and the runs.

        git finds no repository there: the one around it knows nothing of the copy.
        """
        now = self.environ.get("MLO_NOW", "")
        moved = {"MLO_NOW": f"@{Path(now[1:]).absolute()}"} if now.startswith("@") else {}  # its stages start elsewhere
        return Workspace.find(
            root,
            {**self.environ, **moved, "GIT_CEILING_DIRECTORIES": str(self.paths.copies.resolve())},
            environment=self.environment,
            command_line=self.command_line,
            progress=self.progress,
            home=self.home or self.paths,
        )

    # -- mlo.lock ------------------------------------------------------------------------------------------

    def read_lock(self) -> Lock:
        return read_lock(self.paths.lock)

    def write_lock(self, lock: Lock) -> None:
        write_lock(self.paths.lock, lock)

    @contextmanager
    def exclusive(self, paths: Sequence[str] = (), *, wait: bool = True) -> Iterator[None]:
        """Hold mlo.lock, and those paths that are to be changed, which a running stage may read: one writer at a time.

        Raises Locked if not `wait`, and within a stage of this project, whose run counts on what it saw.
        """
        with self._held("project", wait=wait), self._holding_paths(paths, wait=wait):
            yield

    @contextmanager
    def holding(self, names: Sequence[str], *, wait: bool = True) -> Iterator[None]:
        """Hold some paths of the work tree, by their names in mlo.lock, which stays as it is.

        Others may hold other paths meanwhile, and nobody the project. Raises as `exclusive`.
        """
        if len(names) > _HELD:
            with self.exclusive(names, wait=wait):
                yield
            return
        with self._held("project", wait=wait, shared=True), self._holding_paths(names, wait=wait):
            yield

    @contextmanager
    def _holding_paths(self, names: Sequence[str], *, wait: bool) -> Iterator[None]:
        first = sorted(names)[:_HELD]
        with ExitStack() as held:
            for name, alone in _with_above(first, ()).items():  # all in one order, so that no two wait for each other
                held.enter_context(self._held(name, wait=wait, shared=not alone))
            held.enter_context(self._holding_all(_with_above(names, ()), wait=wait))
            yield

    def _holding_all(
        self, names: Mapping[str, bool], *, wait: bool, given_up: Callable[[], bool] | None = None
    ) -> AbstractContextManager[None]:
        """Hold paths, however many there are: those too that are not held one by one."""
        return hold_names(
            self.paths.locks / "paths",
            names,
            wait=wait,
            waiting=lambda name: self.progress.note(f"waiting for another mlo, which holds {name}"),
            given_up=given_up,
        )

    @contextmanager
    def holding_for_stage(
        self,
        outs: Sequence[str],
        deps: Sequence[str],
        *,
        mutexes: Sequence[str] = (),
        wait: bool,
        given_up: Callable[[], bool],
    ) -> Iterator[None]:
        """Hold a stage's outputs, and keep what it reads from being written, until it ends. mlo.lock stays free.

        Its mutexes are held in all working copies at once. `given_up` ends a wait. Raises Locked if not `wait`.
        """
        with ExitStack() as held:
            for name, alone in _with_above(sorted(outs)[:_HELD], sorted(deps)[:_HELD]).items():
                lock = self._lock_of(name)
                self._acquire(lock, name, wait=wait, shared=not alone, given_up=given_up)
                held.callback(lock.release)
            held.enter_context(self._holding_all(_with_above(outs, deps), wait=wait, given_up=given_up))
            for name in sorted(set(mutexes)):
                path = self.paths.copies.parent / "locks" / f"mutex-{sha256(name.encode()).hexdigest()[:16]}"
                lock = FileLock(path, command=self.command_line)
                self._acquire(lock, f"mutex {name}", wait=wait, given_up=given_up)
                held.callback(lock.release)
            yield

    @contextmanager
    def recording(self, *, wait: bool = True, given_up: Callable[[], bool] | None = None) -> Iterator[None]:
        """Hold mlo.lock for a moment, from a run whose stages hold their own paths. Raises Locked if not `wait`."""
        lock = self._lock_of("project")
        self._acquire(lock, "project", wait=wait, given_up=given_up)
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _held(self, what: str, *, wait: bool, shared: bool = False) -> Iterator[None]:
        lock, stage = self._lock_of(what), self._stage_around
        if stage is not None:
            raise Locked(
                f"{what} is held by a run of this project, and this is its stage {stage}",
                hint="a stage cannot change the project that runs it; do that before or after mlo run",
            )
        self._acquire(lock, what, wait=wait, shared=shared)
        try:
            yield
        finally:
            lock.release()

    def _lock_of(self, what: str) -> FileLock:
        name = what if what == "project" else f"path-{sha256(what.encode()).hexdigest()[:16]}"
        return FileLock(self.paths.locks / name, command=self.command_line)

    def _acquire(
        self,
        lock: FileLock,
        what: str,
        *,
        wait: bool,
        shared: bool = False,
        given_up: Callable[[], bool] | None = None,
    ) -> None:
        try:
            lock.acquire(
                wait=wait,
                waiting=lambda holder: self.progress.note(f"waiting for {holder}, which holds {what}"),
                shared=shared,
                given_up=given_up,
            )
        except Locked as error:
            raise Locked(f"{what} is held by {error.message.partition(' is held by ')[2]}", hint=error.hint) from None

    @property
    def _stage_around(self) -> str | None:
        """The stage of this project that this process was started by, if its run still goes on."""
        root, run = self.environ.get("MLO_ROOT"), self.environ.get("MLO_RUN_ID")
        if not run or not root or Path(root).resolve() != self.root.resolve():
            return None
        from mlops_cli.core.pipeline.journal import is_alive

        return self.environ.get("MLO_STAGE", "") if is_alive(self.paths.running, run) else None

    # -- rooms ---------------------------------------------------------------------------------------------

    @cached_property
    def store(self) -> LocalStore:
        from mlops_cli.core.store.local import LocalStore

        store = LocalStore(self.paths.cache, self.project.hash, refill=self.refill)
        store.folder.command = self.command_line
        store.folder.waiting = lambda holder: self.progress.note(f"the cache is held by {holder}; waiting")
        if self.paths.cache_dir is not None and self.home is None:  # a working copy is gone before it needs anything
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


def _with_above(alone: Sequence[str], among: Sequence[str]) -> dict[str, bool]:
    """Path -> whether it is held alone, sorted: the paths, and the folders around them, which others may hold, too."""
    above = {parent.as_posix() for name in (*alone, *among) for parent in PurePosixPath(name).parents}
    lonely = set(alone)
    return {name: name in lonely for name in sorted({*alone, *among, *above} - {"."})}


def _home_of(root: Path) -> ProjectPaths | None:
    """The project that `root` is a working copy of, for an mlo that a stage in the copy starts."""
    for folder in root.parents:
        around = (folder.parent.name, folder.parent.parent.name)
        if around == _COPIES and (folder / "home").is_file():
            home = folder.parent.parent.parent
            return ProjectPaths(home, Path(msgspec.json.decode((folder / "home").read_bytes())["cache"]))
    return None
