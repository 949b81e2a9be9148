"""A remote in a plain folder: a disk, a mount, a network share. The system's own calls, because gigabytes pass here."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mlops_cli.core.base import durable
from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.errors import RemoteError
from mlops_cli.core.remotes.named import NamedRemote
from mlops_cli.core.remotes.remote import (
    TEMPORARY,
    Fact,
    Unsupported,
    checked_key,
    checked_range,
    exactly,
    short_answer,
)

ABANDONED_S = 86_400.0
_COPY_BYTES = 1 << 30  # asked of the kernel at once
_READ_BYTES = 8 << 20
# The kernel cannot copy between these two places by itself.
_NO_KERNEL_COPY = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF})
_NO_LINK = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class FolderRemote(NamedRemote):
    """Implements Remote below `base`, an absolute path without links."""

    hint = "check that the folder is there and can be written, then `mlo remote check`"

    def __init__(self, name: str, url: str, base: str) -> None:
        super().__init__(name, url, protocol="file")
        self._base = base.rstrip("/") or "/"
        self._tmp = f"{self._base}/{TEMPORARY}"

    def facts(self) -> list[Fact]:
        import pwd

        self._reach()
        status, disk = os.stat(self._base), os.statvfs(self._base)
        try:
            owner = pwd.getpwuid(status.st_uid).pw_name
        except KeyError:
            owner = str(status.st_uid)
        return [
            Fact("path", self._base),
            Fact("owner", f"{owner}, mode {stat.S_IMODE(status.st_mode):04o}"),
            Fact("free", f"{disk.f_bavail * disk.f_frsize / 2**30:,.1f} GiB"),
        ]

    def require_create(self) -> None:
        """link(2) is what tells two writers apart; whether the file system has it shows when it is tried."""

    def put_if_absent(self, key: str, data: bytes) -> bool:
        path = self._path(key)
        with self._writing(f"cannot create {key}"), self._temporary() as temporary:
            _write(temporary, data)
            durable.fsync_file(temporary)
            try:
                # link(2) fails if the name exists, and is atomic on local file systems and NFS; a rename would
                # replace what another writer created.
                _into_folder(lambda: os.link(temporary, path), path)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_LINK:
                    raise
                raise Unsupported(
                    f"{self.title}: its file system has no hard links, so two writers cannot be told apart",
                    hint="use a folder on ext4, xfs, btrfs, apfs or NFS",
                ) from None
            durable.fsync_folder(os.path.dirname(path))
            return True

    def put(self, key: str, data: bytes) -> None:
        path = self._path(key)
        with self._writing(f"cannot write {key}"), self._temporary() as temporary:
            _write(temporary, data)
            _into_folder(lambda: os.replace(temporary, path), path)

    def put_file(self, key: str, path: Path) -> None:
        final = self._path(key)
        with self._writing(f"cannot write {key}"), self._temporary() as temporary:
            _copy(str(path), temporary)
            _into_folder(lambda: os.replace(temporary, final), final)

    def get(self, key: str) -> bytes:
        path = self._path(key)
        with self._errors(f"cannot read {key}", key=key), open(path, "rb", buffering=0) as file:
            return file.readall()

    def get_file(self, key: str, target: Path) -> None:
        path = self._path(key)
        with self._errors(f"cannot read {key}", key=key), open(path, "rb", buffering=0):
            pass  # tells a key that is absent from a target that cannot be written
        with self._errors(f"cannot read {key}"), machine_errors(f"{self.title}: cannot read {key} to {target}"):
            _copy(path, str(target))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        checked_range(start, length)
        path = self._path(key)
        with self._errors(f"cannot read {key}", key=key), open(path, "rb", buffering=0) as file:
            if not length and os.fstat(file.fileno()).st_size < start:
                raise short_answer(start, 0, 0, of=f"{self.title}: {key}, which ends before that")
            data = os.pread(file.fileno(), length, start)
            while len(data) < length and (more := os.pread(file.fileno(), length - len(data), start + len(data))):
                data += more
        return exactly(data, start, length, of=f"{self.title}: {key}")

    def local_file(self, key: str) -> Path | None:
        return Path(self._path(key))

    def sizes(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        if prefix:
            checked_key(prefix.rstrip("/"))
        folder = prefix.rpartition("/")[0]
        found: list[tuple[str, int]] = []
        with self._errors(f"cannot list {prefix or 'it'}"):
            try:
                _scan(f"{self._base}/{folder}" if folder else self._base, f"{folder}/" if folder else "", found)
            except (FileNotFoundError, NotADirectoryError):
                found = []
            if not found:
                self._reach()
        for key, size in sorted(found):
            if key.startswith(prefix):
                yield key, size

    def modified(self, prefix: str = "") -> dict[str, float]:
        found = {}
        with self._errors(f"cannot list {prefix or 'it'}"):
            for key, _ in self.sizes(prefix):
                with contextlib.suppress(FileNotFoundError):  # deleted by another
                    found[key] = os.stat(self._path(key)).st_mtime
        return found

    def exists(self, key: str) -> bool:
        path = self._path(key)
        with self._errors(f"cannot look for {key}"):
            try:
                return stat.S_ISREG(os.stat(path).st_mode)
            except (FileNotFoundError, NotADirectoryError):
                self._reach()
                return False

    def delete(self, key: str) -> None:
        path = self._path(key)
        with self._errors(f"cannot delete {key}"), contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(path)

    def settle(self) -> None:
        if os.path.isdir(self._base):
            with machine_errors(f"{self.title}: cannot flush"):
                durable.sync_tree(Path(self._base))

    def sweep(self) -> int:
        removed = 0
        with self._errors("cannot clean up"), contextlib.suppress(FileNotFoundError):
            for item in os.scandir(self._tmp):
                if time.time() - item.stat().st_mtime >= ABANDONED_S:
                    os.unlink(item.path)
                    removed += 1
        return removed

    def create(self) -> None:
        with self._errors("cannot create it"), machine_errors(f"{self.title}: cannot create it"):
            os.makedirs(self._base, exist_ok=True)

    # -- inside --------------------------------------------------------------------------------------------

    def _path(self, key: str) -> str:
        return f"{self._base}/{checked_key(key)}"

    @contextlib.contextmanager
    def _writing(self, doing: str) -> Iterator[None]:
        with self._errors(doing), machine_errors(f"{self.title}: {doing}"):
            yield

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[str]:
        """A path in the remote's own folder; what stands there afterwards is removed."""
        temporary = f"{self._tmp}/{secrets.token_hex(12)}"
        try:
            # Not its parents: what is not there is a disk that is not mounted, and not to be filled on this one.
            os.mkdir(self._tmp)
        except FileExistsError:
            pass
        except (FileNotFoundError, NotADirectoryError):
            self._reach()
            raise
        try:
            yield temporary
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary)

    def _reach(self) -> None:
        if not os.path.isdir(self._base):
            raise RemoteError(
                f"{self.title}: there is no folder {self._base}",
                hint=f"mount the disk it lies on, or create it: mkdir -p {self._base}",
            )


