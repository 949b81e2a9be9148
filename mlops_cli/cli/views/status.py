"""How `mlo status` looks: one part a block, what needs doing first."""

from __future__ import annotations

from collections import Counter

from mlops_cli.cli.output import Output, human_bytes, plural
from mlops_cli.core.pipeline.reasons import Decision
from mlops_cli.core.workflows.status import Status

SHOWN_CHANGES = 10
SHOWN_METRICS = 4
_ACTIONS = {"run": "would run", "restored": "would be restored", "cached": "up to date", "skipped": "skipped"}


def show_status(found: Status, output: Output) -> None:
    output.line(f"project   {found.project}", style="bold")
    _show_data(found, output)
    if found.stages:
        _show_stages(found.stages, output)
    if found.worktree:
        output.line(f"          the work tree holds {found.worktree}; `mlo run` restores", style="yellow")
    if found.run:
        metrics = "  ".join(f"{name} {value:.4g}" for name, value in list(found.run.metrics.items())[:SHOWN_METRICS])
        output.line(f"last run  {found.run.id[:8]} {found.run.status} {_when(found.run.start)}  {metrics}".rstrip())
    else:
        output.line("last run  none yet: mlo run")
    for model in found.models[:SHOWN_CHANGES]:
        pointing = f"  <- {', '.join(model.aliases)}" if model.aliases else ""
        output.line(f"model     {model.title}{pointing}", style="green" if model.aliases else None)
    for check in found.drift:
        columns = f": {', '.join(check.columns)}" if check.columns else ""
        style = "yellow" if check.verdict == "drift" else None
        verdict = check.verdict.replace("_", " ")
        output.line(f"drift     {check.model} {verdict}{columns} (checked {_when(check.time)})", style=style)
    for trouble in found.troubles:
        output.line(f"{trouble.part:9} {trouble.message}", style="red")
        if trouble.hint:
            output.line(f"          hint: {trouble.hint}")


def _show_data(found: Status, output: Output) -> None:
    if not found.entries:
        output.line("data      none yet: mlo data add PATH")
        return
    size = f"{plural(found.files, 'file')}, {human_bytes(found.size)}"
    if not found.changes:
        output.line(f"data      {plural(found.entries, 'path')}, {size}: as mlo.lock says", style="green")
        return
    counts = Counter(change.state for change in found.changes)
    text = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in counts.items())
    output.line(f"data      {plural(found.entries, 'path')}, {size}: {text}", style="yellow")
    shown = found.changes[:SHOWN_CHANGES]
    width = max(len(change.state) for change in shown)
    for change in shown:
        output.line(f"          {change.state.replace('_', ' '):{width}}  {change.path}")
    if len(found.changes) > SHOWN_CHANGES:
        output.line(f"          and {len(found.changes) - SHOWN_CHANGES} more: mlo data status")


def _show_stages(stages: tuple[Decision, ...], output: Output) -> None:
    skipped = sum(stage.action == "skipped" for stage in stages)
    waiting = [stage for stage in stages if stage.action not in ("cached", "skipped")]
    if not waiting:
        also = f", {skipped} of them skipped" if skipped else ""
        output.line(f"pipeline  {plural(len(stages), 'stage')}: up to date{also}", style="green")
        return
    output.line(f"pipeline  {len(waiting)} of {plural(len(stages), 'stage')} not up to date: mlo run", style="yellow")
    width = max(len(stage.stage) for stage in waiting)
    for stage in waiting:
        because = f": {stage.reasons[0].text}" if stage.reasons else ""
        output.line(f"          {stage.stage:{width}}  {_ACTIONS[stage.action]}{because}")


def _when(time: str) -> str:
    """`2013-05-01 12:00 UTC` of a stored time."""
    return f"{time[:10]} {time[11:16]} UTC"
