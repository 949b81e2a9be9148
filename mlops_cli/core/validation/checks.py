"""Each kind of check as a function of the rows. Vectorised: no Python loop touches a row.

A check that cannot be asked (no such column, a text where numbers are needed) has failed; it is never skipped.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlops_cli.core.validation.records import MAX_EXAMPLES, CheckReport, CheckResult, Example, Finding
from mlops_cli.core.validation.rules import AGGREGATES, Assertion, Suite, full_pattern, parse_compare
from mlops_cli.core.validation.source import Rows
from mlops_cli.core.validation.values import (
    CannotAsk,
    as_integers,
    bound_for,
    compare,
    is_inside,
    kind_of,
    none_bad,
    plain_zero,
    range_text,
    scalar_kind,
    value_text,
)


def run_checks(suite: Suite, data: Path) -> CheckReport:
    """Check the file or folder `data` against a suite. Raises NotFound or ProjectError if data cannot be read."""
    rows = Rows(data, shown=suite.data)
    results = []
    for assertion in suite.assertions:
        try:
            finding = _CHECKS[assertion.kind](rows, assertion)
        except CannotAsk as reason:
            finding = Finding(False, str(reason), checked=rows.count, failed=rows.count)
        results.append(_result(assertion, finding))
    passed = all(result.passed for result in results if result.severity == "error")
    return CheckReport(suite.name, suite.data, rows.count, passed, tuple(results))


def _result(assertion: Assertion, finding: Finding) -> CheckResult:
    return CheckResult(
        assertion.kind,
        assertion.column,
        assertion.severity,
        finding.passed,
        finding.detail,
        assertion.where,
        finding.checked,
        finding.failed,
        finding.observed,
        finding.examples,
    )


# -- about the whole column ---------------------------------------------------------------------------------


def _type(rows: Rows, assertion: Assertion) -> Finding:
    values = _column(rows, assertion.column)
    kind, wanted = kind_of(values), assertion.argument
    # A column with no value at all is of no type, so nothing in it contradicts; max_null is what catches it.
    passed = kind in (wanted, "null") or (wanted == "number" and kind in ("float", "integer"))
    return Finding(passed, f"is {kind}" if passed else f"is {kind}, not {wanted}", observed=kind)


def _max_null(rows: Rows, assertion: Assertion) -> Finding:
    import pyarrow.compute as pc

    values = _column(rows, assertion.column)
    missing = values.null_count
    share = missing / len(values) if len(values) else 0.0
    passed = share <= assertion.argument
    detail = f"{share:.2%} missing, at most {assertion.argument:.2%} allowed"
    examples = () if passed else _examples(pc.is_null(values), values)
    return Finding(passed, detail, len(values), 0 if passed else missing, share, examples)


def _aggregate(rows: Rows, assertion: Assertion) -> Finding:
    import pyarrow.compute as pc

    name, bounds = assertion.kind, assertion.argument
    values = _column(rows, assertion.column)
    if name == "quantile":
        name, bounds, q = f"quantile {bounds.q:g}", bounds.between, bounds.q
    else:
        q = 0.5
    kind = kind_of(values)
    if kind == "null":
        return Finding(False, f"there is no {name}: every value is missing")
    if kind not in ("float", "integer") and not (kind == "datetime" and assertion.kind in ("min", "max")):
        raise CannotAsk(f"{name} needs numbers, and {assertion.column} is {kind}")
    values = values.drop_null()
    if not len(values):
        return Finding(False, f"there is no {name}: every value is missing")
    if assertion.kind in ("min", "max"):
        observed = pc.min_max(values)[assertion.kind]
    else:
        # In float64, because a sum of int64 wraps around in silence.
        numbers = values.cast("float64", safe=False)
        observed = {
            "mean": lambda: pc.mean(numbers),
            "sum": lambda: pc.sum(numbers),
            "stdev": lambda: pc.stddev(numbers, ddof=1),
        }.get(assertion.kind, lambda: pc.quantile(numbers, q=q)[0])()
    answer = observed.as_py()
    if answer is None:  # the standard deviation of one value
        return Finding(False, f"there is no {name} of {len(values)} value")
    passed = bool(answer == answer) and is_inside(observed, bounds)  # noqa: PLR0124 - inf - inf is NaN, which lies nowhere
    return Finding(passed, f"{name} {value_text(answer)}, wanted {range_text(bounds)}", observed=answer)


# -- about each row -----------------------------------------------------------------------------------------


def _between(rows: Rows, assertion: Assertion) -> Finding:
    import pyarrow.compute as pc

    values = _column(rows, assertion.column)
    kind = kind_of(values)
    if kind not in ("float", "integer", "datetime", "null"):
        raise CannotAsk(f"between needs numbers or times, and {assertion.column} is {kind}")
    low, high = assertion.argument
    bad = none_bad(values)
    if low is not None:
        bad = pc.or_(bad, compare("less", values, bound_for(low, values)))
    if high is not None:
        bad = pc.or_(bad, compare("greater", values, bound_for(high, values)))
    return _row_wise(assertion, values, bad, f"outside {range_text(assertion.argument)}")


def _membership(rows: Rows, assertion: Assertion) -> Finding:
    import pyarrow as pa
    import pyarrow.compute as pc

    values = _column(rows, assertion.column)
    kind = kind_of(values)
    wanted = {scalar_kind(item) for item in assertion.argument}
    fits = {"string": {"string"}, "boolean": {"boolean"}, "integer": {"number"}, "float": {"number"}, "null": wanted}
    if not wanted <= fits.get(kind, set()):
        raise CannotAsk(f"{assertion.kind} holds {' and '.join(sorted(wanted))}s, and {assertion.column} is {kind}")
    if kind == "null":
        inside = pc.is_null(values)
    else:
        make = as_integers if kind == "integer" else pa.array
        inside = pc.is_in(plain_zero(values), value_set=make(assertion.argument, values.type))
    bad = pc.invert(inside) if assertion.kind == "in_set" else inside
    listed = ", ".join(map(repr, assertion.argument[:8])) + (", ..." if len(assertion.argument) > 8 else "")
    return _row_wise(assertion, values, bad, f"{'not ' if assertion.kind == 'in_set' else ''}among {listed}")


def _regex(rows: Rows, assertion: Assertion) -> Finding:
    import pyarrow.compute as pc

    values = _strings(rows, assertion)
    bad = pc.invert(pc.match_substring_regex(values, full_pattern(assertion.argument)))
    return _row_wise(assertion, values, bad, f"do not match {assertion.argument}")


def _length_between(rows: Rows, assertion: Assertion) -> Finding:
    import pyarrow.compute as pc

    values = _strings(rows, assertion)
    low, high = assertion.argument
    lengths = pc.utf8_length(values)
    bad = none_bad(values)
    if low is not None:
        bad = pc.or_(bad, pc.less(lengths, low))
    if high is not None:
        bad = pc.or_(bad, pc.greater(lengths, high))
    return _row_wise(assertion, values, bad, f"of a length outside {range_text(assertion.argument)}")


def _unique(rows: Rows, assertion: Assertion) -> Finding:
    return _no_twice(rows, assertion, [str(assertion.column)])


def _compound_unique(rows: Rows, assertion: Assertion) -> Finding:
    return _no_twice(rows, assertion, assertion.argument)


def _no_twice(rows: Rows, assertion: Assertion, names: list[str]) -> Finding:
    """Rows whose values (none of them missing) stand in another row as well; every one of them counts."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = [plain_zero(_column(rows, name)) for name in names]
    keys = [f"k{position}" for position in range(len(names))]  # the user's names may hold anything
    table = pa.table([*columns, pa.array(np.arange(rows.count))], names=[*keys, "row"])
    whole = table
    for key in keys:
        whole = whole.filter(pc.is_valid(whole[key]))
    try:
        groups = whole.group_by(keys).aggregate([("row", "count"), ("row", "min")])
    except pa.ArrowNotImplementedError:
        raise CannotAsk(f"{assertion.kind} cannot compare values of {', '.join(names)}") from None
    twice = groups.filter(pc.greater(groups["row_count"], 1)).sort_by("row_min")
    failed = pc.sum(twice["row_count"]).as_py() or 0
    shown = twice.slice(0, MAX_EXAMPLES).to_pylist()
    examples = tuple(
        Example(group["row_min"], group["k0"] if len(keys) == 1 else [group[key] for key in keys]) for group in shown
    )
    passed = _mostly(len(whole), failed, assertion.mostly)
    return Finding(
        passed, _share_text(len(whole), failed, "stand more than once", assertion), len(whole), failed, None, examples
    )