def _into_folder(move: Callable[[], None], path: str) -> None:
    """Run `move`, which gives a file its name; the folder is made only if it turns out to be missing."""
    try:
        move()
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        move()


def _write(path: str, data: bytes) -> None:
    with open(path, "xb", buffering=0) as file:
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) :]


def _copy(source: str, target: str) -> None:
    """Copy a file's bytes; the kernel does it, sharing blocks where the file system can."""
    with open(source, "rb", buffering=0) as reading, open(target, "wb", buffering=0) as writing:
        try:
            while hasattr(os, "copy_file_range") and os.copy_file_range(
                reading.fileno(), writing.fileno(), _COPY_BYTES
            ):
                pass
        except OSError as error:
            if error.errno not in _NO_KERNEL_COPY:
                raise
        # The rest, which is all of it or nothing: some file systems answer 0 instead of an error.
        shutil.copyfileobj(reading, writing, _READ_BYTES)


def _scan(folder: str, prefix: str, found: list[tuple[str, int]]) -> None:
    """Every file below a folder as (key, size). Raises OSError where it may not look: that is not an empty folder."""
    with os.scandir(folder) as items:
        for item in items:
            # What vanishes meanwhile was deleted by another.
            with contextlib.suppress(FileNotFoundError):
                if item.is_dir():
                    if prefix or item.name != TEMPORARY:
                        _scan(item.path, f"{prefix}{item.name}/", found)
                elif item.is_file():
                    found.append((f"{prefix}{item.name}", item.stat().st_size))
