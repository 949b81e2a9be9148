"""Runs and stores that the tests of the tracking room share."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from mlops_cli.core.base.database import Database
from mlops_cli.core.store.local import LocalStore
from mlops_cli.core.tracking.records import Run
from mlops_cli.core.tracking.store import RunStore

START = "2013-05-01T12:00:00.000000Z"
END = "2013-05-01T12:01:00.000000Z"
DEAD = 2**22 + 1  # more than Linux gives to a process


def run_id(number: int) -> str:
    return f"{number:032x}"


def a_run(number: int = 1, **fields: Any) -> Run:
    return Run(**{"id": run_id(number), "name": f"run-{number}", "start": START, **fields})


def a_dead_run(number: int = 1, **fields: Any) -> Run:
    """One whose process has ended on this host."""
    return a_run(number, pid=DEAD, host=socket.gethostname(), **fields)


def a_store(folder: Path) -> RunStore:
    return RunStore(Database(folder / "mlo.db"))


def objects(folder: Path) -> LocalStore:
    return LocalStore(folder / "cache", "xxh128")
