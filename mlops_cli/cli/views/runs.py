"""What `mlo runs list`, `show` and `compare` look like."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mlops_cli.cli.output import Output, human_bytes, plural

if TYPE_CHECKING:
    from mlops_cli.core.workflows.packages import RunRequirements
    from mlops_cli.core.workflows.runs import (
        Difference,
        RunComparison,
        RunDetail,
        RunList,
        RunRow,
        StageOutput,
    )
    from mlops_cli.core.workflows.search import RunsFound

_BARS = "▁▂▃▄▅▆▇█"
_COLUMNS = 4
_STYLES = {"finished": "green", "failed": "red", "killed": "red", "running": "yellow"}


def show_list(result: RunList, output: Output) -> None:
    if not result.runs:
        output.line("There is no run yet. Make one: mlo run")
        return
    params, metrics = result.varying[:_COLUMNS], result.telling[:_COLUMNS]
    rows = [
        (
            lead + run.id[:8],
            run.name,
            run.status,
            _ago(run.age_s),
            *(_text(run.params.get(key)) for key in params),
            *(number(run.metrics[key]) if key in run.metrics else "" for key in metrics),
        )
        for lead, run in _grouped(result.runs)
    ]
    output.table(("run", "name", "status", "when", *params, *metrics), rows, right=(*params, *metrics))
    left_out = len(result.varying) - len(params) + len(result.telling) - len(metrics)
    if left_out:
        output.line(f"{plural(left_out, 'more parameter')} and metrics: mlo runs show RUN, or --json", style="dim")


def show_found(result: RunsFound, output: Output) -> None:
    if not result.runs:
        output.line("no run passes")
        return
    held = [[result.value(run, column) for column in result.columns] for run in result.runs]
    rows = [
        (run.id[:8], run.name, run.status, _ago(run.age_s), *(_found(value) for value in values))
        for run, values in zip(result.runs, held, strict=True)
    ]
    numbers = [column for column in result.columns if column.startswith(("metrics.", "params."))]
    output.table(("run", "name", "status", "when", *result.columns), rows, right=numbers)
    if result.next is not None:
        output.line(f"there are more: --after {result.next}", style="dim")


def _found(value: Any) -> str:
    return number(value) if isinstance(value, float) else _text(value)


def _grouped(runs: Sequence[RunRow]) -> list[tuple[str, RunRow]]:
    """Each run with its indent: the points of a sweep stand below it, where it is in the list, too."""
    listed = {run.id for run in runs}
    rows: list[tuple[str, RunRow]] = []
    for run in runs:
        if run.parent not in listed:
            rows.append(("", run))
            rows += [("  ", point) for point in runs if point.parent == run.id]
    return rows


def _show_points(points: Sequence[RunRow], output: Output) -> None:
    names = list(dict.fromkeys(name for run in points for name in run.overrides))
    metrics = list(dict.fromkeys(key for run in points for key in run.metrics))[:_COLUMNS]
    rows = [
        (
            run.id[:8],
            run.status,
            *(_text(run.overrides.get(name)) for name in names),
            *(number(run.metrics[key]) if key in run.metrics else "" for key in metrics),
        )
        for run in points
    ]
    output.line()
    output.table(("point", "status", *names, *metrics), rows, right=(*names, *metrics))


def show_detail(result: RunDetail, output: Output) -> None:
    run = result.run
    took = "" if result.seconds is None else f", took {duration(result.seconds)}"
    output.line(f"run {run.id}  {run.name}", style="bold")
    output.line(f"{run.status}  started {_ago(result.age_s)} ({run.start[:19]}Z){took}", style=_STYLES[run.status])
    facts = {
        "command": run.command,
        "by": run.actor,
        "commit": _commit(run.commit, run.branch, run.dirty),
        "overrides": ", ".join(f"{key}={value}" for key, value in run.overrides.items()),
        "host": run.host,
    }
    for key, value in facts.items():
        if value:
            output.line(f"  {key:<10}{value}")
    if result.points:
        _show_points(result.points, output)
    if run.params:
        _section(output, "parameters", ((key, _text(value)) for key, value in run.params.items()))
    if result.history:
        output.line()
        rows = [
            (it.key, number(it.latest), it.points, _range(it.smallest, it.largest, it.points), sparkline(it.curve))
            for it in result.history
        ]
        output.table(("metric", "latest", "points", "from .. to", ""), rows, right=("latest", "points"))
    if run.stages:
        output.line()
        stages = [(it.name, it.status, duration(it.seconds), it.run[:8]) for it in run.stages]
        output.table(("stage", "status", "took", "made by"), stages, right=("took",))
    if run.inputs:
        _section(output, "inputs", ((path, _digest(digest)) for path, digest in run.inputs.items()))
    for title, entries in (("outputs", run.outputs), ("artifacts", run.artifacts)):
        if entries:
            held = ((path, f"{_digest(it.digest)}  {human_bytes(it.size)}") for path, it in entries.items())
            _section(output, title, held)
    if run.model is not None:
        signature = run.model.signature
        output.line()
        output.line(
            f"model at {run.model.path}: {signature.task}, {plural(len(signature.inputs), 'input')}, {run.model.flavor}"
        )
    if run.tags:
        _section(output, "tags", run.tags.items())
    _environment(run.environment, output)


def _environment(environment: dict[str, Any], output: Output) -> None:
    if not environment:
        return
    cpu = environment.get("cpu", {})
    output.line()
    output.line(f"Python {environment.get('python', '?')} on {environment.get('platform', '?')}", style="dim")
    output.line(f"{cpu.get('count', '?')} x {cpu.get('model', '?')} ({' '.join(cpu.get('flags', []))})", style="dim")
    gpu = environment.get("gpu", {})
    if gpu:
        output.line(f"{', '.join(gpu['models']) or 'GPU'}, driver {gpu['driver'] or '?'}", style="dim")
    packages, blas = environment.get("packages", {}), sorted(set(environment.get("blas", {}).values()))
    computing = f", computing with {' and '.join(blas)}" if blas else ""
    output.line(f"{plural(len(packages), 'package')}{computing}: see --requirements", style="dim")
    for other in environment.get("environments", {}).values():
        held = f"{plural(len(other['packages']), 'package')}" if "packages" in other else "an image"
        output.line(f"stages also ran in {other.get('source') or other.get('docker')}: {held}", style="dim")


def show_requirements(result: RunRequirements, output: Output) -> None:
    for place in result.environments:
        if len(result.environments) > 1 or not place.lines:
            python = f", Python {place.python}" if place.python else ""
            output.line(f"# {', '.join(place.stages) or 'mlo'}: {place.source or 'what mlo ran in'}{python}")
        for line in place.lines:
            output.line(line)


def show_comparison(result: RunComparison, output: Output, *, everything: bool) -> None:
    titles = [f"{run.id[:8]} {run.name}" for run in result.runs]
    output.table(("", *titles), [("status", *(run.status for run in result.runs)), ("when", *map(_when, result.runs))])
    sections = {
        "parameters": result.params,
        "metrics": result.metrics,
        "inputs": result.inputs,
        "outputs": result.outputs,
        "code": result.code,
        "environment": result.environment,
        "packages": result.packages,
    }
    same = []
    for title, rows in sections.items():
        shown = [row for row in rows if everything or not row.same]
        if shown:
            output.line()
            _differences(title, shown, titles, output)
        elif rows or title == "packages":
            same.append(title)
    if same:
        output.line()
        output.line(f"the same in {'both' if len(titles) == 2 else 'all'}: {', '.join(same)}", style="dim")


def _differences(title: str, rows: Sequence[Difference], titles: Sequence[str], output: Output) -> None:
    """A table of one section; two runs' metrics also show how far they are apart."""
    with_delta = title == "metrics" and len(titles) == 2
    cells = []
    for row in rows:
        values = [_cell(title, value) for value in row.values]
        cells.append((row.key, *values, _delta(row.values)) if with_delta else (row.key, *values))
    headers = (title, *(name.partition(" ")[0] for name in titles), *(("change",) if with_delta else ()))
    output.table(headers, cells, right=headers[1:] if title in {"parameters", "metrics"} else ())


