import sqlite3
import threading
from pathlib import Path

import pytest

from mlops_cli.core.base.database import Database
from mlops_cli.core.errors import IntegrityError, MachineError, ProjectError

FIRST = "CREATE TABLE thing (id INTEGER PRIMARY KEY, name TEXT UNIQUE)"
SECOND = "ALTER TABLE thing ADD COLUMN size INTEGER; CREATE INDEX thing_size ON thing (size)"


def test_migrations_run_once_and_in_order(tmp_path: Path) -> None:
    database = Database(tmp_path / "mlo.db")
    database.migrate("things", [FIRST])
    database.execute("INSERT INTO thing (name) VALUES ('a')")
    database.migrate("things", [FIRST, SECOND])
    database.migrate("things", [FIRST, SECOND])
    database.migrate("others", ["CREATE TABLE other (id)"])
    assert database.rows("SELECT name, size FROM thing") == [("a", None)]


def test_a_newer_file_is_refused_with_the_advice_to_upgrade(tmp_path: Path) -> None:
    database = Database(tmp_path / "mlo.db")
    database.migrate("things", [FIRST, SECOND])
    with pytest.raises(ProjectError, match="newer mlo") as caught:
        database.migrate("things", [FIRST])
    assert "upgrade" in str(caught.value.hint)


def test_a_failed_migration_leaves_nothing_half_done(tmp_path: Path) -> None:
    database = Database(tmp_path / "mlo.db")
    with pytest.raises(sqlite3.OperationalError):
        database.migrate("things", [FIRST, "CREATE TABLE broken (id); NONSENSE"])
    assert database.rows("SELECT name FROM sqlite_master") == []


def test_a_transaction_that_fails_is_rolled_back(tmp_path: Path) -> None:
    database = Database(tmp_path / "mlo.db")
    database.migrate("things", [FIRST])
    with pytest.raises(sqlite3.IntegrityError), database.transaction():
        database.execute("INSERT INTO thing (name) VALUES ('a')")
        database.execute("INSERT INTO thing (name) VALUES ('a')")
    assert database.rows("SELECT * FROM thing") == []


def test_writers_queue_and_none_is_told_that_it_is_locked(tmp_path: Path) -> None:
    path = tmp_path / "mlo.db"
    Database(path).migrate("things", [FIRST])
    failures: list[BaseException] = []

    def write(first: int) -> None:
        try:
            database = Database(path)
            for number in range(25):
                with database.transaction():
                    database.execute("INSERT INTO thing (name) VALUES (?)", (f"{first}-{number}",))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert Database(path).rows("SELECT count(*) FROM thing") == [(100,)]


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mlo.db"
    path.write_bytes(b"not a database, but long enough to look like one" * 30)
    with pytest.raises(IntegrityError, match=r"mlo\.db is damaged"):
        Database(path)


def test_a_folder_that_cannot_be_written_can_still_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mlo.db"
    first = Database(path)
    first.migrate("things", [FIRST])
    first.execute("INSERT INTO thing (name) VALUES ('a')")
    first.close()
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write anywhere, so permissions cannot be taken away
    before = sorted(tmp_path.iterdir())
    database = Database(path)
    database.migrate("things", [FIRST])
    assert database.rows("SELECT name FROM thing") == [("a",)]
    with pytest.raises(MachineError, match="readonly"):
        database.execute("INSERT INTO thing (name) VALUES ('b')")
    assert sorted(tmp_path.iterdir()) == before
