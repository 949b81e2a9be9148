"""The tables of the runs in SQLite. A list of scripts that only ever grows; see Database.migrate."""

from __future__ import annotations

ROOM = "tracking"

# NaN is NULL to SQLite, and no part of a key may be NULL: so a NaN is the value 0 with is_nan 1.
SCRIPTS = (
    """
    CREATE TABLE run (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        status TEXT NOT NULL,
        start TEXT NOT NULL,
        document BLOB NOT NULL,
        model BLOB
    );
    CREATE INDEX run_by_start ON run (start DESC, id);
    CREATE INDEX run_by_status ON run (status);
    CREATE TABLE metric (
        run INTEGER NOT NULL REFERENCES run (number) ON DELETE CASCADE,
        key TEXT NOT NULL,
        step INTEGER NOT NULL,
        ts INTEGER NOT NULL,
        is_nan INTEGER NOT NULL,
        value REAL NOT NULL,
        PRIMARY KEY (run, key, step, ts, is_nan, value)
    ) WITHOUT ROWID;
    CREATE TABLE metric_latest (
        run INTEGER NOT NULL REFERENCES run (number) ON DELETE CASCADE,
        key TEXT NOT NULL,
        step INTEGER NOT NULL,
        ts INTEGER NOT NULL,
        is_nan INTEGER NOT NULL,
        value REAL NOT NULL,
        PRIMARY KEY (run, key)
    ) WITHOUT ROWID;
    CREATE TABLE param (
        run INTEGER NOT NULL REFERENCES run (number) ON DELETE CASCADE,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (run, key)
    ) WITHOUT ROWID;
    CREATE TABLE tag (
        run INTEGER NOT NULL REFERENCES run (number) ON DELETE CASCADE,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (run, key)
    ) WITHOUT ROWID;
    CREATE TABLE artifact (
        run INTEGER NOT NULL REFERENCES run (number) ON DELETE CASCADE,
        name TEXT NOT NULL,
        entry BLOB NOT NULL,
        PRIMARY KEY (run, name)
    ) WITHOUT ROWID;
    CREATE TABLE spool (
        file TEXT PRIMARY KEY,
        run INTEGER NOT NULL REFERENCES run (number) ON DELETE CASCADE,
        offset INTEGER NOT NULL,
        damaged INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    """
    ALTER TABLE run ADD COLUMN parent TEXT;
    CREATE INDEX run_by_parent ON run (parent) WHERE parent IS NOT NULL
    """,
    # What runs are searched by; of those from before, `RunTables` fills it in from their documents.
    """
    ALTER TABLE run ADD COLUMN name TEXT;
    ALTER TABLE run ADD COLUMN actor TEXT;
    ALTER TABLE run ADD COLUMN ended TEXT;
    ALTER TABLE run ADD COLUMN commit_id TEXT;
    ALTER TABLE run ADD COLUMN branch TEXT;
    ALTER TABLE run ADD COLUMN described INTEGER NOT NULL DEFAULT 0;
    CREATE INDEX run_undescribed ON run (number) WHERE described = 0
    """,
)
