"""What `mlo runs search` finds: the grammar, its SQL beside a plain evaluation, orders and pages."""

from __future__ import annotations

import math
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tracking_kit import a_store

from mlops_cli.core.base.database import Database
from mlops_cli.core.base.records import Logged, Metric
from mlops_cli.core.errors import UsageError
from mlops_cli.core.tracking.records import Run
from mlops_cli.core.tracking.search.filters import (
    LONGEST,
    AllOf,
    AnyOf,
    Comparison,
    Field,
    Filter,
    FilterError,
    Not,
    fields,
    parse_field,
    parse_filter,
)
from mlops_cli.core.tracking.search.sql import Order
from mlops_cli.core.tracking.store import RunStore

AUC = Field("metrics", "auc")


# -- the grammar -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", None),
        ("metrics.auc > 0.7", Comparison(AUC, ">", (0.7,))),
        ("METRIC.auc >= -1e3", Comparison(AUC, ">=", (-1000.0,))),
        ("metrics.`val auc` = 1", Comparison(Field("metrics", "val auc"), "=", (1,))),
        ('metrics."a.b".c == 1', Comparison(Field("metrics", "a.b.c"), "=", (1,))),
        ("metrics.val/auc@1<>.5", Comparison(Field("metrics", "val/auc@1"), "!=", (0.5,))),
        ("params.depth IN (4, '6')", Comparison(Field("params", "depth"), "in", (4, "6"))),
        ("params.x not in ('a')", Comparison(Field("params", "x"), "in", ("a",), negated=True)),
        ("tags.mlflow.user = 'it''s'", Comparison(Field("tags", "mlflow.user"), "=", ("it's",))),
        ('tags.t ILike "vis%"', Comparison(Field("tags", "t"), "ilike", ("vis%",))),
        ("tags.t is not null", Comparison(Field("tags", "t"), "null", (), negated=True)),
        ("attributes.run_name != 'x'", Comparison(Field("attributes", "name"), "!=", ("x",))),
        ("start_time >= '2026'", Comparison(Field("attributes", "start"), ">=", ("2026",))),
        ("params.flag = true", Comparison(Field("params", "flag"), "=", ("true",))),
    ],
)
def test_filters_are_read(text: str, found: Filter | None) -> None:
    assert parse_filter(text) == found


def test_and_binds_closer_than_or_and_not_closest() -> None:
    a, b, c = (parse_filter(f"metrics.{name} > 1") for name in "abc")
    assert parse_filter("metrics.a > 1 or metrics.b > 1 and not metrics.c > 1") == AnyOf((a, AllOf((b, Not(c)))))
    assert parse_filter("(metrics.a > 1 OR metrics.b > 1) AND metrics.c > 1") == AllOf((AnyOf((a, b)), c))
    assert fields(parse_filter("metrics.a > 1 or not (metrics.b > 1 and metrics.a < 3)")) == [
        Field("metrics", "a"),
        Field("metrics", "b"),
    ]


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("metrics.auc >", 14, "the end stands where a value is wanted"),
        ("metrics.auc > 'x'", 13, "metrics are numbers"),
        ("metrics.auc like 'x'", 13, "like compares texts"),
        ("params.a > 'x'", 10, "parameters are ordered as numbers"),
        ("tags.a = 1", 8, "tags are texts"),
        ("status > 'a'", 8, "status has no order"),
        ("status = finished", 10, "finished stands where a value is wanted"),
        ("auc > 1", 1, "auc is nothing that runs have"),
        ("metrics. = 1", 1, "names none of the metrics"),
        ("metrics.a ! 1", 11, "'!' does not belong here"),
        ("metrics.a 1", 11, "1 compares nothing"),
        ("metrics.a = 1 metrics.b = 2", 15, "does not belong here"),
        ("(metrics.a = 1", 15, "the end stands where ) is wanted"),
        ("metrics.a not = 1", 15, "= compares nothing"),
        ("metrics.a in ()", 15, "stands where a value is wanted"),
        ("metrics.a = 1e999", 13, "too large a number"),
        ("not " * 60 + "metrics.a = 1", 205, "nested more than 50 deep"),
        ("tags.a = 'x" + "x" * 10_000, 10_001, "longer than 10,000 characters"),
    ],
)
def test_what_is_no_filter_says_where_and_why(text: str, column: int, message: str) -> None:
    with pytest.raises(FilterError, match=re.escape(message)) as caught:
        parse_filter(text)
    assert caught.value.column == column
    assert caught.value.hint


@given(st.sampled_from(["metrics", "params", "tags"]), st.text(st.characters(exclude_characters="`"), min_size=1))
def test_a_field_s_text_is_read_as_the_field(family: Any, key: str) -> None:
    field = Field(family, key)
    assert parse_field(field.text) == field


# -- beside a plain evaluation -----------------------------------------------------------------------------------

