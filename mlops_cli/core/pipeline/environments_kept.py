"""Environments kept in a cache, `envs/<key>/`: made once by who comes first, used by many, removed when unused.

Each making has a folder of its own; `ready.json`, written last, names the one that is whole. So what a killed installer
left, or still writes, is never used. `lock` is held alone by who makes or removes it, shared by who runs in it.
"""

from __future__ import annotations

import fcntl
import os
import random
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from mlops_cli.core.base.distributions import Installed, installed
from mlops_cli.core.base.files import FileLock, machine_errors, write_atomic
from mlops_cli.core.errors import Locked, ProjectError

VERSION = 1
UNUSED_S = 30 * 86_400.0  # after which nobody is expected to come back for it
HALF_BUILT_S = 86_400.0
_TRIES = 3
_PAUSES_UNTOLD = 10
_GONE = ".gone-"


class EnvironmentFailed(ProjectError):
    """An environment cannot be had: what makes it is absent, or failed."""

    code = "environment"


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """An environment that is whole. `path` is where it was made: the scripts in it name that path.

    `source` is the file that it was made from; `conda` the packages that conda lists; `lacking` what the others need
    and the file does not name.
    """

    version: int = VERSION
    source: str
    path: str
    python: str | None
    installed: Installed
    conda: dict[str, str] = {}
    lacking: tuple[str, ...] = ()

    @property
    def prefix(self) -> Path:
        return Path(self.path)


class Kept:
    """The place of one environment in a cache."""

    def __init__(self, cache: Path, key: str, *, title: str, command: str = "mlo run") -> None:
        self.folder = cache / "envs" / key
        self.log = self.folder / "log"
        self._ready_path = self.folder / "ready.json"
        self._title = title
        self._command = command

    def use(
        self,
        make: Callable[[Path], Ready],
        *,
        note: Callable[[str], None],
        given_up: Callable[[], bool] | None = None,
    ) -> tuple[Ready, FileLock]:
        """The environment, and its lock, which keeps it from being removed until it is released.

        `make` fills an empty folder; it is called by one at a time. Raises what it raises, and KeyboardInterrupt once
        `given_up` says so while another makes it.
        """
        tries = pauses = 0
        while tries < _TRIES:
            lock = self._lock()
            lock.acquire(waiting=lambda holder: note(self._waiting(holder)), shared=True, given_up=given_up)
            if (ready := self._read()) is not None:
                _touch(self._ready_path)
                return ready, lock
            lock.release()
            try:
                lock = self._lock()
                lock.acquire(wait=False)
            except Locked:
                # Not to be waited for: while who holds it runs in it, another may have made it whole.
                pauses += 1
                if pauses == _PAUSES_UNTOLD:
                    note(self._waiting("stages that run in it"))
                self._pause(given_up)
                continue
            try:
                if self._read() is None:
                    tries += 1
                    self._make(make, note)
            finally:
                lock.release()
        raise EnvironmentFailed(
            f"the {self._title} is not as it was made, time and again",
            hint="does something change it while it is in use? look for pip install in the stages",
        )

    def spoil(self) -> None:
        """Let it be made anew by the next one who wants it; who runs in it goes on."""
        self._ready_path.unlink(missing_ok=True)

    def _lock(self) -> FileLock:
        return FileLock(self.folder / "lock", command=self._command)

    def _waiting(self, holder: str) -> str:
        return f"the {self._title} is in the hands of {holder}; waiting"

    def _pause(self, given_up: Callable[[], bool] | None) -> None:
        if given_up is not None and given_up():
            raise KeyboardInterrupt
        time.sleep(random.uniform(0.02, 0.1))  # noqa: S311 - so that two who wait do not meet for ever

    def _read(self) -> Ready | None:
        """None for one that is not there, half built, moved, or not what it was."""
        ready = _decode(self._ready_path)
        if ready is None or not _are_one(ready.prefix.parent, self.folder):
            return None
        return ready if ready == look(ready.prefix, ready.source, ready.python, ready.lacking) else None

    def _make(self, make: Callable[[Path], Ready], note: Callable[[str], None]) -> None:
        if self._ready_path.exists():
            note(f"the {self._title} was changed or moved since it was made, and is made anew")
        self._ready_path.unlink(missing_ok=True)
        for path in list(self.folder.iterdir()):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
        prefix = self.folder / secrets.token_hex(3)
        try:
            ready = make(prefix)
            # Installers do not wait for the disk; the marker must not outlive a power cut that they did not.
            os.sync()
            write_atomic(self._ready_path, msgspec.json.encode(ready))
        except BaseException:
            shutil.rmtree(prefix, ignore_errors=True)
            raise


def _decode(path: Path) -> Ready | None:
    try:
        ready = msgspec.json.decode(path.read_bytes(), type=Ready)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return ready if ready.version == VERSION else None


def _are_one(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)  # a cache may be reached by several paths, each of which serves its scripts
    except OSError:
        return False


def _touch(path: Path) -> None:
    """Note that it is in use. On a cache that somebody else owns, as far as that may be."""
    try:
        os.utime(path)
    except (FileNotFoundError, PermissionError):
        return


# -- what lies in one ----------------------------------------------------------------------------------------------


