"""What a decision to retrain rests on, gathered from the rooms: windows, labels, checks, and what would be read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from mlops_cli.core.base.digest import digest_file
from mlops_cli.core.drift.records import DriftAnswer
from mlops_cli.core.errors import TooLittleData
from mlops_cli.core.pipeline.graph import inside
from mlops_cli.core.registry.records import Version
from mlops_cli.core.retraining.comparison import change_of
from mlops_cli.core.retraining.policy import LabelledWindow, Performance, Rules, WindowFinding
from mlops_cli.core.validation.checks import run_checks
from mlops_cli.core.validation.rules import load_suite
from mlops_cli.core.workflows.check import describe, suites_of
from mlops_cli.core.workflows.drift import check_windows
from mlops_cli.core.workflows.holdout import Holdout, judge, judge_registered
from mlops_cli.core.workflows.performance import PerformanceRequest, check_performance
from mlops_cli.core.workflows.plan import assemble
from mlops_cli.core.workflows.workspace import Workspace


def windows_of(workspace: Workspace, champion: Version, rules: Rules, *, record: bool) -> tuple[WindowFinding, ...]:
    """Findings about the champion, oldest first: the last closed windows, checked now, and those of recorded checks.

    Decided windows never overlap: of two that do, the later one counts, so that no row raises two alarms.
    """
    if "drift" not in rules.triggers:
        return ()
    checked = check_windows(workspace, champion.title, rules.windows, record=record)
    fresh = [_finding(answer) for answer in checked if answer.window is not None]
    recorded = [
        WindowFinding(
            start=event.data["window"]["start"],
            end=event.data["window"]["end"],
            verdict=event.data["verdict"],
            columns=tuple(event.data.get("alarms", ())),
            rows=event.data.get("rows", 0),
            event=event.seq,
        )
        for event in workspace.registry.history(champion.name)
        if event.kind == "drift" and event.subject == champion.title and event.data.get("window")
    ]
    # Of two findings about one window the one that saw more rows counts: rows reach a log late, and leave it when
    # it is tidied.
    known: dict[tuple[str, str], WindowFinding] = {}
    for window in (*recorded, *fresh):
        place = (window.start, window.end)
        if place not in known or window.rows >= known[place].rows:
            known[place] = window
    return tuple(sorted(_apart(known.values()), key=lambda window: window.end))


def _finding(answer: DriftAnswer) -> WindowFinding:
    assert answer.window is not None  # noqa: S101 - files have no window, and these are of the log
    return WindowFinding(
        start=answer.window.start,
        end=answer.window.end,
        verdict=answer.verdict,
        columns=answer.alarms,
        rows=answer.rows,
        event=answer.event,
    )


def _apart(windows: Iterable[WindowFinding]) -> list[WindowFinding]:
    kept: list[WindowFinding] = []
    free_until = ""
    for window in sorted(windows, key=lambda window: window.end, reverse=True):
        if window.verdict == "too_little":
            kept.append(window)
        elif not free_until or window.end <= free_until:
            kept.append(window)
            free_until = window.start
    return kept


def labelled_windows(
    workspace: Workspace, champion: Version, rules: Rules, *, record: bool
) -> tuple[LabelledWindow, ...]:
    """The champion's last closed windows, judged by the labels given so far; none where it answered nothing."""
    try:
        answer = check_performance(
            workspace, PerformanceRequest(ref=champion.title, windows=rules.windows, record=record)
        )
    except TooLittleData:
        return ()
    found = []
    for window in answer.windows:
        now = window.metrics.get(answer.metric)
        found.append(
            LabelledWindow(
                start=window.start,
                end=window.end,
                verdict=window.verdict,
                metric=answer.metric,
                now=now.value if now is not None else None,
                then=answer.training.get(answer.metric),
                labelled=window.labelled,
                event=answer.event,
            )
        )
    return tuple(found)


def measure(workspace: Workspace, champion: Version, holdout: Holdout) -> Performance | None:
    """The champion on the newest labelled rows against its own test rows; None if it was registered without any."""
    then = judge_registered(workspace, champion, holdout.time)
    if then is None:
        return None
    now = judge(workspace, champion, holdout.rows, holdout.target, holdout.time)
    change = change_of(workspace.project.retrain.metric, then, now)
    return msgspec.convert(msgspec.to_builtins(change), Performance)


def failed_checks(workspace: Workspace) -> tuple[str, ...]:
    """Failed checks of severity error on data that no stage makes; a stage's own checks stop the stage instead."""
    made = [path for stage in workspace.project.stages.values() for path in stage.written]
    failed = []
    for file in suites_of(workspace):
        suite = load_suite(file)
        if any(inside(suite.data, path) for path in made):
            continue
        report = run_checks(suite, workspace.root / suite.data)
        failed += [describe(result) for result in report.failures if result.severity == "error"]
    return tuple(failed)


def material(workspace: Workspace, champion: Version, holdout: Path | None) -> dict[str, Any]:
    """Digests and settings that the outcome of a retraining depends on, as they stand in the work tree now."""
    pipeline = assemble(workspace)
    outside = sorted({path for node in pipeline.nodes for path in node.deps if path not in node.feeds})
    entries = {path: pipeline.tree.entry(path) for path in outside}
    model, settings = workspace.project.model, workspace.project.retrain
    return {
        "inputs": {path: entry.digest for path, entry in entries.items() if entry is not None},
        "commands": {node.name: node.command_text for node in pipeline.nodes},
        "params": pipeline.params,
        "gates": model.gates if model is not None else {},
        "metric": settings.metric,
        "min_labels": settings.min_labels,
        "promote": settings.promote,
        "profile": champion.profile,
        "holdout": str(digest_file(holdout, workspace.project.hash))
        if holdout is not None and holdout.is_file()
        else None,
    }
