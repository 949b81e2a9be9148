"""What a run notes before it takes a stage's outputs away, so that the next one can mend what a crash left."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from mlops_cli.core.base.files import FileLock, write_atomic
from mlops_cli.core.base.records import RUN_ID, Entry

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
        self._lock.release()
        shutil.rmtree(self._folder, ignore_errors=True)

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
    """What a run that died left: its folder, and the pages it had open (of one that does not read there is none)."""

    run: str
    folder: Path
    pages: tuple[Page, ...]


def dead_runs(running: Path) -> Iterator[DeadRun]:
    """The runs whose process is gone. Raises nothing for what others remove meanwhile."""
    try:
        folders = sorted(path for path in running.iterdir() if path.is_dir())
    except FileNotFoundError:
        return
    for folder in folders:
        if not _is_held(folder / "lock"):
            # An mlo of earlier days wrote its one page beside the folder.
            files = [*sorted(folder.glob("*.json")), running / f"{folder.name}.json"]
            yield DeadRun(folder.name, folder, tuple(page for path in files if (page := _page(path)) is not None))
    for path in sorted(running.glob("*.json")):
        if not (running / path.stem).is_dir() and (page := _page(path)) is not None:
            yield DeadRun(page.run, running / path.stem, (page,))


def is_alive(running: Path, run: str) -> bool:
    """Whether a run of this project, by its id, goes on."""
    return RUN_ID.fullmatch(run) is not None and _is_held(running / run / "lock")


def _is_held(lock: Path) -> bool:
    try:
        handle = os.open(lock, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _page(path: Path) -> Page | None:
    try:
        page = msgspec.json.decode(path.read_bytes(), type=Page)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return page if page.version == VERSION else None


class Marker(msgspec.Struct, frozen=True):
    """The outputs of `stages` in the work tree are those of `run`, made with `overrides`, not those of mlo.lock."""

    run: str
    overrides: dict[str, Any]
    stages: tuple[str, ...]
    version: int = VERSION

    @property
    def text(self) -> str:
        values = ", ".join(f"{name}={value}" for name, value in self.overrides.items())
        return f"run {self.run[:8]} ({values})"


def read_marker(path: Path) -> Marker | None:
    try:
        marker = msgspec.json.decode(path.read_bytes(), type=Marker)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return marker if marker.version == VERSION else None


def write_marker(path: Path, marker: Marker | None) -> None:
    """Without a marker, or with one that names no stage, there is no file."""
    if marker is None or not marker.stages:
        path.unlink(missing_ok=True)
    else:
        write_atomic(path, msgspec.json.encode(marker), durable=False)
