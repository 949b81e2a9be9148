"""What every event store promises: order, one winner, nothing lost or doubled, and a chain that verifies."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mlops_cli.core.base.clock import FixedClock, parse_time
from mlops_cli.core.base.database import Database
from mlops_cli.core.errors import Conflict, UsageError
from mlops_cli.core.events.chain import verify
from mlops_cli.core.events.open import open_events
from mlops_cli.core.events.protocol import NO_EVENT, Event, EventStore
from mlops_cli.core.registry.registry import Registry
from mlops_cli.core.remotes.open import open_url

Open = Callable[[], EventStore]


def open_store(kind: str, folder: Path, clone: str = "a") -> EventStore:
    """The same log, as another process or another clone opens it."""
    url = (folder / "bucket").read_text() if kind == "bucket" else str(folder / "remote")
    remote = None if kind == "sqlite" else open_url(url, root=folder)
    return open_events(
        "local" if kind == "sqlite" else url,
        database=lambda: Database(folder / "mlo.db"),
        remote=remote,
        cache=folder / clone / "events",
    )


@pytest.fixture(params=["sqlite", "remote", "bucket"])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "bucket":
        (tmp_path / "bucket").write_text(f"s3://{request.getfixturevalue('s3_bucket').name}/registry")
    return str(request.param)


@pytest.fixture
def opened(kind: str, tmp_path: Path) -> Open:
    (tmp_path / "remote").mkdir()
    return lambda: open_store(kind, tmp_path)


def event(seq: int, before: str, **data: object) -> Event:
    return Event(
        seq=seq,
        kind="note",
        time="2026-01-01T00:00:00.000000Z",
        actor="Ada",
        subject="flights@1",
        data=data,
        before=before,
    )


def append(store: EventStore, **data: object) -> Event:
    seq, before = store.head() or (0, NO_EVENT)
    made = event(seq + 1, before, **data)
    store.append(made, after=before)
    return made


def test_an_empty_log_has_no_head_and_no_events(opened: Open) -> None:
    store = opened()
    assert store.head() is None
    assert list(store.read()) == []
    assert verify(store).holds


def test_events_are_read_back_in_the_order_they_were_appended(opened: Open) -> None:
    store = opened()
    written = [append(store, number=number, text="né", share=0.1, whole=1.0, nothing=None) for number in range(5)]
    assert list(store.read()) == written
    assert list(opened().read()) == written
    assert opened().head() == (5, written[-1].name)


def test_read_since_gives_only_what_came_after(opened: Open) -> None:
    store = opened()
    written = [append(store, number=number) for number in range(4)]
    assert list(store.read(since=2)) == written[2:]
    assert list(store.read(since=4)) == []


def test_a_reader_sees_what_another_appends(opened: Open) -> None:
    reader, writer = opened(), opened()
    assert reader.head() is None
    first = append(writer, number=1)
    assert list(reader.read()) == [first]
    second = append(writer, number=2)
    assert list(reader.read(since=1)) == [second]


def test_append_after_anything_but_the_last_event_is_a_conflict(opened: Open) -> None:
    store = opened()
    first = append(store)
    append(store)
    with pytest.raises(Conflict):
        store.append(event(2, first.name, late=True), after=first.name)
    with pytest.raises(Conflict):
        store.append(event(1, NO_EVENT), after=NO_EVENT)
    assert len(list(store.read())) == 2


def test_an_event_that_does_not_say_whom_it_follows_is_refused(opened: Open) -> None:
    store = opened()
    first = append(store)
    for wrong in (event(3, first.name), event(2, NO_EVENT)):
        with pytest.raises(UsageError, match="does not follow"):
            store.append(wrong, after=first.name)
    assert verify(store).events == 1


def test_of_writers_that_saw_the_same_head_exactly_one_wins(opened: Open) -> None:
    first = append(opened())
    gate, outcomes = threading.Barrier(4), []

    def race(number: int) -> None:
        store = opened()
        gate.wait()
        try:
            store.append(event(2, first.name, writer=number), after=first.name)
            outcomes.append("won")
        except Conflict:
            outcomes.append("lost")

    threads = [threading.Thread(target=race, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["lost", "lost", "lost", "won"]
    assert verify(opened()).events == 2


EACH = 12


def write_many(kind: str, folder: Path, writer: str) -> None:
    registry = Registry(
        open_store(kind, folder, clone=writer), clock=FixedClock(parse_time("2026-01-01")), actor=writer
    )
    for number in range(EACH):
        registry.record("note", f"{writer}@1", {"number": number})


def test_two_racing_processes_lose_and_double_nothing(kind: str, tmp_path: Path) -> None:
    (tmp_path / "remote").mkdir()
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=write_many, args=(kind, tmp_path, name)) for name in ("ada", "bob")]
    for process in writers:
        process.start()
    for process in writers:
        process.join()
    assert [process.exitcode for process in writers] == [0, 0]
    store = open_store(kind, tmp_path)
    events = list(store.read())
    assert [event.seq for event in events] == list(range(1, 2 * EACH + 1))
    for name in ("ada", "bob"):
        assert [event.data["number"] for event in events if event.actor == name] == list(range(EACH))
    verdict = verify(store)
    assert verdict.holds
    assert (verdict.events, verdict.head, verdict.kinds) == (2 * EACH, events[-1].name, {"note": 2 * EACH})
