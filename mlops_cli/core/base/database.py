"""SQLite, opened the one way mlo uses it: WAL, a busy timeout, a migrated schema, short transactions."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlops_cli.core.base.files import machine_errors
from mlops_cli.core.errors import IntegrityError, MachineError, ProjectError

BUSY_TIMEOUT_S = 30.0


class Database:
    """One SQLite file that several rooms share; each room brings its own migrations under its own name.

    A migration is one SQL script; a room's list only ever grows. Raises ProjectError if the file was
    written by a newer mlo, IntegrityError if it is not a database or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with machine_errors(f"cannot open {path}"):
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            if path.exists() and not os.access(path.parent, os.W_OK):
                # A project on read-only media can still be read; SQLite wants files beside the database otherwise.
                self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)
                return
            self._connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            self._use_wal()
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute("PRAGMA foreign_keys=ON")
        except sqlite3.Error as error:
            raise translate(error, path) from error

    def _use_wal(self) -> None:
        """A file that is new becomes WAL once. SQLite does not wait for another process that does so right now."""
        deadline = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(0.01)

    def migrate(self, room: str, scripts: Sequence[str]) -> None:
        """Bring the tables of `room` to the last script, each script once, in one transaction."""
        if self._level(room) == len(scripts):
            return
        with self.transaction():
            level = self._level(room)
            if level > len(scripts):
                raise ProjectError(
                    f"{self.path} was written by a newer mlo ({room} is at {level}, this mlo knows {len(scripts)})",
                    hint="upgrade mlo: pip install --upgrade mlops-cli",
                )
            self.execute("CREATE TABLE IF NOT EXISTS migration (room TEXT PRIMARY KEY, level INTEGER NOT NULL)")
            for script in scripts[level:]:
                for statement in filter(str.strip, script.split(";")):
                    self.execute(statement)
            self.execute("INSERT OR REPLACE INTO migration VALUES (?, ?)", (room, len(scripts)))

    def _level(self, room: str) -> int:
        if not self.rows("SELECT 1 FROM sqlite_master WHERE name = 'migration'"):
            return 0
        rows = self.rows("SELECT level FROM migration WHERE room = ?", (room,))
        return int(rows[0][0]) if rows else 0

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[sqlite3.Row]:
        try:
            return self._connection.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise translate(error, self.path) from error

    def execute(self, sql: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        try:
            return self._connection.execute(sql, values)
        except sqlite3.IntegrityError:
            raise  # a broken constraint has a meaning only the caller knows
        except sqlite3.Error as error:
            raise translate(error, self.path) from error

    def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        try:
            self._connection.executemany(sql, rows)
        except sqlite3.Error as error:
            raise translate(error, self.path) from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One write transaction, taken at once (IMMEDIATE), so that two writers queue and never deadlock."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.rollback()
            raise

    def close(self) -> None:
        self._connection.close()


def translate(error: sqlite3.Error, path: Path) -> Exception:
    """An sqlite3 error as the MloError it means."""
    text = str(error)
    if "full" in text or "readonly" in text or "unable to open" in text or "disk I/O" in text:
        return MachineError(f"cannot use {path}: {text}", hint="check the disk's free space and the permissions")
    if "locked" in text:
        return MachineError(f"{path} stayed locked for {BUSY_TIMEOUT_S:.0f} s", hint="end the process that holds it")
    if "not a database" in text or "malformed" in text:
        return IntegrityError(f"{path} is damaged: {text}", hint="restore it from a backup, or move it away")
    return error
