"""The runs in SQLite: started, logged to, finished, and then never changed."""

from __future__ import annotations

import socket
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from mlops_cli.core.base.database import Database
from mlops_cli.core.base.records import Logged, Metric
from mlops_cli.core.errors import UsageError
from mlops_cli.core.tracking import manifest
from mlops_cli.core.tracking.errors import RunDamaged, RunNotFound
from mlops_cli.core.tracking.ingest import Ingestion
from mlops_cli.core.tracking.processes import born
from mlops_cli.core.tracking.records import Run, Status
from mlops_cli.core.tracking.tables import RunTables

if TYPE_CHECKING:
    from mlops_cli.core.store.local import LocalStore
    from mlops_cli.core.tracking.search.filters import Filter
    from mlops_cli.core.tracking.search.sql import Order

LATEST = "latest"
MIN_PREFIX = 4


class Page(msgspec.Struct, frozen=True):
    """Some of the runs that were asked for. `next` says where those after them begin; None if there are none."""

    runs: tuple[Run, ...]
    next: str | None = None


Points = list[Metric]
History = dict[str, list[Metric]]


class RunStore:
    """Runs, their metrics with steps, parameters, tags and artifacts.

    Every change is one transaction; several processes may write at once. The latest value of a metric is the
    largest by (step, time, value), whatever the order of arrival; a NaN counts as larger than any number. A point
    that is there already is passed over. Raises RunNotFound, RunOver, RunDamaged.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tables = RunTables(database)

    # -- writing -------------------------------------------------------------------------------------------

    def start(self, run: Run) -> Run:
        """Add a run; returns it with `host` and `born` filled in. Raises UsageError for an id that exists."""
        if not run.host:
            run = msgspec.structs.replace(run, host=socket.gethostname())
        if run.pid and not run.born and run.host == socket.gethostname():
            run = msgspec.structs.replace(run, born=born(run.pid))
        with self._database.transaction():
            self._tables.insert(run)
        return run

    def log(self, run_id: str, logged: Logged) -> None:
        """Add to a running run what was logged. Parameters, tags, artifacts and model replace those of one name."""
        with self._database.transaction():
            self._tables.put(self._tables.running(run_id), logged)

    def finish(self, run: Run) -> Run:
        """End a run: what `run` says is laid over what was logged. From then on it never changes. Raises RunOver."""
        if not run.is_over:
            raise UsageError(f"run {run.short} is finished as {run.status}", hint="say finished, failed or killed")
        with self._database.transaction():
            number = self._tables.running(run.id)
            before = self._tables.load([self._tables.row(number)])[0]
            kept = {"host": before.host, "pid": before.pid, "born": before.born, "model": run.model or before.model}
            run = msgspec.structs.replace(run, **kept)
            self._tables.replace(number, run)
            self._tables.forget_spool(number)
        return self.get(run.id)

    # -- reading -------------------------------------------------------------------------------------------

    def get(self, text: str) -> Run:
        """The run with this id, with an id that begins so (4 hex digits or more), or the newest (`latest`)."""
        if text == LATEST:
            return self.latest(status=None)
        return self._tables.load([self._tables.row(self._number(text))])[0]

    def list(self, *, limit: int | None = None, status: Status | None = None, parent: str | None = None) -> list[Run]:
        """Newest first; with `parent`, only those that belong to the run with exactly this id."""
        wanted = {"status = ?": status, "parent = ?": parent}
        values: list[object] = [value for value in wanted.values() if value]
        where = " AND ".join(test for test, value in wanted.items() if value)
        where = f"WHERE {where}" if where else ""
        rows = self._database.rows(
            f"SELECT number, document, model FROM run {where} ORDER BY start DESC, id LIMIT ?",  # noqa: S608 - no input
            [*values, -1 if limit is None else limit],
        )
        return self._tables.load([tuple(row) for row in rows])

    def search(
        self,
        found: Filter | None = None,
        orders: Sequence[Order] = (),
        *,
        limit: int | None = None,
        after: str | None = None,
    ) -> Page:
        """The runs that pass a filter, by `orders` and then the newest first; `after` is the `next` of the page before.

        Runs that come or go between two pages move no other one from page to page. Raises UsageError for an `after`
        that is none of this order.
        """
        from mlops_cli.core.tracking.search.sql import terms

        last = _read_place(after, len(terms(orders))) if after is not None else ()
        rows = self._tables.search(found, orders, -1 if limit is None else limit + 1, last)
        is_more = limit is not None and len(rows) > limit
        rows = rows[:limit]
        return Page(tuple(self._tables.load([row[:3] for row in rows])), _place(rows[-1]) if is_more and rows else None)

    def count(self) -> int:
        """How many runs there are, of every status."""
        return int(self._database.rows("SELECT count(*) FROM run")[0][0])

    def latest(self, status: Status | None = "finished") -> Run:
        """The run that started last; `status=None` for one of any status. Raises RunNotFound."""
        runs = self.list(limit=1, status=status)
        if not runs:
            raise RunNotFound(f"there is no {status or ''} run yet".replace("  ", " "), hint="mlo run")
        return runs[0]

    def metric_history(self, run_id: str, key: str) -> Points:
        """Every point of a metric, by (step, time, value). Raises RunNotFound for an unknown run or key."""
        history = self.history(run_id)
        if key not in history:
            raise RunNotFound(f"run {run_id} has no metric {key}", hint=f"it has {', '.join(history) or 'none'}")
        return history[key]

    def history(self, run_id: str) -> History:
        """Every point of every metric of a run, by key and then by (step, time, value)."""
        return self._tables.points(self._number(run_id))

    def model_files(self, sha256: str) -> dict[str, str] | None:
        """The recorded sha256 of each file of the model, logged by a run here, that has a file with this one."""
        for model in self._tables.models():
            if sha256 in model.files.values():
                return model.files
        return None

    def _number(self, text: str) -> int:
        prefix = text.lower()
        if len(prefix) < MIN_PREFIX or len(prefix) > 32 or not set(prefix) <= set("0123456789abcdef"):
            raise UsageError(
                f"{text!r} is not the id of a run", hint=f"give {MIN_PREFIX} or more of its hex digits, or latest"
            )
        rows = self._database.rows(
            "SELECT number, id FROM run WHERE id >= ? AND id < ? ORDER BY id LIMIT 5", (prefix, prefix + "g")
        )
        if not rows:
            raise RunNotFound(f"there is no run {text}", hint="mlo runs list")
        if len(rows) > 1:
            raise UsageError(
                f"{text} could be {', '.join(row[1] for row in rows)}", hint="give more of the id's digits"
            )
        return int(rows[0][0])

    # -- travelling ----------------------------------------------------------------------------------------

    def manifest(self, run_id: str) -> bytes:
        """A run that is over, with its metrics' history, as canonical JSON. Raises UsageError while it runs."""
        run = self.get(run_id)
        if not run.is_over:
            raise UsageError(f"run {run.short} is still running", hint="wait for it to end")
        return manifest.to_bytes(run, self.history(run.id))

    def add_manifest(self, data: bytes) -> Run:
        """Add a run from its manifest; one that is here already must be the same. Raises RunDamaged."""
        run, history = manifest.from_bytes(data)
        with self._database.transaction():
            if not self._database.rows("SELECT 1 FROM run WHERE id = ?", (run.id,)):
                number = self._tables.insert(run)
                self._tables.put(
                    number, Logged(metrics=tuple(point for points in history.values() for point in points))
                )
                return self._tables.load([self._tables.row(number)])[0]
        if self.get(run.id).is_over and self.manifest(run.id) == manifest.to_bytes(run, history):
            return self.get(run.id)
        raise RunDamaged(
            f"run {run.short} is here already and says something else than the manifest",
            hint="runs never change once they end: find out who changed one of the two",
        )

    # -- ingesting -----------------------------------------------------------------------------------------

    def ingest(self, spool_root: Path, store: LocalStore | None, *, note: Callable[[str], None] | None = None) -> int:
        """Read what scripts spooled below `spool_root` and was not read yet; returns how many records that were.

        A run whose processes are gone is marked killed, with all it logged. Once a run is over and read, its spool
        is removed. Any number of processes may do this at once. `note` hears of damage, once.
        """
        return Ingestion(self._tables, self._database, store, note or (lambda _: None)).run(spool_root)


# A page ends at the values of its last run's order.


def _place(row: Sequence[object]) -> str:
    return urlsafe_b64encode(msgspec.msgpack.encode(list(row[3:]))).decode().rstrip("=")


def _read_place(text: str, count: int) -> Sequence[str | int | float | None]:
    try:
        padded = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        found = msgspec.msgpack.decode(padded, type=list[str | int | float | None])
    except (ValueError, msgspec.DecodeError):
        found = []
    if len(found) != count:
        raise UsageError("--after is no place in this order", hint="give the `next` of a page with the same --order-by")
    return found
