"""The event log: what tampering it finds, what a remote may do to it, and which registries there are."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.core.base.clock import FixedClock, parse_time
from mlops_cli.core.base.database import Database
from mlops_cli.core.errors import Conflict, Exit, ExtraMissing, NotFound, ProjectError, RemoteError
from mlops_cli.core.events.chain import Verdict, follow, verify
from mlops_cli.core.events.open import open_events
from mlops_cli.core.events.protocol import NO_EVENT, ChainBroken, Event, Stored, decode, sayable
from mlops_cli.core.events.remote import RemoteEvents
from mlops_cli.core.events.sqlite import SqliteEvents
from mlops_cli.core.registry.registry import Registry
from mlops_cli.core.remotes.open import open_url
from mlops_cli.core.remotes.remote import Unsupported

NOW = FixedClock(parse_time("2026-01-01"))


def fill(store: SqliteEvents | RemoteEvents, count: int = 5) -> list[Event]:
    registry = Registry(store, clock=NOW, actor="Ada")
    return [registry.record("note", f"flights@{number}", {"number": number}) for number in range(1, count + 1)]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    fill(SqliteEvents(Database(tmp_path / "mlo.db")))
    return tmp_path / "mlo.db"


def tamper(path: Path, *statements: str) -> Verdict:
    connection = sqlite3.connect(path)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()
    return verify(SqliteEvents(Database(path)))


def broken(verdict: Verdict) -> tuple[int, str]:
    assert verdict.broken is not None
    return verdict.broken.seq, verdict.broken.problem


def test_an_altered_event_is_named(database: Path) -> None:
    verdict = tamper(database, "UPDATE event SET body = replace(body, 'Ada', 'Eve') WHERE seq = 3")
    assert broken(verdict) == (3, "its bytes were altered; they do not match its name")
    assert verdict.events == 2


def test_an_altered_event_with_a_name_made_to_fit_breaks_the_next_one(database: Path) -> None:
    event = next(SqliteEvents(Database(database)).read(since=2))
    forged = msgspec.structs.replace(event, actor="Eve")
    verdict = tamper(database, f"UPDATE event SET name = '{forged.name}', body = x'{forged.body.hex()}' WHERE seq = 3")
    seq, problem = broken(verdict)
    assert seq == 4
    assert "before it" in problem


@pytest.mark.parametrize(
    ("gone", "words"), [(3, "was removed; event 4 comes next"), (5, "once reached event 5"), (1, "removed")]
)
def test_a_removed_event_is_named_also_the_first_and_the_last(database: Path, gone: int, words: str) -> None:
    seq, problem = broken(tamper(database, f"DELETE FROM event WHERE seq = {gone}"))
    assert seq == gone
    assert words in problem


def test_a_log_emptied_whole_is_not_taken_for_a_new_one(database: Path) -> None:
    assert broken(tamper(database, "DELETE FROM event")) == (1, "it was removed; the log once reached event 5")


def test_two_events_that_changed_places_are_named(database: Path) -> None:
    verdict = tamper(
        database,
        "UPDATE event SET seq = 90 WHERE seq = 2",
        "UPDATE event SET seq = 2 WHERE seq = 3",
        "UPDATE event SET seq = 3 WHERE seq = 90",
    )
    assert broken(verdict) == (2, "in its place stands event 3")


def test_a_copy_of_an_event_is_named() -> None:
    class Doubled:
        place = "a backup"

        def __init__(self, events: list[Event], order: list[int]) -> None:
            self._items = [Stored(events[i].seq, events[i].name, events[i].body) for i in order]

        def stored(self) -> Iterator[Stored]:
            return iter(self._items)

        def extent(self) -> int:
            return 0

    events: list[Event] = []
    for seq in range(1, 4):
        before = events[-1].name if events else NO_EVENT
        events.append(Event(seq=seq, kind="note", time="t", actor="a", subject="s", data={}, before=before))
    assert broken(verify(Doubled(events, [0, 1, 1, 2])))[1] == "it is a copy of event 2"  # type: ignore[arg-type]
    assert "was removed" in broken(verify(Doubled(events, [0, 2, 1])))[1]  # type: ignore[arg-type]
    assert verify(Doubled(events, [0, 1, 2])).holds  # type: ignore[arg-type]


def test_reading_refuses_a_broken_chain_and_so_does_the_registry(database: Path) -> None:
    tamper(database, "DELETE FROM event WHERE seq = 3")
    with pytest.raises(ChainBroken, match="event 3") as caught:
        list(SqliteEvents(Database(database)).read())
    assert caught.value.exit_code == Exit.INTEGRITY
    assert "mlo audit" in str(caught.value.hint)
    with pytest.raises(ChainBroken):
        Registry(SqliteEvents(Database(database)), clock=NOW, actor="Ada").names()


def test_an_event_of_a_newer_mlo_is_refused_with_the_way_out() -> None:
    event = Event(seq=1, kind="note", time="t", actor="a", subject="s", data={}, before="", version=2)
    with pytest.raises(ProjectError, match="version 2") as caught:
        decode(Stored(1, event.name, event.body), "here")
    assert "upgrade" in str(caught.value.hint)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(data=st.dictionaries(st.text(), json_values, max_size=4), place=st.integers(0), bit=st.integers(0, 7))
def test_an_event_reads_back_as_it_was_and_any_flipped_bit_is_found(
    data: dict[str, object], place: int, bit: int
) -> None:
    event = Event(seq=1, kind="note", time="t", actor="Ada", subject="s", data=data, before=NO_EVENT)
    stored = Stored(1, event.name, event.body)
    assert list(follow([stored], "here")) == [event]
    flipped = bytearray(event.body)
    flipped[place % len(flipped)] ^= 1 << bit
    with pytest.raises(ChainBroken):
        decode(Stored(1, event.name, bytes(flipped)), "here")


def test_nan_in_an_event_is_a_mistake_of_its_maker() -> None:
    event = Event(seq=1, kind="note", time="t", actor="a", subject="s", data={"auc": float("nan")}, before="")
    with pytest.raises(ValueError, match="canonical"):
        _ = event.body


# -- on a remote ---------------------------------------------------------------------------------------------


class Counting:
    """A real folder remote that counts what is asked of it, and can lose answers or be out of reach."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._inner = open_url(str(folder), root=folder)
        self.name, self.url = "origin", str(folder)
        self.asked: list[str] = []
        self.fail: Callable[[str], None] = lambda doing: None
        self.lose_answer = False

    def put_if_absent(self, key: str, data: bytes) -> bool:
        self.fail("put")
        answer = self._inner.put_if_absent(key, data)
        if self.lose_answer:
            raise RemoteError("the connection was reset")
        return answer

    def get(self, key: str) -> bytes:
        self.fail("get")
        self.asked.append(f"get {key}")
        return self._inner.get(key)

    def list(self, prefix: str) -> Iterator[str]:
        self.fail("list")
        self.asked.append(f"list {prefix}")
        return self._inner.list(prefix)


