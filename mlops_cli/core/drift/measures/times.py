"""The tests of a datetime column."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_cli.core.drift import columns as arrow
from mlops_cli.core.drift.measures.measured import Measured, Order, judge_missing
from mlops_cli.core.drift.records import Rules
from mlops_cli.core.drift.summaries.missing import missing_time

if TYPE_CHECKING:
    import pyarrow as pa


def measure_times(measured: Measured, values: pa.ChunkedArray, order: Order, rules: Rules) -> None:
    present = arrow.valid(values) if values.null_count else None
    measured.n = len(values) - values.null_count
    judge_missing(measured, values.null_count, len(values), missing_time(present, order), rules)
    found, before = arrow.span(values), measured.profile.span
    measured.note = "a time is reported, never tested: a later window always differs"
    if found and before:
        measured.note += f"; the reference ends {before[1]}, the window {found[1]}"
