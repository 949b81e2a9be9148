"""Versions and aliases as a view over the events."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import msgspec
import pytest

from mlops_cli.core.base.clock import FixedClock, parse_time
from mlops_cli.core.base.database import Database
from mlops_cli.core.base.records import Entry, ModelRef, Signature
from mlops_cli.core.errors import Exit, IntegrityError, NotFound, UsageError
from mlops_cli.core.events.chain import verify
from mlops_cli.core.events.open import open_events
from mlops_cli.core.events.protocol import EventStore
from mlops_cli.core.registry.records import Version
from mlops_cli.core.registry.registry import Draft, Registry
from mlops_cli.core.remotes.open import open_url


def facts(run: int, name: str = "flights") -> Version:
    return Version(
        name=name,
        version=0,
        run=f"{run:032x}",
        model=Entry(f"xxh128:{run:032x}", "dir", 10, 2),
        files={"model.skops": "0" * 64},
        signature=Signature((), "regression"),
        metrics={"rmse": 0.5, "bad": None},
        params={"depth": 3, "rate": 1.0},
    )


def open_store(kind: str, folder: Path, clone: str = "a") -> EventStore:
    remote = open_url(str(folder / "remote"), root=folder) if kind == "remote" else None
    return open_events("local", database=lambda: Database(folder / "mlo.db"), remote=remote, cache=folder / clone)


def open_registry(folder: Path, kind: str = "sqlite", actor: str = "Ada") -> Registry:
    return Registry(open_store(kind, folder, actor), clock=FixedClock(parse_time("2026-01-01")), actor=actor)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return open_registry(tmp_path)


def point(registry: Registry, version: int, alias: str = "production", kind: str = "promote") -> None:
    data = {"alias": alias, "before": registry.alias("flights", alias)}
    registry.record(kind, f"flights@{version}", data)


def test_versions_are_numbered_from_one_within_a_name(registry: Registry) -> None:
    made = [registry.add_version(facts(run))[0].title for run in (1, 2)]
    made.append(registry.add_version(facts(3, "other"))[0].title)
    assert made == ["flights@1", "flights@2", "other@1"]
    assert registry.names() == ["flights", "other"]


def test_a_version_reads_back_as_it_was_registered(registry: Registry, tmp_path: Path) -> None:
    made, created = registry.add_version(facts(1))
    assert created
    assert made == msgspec.structs.replace(facts(1), version=1, time="2026-01-01T00:00:00.000000Z", actor="Ada")
    assert open_registry(tmp_path).version("flights", 1) == made


def test_the_same_model_of_the_same_run_is_registered_once(registry: Registry) -> None:
    first, _ = registry.add_version(facts(1))
    registry.add_version(facts(2))
    again, created = registry.add_version(facts(1))
    assert (again, created) == (first, False)
    assert len(registry.history()) == 2
    assert registry.add_version(facts(1, "other"))[1]


def test_an_alias_points_where_it_was_last_pointed(registry: Registry) -> None:
    registry.add_version(facts(1))
    registry.add_version(facts(2))
    assert registry.alias("flights", "production") is None
    point(registry, 1)
    point(registry, 2)
    point(registry, 1, "staging")
    assert registry.aliases("flights") == {"production": 2, "staging": 1}
    assert registry.resolve(ModelRef("flights", alias="production")).version == 2
    assert registry.resolve(ModelRef("flights", alias="latest")).version == 2
    assert [change.version for change in registry.changes("flights", "production")] == [1, 2]


@pytest.mark.parametrize(
    ("steps", "previous"),
    [
        ("", None),
        ("p1", None),
        ("p1 p2", 1),
        ("p1 p2 p3", 2),
        ("p1 p2 r1", None),
        ("p1 p2 p3 r2", 1),
        ("p1 p2 p3 r2 r1", None),
        ("p1 p2 r1 p2", 1),
        ("p1 p2 r1 p3", 1),
        ("p1 p2 p1", 2),
        ("p1 p2 p1 r2", 1),
        ("p2 p1 p3 r1 p2", 1),
    ],
)
def test_the_version_before_is_the_one_promoted_before(registry: Registry, steps: str, previous: int | None) -> None:
    for run in (1, 2, 3):
        registry.add_version(facts(run))
    for step in steps.split():
        point(registry, int(step[1]), kind="promote" if step[0] == "p" else "rollback")
    assert registry.previous("flights", "production") == previous


def test_what_is_not_there_is_named_with_what_is(registry: Registry) -> None:
    with pytest.raises(NotFound, match="no model is registered"):
        registry.resolve(ModelRef("flights", version=1))
    registry.add_version(facts(1))
    registry.add_version(facts(2))
    point(registry, 1)
    for ref, words, hint in (
        (ModelRef("flihgts", version=1), "there is no model flihgts; registered: flights", "did you mean flights?"),
        (ModelRef("flights", version=7), "has no version 7; it has versions 1 to 2", "mlo models show"),
        (ModelRef("flights", version=0), "has no version 0", "mlo models show"),
        (ModelRef("flights", alias="producton"), "no alias producton", "did you mean flights@production?"),
        (ModelRef("flights", alias="canary"), "its aliases: flights@production", "mlo promote flights@2 canary"),
    ):
        with pytest.raises(NotFound, match=words) as caught:
            registry.resolve(ref)
        assert hint in str(caught.value.hint)
        assert caught.value.exit_code == Exit.NOT_FOUND
    with pytest.raises(UsageError, match="not a registered model"):
        registry.resolve(ModelRef(run="abcd"))


def test_a_registry_sees_what_another_clone_appended_when_it_refreshes(tmp_path: Path) -> None:
    mine, other = open_registry(tmp_path, actor="Ada"), open_registry(tmp_path, actor="Bob")
    assert mine.names() == []
    other.add_version(facts(1))
    assert mine.names() == []
    mine.refresh()
    assert mine.names() == ["flights"]
    assert mine.version("flights", 1).actor == "Bob"


def test_a_draft_is_made_again_from_the_log_as_it_stands_when_another_was_first(tmp_path: Path) -> None:
    mine, other = open_registry(tmp_path, actor="Ada"), open_registry(tmp_path, actor="Bob")
    seen = []

    def compose() -> Draft:
        seen.append(len(mine.history()))
        if len(seen) == 1:
            other.record("note", "flights", {})
        return Draft("note", "flights", {"after": len(mine.history())})

    event = mine.append(compose)
    assert seen == [0, 1]
    assert event is not None
    assert (event.seq, event.data) == (2, {"after": 1})


def test_a_draft_may_decide_to_append_nothing(registry: Registry) -> None:
    assert registry.append(lambda: None) is None
    assert registry.history() == []


def test_history_is_of_one_model_and_its_versions(registry: Registry) -> None:
    registry.add_version(facts(1))
    registry.add_version(facts(2, "other"))
    registry.record("retrain", "flights", {})
    registry.record("later-kind", "flights@1", {})
    assert [event.kind for event in registry.history("flights")] == ["register", "retrain", "later-kind"]
    assert len(registry.of_run(facts(2).run)) == 1


def test_a_version_out_of_turn_in_the_log_is_refused(registry: Registry) -> None:
    data = {**msgspec.to_builtins(facts(1)), "version": 3}
    with pytest.raises(IntegrityError, match="flights@1 comes next"):
        registry.record("register", "flights@3", data)


@pytest.mark.parametrize(
    ("kind", "subject", "data"),
    [
        ("register", "flights@1", {"run": 3}),
        ("register", "flights", {}),
        ("promote", "flights@latest", {"alias": "production"}),
        ("rollback", "flights@1", {}),
    ],
)
def test_an_event_in_the_chain_that_does_not_read_is_refused(
    registry: Registry, kind: str, subject: str, data: dict[str, object]
) -> None:
    with pytest.raises(IntegrityError, match=f"event 1 of .* is of the kind {kind}, but does not read"):
        registry.record(kind, subject, data)


def register_one(kind: str, folder: Path, actor: str, run: int) -> None:
    open_registry(folder, kind, actor).add_version(facts(run))


@pytest.mark.parametrize("kind", ["sqlite", "remote"])
def test_registrations_at_the_same_instant_get_consecutive_numbers(kind: str, tmp_path: Path) -> None:
    (tmp_path / "remote").mkdir()
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=register_one, args=(kind, tmp_path, f"writer-{run}", run)) for run in range(1, 4)]
    for process in writers:
        process.start()
    for process in writers:
        process.join()
    assert [process.exitcode for process in writers] == [0, 0, 0]
    registry = open_registry(tmp_path, kind, "reader")
    versions = registry.versions("flights")
    assert [version.version for version in versions] == [1, 2, 3]
    assert {version.run for version in versions} == {facts(run).run for run in range(1, 4)}
    assert verify(open_store(kind, tmp_path)).holds
