"""The event log in the project's own SQLite file: the default registry of one machine."""

from __future__ import annotations

from collections.abc import Iterator

from mlops_cli.core.base.database import Database
from mlops_cli.core.errors import Conflict
from mlops_cli.core.events.chain import check_next, follow
from mlops_cli.core.events.protocol import NO_EVENT, Event, Head, Stored

# AUTOINCREMENT keeps the highest seq ever given in sqlite_sequence: a log that lost its last events shows.
MIGRATIONS = (
    """
    CREATE TABLE event (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        body BLOB NOT NULL
    )
    """,
)
_PAGE = 500


class SqliteEvents:
    """Events in the table `event`. Two writers queue on the database's write lock; the later one gets Conflict."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.migrate("events", MIGRATIONS)

    @property
    def place(self) -> str:
        return str(self._database.path)

    def append(self, event: Event, *, after: str) -> None:
        body = event.body
        with self._database.transaction():
            head = self.head()
            if (head.name if head else NO_EVENT) != after:
                raise Conflict(
                    f"event {event.seq} was to follow {after[:8] or 'nothing'}, but the log has moved on",
                    hint="run the command again",
                )
            check_next(event, head)
            self._database.execute("INSERT INTO event VALUES (?, ?, ?)", (event.seq, event.name, body))

    def read(self, *, since: int = 0) -> Iterator[Event]:
        return follow(self._rows(since), self.place, since=since)

    def head(self) -> Head | None:
        rows = self._database.rows("SELECT seq, name FROM event ORDER BY seq DESC LIMIT 1")
        return Head(int(rows[0][0]), str(rows[0][1])) if rows else None

    def stored(self) -> Iterator[Stored]:
        return self._rows(0)

    def extent(self) -> int:
        rows = self._database.rows("SELECT seq FROM sqlite_sequence WHERE name = 'event'")
        return int(rows[0][0]) if rows else 0

    def _rows(self, since: int) -> Iterator[Stored]:
        while rows := self._database.rows(
            "SELECT seq, name, body FROM event WHERE seq > ? ORDER BY seq LIMIT ?", (since, _PAGE)
        ):
            for seq, name, body in rows:
                yield Stored(int(seq), str(name), body if isinstance(body, bytes) else str(body).encode())
            since = int(rows[-1][0])
