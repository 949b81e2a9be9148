"""How the answer of `mlo retrain` looks."""

from __future__ import annotations

from mlops_cli.cli.output import Output, plural
from mlops_cli.core.workflows.retrain import RetrainAnswer

_STYLES = {"promoted": "bold green", "rejected": "yellow", "too_few_labels": "yellow"}


def show_retrain(answer: RetrainAnswer, output: Output) -> None:
    if answer.replayed:
        output.line(f"answered before, as event {answer.event}: nothing changed since, so nothing was done again")
    if not answer.reasons:
        output.line(verdict(answer))
    for reason in answer.reasons:
        output.line(f"due  {reason.text}")
    for note in answer.notes:
        output.line(f"     {note}", style="dim")
    if answer.comparison is not None:
        _show_comparison(answer, output)
    if answer.promotion is not None:
        for gate in answer.promotion.gates:
            output.line(f"gate {gate.gate}: {'holds' if gate.holds else 'refused'}")
    for step in answer.steps:
        output.line(f"would {step}")
    if answer.reasons:
        output.line(verdict(answer), style=_STYLES.get(answer.outcome))


def verdict(answer: RetrainAnswer) -> str:
    """The last line: what became of it, and why."""
    if answer.outcome == "nothing_due":
        return f"nothing is due: {answer.champion} stays"
    if answer.outcome == "held":
        if answer.held_by == "cooldown":
            return f"in the cooldown until {(answer.until or '')[:16]}Z: {answer.champion} stays"
        failed = "".join(f"\n  {line}" for line in answer.failed_checks)
        return f"the data failed {plural(len(answer.failed_checks), 'check')}, so nothing is made from it:{failed}"
    if answer.outcome == "would_retrain":
        return "dry run: nothing was changed"
    if answer.outcome == "too_few_labels":
        return f"too few labels: {answer.why}"
    words = {"promoted": "promoted", "registered": "registered", "rejected": "rejected"}[answer.outcome]
    return f"{answer.challenger} {words}: {answer.why}" if answer.challenger else f"no new model: {answer.why}"


def _show_comparison(answer: RetrainAnswer, output: Output) -> None:
    gain = answer.comparison
    assert gain is not None and answer.holdout is not None and answer.challenger is not None  # noqa: S101, PT018
    looks = f", look {answer.looks} at them" if answer.looks and answer.looks > 1 else ""
    output.line(f"{gain.metric} on {gain.rows:,} rows of {answer.holdout['path']}{looks}")
    output.table(
        ("model", gain.metric, "gain", "97.5% bound", "test"),
        [
            (answer.champion, f"{gain.champion:.4f}", "", "", ""),
            (answer.challenger, f"{gain.challenger:.4f}", f"{gain.gain:+.4f}", f"{gain.lower:+.4f}", gain.method),
        ],
        right=(gain.metric, "gain", "97.5% bound"),
    )