def _compare_columns(rows: Rows, assertion: Assertion) -> Finding:
    import pyarrow as pa
    import pyarrow.compute as pc

    left_name, operator, right_name = parse_compare(assertion.argument)
    left, right = _column(rows, left_name), _column(rows, right_name)
    kinds = [kind_of(values) for values in (left, right)]
    numeric = {"float", "integer", "null"}
    if not (set(kinds) <= numeric or set(kinds) <= {kinds[0], "null"}):
        raise CannotAsk(f"{left_name} is {kinds[0]} and {right_name} is {kinds[1]}: they cannot be compared")
    names = {"<": "less", "<=": "less_equal", ">": "greater", ">=": "greater_equal", "==": "equal", "!=": "not_equal"}
    try:
        holds = compare(names[operator], left, right)
    except pa.ArrowNotImplementedError:
        raise CannotAsk(f"values of {left_name} and {right_name} cannot be compared") from None
    # Rows with either value missing are not asked.
    bad = pc.invert(holds)
    asked = len(holds) - holds.null_count
    failed = pc.sum(bad).as_py() or 0
    places = pc.indices_nonzero(pc.fill_null(bad, False)).slice(0, MAX_EXAMPLES)
    pairs = zip(places.to_pylist(), left.take(places).to_pylist(), right.take(places).to_pylist(), strict=True)
    examples = tuple(Example(place, [first, second]) for place, first, second in pairs)
    detail = _share_text(asked, failed, f"break {assertion.argument}", assertion)
    return Finding(_mostly(asked, failed, assertion.mostly), detail, asked, failed, None, examples)


