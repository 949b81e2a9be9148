"""What `mlo run` and `mlo why STAGE` show."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any

from mlops_cli.cli.output import Output, json_text, one_line, plural
from mlops_cli.cli.views.registry import short
from mlops_cli.core.base.records import StageRecord
from mlops_cli.core.pipeline.reasons import Decision, Reason
from mlops_cli.core.workflows.plan import StageReasons
from mlops_cli.core.workflows.run import RunResult

_WORDS = {"cached": "up to date", "restored": "restore", "run": "run", "skipped": "skip"}
_INSIDE = 5  # files of a folder that are named


def show_run(result: RunResult, output: Output) -> None:
    """The stages with what became of them, the metrics, and the run's id; or the plan of a dry run."""
    if result.status == "planned":
        show_plan(result.plan, output)
        return
    ran = [record for record in result.stages if record.status == "ran"]
    restored = [record for record in result.stages if record.status == "restored"]
    failed = [record for record in result.stages if record.status == "failed"]
    if ran or restored or failed or result.accepted:
        rows = [(it.name, _became(it, result), f"{it.seconds:.1f} s" if it.seconds else "") for it in result.stages]
        rows += [(name, "not run", "") for name in result.not_run]
        output.table(("stage", "result", "time"), rows, right=("time",))
    else:
        skipped = sum(record.status == "skipped" for record in result.stages)
        said = f", {skipped:,} skipped" if skipped else ""
        standing = plural(len(result.stages) - skipped, "stage")
        output.line(f"Nothing to do: {standing} up to date{said}.", style="green")
    if result.metrics:
        output.line()
        output.table(("metric", "value"), [(key, number(value)) for key, value in sorted(result.metrics.items())])
    output.line()
    output.line(f"run {result.run[:8]} ({result.name}) {result.status} in {result.seconds:.1f} s", style="dim")
    if result.worktree:
        said = _said(result.overrides) or "an earlier -P"
        output.line(f"The work tree holds the outputs of {said}; mlo.lock is as it was. `mlo run` restores.")


def _became(record: StageRecord, result: RunResult) -> str:
    if record.name in result.accepted and record.status == "cached":
        return "accepted"
    return "up to date" if record.status == "cached" else record.status


def show_plan(plan: Sequence[Decision], output: Output) -> None:
    """A dry run: what would happen to each stage, and why."""
    rows = []
    for it in plan:
        causes = [cause for reason in it.reasons for cause in _causes(reason)] or [("", "")]
        for place, cause in enumerate(causes):
            rows.append((it.stage if place == 0 else "", _WORDS[it.action] if place == 0 else "", *cause))
    output.table(("stage", "would", "because", "from -> to"), rows)
    for it in plan:
        if it.would_overwrite:
            paths = ", ".join(it.would_overwrite)
            output.line(
                f"{it.stage}: {paths} is in no cache, so the run would stop there without --force", style="yellow"
            )
    due = sum(it.action == "run" for it in plan)
    output.line()
    output.line(f"{plural(due, 'stage')} of {len(plan)} would run." if due else "Nothing would run.")


def _causes(reason: Reason) -> list[tuple[str, str]]:
    """The rows of one reason in a plan: what it says, and from what to what; then files in a folder."""
    rows = [(reason.text, _from_to(reason))]
    rows += [(f"  {it.change} {it.path}", "") for it in reason.inside[:_INSIDE]]
    if len(reason.inside) > _INSIDE:
        rows.append((f"  and {len(reason.inside) - _INSIDE:,} more", ""))
    return rows


def _from_to(reason: Reason) -> str:
    old, new = reason.old, reason.new
    if reason.kind == "command" and isinstance(old, str) and isinstance(new, str):
        return "several lines: mlo why shows them" if "\n" in old + new else f"{old} -> {new}"
    if reason.kind in ("dep", "output") and (old or new):
        return f"{short(old) if old else 'nothing'} -> {short(new) if new else 'nothing'}"
    if reason.kind in ("environment", "param") and (old is not None or new is not None) and "->" not in reason.text:
        return f"{_plain(old)} -> {_plain(new)}"
    return ""


def _plain(value: Any) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else json_text(value).replace("\n", " ")
    return re.sub(r"\b(xxh128|blake3):[0-9a-f]{32,64}\b", lambda match: short(match[0]), text)


def show_stage_reasons(reasons: StageReasons, output: Output) -> None:
    """Why one stage would run, or not."""
    head = {
        "cached": "is up to date",
        "restored": "would be restored from the run cache",
        "run": "would run",
        "skipped": "is skipped",
    }
    command = reasons.command if "\n" not in reasons.command else f"{reasons.command.splitlines()[0]} …"
    output.line(f"{reasons.stage} {head[reasons.action]}: {command}", style="bold")
    for reason in reasons.reasons:
        _show_reason(reason, output)
    for upstream in reasons.upstream:
        texts = "; ".join(reason.text for reason in upstream.reasons)
        output.line(f"  upstream: {upstream.stage} would {_WORDS[upstream.action]} ({texts})")
    for path in reasons.would_overwrite:
        output.line(f"  {path} is in no cache, so the run would stop without --force", style="yellow")
    rows = [("dep", path, short(digest)) for path, digest in reasons.deps.items()]
    rows += [("param", name, str(value)) for name, value in reasons.params.items()]
    if rows:
        output.line()
        output.line(
            "Its last accepted result" + (f", by run {reasons.run[:8]}," if reasons.run else "") + " was made from"
        )
        output.table(("", "", ""), rows)


def _show_reason(reason: Reason, output: Output) -> None:
    if reason.kind == "command" and isinstance(reason.old, str) and isinstance(reason.new, str):
        output.line(f"  {reason.text}")
        for line in _diff(reason.old, reason.new):
            output.line(f"    {line}", style={"-": "red", "+": "green", "@": "dim"}.get(line[:1]))
        return
    said = _from_to(reason)
    output.line(f"  {reason.text}{f': {said}' if said else ''}")
    for it in reason.inside[:_INSIDE]:
        before = f" (was {one_line(it.old_path)})" if it.old_path else ""
        output.line(f"    {it.change} {one_line(it.path)}{before}")
    if len(reason.inside) > _INSIDE:
        output.line(f"    ... and {len(reason.inside) - _INSIDE:,} more; --json lists all")


def _diff(old: str, new: str) -> list[str]:
    """What changed in a command: both if it is a line, else the lines that changed with one around them."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=1)
    shown = list(lines)[2:]
    return shown if "\n" in old + new else [line for line in shown if not line.startswith("@")]


def number(value: float) -> str:
    """Six significant digits: enough to tell two runs apart."""
    return f"{value:.6g}"


def _said(overrides: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in overrides.items())
