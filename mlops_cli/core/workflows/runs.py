"""Looking at runs: the list, one of them, several side by side."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from mlops_cli.core.base.clock import parse_time
from mlops_cli.core.base.records import Entry, Metric
from mlops_cli.core.errors import NotFound, UsageError
from mlops_cli.core.tracking.records import Run
from mlops_cli.core.workflows.workspace import Workspace

CURVE_POINTS = 60
COLUMNS = 4  # parameters and metrics a table has room for


class RunRow(msgspec.Struct, frozen=True):
    """One run in the list. `age_s` and `seconds` (how long it took) are seconds. `parent` is the run that it belongs
    to, as a point of a sweep does, `overrides` what `-P` said; they count among its `params`."""

    id: str
    name: str
    status: str
    start: str
    age_s: float
    seconds: float | None
    commit: str | None
    dirty: bool
    model: bool
    params: dict[str, Any]
    metrics: dict[str, float]
    tags: dict[str, str]
    parent: str | None = None
    overrides: dict[str, Any] = {}
    end: str | None = None
    actor: str = ""
    branch: str | None = None


class RunList(msgspec.Struct, frozen=True):
    """Runs, newest first, or as asked for. `varying` names the parameters in which they differ, `telling` the metrics
    most of them have; both most frequent first."""

    runs: tuple[RunRow, ...]
    varying: tuple[str, ...]
    telling: tuple[str, ...]


class MetricSummary(msgspec.Struct, frozen=True):
    """The history of a metric: `curve` holds at most 60 of its values in order of step, evenly chosen."""

    key: str
    latest: float
    points: int
    first_step: int
    last_step: int
    smallest: float | None
    largest: float | None
    curve: tuple[float, ...]


class RunDetail(msgspec.Struct, frozen=True):
    """Everything about one run. `points` are the runs that belong to it, in the order they began."""

    run: Run
    age_s: float
    seconds: float | None
    history: tuple[MetricSummary, ...]
    points: tuple[RunRow, ...] = ()


class Difference(msgspec.Struct, frozen=True):
    """One fact of several runs: a value for each, null where a run has none."""

    key: str
    values: tuple[Any, ...]
    same: bool


class RunComparison(msgspec.Struct, frozen=True):
    """Runs side by side, in the order asked for. `packages` holds only those that differ."""

    runs: tuple[RunRow, ...]
    params: tuple[Difference, ...]
    metrics: tuple[Difference, ...]
    inputs: tuple[Difference, ...]
    outputs: tuple[Difference, ...]
    code: tuple[Difference, ...]
    environment: tuple[Difference, ...]
    packages: tuple[Difference, ...]


def list_runs(
    workspace: Workspace,
    *,
    limit: int = 20,
    status: str | None = None,
    parent: str | None = None,
    sort: str | None = None,
    ascending: bool = False,
) -> RunList:
    """The newest runs; with `parent`, of those that belong to that run; with `sort`, those with the largest (or
    smallest) values of that metric, best first. Raises UsageError for an unknown status, NotFound for a metric that
    none has."""
    if status not in {None, "running", "finished", "failed", "killed"}:
        raise UsageError(f"{status} is no status of a run", hint="they are running, finished, failed and killed")
    above = workspace.runs.get(parent).id if parent is not None else None
    runs = workspace.runs.list(limit=None if sort else limit, status=status, parent=above)  # type: ignore[arg-type]
    if sort is not None:
        runs = _sorted(runs, sort, ascending=ascending)[:limit]
    counts = Counter(key for run in runs for key in run.metrics)
    telling = sorted(counts, key=lambda key: (-counts[key], key))
    if sort is not None:
        telling = [sort, *(key for key in telling if key != sort)]
    return RunList(tuple(row_of(workspace, run) for run in runs), tuple(_varying(runs)), tuple(telling))


def _sorted(runs: Sequence[Run], metric: str, *, ascending: bool) -> list[Run]:
    """Those that have a metric, by its value; NaN last."""
    known = sorted({key for run in runs for key in run.metrics})
    if metric not in known:
        raise NotFound(f"no run here has a metric {metric}", hint=f"they have {', '.join(known) or 'no metrics'}")
    told = [run for run in runs if math.isfinite(run.metrics.get(metric, math.nan))]
    rest = [run for run in runs if metric in run.metrics and not math.isfinite(run.metrics[metric])]
    return sorted(told, key=lambda run: run.metrics[metric], reverse=not ascending) + rest


def _varying(runs: Sequence[Run]) -> list[str]:
    """Parameters whose values differ among the runs; one that a run lacks differs too."""
    held = [_params(run) for run in runs]
    counts = Counter(key for params in held for key in params)
    absent = object()
    differing = [key for key in counts if len({_hashable(params.get(key, absent)) for params in held}) > 1]
    return sorted(differing, key=lambda key: (-counts[key], key))


def _params(run: Run) -> dict[str, Any]:
    """What was logged, and what `-P` gave: a command may hold `${params.x}` of a parameter that no stage declares. The
    lists that a sweep went through are no values; those are its points'."""
    return run.params if "mlo.sweep" in run.tags else {**run.overrides, **run.params}


def _hashable(value: Any) -> Any:
    return repr(value) if isinstance(value, dict | list | float) else value


