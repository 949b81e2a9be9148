"""Finding runs: a filter, an order, a page at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from mlops_cli.core.tracking.search.filters import fields, parse_field, parse_filter
from mlops_cli.core.tracking.search.sql import Order
from mlops_cli.core.workflows.runs import RunRow, row_of
from mlops_cli.core.workflows.workspace import Workspace

_ALWAYS = frozenset({"id", "name", "status", "start"})  # shown of every run


class RunsFound(msgspec.Struct, frozen=True):
    """Runs that pass a filter, in order, of which `columns` are to be shown: fields as the filter names them. `next` is
    what `--after` takes to go on; null at the end."""

    runs: tuple[RunRow, ...]
    columns: tuple[str, ...]
    next: str | None = None

    def value(self, run: RunRow, column: str) -> Any:
        """What a run has of a column; None if nothing."""
        field = parse_field(column)
        if field.family != "attributes":
            held: dict[str, Any] = getattr(run, field.family)
            return held.get(field.key)
        return getattr(run, field.key, None)


def search_runs(
    workspace: Workspace,
    text: str = "",
    *,
    order_by: Sequence[str] = (),
    columns: Sequence[str] = (),
    limit: int = 20,
    after: str | None = None,
) -> RunsFound:
    """The runs that pass a filter, the newest first or by fields, each of which may be followed by `desc`.

    Shown are `columns`, or else the fields that the filter and the order name. Raises FilterError, UsageError.
    """
    found = parse_filter(text)
    orders = [_order(one) for one in order_by]
    asked = [*(order.field for order in orders), *fields(found)]
    shown = [parse_field(column) for column in columns] or [
        field for field in asked if field.family != "attributes" or field.key not in _ALWAYS
    ]
    page = workspace.runs.search(found, orders, limit=limit, after=after)
    names = tuple(dict.fromkeys(field.text for field in shown))
    return RunsFound(tuple(row_of(workspace, run) for run in page.runs), names, page.next)


def _order(text: str) -> Order:
    """`metrics.auc desc`, or without a way, from the smallest up."""
    name, _, way = text.strip().rpartition(" ")
    if name and way.lower() in ("asc", "desc"):
        return Order(parse_field(name), way.lower() == "desc")
    return Order(parse_field(text))
