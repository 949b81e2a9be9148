"""From spools to the database: each byte once, whoever reads it, and nobody's run is left running for ever."""

from __future__ import annotations

import contextlib
import shutil
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mlops_cli.core.base.clock import format_time
from mlops_cli.core.base.database import Database
from mlops_cli.core.base.files import safe_join
from mlops_cli.core.base.records import RUN_ID, Logged
from mlops_cli.core.tracking.names import run_name
from mlops_cli.core.tracking.processes import is_alive
from mlops_cli.core.tracking.records import Run, Status
from mlops_cli.core.tracking.spool import FILES, SpoolFile, gather, read_file, spool_files, writer_of
from mlops_cli.core.tracking.spooled import Begin, End, Writer
from mlops_cli.core.tracking.tables import RunTables

if TYPE_CHECKING:
    from mlops_cli.core.store.local import LocalStore


class _Part(msgspec.Struct):
    """What one file held that was not read before."""

    path: Path
    name: str  # in the table `spool`: <run>/<stage>/<file>
    start: int
    read: SpoolFile


class Ingestion:
    """One pass over the spools."""

    def __init__(
        self, tables: RunTables, database: Database, store: LocalStore | None, note: Callable[[str], None]
    ) -> None:
        self._tables = tables
        self._database = database
        self._store = store
        self._note = note
        self._host = socket.gethostname()

    def run(self, root: Path) -> int:
        count = 0
        seen = set()
        try:
            folders = sorted(path for path in root.iterdir() if RUN_ID.fullmatch(path.name) and len(path.name) == 32)
        except (FileNotFoundError, NotADirectoryError):
            folders = []
        for folder in folders:
            seen.add(folder.name)
            count += self._folder(folder)
        for run in self._running():
            if run.id not in seen and self._is_gone(run.pid, run.host, run.born):
                with self._database.transaction():
                    self._close(run.id, "killed", run.start)
        return count

    def _running(self) -> list[Run]:
        rows = self._database.rows("SELECT number, document, model FROM run WHERE status = 'running'")
        return self._tables.load(rows)

    def _folder(self, folder: Path) -> int:
        """Read the spool of one run: every file in it and in its stages' folders."""
        run = self._find(folder.name)
        if run is not None and run.is_over:
            self._remove(folder)
            return 0
        files = [path for place in _stages(folder) for path in spool_files(place)]
        # Ask who lives before reading: what they wrote until they died is then certainly read.
        living = {path for path in files if self._is_written(path)}
        run_gone = run is not None and self._is_gone(run.pid, run.host, run.born)
        offsets = self._offsets(folder.name)
        parts: list[_Part] = []
        for path in files:
            name = path.relative_to(folder.parent).as_posix()
            start = offsets.get(name, 0)
            parts.append(_Part(path, name, start, read_file(path, start, final=path not in living)))
        records = [record for part in parts for record in part.read.records]
        begin = next((record for record in records if isinstance(record, Begin)), None)
        if run is None:
            if not records:  # nothing was written yet, or nothing survived
                return 0
            run = self._begun(begin, folder) if begin is not None else _recovered(folder, parts)
            run_gone = self._is_gone(run.pid, run.host, run.born)
        if all(part.read.end == part.start for part in parts) and not (run_gone and not living):
            return 0
        logged = [gather(part.read.records, part.path.parent, self._store) for part in parts]
        count, is_over = self._commit(run, parts, logged, is_gone=run_gone and not living)
        if is_over:
            self._remove(folder)
        return count

    def _commit(self, run: Run, parts: list[_Part], logged: list[Logged], *, is_gone: bool) -> tuple[int, bool]:
        """Put what was read, how far it was read and whether that ends the run into the database, together.

        Returns the number of records, and whether the run is over.
        """
        count = damaged = 0
        with self._database.transaction():
            current = self._find(run.id)
            if current is not None and current.is_over:
                return 0, True
            number = self._tables.insert(run) if current is None else self._tables.running(run.id)
            offsets = self._offsets(run.id)
            end: End | None = None
            for part, found in zip(parts, logged, strict=True):
                if offsets.get(part.name, 0) != part.start or part.read.end == part.start:
                    continue  # another process read it meanwhile, or there was nothing new
                self._tables.put(number, found)
                self._database.execute(
                    "INSERT INTO spool VALUES (?, ?, ?, ?) ON CONFLICT (file) DO UPDATE SET"
                    " offset = excluded.offset, damaged = damaged + excluded.damaged",
                    (part.name, number, part.read.end, part.read.damaged),
                )
                count += sum(not isinstance(record, Writer) for record in part.read.records)
                damaged += part.read.damaged
                end = next((record for record in part.read.records if isinstance(record, End)), end)
            if damaged:
                self._tables.put(number, Logged(tags={"mlo.damaged": str(damaged)}))
            # In the same transaction: a kill between reading an end and acting on it would lose the end.
            if end is not None:
                self._close(run.id, end.status, end.time)
            elif is_gone:
                self._close(run.id, "killed", run.start)
        if damaged:
            what = "a damaged stretch" if damaged == 1 else f"{damaged} damaged stretches"
            verb = "was" if damaged == 1 else "were"
            self._note(f"{what} in what run {run.short} logged {verb} left out; the rest was kept")
        return count, end is not None or is_gone

    def _close(self, run_id: str, status: Status, time: str) -> None:
        """Within a transaction: end a run that still runs, no earlier than its last metric."""
        run = self._find(run_id)
        if run is None or run.is_over:
            return
        number = self._tables.running(run_id)
        rows = self._database.rows("SELECT max(ts) FROM metric_latest WHERE run = ?", (number,))
        if rows[0][0]:
            time = max(time, format_time(datetime.fromtimestamp(rows[0][0] / 1000, UTC)))
        self._tables.replace(number, msgspec.structs.replace(run, status=status, end=time))
        self._tables.forget_spool(number)

    def _find(self, run_id: str) -> Run | None:
        return self._tables.find(run_id)

    def _offsets(self, run_id: str) -> dict[str, int]:
        rows = self._database.rows(
            "SELECT file, offset FROM spool WHERE file >= ? AND file < ?", (f"{run_id}/", f"{run_id}0")
        )
        return {row[0]: int(row[1]) for row in rows}

    def _begun(self, begin: Begin, folder: Path) -> Run:
        """The run a script opened, with the patch it found kept in the store."""
        run = begin.run
        if begin.diff and self._store is not None:
            for place in _stages(folder):
                patch = safe_join(place / FILES, begin.diff)
                if patch.is_file():
                    return msgspec.structs.replace(run, diff=str(self._store.put_file(patch)))
        return run

    def _is_written(self, path: Path) -> bool:
        """Whether a process that writes a file lives. Before its first frame only the file's name tells which."""
        writer = writer_of(path)
        if writer is not None:
            return not self._is_gone(writer.pid, writer.host, writer.born)
        pid = path.name.partition("-")[0]
        return pid.isdigit() and is_alive(int(pid))

    def _is_gone(self, pid: int, host: str, birth: str) -> bool:
        """Whether a process is known to have ended; of another host's nothing is known."""
        return host == self._host and not is_alive(pid, birth)

    def _remove(self, folder: Path) -> None:
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)


def _stages(folder: Path) -> list[Path]:
    """The folders of a run's spool: one for each stage, or `script`."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return sorted(path for path in folder.iterdir() if path.is_dir())
    return []


def _recovered(folder: Path, parts: list[_Part]) -> Run:
    """A run of which only the spool is left: its row was lost with the database."""
    first = next((record for part in parts for record in part.read.records if isinstance(record, Writer)), None)
    times = [part.path.stat().st_mtime for part in parts if part.path.exists()]
    start = datetime.fromtimestamp(min(times, default=0.0), UTC)
    run = Run(id=folder.name, name=run_name(folder.name), start=format_time(start), tags={"mlo.recovered": "true"})
    return run if first is None else msgspec.structs.replace(run, pid=first.pid, host=first.host, born=first.born)
