"""Files: atomic writes, locks that name their holder, paths that cannot escape, errors of the machine."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from mlops_cli.core.base.durable import fsync_folder
from mlops_cli.core.errors import IntegrityError, Locked, MachineError, ProjectError

_POLL_S = 0.05
_COMMAND_CHARACTERS, _NOTE_BYTES = 120, 2048  # escaped, a character takes up to twelve bytes
_HINTS = {
    errno.ENOSPC: "free some space and run the same command again; nothing was changed",
    errno.EDQUOT: "your disk quota is used up; free some space and run the same command again",
    errno.EROFS: "the file system is read-only; use a folder that can be written",
    errno.EACCES: "check who owns the path and its permissions",
    errno.EPERM: "check who owns the path and its permissions",
    errno.EADDRINUSE: "another program listens there; choose another port",
    errno.EFBIG: "a limit on the size of files is in force: ulimit -f",
    errno.EMFILE: "raise the limit of open files: ulimit -n 4096",
}


@contextlib.contextmanager
def machine_errors(doing: str) -> Iterator[None]:
    """Turn an OSError that the machine is to blame for into a MachineError that says what was being done.

    Others (a missing file, a broken pipe) pass through: their meaning depends on the caller.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _HINTS:
            raise
        raise machine_error(error, doing) from error


def machine_error(error: OSError, doing: str) -> MachineError:
    where = f" ({error.filename})" if error.filename else ""
    hint = _HINTS.get(error.errno or 0)
    return MachineError(f"{doing}: {error.strerror or error}{where}", hint=hint)


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644, durable: bool = True) -> None:
    """Write the whole file or nothing. `durable` waits until a power cut could not undo it."""
    with machine_errors(f"cannot write {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(file.fileno(), mode)
                if durable:
                    os.fsync(file.fileno())
            # Rename last: a crash before this line leaves a temp file, never half a file.
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        if durable:
            fsync_folder(str(path.parent))


def user_path(text: str, setting: str) -> Path:
    """A path that may begin with `~` or `~name`. Raises ProjectError, naming the setting, if nobody is called so."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ProjectError(
            f"{setting}: {text} names a home folder that is not known here", hint="write it out"
        ) from None


def safe_join(root: Path, name: str) -> Path:
    """`root/name`, where name came from a lock, a manifest, a tree or a request.

    Raises IntegrityError if name is empty, absolute, holds `..`, a NUL or a backslash, or leads out of root
    through a symlink in its parents.
    """
    pure = PurePosixPath(name)
    if not name or "\0" in name or "\\" in name or pure.is_absolute() or ".." in pure.parts:
        raise IntegrityError(f"{name!r} is not a path inside {root}", hint="the file that names it was altered")
    path = root / pure
    if not path.parent.resolve().is_relative_to(root.resolve()):
        raise IntegrityError(f"{name!r} leads out of {root} through a link", hint="remove the link in its parents")
    return path


def _share(handle: int, folder: Path) -> None:
    """Let the group lock, too, what lies in a folder that the group may write."""
    status = os.fstat(handle)
    if os.stat(folder).st_mode & stat.S_IWGRP and not status.st_mode & stat.S_IWGRP:
        with contextlib.suppress(PermissionError):  # who made the file does that
            os.fchmod(handle, stat.S_IMODE(status.st_mode) | stat.S_IRGRP | stat.S_IWGRP)


def _wait_for(handle: int, how: int, given_up: Callable[[], bool] | None) -> None:
    if given_up is None:
        fcntl.flock(handle, how)
        return
    while not given_up():
        try:
            fcntl.flock(handle, how | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_POLL_S)
        else:
            return
    raise KeyboardInterrupt


class FileLock:
    """An advisory lock (`flock`) that says who holds it. The kernel frees it when its holder dies.

    The file holds `{"pid", "host", "command", "since_s"}` of the last holder, for the message only.
    """

    def __init__(self, path: Path, *, command: str) -> None:
        self._path = path
        self._command = command
        self._handle: int | None = None

    def acquire(
        self,
        *,
        wait: bool = True,
        waiting: Callable[[str], None] | None = None,
        shared: bool = False,
        given_up: Callable[[], bool] | None = None,
    ) -> bool:
        """Take the lock. If it is held: wait, after calling `waiting` once with the holder; or raise Locked.

        `shared` keeps out only those who want it alone. `given_up`, asked again and again while it waits, ends the
        wait with a KeyboardInterrupt: no signal does that in a thread. Returns whether it had to wait.
        """
        how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        waited = False
        while self._handle is None:
            handle = self._open()
            try:
                waited = self._take(handle, how, wait, waiting, given_up) or waited
                if self._is_there(handle):
                    self._sign(handle)
                    self._handle = handle
            finally:
                if self._handle is None:
                    os.close(handle)
        return waited

    def _open(self) -> int:
        with machine_errors(f"cannot lock {self._path}"):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            _share(handle, self._path.parent)
            return handle

    def _take(
        self,
        handle: int,
        how: int,
        wait: bool,
        waiting: Callable[[str], None] | None,
        given_up: Callable[[], bool] | None,
    ) -> bool:
        try:
            fcntl.flock(handle, how | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = self._holder(handle)
            if not wait:
                raise Locked(
                    f"{self._path.name} is held by {holder}",
                    hint="wait for it, or leave out --no-wait to queue behind it",
                ) from None
            if waiting is not None:
                waiting(holder)
            _wait_for(handle, how, given_up)
            return True
        return False

    def _is_there(self, handle: int) -> bool:
        """Whether the file that is locked is the one others will lock: who held it before may have removed it."""
        try:
            return os.path.samestat(os.fstat(handle), os.stat(self._path))
        except FileNotFoundError:
            return False

    def _sign(self, handle: int) -> None:
        note = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "command": self._command[:_COMMAND_CHARACTERS],
            "since_s": time.time(),
        }
        with contextlib.suppress(OSError):  # a full disk must not keep anybody from what frees some space
            # One write of one length: of several who share the lock, the last is named.
            os.pwrite(handle, json.dumps(note).encode().ljust(_NOTE_BYTES), 0)
            os.truncate(handle, _NOTE_BYTES)

    def release(self) -> None:
        if self._handle is not None:
            # Said, not left to the close: a process that another thread starts right now has a copy of the handle.
            fcntl.flock(self._handle, fcntl.LOCK_UN)
            os.close(self._handle)
            self._handle = None

    @contextlib.contextmanager
    def held(self, *, wait: bool = True, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
        self.acquire(wait=wait, waiting=waiting)
        try:
            yield
        finally:
            self.release()

    @staticmethod
    def _holder(handle: int) -> str:
        try:
            note = json.loads(os.pread(handle, 4096, 0))
            return f"`{note['command']}` (process {note['pid']} on {note['host']})"
        except (ValueError, LookupError, TypeError, RecursionError):  # torn, or written by something else
            return "another mlo"