@pytest.fixture
def remote(tmp_path: Path) -> Counting:
    return Counting(tmp_path / "remote")


def test_events_once_read_are_not_fetched_again(remote: Counting, tmp_path: Path) -> None:
    fill(RemoteEvents(remote, tmp_path / "other"))
    store = RemoteEvents(remote, tmp_path / "mine")
    assert len(list(store.read())) == 5
    remote.asked.clear()
    assert len(list(store.read())) == 5
    assert remote.asked == ["get events/000000000006.json"]  # a poll is one question: is there a next one?
    remote.asked.clear()
    assert len(list(RemoteEvents(remote, tmp_path / "mine").read())) == 5
    assert remote.asked == ["list events/", "get events/000000000006.json"]


def test_an_append_whose_answer_was_lost_is_recorded_once(remote: Counting, tmp_path: Path) -> None:
    store = RemoteEvents(remote, tmp_path / "mine")
    fill(store, 1)
    remote.lose_answer = True
    fill(store, 1)
    remote.lose_answer = False
    assert verify(store).events == 2


def test_a_remote_out_of_reach_is_an_error_and_never_an_empty_log(remote: Counting, tmp_path: Path) -> None:
    fill(RemoteEvents(remote, tmp_path / "mine"))

    def unreachable(doing: str) -> None:
        raise RemoteError(f"cannot {doing}: no route to host")

    remote.fail = unreachable
    for attempt in (
        lambda: list(RemoteEvents(remote, tmp_path / "mine").read()),
        lambda: RemoteEvents(remote, tmp_path / "mine").head(),
        lambda: list(RemoteEvents(remote, tmp_path / "new").read()),
        lambda: verify(RemoteEvents(remote, tmp_path / "new")),
        lambda: Registry(RemoteEvents(remote, tmp_path / "new"), clock=NOW, actor="Ada").names(),
    ):
        with pytest.raises(RemoteError) as caught:
            attempt()
        assert caught.value.exit_code == Exit.REMOTE


def test_a_remote_that_suddenly_shows_nothing_is_not_believed(remote: Counting, tmp_path: Path) -> None:
    fill(RemoteEvents(remote, tmp_path / "mine"))
    for path in (tmp_path / "remote" / "events").iterdir():
        path.unlink()
    with pytest.raises(RemoteError, match="5 were read here before"):
        RemoteEvents(remote, tmp_path / "mine").head()


