"""The tests of one column against its profile: p-values before any correction, and effects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_cli.core.drift import columns as arrow
from mlops_cli.core.drift.calendar import Calendar
from mlops_cli.core.drift.measures.categories import measure_categories
from mlops_cli.core.drift.measures.measured import Measured, Order
from mlops_cli.core.drift.measures.numbers import measure_numbers
from mlops_cli.core.drift.measures.text import measure_text_column
from mlops_cli.core.drift.measures.times import measure_presence, measure_times
from mlops_cli.core.drift.measures.vectors import measure_vectors
from mlops_cli.core.drift.profile import ColumnProfile
from mlops_cli.core.drift.records import Rules
from mlops_cli.core.drift.summaries.times import Times
from mlops_cli.core.drift.summaries.vectors import OtherWidth

if TYPE_CHECKING:
    import pyarrow as pa


def measure(
    profile: ColumnProfile,
    values: pa.ChunkedArray,
    order: Order,
    rules: Rules,
    *,
    ordered_reference: bool,
    calendar: Calendar | None = None,
) -> Measured | None:
    """All tests of one column; None if the window holds it in a kind that the reference does not.

    order: the window's rows in time, or None. ordered_reference: whether the profile knows its dependence.
    calendar: the days that the window covers, needed for times.
    """
    import pyarrow as pa

    group, held = arrow.GROUPS[profile.kind], arrow.group_of(values.type)
    measured = Measured(profile)
    if group == "other":
        measure_presence(measured, values, order, rules)
        return measured
    if held not in (group, profile.held, "null") or held == "other":
        return None
    try:
        if profile.numeric is not None:
            measure_numbers(measured, profile.numeric, arrow.numbers(values), order, rules, ordered_reference)
        elif profile.categorical is not None:
            measure_categories(measured, profile.categorical, values, order, rules, ordered_reference)
        elif profile.text is not None:
            measure_text_column(measured, profile.text, values, order, rules, ordered_reference)
        elif profile.vector is not None:
            measure_vectors(measured, profile.vector, values, order, rules, ordered_reference)
        else:
            measure_times(measured, profile.times or Times(), values, order, rules, calendar or Calendar())
    except (pa.ArrowException, OtherWidth):
        return None
    return measured