# -- about the table ----------------------------------------------------------------------------------------


def _row_count(rows: Rows, assertion: Assertion) -> Finding:
    low, high = assertion.argument
    passed = (low is None or rows.count >= low) and (high is None or rows.count <= high)
    return Finding(passed, f"{rows.count:,} rows, wanted {range_text(assertion.argument)}", observed=rows.count)


def _columns(rows: Rows, assertion: Assertion) -> Finding:
    wanted, found = assertion.argument, rows.names
    missing = [name for name in wanted if name not in found]
    extra = [] if assertion.kind == "columns_include" else [name for name in found if name not in wanted]
    parts = [f"{what}: {', '.join(names)}" for what, names in (("missing", missing), ("not expected", extra)) if names]
    if not parts and assertion.kind == "columns" and wanted != found:
        place = next(index for index, pair in enumerate(zip(wanted, found, strict=True)) if pair[0] != pair[1])
        parts = [f"out of order: column {place + 1} is {found[place]}, not {wanted[place]}"]
    return Finding(not parts, "; ".join(parts) or f"{len(found)} columns, as wanted", observed=found)


# -- shared -------------------------------------------------------------------------------------------------


def _column(rows: Rows, name: str | None) -> Any:
    try:
        return rows.column(str(name))
    except KeyError:
        near = difflib.get_close_matches(str(name), rows.names, n=1)
        raise CannotAsk(f"there is no column {name}" + (f"; did you mean {near[0]}?" if near else "")) from None


def _strings(rows: Rows, assertion: Assertion) -> Any:
    values = _column(rows, assertion.column)
    kind = kind_of(values)
    if kind not in ("string", "null"):
        raise CannotAsk(f"{assertion.kind} needs text, and {assertion.column} is {kind}")
    return values.cast("large_string")


def _row_wise(assertion: Assertion, values: Any, bad: Any, fault: str) -> Finding:
    """Count the bad rows among those with a value; nulls are max_null's business."""
    import pyarrow.compute as pc

    bad = pc.and_(pc.fill_null(bad, False), pc.is_valid(values))
    failed = pc.sum(bad).as_py() or 0
    checked = len(values) - values.null_count
    detail = _share_text(checked, failed, fault, assertion)
    return Finding(_mostly(checked, failed, assertion.mostly), detail, checked, failed, None, _examples(bad, values))


def _examples(bad: Any, values: Any) -> tuple[Example, ...]:
    import pyarrow.compute as pc

    places = pc.indices_nonzero(bad).slice(0, MAX_EXAMPLES)
    pairs = zip(places.to_pylist(), values.take(places).to_pylist(), strict=True)
    return tuple(Example(place, value) for place, value in pairs)


def _mostly(checked: int, failed: int, mostly: float) -> bool:
    """Whether the share of good rows reaches `mostly`; of no rows at all, all are good."""
    return checked - failed >= mostly * checked if mostly < 1 else failed == 0


def _share_text(checked: int, failed: int, fault: str, assertion: Assertion) -> str:
    if not failed:
        return f"all of {checked:,}"
    allowed = f", at most {1 - assertion.mostly:.2%} allowed" if assertion.mostly < 1 else ""
    return f"{failed:,} of {checked:,} ({failed / checked:.2%}) {fault}{allowed}"


_CHECKS: dict[str, Callable[[Rows, Assertion], Finding]] = {
    "type": _type,
    "max_null": _max_null,
    "between": _between,
    "in_set": _membership,
    "not_in_set": _membership,
    "regex": _regex,
    "unique": _unique,
    "length_between": _length_between,
    "row_count": _row_count,
    "columns": _columns,
    "column_set": _columns,
    "columns_include": _columns,
    "compound_unique": _compound_unique,
    "compare": _compare_columns,
    **dict.fromkeys(AGGREGATES, _aggregate),
}
