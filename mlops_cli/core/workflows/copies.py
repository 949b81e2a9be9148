"""`mlo run --isolated` and `--rev`: a run in a clean working copy of the project, which is gone afterwards.

A copy lies at `.mlo/copies/<id>/tree`. Who uses it holds the lock beside it, so that the next run knows a copy that
nobody uses any more.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

import msgspec

from mlops_cli.core.base.checkouts import Repository, copy_folder
from mlops_cli.core.base.files import FileLock, machine_errors
from mlops_cli.core.base.git import Commit, head
from mlops_cli.core.errors import Locked, NotFound, ProjectError
from mlops_cli.core.pipeline.errors import DependencyMissing
from mlops_cli.core.pipeline.journal import dead_runs
from mlops_cli.core.pipeline.process import end_marked
from mlops_cli.core.pipeline.results import ResultCache
from mlops_cli.core.pipeline.stage import kept_log
from mlops_cli.core.pipeline.watching import Watcher
from mlops_cli.core.project.load import FILE_NAME
from mlops_cli.core.project.paths import ProjectPaths
from mlops_cli.core.tracking.errors import RunOver
from mlops_cli.core.tracking.processes import is_alive
from mlops_cli.core.workflows.asking import command_line_of
from mlops_cli.core.workflows.plan import RunRequest
from mlops_cli.core.workflows.run import Origin, RunResult, plan_run, run_pipeline
from mlops_cli.core.workflows.supplies import Source, Supplied, bring_loose, lay_out_own, supply
from mlops_cli.core.workflows.workspace import Workspace

VERSION = 1
_GONE = ".gone"
_LOOK_S = 0.5  # between two looks whether the parent lives


class Home(msgspec.Struct, frozen=True):
    """`.mlo/copies/<id>/home`: the cache that the copy shares, and where the project lies in the copied repository."""

    cache: str
    prefix: str
    version: int = VERSION


class Snapshot(msgspec.Struct, frozen=True):
    """`.mlo/copies/<sweep>/snapshot`: the code that all points of a sweep run. `loose` are the files in it, relative to
    the project, that git does not track."""

    commit: Commit | None
    loose: tuple[str, ...]
    version: int = VERSION


class Copy:
    """A working copy while it is in use: `workspace` is the project in it, `commit` tells what its code is."""

    def __init__(
        self, main: Workspace, folder: Path, source: Source, commit: Callable[[], Commit | None], revision: str | None
    ) -> None:
        self._main = main
        self._folder = folder
        self._source = source
        self._revision = revision
        self.commit = commit
        prefix = source.prefix
        self.root = folder / "tree" / prefix
        (folder / "home").write_bytes(msgspec.json.encode(Home(str(main.paths.cache), prefix)))
        self.root.mkdir(parents=True)

    @functools.cached_property
    def workspace(self) -> Workspace:
        return self._main.at(self.root)

    def keep(self, requests: Iterable[RunRequest], commit: Commit | None) -> None:
        """Make this copy what the runs of the requests are copied from, with what they read and git does not track."""
        self.commit = lambda: commit
        loose = [path for request in requests for path in bring_loose(self.workspace, request, self._source)]
        snapshot = Snapshot(commit, tuple(dict.fromkeys(loose)))
        (self._folder / "snapshot").write_bytes(msgspec.json.encode(snapshot))

    def supply(self, request: RunRequest) -> Supplied:
        """Bring what the stages asked for read and git does not hold. Raises ProjectError, NotFound, ObjectMissing."""
        return supply(self.workspace, request, None if self._revision is not None else self._source)

    def origin(self, supplied: Supplied) -> Origin:
        tags = {"mlo.isolated": "true"}
        if self._revision is not None:
            tags["mlo.revision"] = self._revision
        return Origin(commit=self.commit, untracked=supplied.untracked, tags=tags)

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """What a commit lacks is not brought from elsewhere."""
        try:
            yield
        except DependencyMissing as error:
            if self._revision is not None:
                error.hint = f"{self._revision} has neither the file nor an entry of mlo.lock for it; commit or add it"
            raise


def run_isolated(workspace: Workspace, request: RunRequest, *, watcher: Watcher | None = None) -> RunResult:
    """`run_pipeline` in a working copy. The work tree, mlo.lock and .gitignore stay as they are.

    Raises as it does; NotFound for an unknown revision, ObjectMissing for added data that the cache has not.
    """
    with _parent_lives(workspace, request), _copy_for(workspace, request) as copy, copy.explained():
        if request.parent is not None:  # what started this process is not what anybody would type
            copy.workspace.command_line = command_line_of(request, workspace.environment)
        supplied = copy.supply(request)
        return run_pipeline(copy.workspace, request, watcher=watcher, origin=copy.origin(supplied))


def plan_isolated(workspace: Workspace, request: RunRequest) -> RunResult:
    """What `run_isolated` would do, found out in a working copy, too."""
    with working_copy(workspace, request.revision) as copy, copy.explained():
        copy.supply(request)
        return plan_run(copy.workspace, request)


@contextlib.contextmanager
def _parent_lives(workspace: Workspace, request: RunRequest) -> Iterator[None]:
    """End this run, as Ctrl-C would, once the run that it belongs to has died. Raises RunNotFound, RunOver."""
    if request.parent is None:
        yield
        return
    parent = workspace.runs.get(request.parent)
    if parent.is_over:
        raise RunOver(f"run {parent.short} is {parent.status}, so nothing can belong to it any more", hint="mlo run")
    over, died = threading.Event(), threading.Event()
    if parent.pid != os.getpid() and parent.host == socket.gethostname():

        def watch() -> None:
            while not over.wait(_LOOK_S):
                if not is_alive(parent.pid, parent.born):
                    died.set()
                    os.kill(os.getpid(), signal.SIGTERM)
                    return

        threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()
        if died.is_set():
            clear_leftovers(workspace)  # the code that its points were copied from


def _copied(main: Workspace, folder: Path, repository: Repository | None) -> Copy:
    """The work tree as it stands."""
    prefix, top = (repository.prefix, repository.top) if repository is not None else ("", main.root)
    copy = Copy(main, folder, Source(main.root, top, folder / "tree", prefix), lambda: head(main.root), None)
    if repository is not None:
        repository.copy_tracked(folder / "tree")
    lay_out_own(main, copy.root)
    return copy


def _extracted(main: Workspace, folder: Path, repository: Repository, revision: str, commit: str) -> Copy:
    source = Source(main.root, repository.top, folder / "tree", repository.prefix)
    copy = Copy(main, folder, source, lambda: Commit(commit, None, b""), revision)
    left_out = repository.extract(commit, folder / "tree")
    _remove(copy.root / ".mlo")  # if somebody committed one: it is no code, and the copy has one of its own
    if left_out:
        main.progress.note(f"not in the copy: the submodules {', '.join(left_out)}")
    if not (copy.root / FILE_NAME).is_file():
        raise NotFound(f"{revision} has no {FILE_NAME}", hint=f"git log --oneline -- {FILE_NAME}")
    return copy


def _again(main: Workspace, folder: Path, whence: Path) -> Copy:
    """The code that a sweep began with. What git does not track of it comes to the points that read it."""
    home = msgspec.json.decode((whence / "home").read_bytes(), type=Home)
    snapshot = msgspec.json.decode((whence / "snapshot").read_bytes(), type=Snapshot)
    top = whence / "tree"
    source = Source(top / home.prefix, top, folder / "tree", home.prefix)
    copy = Copy(main, folder, source, lambda: snapshot.commit, None)
    loose = {(PurePosixPath(home.prefix) / path).as_posix() for path in snapshot.loose}
    copy_folder(top, folder / "tree", without=loose)
    return copy


def _copy_for(workspace: Workspace, request: RunRequest) -> contextlib.AbstractContextManager[Copy]:
    """The copy that a run needs: a point of a sweep has the code that the sweep began with."""
    if request.revision is None and request.parent is not None:
        whence = workspace.paths.copies / request.parent
        if (whence / "snapshot").is_file():
            return _used(workspace, secrets.token_hex(8), lambda folder: _again(workspace, folder, whence))
    return working_copy(workspace, request.revision)


@contextlib.contextmanager
def working_copy(workspace: Workspace, revision: str | None = None, *, name: str | None = None) -> Iterator[Copy]:
    """A copy of the project as it stands, or as it was at a git revision, for as long as it is needed.

    Raises NotFound for an unknown revision, ProjectError if git is needed and absent.
    """
    repository = Repository.around(workspace.root, workspace.environ)
    if revision is not None and repository is None:
        raise ProjectError(f"{workspace.root} is not in a git repository", hint="git init, and commit the project")
    if revision is not None and repository is not None:
        make = functools.partial(
            _extracted, repository=repository, revision=revision, commit=repository.commit(revision)
        )
    else:
        make = functools.partial(_copied, repository=repository)
    with _used(workspace, name or secrets.token_hex(8), lambda folder: make(workspace, folder)) as copy:
        yield copy


@contextlib.contextmanager
def _used(workspace: Workspace, name: str, make: Callable[[Path], Copy]) -> Iterator[Copy]:
    """Make a copy, hold its lock while it is in use, and remove it."""
    clear_leftovers(workspace)
    folder = workspace.paths.copies / name
    lock = FileLock(folder / "lock", command=workspace.command_line)
    with machine_errors(f"cannot write {folder}"):
        with _alone(workspace).held():
            lock.acquire()
        try:
            yield make(folder)
        finally:
            _remove(folder)
            lock.release()


def clear_leftovers(workspace: Workspace) -> int:
    """Remove the copies that nobody uses any more; how many there were.

    The processes that a killed mlo left in them are ended, and what its stages wrote goes to `.mlo/failed`.
    """
    copies = workspace.paths.copies
    if not copies.is_dir():
        return 0
    with _alone(workspace).held():
        dead = [folder for folder in sorted(copies.iterdir()) if folder.is_dir() and _is_dead(folder)]
        for folder in dead:
            if folder.suffix != _GONE:
                _salvage(workspace, folder)
                folder.rename(folder.with_suffix(_GONE))
    for folder in dead:
        _remove(folder.with_suffix(_GONE))
    return len(dead)


def _alone(workspace: Workspace) -> FileLock:
    """Held while a copy begins, and while one is looked at that nobody may be using."""
    return FileLock(workspace.paths.copies / "lock", command=workspace.command_line)


def _is_dead(folder: Path) -> bool:
    if folder.suffix == _GONE:
        return True
    lock = FileLock(folder / "lock", command="mlo run")
    try:
        lock.acquire(wait=False)
    except Locked:
        return False
    lock.release()
    return True


def _salvage(workspace: Workspace, folder: Path) -> None:
    try:
        home = msgspec.json.decode((folder / "home").read_bytes(), type=Home)
    except (FileNotFoundError, msgspec.DecodeError):
        return  # it died before anything ran there
    root = folder / "tree" / home.prefix
    paths = ProjectPaths(root, workspace.paths.cache, workspace.paths.copies.parent)
    results = ResultCache(workspace.paths.cache)
    for dead in dead_runs(paths.running):
        end_marked({"MLO_RUN_ID": dead.run})
        for page in dead.pages:
            result = results.get(page.key)
            if result is not None and result.run == dead.run:
                continue  # it was accepted
            moved = [_move(root / path, paths.failed / dead.run / path) for path in page.previous]
            what = f"what it left is in {paths.relative(paths.failed / dead.run)}" if any(moved) else "it left nothing"
            workspace.progress.note(f"run {dead.run[:8]} was killed while stage {page.stage} ran; {what}")
        for log in sorted(dead.folder.glob("*.log")):
            _move(log, kept_log(paths, dead.run, log.name.removesuffix(".log")))


def _move(source: Path, target: Path) -> bool:
    if not os.path.lexists(source):
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(source, target)
    return True


def _remove(folder: Path) -> None:
    """Whatever a stage did to the modes of its folders; what cannot go now is for the next run to remove."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        for inner, _, _ in os.walk(folder):
            with contextlib.suppress(OSError):
                os.chmod(inner, 0o700)
        shutil.rmtree(folder, ignore_errors=True)