def look(prefix: Path, source: str, python: str | None, lacking: tuple[str, ...] = ()) -> Ready | None:
    """What is installed there; None if its Python does not stand there any more, as when the one it links to went."""
    if python is not None and not os.access(prefix / "bin" / "python", os.X_OK):
        return None
    conda = _conda_packages(prefix)
    return Ready(
        source=source,
        path=str(prefix),
        python=python,
        installed=installed(site_packages(prefix)),
        conda=conda,
        lacking=lacking,
    )


def site_packages(prefix: Path) -> list[str]:
    """The folders in which a Python prefix has its distributions."""
    try:
        names = sorted(name for name in os.listdir(prefix / "lib") if name.startswith(("python", "pypy")))
    except OSError:
        return []
    return [str(prefix / "lib" / name / "site-packages") for name in names if name[-1].isdigit()]


def _conda_packages(prefix: Path) -> dict[str, str]:
    """Version and build by name, from the names of the files that conda keeps: `name-version-build.json`."""
    try:
        names = os.listdir(prefix / "conda-meta")
    except OSError:
        return {}
    found = {}
    for name in sorted(names):
        if name.endswith(".json") and name.count("-") >= 2:
            package, version, build = name.removesuffix(".json").rsplit("-", 2)
            found[package] = f"{version}-{build}"
    return found


def damage(prefix: Path) -> str | None:
    """The first file that an installed distribution lacks, or that has another size than it was installed with."""
    for folder in map(Path, site_packages(prefix)):
        for record in sorted(folder.glob("*.dist-info/RECORD")):
            for path, size in _recorded(record):
                try:
                    found = os.stat(folder / path).st_size
                except OSError:
                    return f"{path} is missing"
                if found != size:
                    return f"{path} has {found} bytes, not {size}"
    return None


def _recorded(record: Path) -> Iterator[tuple[str, int]]:
    import csv

    with machine_errors(f"cannot read {record}"), record.open(encoding="utf-8", errors="replace", newline="") as file:
        for row in csv.reader(file):
            if len(row) == 3 and row[2].isdigit() and not row[0].endswith(".pyc"):
                yield row[0], int(row[2])


# -- cleaning ------------------------------------------------------------------------------------------------------


class Unused(msgspec.Struct, frozen=True):
    """An environment that nobody used for long, and the bytes that the disk gets back for it."""

    key: str
    bytes: int


def unused(cache: Path, now: float) -> list[Unused]:
    """What was not used for 30 days, or was left half built for one, and is in nobody's hands. `now` is Unix time."""
    found = []
    for folder in _folders(cache):
        if _is_unused(folder, now) and not is_held(folder / "lock"):
            found.append(Unused(folder.name, _bytes(folder)))
    return found


def remove(cache: Path, key: str, now: float) -> bool:
    """Remove one that `unused` named. False if somebody began to use it meanwhile."""
    folder = cache / "envs" / key
    gone = folder
    if not key.startswith(_GONE):
        handle = _alone(folder / "lock")
        if handle is None and (folder / "lock").exists():
            return False
        try:
            if not _is_unused(folder, now):
                return False
            gone = folder.with_name(f"{_GONE}{key}-{secrets.token_hex(4)}")
            with machine_errors(f"cannot remove {folder}"):
                os.rename(folder, gone)  # at once, with its lock: who comes now makes another
        except FileNotFoundError:  # another cleaning was faster
            return False
        finally:
            if handle is not None:
                os.close(handle)
    shutil.rmtree(gone, ignore_errors=True)
    return True


def sweep_running(cache: Path, older_than: float) -> int:
    """Remove what killed runs left in `running/`: locks that nobody holds. How many there were."""
    removed = 0
    for path in _children(cache / "running"):
        handle = _alone(path)
        if handle is None:
            continue
        try:
            if os.fstat(handle).st_mtime < older_than:
                path.unlink(missing_ok=True)
                removed += 1
        finally:
            os.close(handle)
    return removed


def is_held(lock: Path) -> bool:
    handle = _alone(lock)
    if handle is None:
        return lock.exists()
    os.close(handle)
    return False


def _alone(path: Path) -> int | None:
    """The file, open and held alone; None if another holds it, or it is none. Its times stay as they are."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle


def _folders(cache: Path) -> list[Path]:
    return [path for path in _children(cache / "envs") if path.is_dir() and not path.is_symlink()]


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_unused(folder: Path, now: float) -> bool:
    if folder.name.startswith(_GONE):
        return True
    spared_s = UNUSED_S if (folder / "ready.json").exists() else HALF_BUILT_S
    return max(_stamps(folder), default=now) < now - spared_s


def _stamps(folder: Path) -> list[float]:
    """When it was used last, or else when something was done about it."""
    stamps = []
    for path in (folder / "ready.json", folder / "lock", folder / "log"):
        try:
            stamps.append(path.stat().st_mtime)
        except OSError:
            continue
    return stamps


def _bytes(folder: Path) -> int:
    """What removing it frees: uv links files to its own cache where it can, and those stay."""
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                status = os.lstat(os.path.join(place, name))
            except OSError:
                continue
            if status.st_nlink == 1:
                size += status.st_size
    return size
