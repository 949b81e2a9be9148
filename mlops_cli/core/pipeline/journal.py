"""What a run notes before it takes a stage's outputs away, so that the next one can mend what a crash left."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from mlops_cli.core.base.files import FileLock, safe_join, write_atomic
from mlops_cli.core.base.records import RUN_ID, Entry
from mlops_cli.core.errors import IntegrityError

VERSION = 1


class Page(msgspec.Struct, frozen=True):
    """One stage under way: what stood at each of its outputs before, or null for nothing."""

    version: int
    run: str
    stage: str
    key: str
    pid: int
    previous: dict[str, Entry | None]


class Journal:
    """What one run has under way: a folder that holds its lock while it lives, and a page for each of its stages.

    A page is on disk before the stage's first output is touched, and goes when all is settled.
    """

    def __init__(self, running: Path, run: str, *, command: str = "mlo run") -> None:
        self._folder = running / run
        self._run = run
        self._lock = FileLock(self._folder / "lock", command=command)

    def open(self) -> None:
        """From now on the run counts as alive, until its process ends."""
        self._lock.acquire()

    def close(self) -> None:
        """The run is over. What could not be settled stays, for the next run to mend."""
        if not any(self._folder.glob("*.json")):
            shutil.rmtree(self._folder, ignore_errors=True)
        self._lock.release()

    def log_path(self, stage: str) -> Path:
        return self._folder / f"{stage}.log"

    def report_path(self, stage: str, ending: str) -> Path:
        """Where a stage may leave a report of itself: an executed notebook."""
        return self._folder / f"{stage}.{ending}"

    def begin(self, stage: str, key: str, previous: dict[str, Entry | None]) -> None:
        page = Page(VERSION, self._run, stage, key, os.getpid(), previous)
        # Not durable: after a power cut the outputs are in no cache, and mlo asks before it overwrites them.
        write_atomic(self._folder / f"{stage}.json", msgspec.json.encode(page), durable=False)

    def settle(self, stage: str) -> None:
        (self._folder / f"{stage}.json").unlink(missing_ok=True)
        self.log_path(stage).unlink(missing_ok=True)


class DeadRun(msgspec.Struct, frozen=True):
    """What a run that died left: its folder, and the pages it had open (of one that does not read there is none).

    Unless it `was_idle`, one of its stages was under way. `files` are what names it beside its folder.
    """

    run: str
    folder: Path
    pages: tuple[Page, ...]
    files: tuple[Path, ...] = ()
    was_idle: bool = False


def dead_runs(running: Path) -> Iterator[DeadRun]:
    """The runs whose process is gone. What is no run's is passed over; nothing is raised for what others remove
    meanwhile."""
    for folder in _named(running):
        if folder.is_dir() and not folder.is_symlink() and not _is_held(folder / "lock"):
            # An mlo of earlier days wrote its one page beside the folder.
            beside = folder.with_name(f"{folder.name}.json")
            found = [path for path in (*sorted(folder.glob("*.json")), beside) if path.exists()]
            yield DeadRun(folder.name, folder, _pages(found), (beside,), was_idle=not found)
        elif folder.suffix == ".json" and RUN_ID.fullmatch(folder.stem) and not folder.with_suffix("").is_dir():
            yield DeadRun(folder.stem, folder.with_suffix(""), _pages((folder,)), (folder,))


def _named(running: Path) -> list[Path]:
    try:
        return sorted(path for path in running.iterdir() if RUN_ID.fullmatch(path.name.removesuffix(".json")))
    except (FileNotFoundError, NotADirectoryError):
        return []


def open_pages(running: Path) -> tuple[Page, ...]:
    """The pages of all runs, those that go on and those that died: what stood there is still to come back."""
    folders = _named(running)
    found = [*(page for folder in folders for page in sorted(folder.glob("*.json"))), *folders]
    return _pages(path for path in found if path.suffix == ".json")


def is_alive(running: Path, run: str) -> bool:
    """Whether a run of this project, by its id, goes on."""
    return RUN_ID.fullmatch(run) is not None and _is_held(running / run / "lock")


def _is_held(lock: Path) -> bool:
    try:
        handle = os.open(lock, os.O_RDWR)
    except OSError:
        return False
    try:
        # Shared: two that look at the same moment must not take each other for the run.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _pages(files: Iterable[Path]) -> tuple[Page, ...]:
    return tuple(page for file in files if (page := _page(file)) is not None)


def _page(path: Path) -> Page | None:
    try:
        page = msgspec.json.decode(path.read_bytes(), type=Page)
        for name in page.previous:
            safe_join(path.parent, name)  # what stands there is going to be moved
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, msgspec.DecodeError, IntegrityError):
        return None
    return page if page.version == VERSION else None