def row_of(workspace: Workspace, run: Run) -> RunRow:
    """A run as lists show it."""
    age_s, seconds = _times(workspace, run)
    return RunRow(
        id=run.id,
        name=run.name,
        status=run.status,
        start=run.start,
        age_s=age_s,
        seconds=seconds,
        commit=run.commit,
        dirty=run.dirty,
        model=run.model is not None,
        params=_params(run),
        metrics=run.metrics,
        tags=run.tags,
        parent=run.parent,
        overrides=run.overrides,
        end=run.end,
        actor=run.actor,
        branch=run.branch,
    )


def _times(workspace: Workspace, run: Run) -> tuple[float, float | None]:
    start = parse_time(run.start)
    age_s = (workspace.clock.now() - start).total_seconds()
    return age_s, None if run.end is None else (parse_time(run.end) - start).total_seconds()


def show_run(workspace: Workspace, text: str) -> RunDetail:
    """One run, by the beginning of its id or `latest`. Raises RunNotFound, UsageError."""
    run = workspace.runs.get(text)
    history = workspace.runs.history(run.id)
    age_s, seconds = _times(workspace, run)
    summaries = tuple(_summary(key, points, run.metrics[key]) for key, points in history.items())
    points = tuple(row_of(workspace, point) for point in reversed(workspace.runs.list(parent=run.id)))
    shown = msgspec.structs.replace(run, params=_params(run))
    return RunDetail(shown, age_s, seconds, summaries, points)


def _summary(key: str, points: Sequence[Metric], latest: float) -> MetricSummary:
    values = [point.value for point in points]
    finite = [value for value in values if math.isfinite(value)]
    count = min(len(values), CURVE_POINTS)
    chosen = [values[round(place * (len(values) - 1) / max(count - 1, 1))] for place in range(count)]
    return MetricSummary(
        key=key,
        latest=latest,
        points=len(points),
        first_step=points[0].step,
        last_step=points[-1].step,
        smallest=min(finite, default=None),
        largest=max(finite, default=None),
        curve=tuple(chosen),
    )


def compare_runs(workspace: Workspace, texts: Sequence[str]) -> RunComparison:
    """Two runs or more, side by side; of one sweep, its points. Raises RunNotFound, UsageError for fewer than two
    different ones."""
    runs = [workspace.runs.get(text) for text in texts]
    if len(runs) == 1:
        runs = workspace.runs.list(parent=runs[0].id)[::-1] or runs
    if len({run.id for run in runs}) < 2:
        raise UsageError("comparing takes two different runs", hint="mlo runs compare 3f2a 9c01")
    return RunComparison(
        runs=tuple(row_of(workspace, run) for run in runs),
        params=_compare(runs, _params),
        metrics=_compare(runs, lambda run: run.metrics),
        inputs=_compare(runs, lambda run: run.inputs),
        outputs=_compare(runs, lambda run: _digests(run.outputs)),
        code=_compare(runs, _code),
        environment=_compare(runs, _machine),
        packages=tuple(row for row in _compare(runs, _packages) if not row.same),
    )


def _compare(runs: Sequence[Run], facts: Callable[[Run], dict[str, Any]]) -> tuple[Difference, ...]:
    held = [facts(run) for run in runs]
    keys: Iterable[str] = sorted({key for each in held for key in each})
    rows = []
    for key in keys:
        values = tuple(each.get(key) for each in held)
        same = all(key in each for each in held) and len({_hashable(value) for value in values}) == 1
        rows.append(Difference(key, values, same))
    return tuple(rows)


def _digests(entries: dict[str, Entry]) -> dict[str, str]:
    return {path: entry.digest for path, entry in entries.items()}


def _code(run: Run) -> dict[str, Any]:
    return {"commit": run.commit, "branch": run.branch, "patch": run.diff, "command": run.command}


def _machine(run: Run) -> dict[str, Any]:
    """The environment without its packages, nested names joined by dots."""
    flat: dict[str, Any] = {"host": run.host}
    for key, value in run.environment.items():
        if key in ("packages", "urls", "environments"):
            continue
        if isinstance(value, dict):
            flat.update({f"{key}.{inner}": each for inner, each in value.items()})
        else:
            flat[key] = value
    return flat


def _packages(run: Run) -> dict[str, Any]:
    others = run.environment.get("environments", {}).values()
    inside = {f"{name} ({it.get('source')})": held for it in others for name, held in it.get("packages", {}).items()}
    return {**run.environment.get("packages", {}), **inside}


class StageOutput(msgspec.Struct, frozen=True):
    """What one stage printed, and the run that kept it."""

    stage: str
    run: str
    text: str


def read_logs(workspace: Workspace, text: str, stage: str | None = None) -> list[StageOutput]:
    """What the stages of a run printed, in the order they ran. Raises NotFound for an unknown run or stage."""
    run = workspace.runs.get(text)
    kept = {
        name.removeprefix("logs/").removesuffix(".log"): entry
        for name, entry in run.artifacts.items()
        if name.startswith("logs/")
    }
    ran = [record.name for record in run.stages if record.name in kept]
    names = ran + [name for name in kept if name not in ran]
    if stage is not None and stage not in kept:
        raise NotFound(
            f"run {run.short} kept nothing that {stage} printed",
            hint=f"it has the output of {', '.join(names)}" if names else "its stages printed nothing",
        )
    wanted = names if stage is None else [stage]
    return [
        StageOutput(name, run.id, workspace.store.read(kept[name].name).decode("utf-8", "replace")) for name in wanted
    ]