KEYS = st.sampled_from(["a", "b c", "val/x"])
NUMBERS = st.one_of(st.integers(-3, 3), st.sampled_from([0.5, -0.5, 1e300]))
TEXTS = st.sampled_from(["x", "X", "xy", "1", "true", "a%b", "it's", "[x]", ""])
METRIC_VALUES = st.one_of(NUMBERS.map(float), st.sampled_from([math.nan, math.inf, -math.inf]))
PARAMS = st.one_of(NUMBERS, TEXTS, st.booleans())
NAMES = st.sampled_from(["", "try one", "Try two"])


@st.composite
def comparisons(draw: st.DrawFn) -> Comparison:
    family: Any = draw(st.sampled_from(["metrics", "params", "tags", "attributes"]))
    key = draw(KEYS) if family != "attributes" else draw(st.sampled_from(["name", "status", "branch", "end"]))
    field = Field(family, key)
    if draw(st.booleans()) and draw(st.booleans()):
        return Comparison(field, "null", (), draw(st.booleans()))
    values = {"metrics": NUMBERS, "params": st.one_of(NUMBERS, TEXTS)}.get(family, TEXTS)
    operators = ["=", "!=", "in"]
    if family != "metrics":
        operators += ["like", "ilike"]
    if family in ("metrics", "params"):
        operators += ["<", "<=", ">", ">="]
    operator: Any = draw(st.sampled_from(operators))
    negated = operator in ("in", "like", "ilike") and draw(st.booleans())
    if operator == "in":
        return Comparison(field, operator, tuple(draw(st.lists(values, min_size=1, max_size=3))), negated)
    kind = TEXTS if operator.endswith("like") else NUMBERS if operator[0] in "<>" else values
    return Comparison(field, operator, (draw(kind),), negated)


FILTERS = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        inner.map(Not),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: AllOf(tuple(parts))),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: AnyOf(tuple(parts))),
    ),
    max_leaves=4,
)


@st.composite
def some_runs(draw: st.DrawFn) -> list[Run]:
    made = []
    for place in range(draw(st.integers(1, 6))):
        over = draw(st.booleans())
        made.append(
            Run(
                id=f"{place:032x}",
                name=draw(NAMES),
                status="finished" if over else "running",
                start=f"2026-01-0{draw(st.integers(1, 3))}T00:00:00.000000Z",
                end="2026-02-01T00:00:00.000000Z" if over else None,
                branch=draw(st.sampled_from([None, "main", "x"])),
                params=draw(st.dictionaries(KEYS, PARAMS)),
                tags=draw(st.dictionaries(KEYS, TEXTS)),
                metrics=draw(st.dictionaries(KEYS, METRIC_VALUES)),
            )
        )
    return made


def filled(path: Path, runs: list[Run]) -> RunStore:
    store = RunStore(Database(path))
    for run in runs:
        store.start(replace(run, status="running", end=None, params={}, tags={}, metrics={}))
        points = tuple(Metric(key, value, 0, 0) for key, value in run.metrics.items())
        store.log(run.id, Logged(run.params, points, run.tags, {}, None))
        if run.is_over:
            store.finish(run)
    return store


def held(run: Run, field: Field) -> Any:
    if field.family == "attributes":
        return getattr(run, field.key) or None
    return getattr(run, field.family).get(field.key)


def as_text(value: Any) -> str:
    return (
        value
        if isinstance(value, str)
        else {True: "true", False: "false"}.get(value, repr(value))
        if isinstance(value, bool)
        else repr(value)
    )


def equal(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, str):
        return as_text(value) == wanted
    return isinstance(value, int | float) and not isinstance(value, bool) and value == wanted


def like(value: Any, pattern: str, *, fold: bool) -> bool:
    text = as_text(value)
    if fold:
        text, pattern = text.lower(), pattern.lower()
    regex = "".join({"%": ".*", "_": "."}.get(sign, re.escape(sign)) for sign in pattern)
    return re.fullmatch(regex, text, re.DOTALL) is not None


def passes(run: Run, found: Filter) -> bool:
    """The rule once more, plain."""
    if isinstance(found, Not):
        return not passes(run, found.part)
    if isinstance(found, AllOf | AnyOf):
        return (all if isinstance(found, AllOf) else any)(passes(run, part) for part in found.parts)
    value = held(run, found.field)
    if found.operator == "null":
        return (value is None) != found.negated
    if value is None:
        return False
    if found.operator in ("<", "<=", ">", ">="):
        if isinstance(value, str | bool) or math.isnan(value):
            return False
        (limit,) = found.values
        return {"<": value < limit, "<=": value <= limit, ">": value > limit, ">=": value >= limit}[found.operator]  # type: ignore[operator]
    if found.operator in ("like", "ilike"):
        return like(value, str(found.values[0]), fold=found.operator == "ilike") != found.negated
    return any(equal(value, wanted) for wanted in found.values) != (found.negated or found.operator == "!=")


def newest_first(runs: list[Run]) -> list[Run]:
    return sorted(sorted(runs, key=lambda run: run.id), key=lambda run: run.start, reverse=True)


