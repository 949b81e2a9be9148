"""The runs' tables, row by row. Everything here happens inside the caller's transaction, or only reads."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from mlops_cli.core.base.database import Database
from mlops_cli.core.base.records import Entry, Logged, LoggedModel, Metric
from mlops_cli.core.errors import UsageError
from mlops_cli.core.tracking.errors import RunNotFound, RunOver
from mlops_cli.core.tracking.records import Run
from mlops_cli.core.tracking.schema import ROOM, SCRIPTS

if TYPE_CHECKING:
    from mlops_cli.core.tracking.search.filters import Filter
    from mlops_cli.core.tracking.search.sql import Order

_encoder = msgspec.msgpack.Encoder()
_run_decoder = msgspec.msgpack.Decoder(Run)
_entry_decoder = msgspec.msgpack.Decoder(Entry)
_model_decoder = msgspec.msgpack.Decoder(LoggedModel)

_DESCRIBED = "name = ?, actor = ?, ended = ?, commit_id = ?, branch = ?"
Row = tuple[int, bytes, bytes | None]


class RunTables:
    """Rows of runs, by `number`, which is the run's row in this database and nowhere else."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.migrate(ROOM, SCRIPTS)
        if database.rows("SELECT 1 FROM run WHERE described = 0 LIMIT 1"):
            self._describe()

    def _describe(self) -> None:
        """Let runs from before they could be searched be found as well."""
        with self._database.transaction():
            rows = self._database.rows("SELECT number, document FROM run WHERE described = 0")
            self._database.execute_many(
                f"UPDATE run SET {_DESCRIBED}, described = 1 WHERE number = ?",  # noqa: S608 - no input
                [(*_description(_run_decoder.decode(document)), number) for number, document in rows],
            )

    def insert(self, run: Run) -> int:
        """Add a run with what it holds; returns its number. Raises UsageError for an id that exists."""
        document, model = _documents(run)
        values = (run.id, run.status, run.start, document, model, run.parent, *_description(run))
        try:
            cursor = self._database.execute(
                "INSERT INTO run (id, status, start, document, model, parent, name, actor, ended, commit_id, branch,"
                " described) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)",
                values,
            )
        except sqlite3.IntegrityError:
            raise UsageError(f"there is a run {run.id} already", hint="give each run an id of its own") from None
        number = int(cursor.lastrowid or 0)
        self.put(number, Logged(run.params, (), run.tags, run.artifacts, None))
        return number

    def replace(self, number: int, run: Run) -> None:
        """Let the row of a run say what `run` says; its metrics stay."""
        document, model = _documents(run)
        self._database.execute(
            f"UPDATE run SET status = ?, start = ?, document = ?, model = ?, {_DESCRIBED} WHERE number = ?",  # noqa: S608
            (run.status, run.start, document, model, *_description(run), number),
        )
        self.put(number, Logged(run.params, (), run.tags, run.artifacts, None))

    def put(self, number: int, logged: Logged) -> None:
        """Add what was logged; points that are there already are passed over."""
        execute_many = self._database.execute_many
        if logged.metrics:
            points = [(number, point.key, point.step, point.time_ms, *_split(point.value)) for point in logged.metrics]
            execute_many("INSERT OR IGNORE INTO metric VALUES (?, ?, ?, ?, ?, ?)", points)
            latest: dict[str, Any] = {}
            for row in points:
                latest[row[1]] = max(latest.get(row[1], row), row)
            execute_many(
                "INSERT INTO metric_latest (run, key, step, ts, is_nan, value) VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (run, key) DO UPDATE SET"
                " step = excluded.step, ts = excluded.ts, is_nan = excluded.is_nan, value = excluded.value"
                " WHERE (excluded.step, excluded.ts, excluded.is_nan, excluded.value) > (step, ts, is_nan, value)",
                list(latest.values()),
            )
        if logged.params:
            rows = [(number, key, json.dumps(value, sort_keys=True)) for key, value in logged.params.items()]
            execute_many("INSERT OR REPLACE INTO param VALUES (?, ?, ?)", rows)
        if logged.tags:
            execute_many(
                "INSERT OR REPLACE INTO tag VALUES (?, ?, ?)", [(number, *item) for item in logged.tags.items()]
            )
        if logged.artifacts:
            entries = [(number, name, _encoder.encode(entry)) for name, entry in logged.artifacts.items()]
            execute_many("INSERT OR REPLACE INTO artifact VALUES (?, ?, ?)", entries)
        if logged.model is not None:
            self._database.execute("UPDATE run SET model = ? WHERE number = ?", (_encoder.encode(logged.model), number))

    def forget_spool(self, number: int) -> None:
        """Drop how far the spools of a run were read: it is over, and nothing more is read of them."""
        self._database.execute("DELETE FROM spool WHERE run = ?", (number,))

    def number(self, run_id: str) -> int | None:
        """The row of the run with exactly this id."""
        rows = self._database.rows("SELECT number FROM run WHERE id = ?", (run_id,))
        return int(rows[0][0]) if rows else None

    def running(self, run_id: str) -> int:
        """The row of a run that still runs. Raises RunNotFound, RunOver."""
        rows = self._database.rows("SELECT number, status FROM run WHERE id = ?", (run_id,))
        if not rows:
            raise RunNotFound(f"there is no run {run_id}", hint="mlo runs list")
        if rows[0][1] != "running":
            raise RunOver(f"run {run_id[:8]} is {rows[0][1]} and never changes again", hint="start a new run")
        return int(rows[0][0])

    def find(self, run_id: str) -> Run | None:
        """The run with exactly this id."""
        number = self.number(run_id)
        return None if number is None else self.load([self.row(number)])[0]

    def row(self, number: int) -> Row:
        row = self._database.rows("SELECT number, document, model FROM run WHERE number = ?", (number,))[0]
        return row[0], row[1], row[2]

    def load(self, rows: Sequence[Any]) -> list[Run]:
        """Whole runs from their rows, in four more queries however many they are."""
        if not rows:
            return []
        numbers = [row[0] for row in rows]
        params = self._gather("SELECT run, key, value FROM param", numbers, json.loads)
        tags = self._gather("SELECT run, key, value FROM tag", numbers, str)
        artifacts = self._gather("SELECT run, name, entry FROM artifact", numbers, _entry_decoder.decode)
        metrics = self._gather(
            "SELECT run, key, CASE WHEN is_nan THEN NULL ELSE value END FROM metric_latest", numbers, _joined
        )
        return [
            msgspec.structs.replace(
                _run_decoder.decode(document),
                params=params.get(number, {}),
                tags=tags.get(number, {}),
                artifacts=artifacts.get(number, {}),
                metrics=metrics.get(number, {}),
                model=None if model is None else _model_decoder.decode(model),
            )
            for number, document, model in rows
        ]

    def _gather(self, select: str, numbers: Sequence[int], decode: Callable[[Any], Any]) -> dict[int, dict[str, Any]]:
        found: dict[int, dict[str, Any]] = {}
        # One text of numbers rather than one placeholder each: SQLite takes only so many.
        rows = self._database.rows(
            f"{select} WHERE run IN (SELECT value FROM json_each(?)) ORDER BY 1, 2",  # noqa: S608 - all of it is ours
            (json.dumps(list(numbers)),),
        )
        for number, key, value in rows:
            found.setdefault(number, {})[key] = decode(value)
        return found

    def search(self, found: Filter | None, orders: Sequence[Order], limit: int, last: Sequence[Any]) -> list[Any]:
        """Rows (number, document, model, and the values of the order's terms) of the runs that pass, behind the one
        with the values `last`."""
        from mlops_cli.core.tracking.search import sql

        asked, by = sql.where(found), sql.terms(orders)
        columns = "".join(f", {term.value.text} AS o{place}" for place, term in enumerate(by))
        values = [value for term in by for value in term.value.values]
        behind = sql.after(by, last) if last else sql.Sql("1")
        order = ", ".join(f"o{place}{' DESC' * term.is_descending}" for place, term in enumerate(by))
        return self._database.rows(
            f"SELECT * FROM (SELECT number, document, model{columns} FROM run WHERE {asked.text})"  # noqa: S608 - no input
            f" WHERE {behind.text} ORDER BY {order} LIMIT ?",
            [*values, *asked.values, *behind.values, limit],
        )

    def models(self) -> Iterator[LoggedModel]:
        """Every model that a run logged, newest first."""
        for row in self._database.rows("SELECT model FROM run WHERE model IS NOT NULL ORDER BY number DESC"):
            yield _model_decoder.decode(row[0])

    def points(self, number: int) -> dict[str, list[Metric]]:
        """Every point of every metric of a run, by key and then by (step, time, value)."""
        rows = self._database.rows(
            "SELECT key, step, ts, is_nan, value FROM metric WHERE run = ? ORDER BY key, step, ts, is_nan, value",
            (number,),
        )
        found: dict[str, list[Metric]] = {}
        for key, step, ts, is_nan, value in rows:
            found.setdefault(key, []).append(Metric(key, math.nan if is_nan else float(value), step, ts))
        return found


def _documents(run: Run) -> tuple[bytes, bytes | None]:
    """A run as it is kept: what has a table of its own is left out. And its model."""
    bare = msgspec.structs.replace(run, params={}, metrics={}, tags={}, artifacts={}, model=None)
    return _encoder.encode(bare), None if run.model is None else _encoder.encode(run.model)


def _description(run: Run) -> tuple[str | None, ...]:
    """name, actor, ended, commit_id, branch: what `search` asks of the run itself. An empty text is none."""
    return (run.name or None, run.actor or None, run.end, run.commit, run.branch)


def _split(value: float) -> tuple[int, float]:
    return (1, 0.0) if math.isnan(value) else (0, value)


def _joined(value: float | None) -> float:
    return math.nan if value is None else float(value)
