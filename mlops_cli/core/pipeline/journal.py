"""What a run notes before it takes a stage's outputs away, so that the next one can mend what a crash left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from mlops_cli.core.base.files import write_atomic
from mlops_cli.core.base.records import Entry

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
    """The page of one run. It is on disk before the first output is touched, and goes when all is settled."""

    def __init__(self, folder: Path, run: str) -> None:
        self._folder = folder
        self._path = folder / f"{run}.json"
        self._run = run

    def log_path(self, stage: str) -> Path:
        return self._folder / self._run / f"{stage}.log"

    def begin(self, stage: str, key: str, previous: dict[str, Entry | None]) -> None:
        page = Page(VERSION, self._run, stage, key, os.getpid(), previous)
        # Not durable: after a power cut the outputs are in no cache, and mlo asks before it overwrites them.
        write_atomic(self._path, msgspec.json.encode(page), durable=False)

    def settle(self) -> None:
        self._path.unlink(missing_ok=True)


def pages(folder: Path) -> Iterator[tuple[Path, Page | None]]:
    """The pages that dead runs left, with None for one that does not read."""
    for path in sorted(folder.glob("*.json")):
        try:
            page = msgspec.json.decode(path.read_bytes(), type=Page)
        except msgspec.DecodeError:
            page = None
        except FileNotFoundError:
            continue
        yield path, page if page is not None and page.version == VERSION else None


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