@settings(max_examples=300, deadline=None)
@given(some_runs(), FILTERS)
def test_the_runs_found_are_those_that_pass(runs: list[Run], found: Filter) -> None:
    page = filled(Path(":memory:"), runs).search(found)
    assert [run.id for run in page.runs] == [run.id for run in newest_first(runs) if passes(run, found)]


@pytest.mark.parametrize("family", ["metrics", "params", "tags"])
def test_filters_as_long_as_they_may_be_are_answered(family: str) -> None:
    run = Run(id="a" * 32, start="2026-01-01T00:00:00.000000Z", metrics={"k": 7.0}, params={"k": 7}, tags={"k": "7"})
    store, value = filled(Path(":memory:"), [run]), "'7'" if family == "tags" else "7"
    many = ",".join([value] * ((LONGEST - 30) // (len(value) + 1)))
    assert len(store.search(parse_filter(f"{family}.k in ({many})")).runs) == 1
    one = f"{family}.k={value}"
    chain = " and ".join([one] * (LONGEST // (len(one) + 5)))
    assert len(store.search(parse_filter(chain)).runs) == 1


# -- orders and pages --------------------------------------------------------------------------------------------


def by(run: Run, order: Order) -> Any:
    """Missing last, NaN before, then the values."""
    value = held(run, order.field)
    if value is None:
        return (2, 0.0)
    if isinstance(value, float) and math.isnan(value):
        return (1, 0.0)
    return (0, -value if order.is_descending else value)


@settings(max_examples=150, deadline=None)
@given(
    some_runs(),
    st.lists(st.tuples(KEYS, st.booleans()), max_size=2, unique_by=lambda one: one[0]),
    st.integers(1, 3),
)
def test_pages_hold_every_run_once_in_order(runs: list[Run], keys: list[tuple[str, bool]], size: int) -> None:
    store = filled(Path(":memory:"), runs)
    orders = [Order(Field("metrics", key), is_down) for key, is_down in keys]
    wanted = sorted(newest_first(runs), key=lambda run: [by(run, order) for order in orders])
    seen, place = [], None
    while True:
        page = store.search(None, orders, limit=size, after=place)
        seen += [run.id for run in page.runs]
        place = page.next
        if place is None:
            break
        assert len(page.runs) == size
    assert seen == [run.id for run in wanted]


@pytest.mark.parametrize("family", ["params", "tags", "attributes"])
def test_runs_are_ordered_by_other_fields_too_and_those_without_come_last(tmp_path: Path, family: Any) -> None:
    values = {"params": [10, 9, "text", None], "tags": ["b", "a", "c", None], "attributes": ["b", "a", "c", None]}[
        family
    ]
    runs = []
    for place, value in enumerate(values):
        facts: dict[str, Any] = {"branch": value} if family == "attributes" else {family: {"k": value} if value else {}}
        runs.append(Run(id=f"{place:032x}", start="2026-01-01T00:00:00.000000Z", status="finished", **facts))
    store = filled(tmp_path / "mlo.db", runs)
    field = Field(family, "branch" if family == "attributes" else "k")
    places = {True: [2, 0, 1, 3], False: [1, 0, 2, 3]}
    for is_down in (True, False):
        wanted = places[is_down] if family != "params" else [0, 1, 2, 3] if is_down else [1, 0, 2, 3]
        found = store.search(None, [Order(field, is_down)])
        assert [int(run.id, 16) for run in found.runs] == wanted


def test_a_run_that_comes_between_two_pages_moves_no_other(tmp_path: Path) -> None:
    runs = [Run(id=f"{place:032x}", start=f"2026-01-0{place + 1}T00:00:00.000000Z") for place in range(4)]
    store = filled(tmp_path / "mlo.db", runs)
    first = store.search(limit=2)
    store.start(Run(id="f" * 32, start="2026-02-01T00:00:00.000000Z"))
    second = store.search(limit=2, after=first.next)
    assert [int(run.id, 16) for run in (*first.runs, *second.runs)] == [3, 2, 1, 0]
    assert second.next is None


@pytest.mark.parametrize("place", ["", "x", "AAAA", "kqFhoWI"])
def test_a_place_of_another_order_is_refused(tmp_path: Path, place: str) -> None:
    with pytest.raises(UsageError, match="no place in this order"):
        a_store(tmp_path).search(None, [Order(AUC)], after=place)


def test_runs_from_before_they_could_be_searched_are_found(tmp_path: Path) -> None:
    """A database as the version before left it."""
    path = tmp_path / "mlo.db"
    filled(path, [Run(id="a" * 32, name="old", start="2026-01-01T00:00:00.000000Z", status="finished", branch="main")])
    with sqlite3.connect(path) as database:
        database.execute("DROP INDEX run_undescribed")
        for column in ("name", "actor", "ended", "commit_id", "branch", "described"):
            database.execute(f"ALTER TABLE run DROP COLUMN {column}")
        database.execute("UPDATE migration SET level = 2 WHERE room = 'tracking'")
    database.close()
    store = RunStore(Database(path))
    assert [run.name for run in store.search(parse_filter("name = 'old' and branch = 'main'")).runs] == ["old"]