def _cell(title: str, value: Any) -> str:
    if value is None:
        return "-"
    if title == "metrics":
        return number(value)
    if isinstance(value, str) and value.startswith(("xxh128:", "blake3:")):
        return _digest(value)
    if title == "code" and isinstance(value, str) and len(value) == 40 and " " not in value:
        return value[:10]
    return _text(value)


def _delta(values: Sequence[Any]) -> str:
    first, second = values
    if first is None or second is None or not math.isfinite(first) or not math.isfinite(second):
        return ""
    return f"{second - first:+.4g}"


def _section(output: Output, title: str, rows: Iterable[tuple[str, str]]) -> None:
    listed = list(rows)
    width = max((len(key) for key, _ in listed), default=0)
    output.line()
    output.line(title, style="bold")
    for key, value in listed:
        output.line(f"  {key.ljust(width)}  {value}")


def sparkline(values: Sequence[float]) -> str:
    """One bar a value between the smallest and the largest; a dot for what is no finite number."""
    finite = [value for value in values if math.isfinite(value)]
    if len(values) < 2 or not finite:
        return ""
    low, high = min(finite), max(finite)
    span = high / 2 - low / 2  # halves: the difference of two large numbers may overflow
    bars = []
    for value in values:
        if not math.isfinite(value):
            bars.append("·")
        elif span == 0:
            bars.append(_BARS[3])
        else:
            bars.append(_BARS[min(int((value / 2 - low / 2) / span * len(_BARS)), len(_BARS) - 1)])
    return "".join(bars)


def number(value: float) -> str:
    """Five significant digits; whole numbers whole."""
    if not math.isfinite(value):
        return str(value)
    return str(int(value)) if value.is_integer() and abs(value) < 1e12 else f"{value:.5g}"


def duration(seconds: float) -> str:
    """`0.4 s`, `72 s`, `5 m 10 s`, `3 h 2 m`."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} m {rest} s" if minutes < 100 else f"{minutes // 60} h {minutes % 60} m"


def _ago(seconds: float) -> str:
    if seconds < 0:
        return "in the future"
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return f"{plural(int(seconds // length), unit)} ago"
    return "just now"


def _when(run: RunRow) -> str:
    return _ago(run.age_s)


def _range(smallest: float | None, largest: float | None, points: int) -> str:
    if points < 2 or smallest is None or largest is None:
        return ""
    return f"{number(smallest)} .. {number(largest)}"


def _commit(commit: str | None, branch: str | None, dirty: bool) -> str:
    if commit is None:
        return ""
    return f"{commit[:10]}{f' ({branch})' if branch else ''}{', with uncommitted changes' if dirty else ''}"


def _digest(digest: str) -> str:
    algorithm, _, hexadecimal = digest.partition(":")
    return f"{algorithm}:{hexadecimal[:8]}…"


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def show_logs(kept: list[StageOutput], output: Output) -> None:
    if not kept:
        output.line("its stages printed nothing")
    for part in kept:
        if len(kept) > 1:
            output.line(f"{part.stage}:", style="bold")
        output.line(part.text.rstrip("\n"))