def test_an_event_that_was_read_and_is_gone_from_the_remote_is_named(remote: Counting, tmp_path: Path) -> None:
    fill(RemoteEvents(remote, tmp_path / "mine"))
    (tmp_path / "remote" / "events" / "000000000004.json").unlink()
    with pytest.raises(ChainBroken, match="event 4"):
        list(RemoteEvents(remote, tmp_path / "mine").read())
    assert broken(verify(RemoteEvents(remote, tmp_path / "new"))) == (4, "it was removed; event 5 comes next")
    with pytest.raises(ChainBroken, match="event 4"):
        list(RemoteEvents(remote, tmp_path / "new").read())


def test_a_tail_that_was_cut_off_shows_where_it_was_read_before(remote: Counting, tmp_path: Path) -> None:
    fill(RemoteEvents(remote, tmp_path / "mine"))
    (tmp_path / "remote" / "events" / "000000000005.json").unlink()
    assert broken(verify(RemoteEvents(remote, tmp_path / "mine"))) == (
        5,
        "it was removed; the log once reached event 5",
    )


def test_a_history_rewritten_on_the_remote_is_found_by_who_read_the_old_one(remote: Counting, tmp_path: Path) -> None:
    fill(RemoteEvents(remote, tmp_path / "mine"), 2)
    path = tmp_path / "remote" / "events" / "000000000002.json"
    event = next(RemoteEvents(remote, tmp_path / "mine").read(since=1))
    forged = msgspec.structs.replace(event, actor="Eve")
    path.chmod(0o644)
    path.write_bytes(msgspec.json.encode({"name": forged.name, "event": msgspec.Raw(forged.body)}))
    assert verify(RemoteEvents(remote, tmp_path / "new")).holds  # nobody but an earlier reader can know
    assert broken(verify(RemoteEvents(remote, tmp_path / "mine"))) == (
        2,
        "it is not the event that was read here before",
    )


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"name": "x", "event": {}}'])
def test_a_file_that_is_no_event_is_named(remote: Counting, tmp_path: Path, data: bytes) -> None:
    fill(RemoteEvents(remote, tmp_path / "other"), 2)
    path = tmp_path / "remote" / "events" / "000000000002.json"
    path.chmod(0o644)
    path.write_bytes(data)
    assert broken(verify(RemoteEvents(remote, tmp_path / "new")))[0] == 2
    with pytest.raises(ChainBroken, match="event 2"):
        RemoteEvents(remote, tmp_path / "new").head()


def test_of_two_writers_at_one_place_the_second_is_told(remote: Counting, tmp_path: Path) -> None:
    first, second = RemoteEvents(remote, tmp_path / "a"), RemoteEvents(remote, tmp_path / "b")
    made = Event(seq=1, kind="note", time="t", actor="Ada", subject="s", data={}, before=NO_EVENT)
    first.append(made, after=NO_EVENT)
    with pytest.raises(Conflict):
        second.append(msgspec.structs.replace(made, actor="Bob"), after=NO_EVENT)


# -- which registry ------------------------------------------------------------------------------------------


def open_one(registry: str, tmp_path: Path) -> object:
    return open_events(registry, database=lambda: Database(tmp_path / "mlo.db"), remote=None, cache=tmp_path / "events")


def test_local_is_sqlite(tmp_path: Path) -> None:
    assert isinstance(open_one("local", tmp_path), SqliteEvents)


def test_postgres_is_an_error_that_says_what_to_use(tmp_path: Path) -> None:
    with pytest.raises(ExtraMissing, match="not available in this version") as caught:
        open_one("postgresql://host/db", tmp_path)
    assert "registry: local" in str(caught.value.hint)


def test_a_word_that_names_no_remote_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="orgin is neither"):
        open_one("orgin", tmp_path)


def test_a_remote_without_a_conditional_create_is_refused_with_the_reason(tmp_path: Path) -> None:
    remote = open_url("memory://registry-refused", root=tmp_path)
    with pytest.raises(Unsupported, match="conditional create"):
        open_events("memory", database=lambda: Database(tmp_path / "mlo.db"), remote=remote, cache=tmp_path / "events")
    with pytest.raises(Unsupported, match="conditional create"):
        fill(RemoteEvents(remote, tmp_path / "events"), 1)


def test_a_missing_key_is_not_found_on_a_real_remote(remote: Counting) -> None:
    with pytest.raises(NotFound):
        remote.get("events/000000000001.json")


def test_what_json_cannot_say_is_said_as_text() -> None:
    values = {"a": [math.inf, -math.inf, 1.5], 3: {"b": (math.nan, None, True, "x")}}
    assert sayable(values) == {"a": ["inf", "-inf", 1.5], "3": {"b": ["nan", None, True, "x"]}}
