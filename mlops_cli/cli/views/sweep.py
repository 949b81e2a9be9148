"""What `mlo run --sweep` shows: a line for each point, with its parameters, its metrics and its run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from mlops_cli.cli.output import Output, plural
from mlops_cli.cli.views.pipeline import number, show_run
from mlops_cli.cli.views.repeats import show_check
from mlops_cli.core.workflows.run import RunResult

if TYPE_CHECKING:
    from mlops_cli.core.workflows.apply import Applied
    from mlops_cli.core.workflows.check_repeats import CheckResult
    from mlops_cli.core.workflows.sweep import SweepPoint, SweepResult

_METRICS = 6
_WHOLE = 2  # points whose errors are told with all that they printed last; the others often say the same


def show_performed(result: RunResult | SweepResult | CheckResult, output: Output) -> None:
    if isinstance(result, RunResult):
        show_run(result, output)
    elif result.status == "checked":
        show_check(cast("CheckResult", result), output)
    elif result.status == "planned":
        _show_plan(cast("SweepResult", result), output)
    else:
        _show_sweep(cast("SweepResult", result), output)


def exit_code_of(result: RunResult | SweepResult | CheckResult) -> int:
    """A run that fails raises; of a sweep the points fail, and their table is worth seeing."""
    return 0 if isinstance(result, RunResult) else result.exit_code


def _show_sweep(result: SweepResult, output: Output) -> None:
    names = list(result.grid)
    counts: dict[str, int] = {}
    for point in result.points:
        for key in point.metrics:
            counts[key] = counts.get(key, 0) + 1
    metrics = sorted(counts, key=lambda key: (-counts[key], key))[:_METRICS]
    rows = [
        (
            point.run[:8],
            _status(point),
            *(_text(point.overrides[name]) for name in names),
            *(number(point.metrics[key]) if key in point.metrics else "" for key in metrics),
            f"{point.seconds:.1f} s",
        )
        for point in result.points
    ]
    output.table(("run", "result", *names, *metrics, "time"), rows, right=(*names, *metrics, "time"))
    failed = [point for point in result.points if point.status != "finished"]
    for place, point in enumerate(failed):
        error = point.error or "nothing is known of it"
        output.line()
        output.line(f"{_label(point)} {point.status}{f', run {point.run[:8]}' if point.run else ''}", style="red")
        output.line(f"  {error if place < _WHOLE else error.splitlines()[0]}")
    output.line()
    output.line(
        f"sweep {result.run[:8]} ({result.name}) {result.status}: {len(result.points) - len(failed)} of "
        f"{plural(len(result.points), 'point')} in {result.seconds:.1f} s",
        style="dim",
    )
    if len(failed) < len(result.points):
        best = f" --sort {metrics[0]}   the points, the largest first" if metrics else "   the points again"
        output.line(f"mlo runs list --parent {result.run[:8]}{best}")
        output.line(f"mlo runs compare {result.run[:8]}   what differs among them")
        output.line("mlo runs apply RUN   bring the outputs of one into the work tree")


def _show_plan(result: SweepResult, output: Output) -> None:
    names = list(result.grid)
    rows = []
    for point in result.points:
        due = [it.stage for it in point.plan if it.action == "run"]
        back = [it.stage for it in point.plan if it.action in ("restored", "cached")]
        rows.append((*(_text(point.overrides[name]) for name in names), ", ".join(due), ", ".join(back)))
    output.table((*names, "would run", "would restore"), rows, right=names)
    count = sum(any(it.action == "run" for it in point.plan) for point in result.points)
    output.line()
    output.line(f"{count} of {plural(len(result.points), 'point')} would run something.")


def _status(point: SweepPoint) -> str:
    if point.status == "finished" and point.stages and "ran" not in point.stages.values():
        return "restored"
    return point.status


def _label(point: SweepPoint) -> str:
    return " ".join(f"{name}={_text(value)}" for name, value in point.overrides.items())


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def show_applied(result: Applied, output: Output) -> None:
    rows = [(path, "restored") for path in result.restored] + [(path, "as it was") for path in result.standing]
    output.table(("output", "result"), rows)
    if result.left:
        output.line(f"no stage makes {', '.join(result.left)} any more; left out", style="yellow")
    output.line()
    output.line(f"The work tree holds the outputs of run {result.run[:8]} ({result.name}); mlo.lock is as it was.")
    if result.others:
        made = f" (commit {str(result.commit)[:8]} made it)" if result.other_commit else ""
        output.line(
            f"mlo run would not keep it: {', '.join(result.others)} would be made anew, from what is here now{made}.",
            style="yellow",
        )
    elif result.edits:
        output.line("To keep it, put this into params of mlo.yaml, and run `mlo run`:")
    else:
        output.line("To keep it, run `mlo run`: mlo.yaml says its parameters already.")
    for edit in result.edits:
        now = "not there" if edit.now is None else f"now {_json(edit.now)}"
        output.line(f"  {edit.name}: {_json(edit.value)}   # {now}")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
