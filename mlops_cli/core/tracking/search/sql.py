"""A filter and an order as SQL over the tables of the runs. Every value travels as a parameter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlops_cli.core.tracking.search.filters import AllOf, Comparison, Field, Filter, Not

# Where an attribute stands in the table of runs.
COLUMNS = {
    "id": "run.id",
    "name": "run.name",
    "status": "run.status",
    "start": "run.start",
    "end": "run.ended",
    "actor": "run.actor",
    "commit": "run.commit_id",
    "branch": "run.branch",
    "parent": "run.parent",
}
_TABLES = {"metrics": "metric_latest", "params": "param", "tags": "tag"}
# A parameter is JSON: a text as itself, anything else as it is written.
_TEXT = "CASE json_type(it.value) WHEN 'text' THEN json_extract(it.value, '$') ELSE it.value END"
_NUMBER = "CASE WHEN json_type(it.value) IN ('integer', 'real') THEN json_extract(it.value, '$') END"
# What the runs that have a field are ordered by, and whether that turns with the direction.
_ORDERED = {
    "metrics": (("it.is_nan", False), ("it.value", True)),
    "params": ((f"{_NUMBER} IS NULL", False), (_NUMBER, True), (_TEXT, True)),
    "tags": (("it.value", True),),
}


@dataclass(frozen=True, slots=True)
class Sql:
    """A piece of SQL with the values of its placeholders."""

    text: str
    values: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Order:
    """By one field; runs that lack it come last whichever way, and before them those whose metric is NaN."""

    field: Field
    is_descending: bool = False


@dataclass(frozen=True, slots=True)
class Term:
    """One expression of an order."""

    value: Sql
    is_descending: bool = False


def where(found: Filter | None) -> Sql:
    """True of the runs that pass."""
    if found is None:
        return Sql("1")
    if isinstance(found, Comparison):
        return _compared(found)
    if isinstance(found, Not):
        inner = where(found.part)
        return Sql(f"NOT ({inner.text})", inner.values)
    parts = [where(part) for part in found.parts]
    word = " AND " if isinstance(found, AllOf) else " OR "
    return Sql(f"({word.join(part.text for part in parts)})", tuple(value for part in parts for value in part.values))


def terms(orders: Sequence[Order]) -> list[Term]:
    """What runs are ordered by, the newest first among equals, and then by id."""
    found = []
    for order in orders:
        family, key, is_down = order.field.family, order.field.key, order.is_descending
        if family == "attributes":
            column = Sql(COLUMNS[key])
            found += [Term(Sql(f"{column.text} IS NULL")), Term(column, is_down)]
            continue
        found.append(Term(Sql(f"{_one(family, '1')} IS NULL", (key,))))
        for value, has_way in _ORDERED[family]:
            found.append(Term(Sql(_one(family, value), (key,)), has_way and is_down))
    return [*found, Term(Sql("run.start"), is_descending=True), Term(Sql("run.id"))]


def after(found: Sequence[Term], last: Sequence[Any]) -> Sql:
    """True of the rows behind one whose terms, named o0, o1, ..., have the values `last`.

    NULL is the smallest value to SQLite.
    """
    ways, values = [], []
    for place, (term, value) in enumerate(zip(found, last, strict=True)):
        same = "".join(f"o{before} IS ? AND " for before in range(place))
        if term.is_descending:
            behind = "0" if value is None else f"(o{place} < ? OR o{place} IS NULL)"
        else:
            behind = f"o{place} IS NOT NULL" if value is None else f"o{place} > ?"
        ways.append(f"({same}{behind})")
        values += [*last[:place], *([value] if "?" in behind else [])]
    return Sql(f"({' OR '.join(ways)})", tuple(values))


def _one(family: str, value: str) -> str:
    return f"(SELECT {value} FROM {_TABLES[family]} it WHERE it.run = run.number AND it.key = ?)"  # noqa: S608 - ours


def _compared(found: Comparison) -> Sql:
    family, key = found.field.family, found.field.key
    if family == "attributes":
        column = COLUMNS[key]
        if found.operator == "null":
            return Sql(f"{column} IS {'NOT ' * found.negated}NULL")
        test = _test(column, found)
        return Sql(f"({column} IS NOT NULL AND {test.text})", test.values)
    if found.operator == "null":
        test = Sql("1")
    elif family == "metrics":
        test = _of_metric(found)
    elif family == "params":
        test = _of_param(found)
    else:
        test = _test("it.value", found)
    table = _TABLES[family]
    exists = f"EXISTS (SELECT 1 FROM {table} it WHERE it.run = run.number AND it.key = ? AND {test.text})"  # noqa: S608
    wants_absence = found.operator == "null" and not found.negated
    return Sql(f"NOT {exists}" if wants_absence else exists, (key, *test.values))


def _of_metric(found: Comparison) -> Sql:
    """A NaN is unequal to every number, and neither more nor less than one."""
    test = _test("it.value", found)
    if found.operator == "!=" or (found.operator == "in" and found.negated):
        return Sql(f"(it.is_nan OR {test.text})", test.values)
    return Sql(f"(NOT it.is_nan AND {test.text})", test.values)


def _of_param(found: Comparison) -> Sql:
    """Numbers are compared as numbers with what is a number, texts with what is written."""
    if found.operator in ("<", "<=", ">", ">="):
        test = _test(_NUMBER, found)
        return Sql(f"coalesce({test.text}, 0)", test.values)
    if found.operator in ("like", "ilike"):
        return _test(_TEXT, found)
    texts = tuple(value for value in found.values if isinstance(value, str))
    numbers = tuple(value for value in found.values if not isinstance(value, str))
    equal = f"({_TEXT} IN ({_marks(texts)}) OR coalesce({_NUMBER} IN ({_marks(numbers)}), 0))"
    is_negated = found.negated or found.operator == "!="
    return Sql(f"NOT {equal}" if is_negated else equal, (*texts, *numbers))


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def _test(column: str, found: Comparison) -> Sql:
    negation = "NOT " if found.negated else ""
    if found.operator == "in":
        return Sql(f"{column} {negation}IN ({_marks(found.values)})", found.values)
    (value,) = found.values
    if found.operator == "like":
        return Sql(f"{column} {negation}GLOB ?", (_glob(str(value)),))
    if found.operator == "ilike":
        return Sql(f"lower({column}) {negation}GLOB ?", (_glob(_lower(str(value))),))
    return Sql(f"{column} {found.operator} ?", (value,))


def _glob(pattern: str) -> str:
    """`%` and `_` of LIKE as GLOB, whose own signs stand for themselves: SQLite's LIKE reads ASCII in any case."""
    escaped = "".join(f"[{sign}]" if sign in "*?[" else sign for sign in pattern)
    return escaped.replace("%", "*").replace("_", "?")


def _lower(text: str) -> str:
    """As SQLite does it: ASCII alone."""
    return "".join(sign.lower() if sign.isascii() else sign for sign in text)
