"""What `mlo run --check STAGE` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_cli.cli.output import Output, one_line
from mlops_cli.cli.views.registry import short

if TYPE_CHECKING:
    from mlops_cli.core.workflows.check_repeats import CheckResult, Differing, StageCheck

_SHOWN = 5


def show_check(result: CheckResult, output: Output) -> None:
    """A line for each stage, and below it what its two runs gave differently."""
    for check in result.stages:
        _show_stage(check, output)


def _show_stage(check: StageCheck, output: Output) -> None:
    if not check.runs:
        output.line(f"{check.stage} is skipped, so there is nothing to compare.", style="yellow")
        return
    runs = " and ".join(run[:8] for run in check.runs)
    if check.same:
        output.line(f"{check.stage} gave the same twice (runs {runs}).", style="green")
        if not check.deterministic:
            output.line("  mlo.yaml says deterministic: false of it; two runs do not prove that wrong.")
        return
    said = ", as its deterministic: false says" if not check.deterministic else ""
    output.line(f"{check.stage} did not give the same twice{said} (runs {runs}):", style="dim" if said else "red")
    for differing in check.differing:
        output.line(f"  {differing.kind} {one_line(differing.name)}: {_values(differing)}")
        for inside in differing.inside[:_SHOWN]:
            output.line(f"    {inside.change} {one_line(inside.path)}")
        if len(differing.inside) > _SHOWN:
            output.line(f"    ... and {len(differing.inside) - _SHOWN:,} more; --json lists all")
    if check.persists:
        output.line(f"  {', '.join(check.persists)} persists: the second run began with what the first one left there.")
    if check.deterministic:
        output.line(
            "  The work tree and mlo.lock hold the second result. Set the seeds of what it draws at random, keep times"
        )
        output.line("  and paths out of what it writes; or say deterministic: false of the stage in mlo.yaml.")


def _values(differing: Differing) -> str:
    first, second = (
        "nothing" if value is None else short(value) if isinstance(value, str) else repr(value)
        for value in (differing.first, differing.second)
    )
    return f"{first} -> {second}"
